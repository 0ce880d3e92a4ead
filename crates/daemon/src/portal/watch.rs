//! Asks again until a portal is gone.

use std::sync::Arc;
use std::time::Duration;

use evenkeel_ipc::{PortalReport, PortalVerdict};
use evenkeel_profile::WebUrl;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until};

use super::{Connector, PortalProbe, verdict};

/// From the beginning of one probe to that of the next, while somebody is likely to be logging in.
const SOON: Duration = Duration::from_secs(1);
/// For how long that is likely.
const LIKELY: Duration = Duration::from_secs(300);
/// The same later.
const LATER: Duration = Duration::from_secs(10);

/// The longest that one of these probes takes. The portal has answered before; one that falls silent is gone as well as
/// one that lets us through to a gateway that drops HTTP. With [`SOON`] it keeps the time from a login to
/// [`PortalEvent::Gone`] within two and a half seconds, and leaves the rest of three to the connection.
const BUDGET: Duration = Duration::from_millis(1500);

/// When a second probe is begun beside one that has told nothing: a lost packet is not the end of a portal, and a resolver
/// repeats itself too late.
const AGAIN: Duration = Duration::from_millis(500);

/// What became of a portal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PortalEvent {
    /// It is still there, and its page is another: more than the query differs, which many portals make anew each time.
    Moved(PortalReport),
    /// It holds us back no longer, as far as can be told: it is time to try the gateway. The last event.
    Gone(PortalReport),
}

/// Watches a portal that was found, in a task of its own that ends with this.
///
/// Budget: a probe ([`PortalProbe::MAX_CONNECTIONS`], [`PortalProbe::MAX_RECEIVED`]) every second for five minutes, 300
/// in all, then one every ten seconds; twice that where nobody answers within half a second.
pub struct PortalWatch {
    events: mpsc::Receiver<PortalEvent>,
    task: JoinHandle<()>,
}

impl PortalWatch {
    /// Begins to watch the portal of a report. Needs a tokio runtime.
    #[must_use]
    pub fn start<C: Connector>(probe: Arc<PortalProbe<C>>, found: &PortalReport) -> Self {
        let (sender, events) = mpsc::channel(1);
        let mut page = Page::of(found);
        let task = tokio::spawn(async move {
            let started = Instant::now();
            let mut due = started;
            loop {
                due = next_after(started, due).max(Instant::now());
                sleep_until(due).await;
                let report = ask(&*probe).await;
                let event = match report.verdict {
                    PortalVerdict::NoPortal | PortalVerdict::Inconclusive => PortalEvent::Gone(report),
                    PortalVerdict::Portal if page.replaced_by(Page::of(&report)) => {
                        PortalEvent::Moved(report)
                    }
                    PortalVerdict::Portal => continue,
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

/// Asks, and asks again beside that before nothing is taken for an answer.
async fn ask<C: Connector>(probe: &PortalProbe<C>) -> PortalReport {
    let tells = |report: &PortalReport| report.verdict != PortalVerdict::Inconclusive;
    let first = probe.probe_within(BUDGET);
    let second = async {
        sleep(AGAIN).await;
        probe.probe_within(BUDGET.saturating_sub(AGAIN)).await
    };
    tokio::pin!(first, second);
    tokio::select! {
        report = &mut first => if tells(&report) { report } else { second.await },
        report = &mut second => if tells(&report) { report } else { first.await },
    }
}

/// The page that is shown.
struct Page {
    url: Option<WebUrl>,
    /// The portal's API names it, which proves whose it is.
    authentic: bool,
}

impl Page {
    fn of(report: &PortalReport) -> Self {
        Self { url: report.url.clone(), authentic: verdict::named_by_api(&report.evidence).is_some() }
    }

    /// Takes the place of this page if it is another one; whether it did. What an API has named gives way only to what an
    /// API names, so that one that answers now and then does not make two pages take turns.
    fn replaced_by(&mut self, found: Self) -> bool {
        let Some(url) = &found.url else { return false };
        if self.url.as_ref().is_some_and(|shown| shown.is_same_page(url)) {
            self.authentic |= found.authentic;
            return false;
        }
        let replaced = found.authentic || !self.authentic;
        if replaced {
            *self = found;
        }
        replaced
    }
}

/// When the probe after that of `due` begins.
fn next_after(started: Instant, due: Instant) -> Instant {
    due + if due.saturating_duration_since(started) < LIKELY { SOON } else { LATER }
}

#[cfg(test)]
#[path = "watch_tests.rs"]
mod tests;
