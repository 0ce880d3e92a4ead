//! Ends another thread's wait for packets.
//!
//! A data plane thread sleeps until its device or socket has something, or until somebody calls
//! [`Wakeup::wake`]: to hand it a change, or to stop it. It never wakes by a timeout.

use std::io;
use std::sync::Arc;

#[cfg_attr(target_os = "linux", path = "wakeup/linux.rs")]
#[cfg_attr(target_os = "macos", path = "wakeup/macos.rs")]
#[cfg_attr(windows, path = "wakeup/windows.rs")]
mod sys;

#[cfg(unix)]
mod unix;

#[cfg(windows)]
pub(crate) use sys::{Interest, wait};
#[cfg(unix)]
pub(crate) use unix::{Interest, wait};

/// A sticky signal: a wake that comes before the wait ends the wait at once.
#[derive(Clone)]
pub struct Wakeup(pub(crate) Arc<sys::Signal>);

impl Wakeup {
    /// A signal that nobody has given yet.
    ///
    /// # Errors
    /// When the system has no descriptor left for it.
    pub fn new() -> io::Result<Self> {
        sys::Signal::new().map(|signal| Self(Arc::new(signal)))
    }

    /// Ends the present wait, or the next one.
    pub fn wake(&self) {
        self.0.set();
    }

    /// Takes the signal back. Look at what it announced after this, not before, or a wake between the
    /// two is lost.
    pub fn clear(&self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wake_outlives_the_moment_it_was_given_and_is_cleared_whole() {
        let wakeup = Wakeup::new().unwrap();
        wakeup.wake();
        wakeup.wake();
        assert!(wakeup.0.is_set());
        wakeup.clear();
        assert!(!wakeup.0.is_set());
        wakeup.clear();
    }
}
