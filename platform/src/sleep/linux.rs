//! systemd-logind's `PrepareForSleep`, and `CLOCK_BOOTTIME` beside `CLOCK_MONOTONIC`.

use std::time::Duration;

use futures_util::StreamExt;
use zbus::connection::Builder;
use zbus::proxy::{self, CacheProperties, SignalStream};

use super::{SleepError, SleepSystem};

const SERVICE: &str = "org.freedesktop.login1";
const PATH: &str = "/org/freedesktop/login1";
const MANAGER: &str = "org.freedesktop.login1.Manager";
/// A local service answers in milliseconds; nobody waits for this one.
const PATIENCE: Duration = Duration::from_secs(5);

pub(super) struct SleepEvents(SignalStream<'static>);

impl SleepEvents {
    pub(super) async fn open(system: &SleepSystem) -> Result<Self, SleepError> {
        let listening = tokio::time::timeout(PATIENCE, listen(system)).await;
        let listening = listening.map_err(|_| SleepError::Unavailable("no answer".to_owned()))?;
        listening.map(Self).map_err(|error| SleepError::Unavailable(error.to_string()))
    }

    pub(super) async fn woke(&mut self) -> bool {
        while let Some(signal) = self.0.next().await {
            // True before sleep, false after it.
            if signal.body().deserialize::<bool>().is_ok_and(|going| !going) {
                return true;
            }
        }
        false
    }
}

/// Of the service that owns the name alone: anyone else on the bus may send a signal of this name, too.
async fn listen(system: &SleepSystem) -> zbus::Result<SignalStream<'static>> {
    let builder = match &system.bus {
        Some(address) => Builder::address(address.as_str()),
        None => Builder::system(),
    };
    let bus = builder.method_timeout(PATIENCE).build().await?;
    let manager = proxy::Builder::<zbus::Proxy<'static>>::new(&bus)
        .destination(SERVICE)
        .path(PATH)
        .interface(MANAGER)
        .cache_properties(CacheProperties::No)
        .build()
        .await?;
    manager.receive_signal("PrepareForSleep").await
}

pub(super) fn time_asleep() -> Option<Duration> {
    let read = |clock| nix::time::clock_gettime(clock).ok().map(Duration::from);
    // In this order the difference errs towards less than there was, by the time between the two.
    let since_start = read(nix::time::ClockId::CLOCK_BOOTTIME)?;
    Some(since_start.saturating_sub(read(nix::time::ClockId::CLOCK_MONOTONIC)?))
}
