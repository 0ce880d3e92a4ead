//! The look for a captive portal and the watch over one: a task beside the event loop, one at a time.

use std::future::pending;
use std::sync::Arc;

use evenkeel_ipc::{PortalReport, PortalVerdict};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::network::MARK;
use crate::portal::{PortalConfig, PortalEvent, PortalProbe, PortalWatch, SystemConnector};

/// Looks, and watches what it has found.
pub(super) struct Portals {
    /// One for all looks: those that end leave look-ups behind, which a bound has to count.
    connector: SystemConnector,
    task: Option<Task>,
}

struct Task {
    reports: mpsc::Receiver<PortalReport>,
    handle: JoinHandle<()>,
}

impl Drop for Task {
    fn drop(&mut self) {
        self.handle.abort();
    }
}

impl Default for Portals {
    fn default() -> Self {
        Self { connector: SystemConnector::new(MARK), task: None }
    }
}

impl Portals {
    /// Looks, in place of what is under way.
    pub(super) fn look(&mut self, config: PortalConfig) {
        let (sink, reports) = mpsc::channel(1);
        let probe = PortalProbe::new(config, self.connector.clone());
        let handle = tokio::spawn(look_and_watch(probe, sink));
        self.task = Some(Task { reports, handle });
    }

    /// Ends what is under way.
    pub(super) fn forget(&mut self) {
        self.task = None;
    }

    /// The next report. Cancel safe.
    pub(super) async fn report(&mut self) -> PortalReport {
        if let Some(task) = &mut self.task
            && let Some(report) = task.reports.recv().await
        {
            return report;
        }
        self.task = None;
        pending().await
    }
}

async fn look_and_watch(probe: PortalProbe<SystemConnector>, sink: mpsc::Sender<PortalReport>) {
    let probe = Arc::new(probe);
    let found = probe.probe().await;
    let portal = found.verdict == PortalVerdict::Portal;
    let mut watch = portal.then(|| PortalWatch::start(probe, &found));
    // Nobody listens any more: the look was ended.
    let mut heard = sink.send(found).await.is_ok();
    while let Some(watch) = &mut watch
        && heard
        && let Some(PortalEvent::Moved(report) | PortalEvent::Gone(report)) = watch.next().await
    {
        heard = sink.send(report).await.is_ok();
    }
}
