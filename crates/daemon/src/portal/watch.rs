//! Asks again until a portal is gone.

use std::sync::Arc;
use std::time::Duration;

use evenkeel_ipc::{PortalReport, PortalVerdict};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

use super::{Connector, PortalProbe};

/// From the beginning of one probe to that of the next, while somebody is likely to be logging in.
const SOON: Duration = Duration::from_millis(1500);
/// For how long that is likely.
const LIKELY: Duration = Duration::from_secs(300);
/// The same later.
const LATER: Duration = Duration::from_secs(10);

/// The longest that one of these probes takes. The portal has answered before; one that falls silent is gone as well as
/// one that lets us through. With [`SOON`] it keeps the time from a login to [`PortalEvent::Gone`] below three seconds.
const BUDGET: Duration = Duration::from_secs(1);

/// What became of a portal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PortalEvent {
    /// It is still there, and its page is another.
    Moved(PortalReport),
    /// It holds us back no longer, as far as can be told: it is time to try the gateway. The last event.
    Gone(PortalReport),
}

/// Watches a portal that was found, in a task of its own that ends with this.
///
/// Budget: a probe ([`PortalProbe::MAX_CONNECTIONS`], [`PortalProbe::MAX_RECEIVED`]) every 1.5 seconds for five minutes,
/// 200 in all, then one every ten seconds.
pub struct PortalWatch {
    events: mpsc::Receiver<PortalEvent>,
    task: JoinHandle<()>,
}

impl PortalWatch {
    /// Begins to watch the portal of a report. Needs a tokio runtime.
    #[must_use]
    pub fn start<C: Connector>(probe: Arc<PortalProbe<C>>, found: &PortalReport) -> Self {
        let (sender, events) = mpsc::channel(1);
        let page = found.url.clone();
        let task = tokio::spawn(async move {
            let started = Instant::now();
            let mut due = started;
            let mut page = page;
            loop {
                due = next_after(started, due).max(Instant::now());
                sleep_until(due).await;
                let report = probe.probe_within(BUDGET).await;
                let event = match report.verdict {
                    PortalVerdict::NoPortal | PortalVerdict::Inconclusive => PortalEvent::Gone(report),
                    PortalVerdict::Portal if report.url == page => continue,
                    PortalVerdict::Portal => {
                        page.clone_from(&report.url);
                        PortalEvent::Moved(report)
                    }
                };
                let over = matches!(event, PortalEvent::Gone(_));
                if sender.send(event).await.is_err() || over {
                    return;
                }
            }
        });
        Self { events, task }
    }

    /// The next event; none after [`PortalEvent::Gone`]. Cancel safe, and no probe is begun anew for being cancelled.
    pub async fn next(&mut self) -> Option<PortalEvent> {
        self.events.recv().await
    }
}

impl Drop for PortalWatch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// When the probe after that of `due` begins.
fn next_after(started: Instant, due: Instant) -> Instant {
    due + if due.saturating_duration_since(started) < LIKELY { SOON } else { LATER }
}

#[cfg(test)]
#[path = "watch_tests.rs"]
mod tests;
