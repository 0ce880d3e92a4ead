//! Sleep of the whole machine, noticed after the fact.
//!
//! Two witnesses: [`SleepEvents`] is told by the system's own service, where there is one and it runs; [`time_asleep`]
//! compares two clocks and needs nobody.

use std::time::Duration;

use crate::Unsupported;

#[cfg_attr(target_os = "linux", path = "sleep/linux.rs")]
#[cfg_attr(any(target_os = "macos", windows), path = "sleep/unsupported.rs")]
mod sys;

/// Whom to ask; another one in tests.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SleepSystem {
    /// The message bus's address; the system's own without one.
    pub bus: Option<String>,
}

/// Why nobody tells of sleep.
#[derive(Debug, thiserror::Error)]
pub enum SleepError {
    /// This system has no implementation.
    #[error(transparent)]
    Unsupported(#[from] Unsupported),
    /// The service is not there, or can't be asked.
    #[error("the service that manages sleep: {0}")]
    Unavailable(String),
}

/// The machine's wakings, as the system's service tells them: logind on Linux.
pub struct SleepEvents(sys::SleepEvents);

impl SleepEvents {
    /// Starts to listen. Needs a tokio runtime.
    ///
    /// # Errors
    /// When nobody would say anything.
    pub async fn open(system: &SleepSystem) -> Result<Self, SleepError> {
        sys::SleepEvents::open(system).await.map(Self)
    }

    /// Waits until the machine has woken. Whether it has: false means that nobody will tell any more. Cancel safe.
    pub async fn woke(&mut self) -> bool {
        self.0.woke().await
    }
}

/// How long this machine has been asleep in all since it was started; `None` where the clocks do not tell. Only
/// differences mean anything.
#[must_use]
pub fn time_asleep() -> Option<Duration> {
    sys::time_asleep()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_that_runs_does_not_sleep_meanwhile() {
        let Some(before) = time_asleep() else { return };
        // Whoever is interrupted between two clocks reads a difference that there is not: not each time.
        let told = || time_asleep().unwrap().abs_diff(before);
        let least = (0..1000).map(|_| told()).min().unwrap();
        assert!(least < Duration::from_millis(100), "{before:?} {least:?}");
    }
}
