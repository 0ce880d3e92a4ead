//! When to look for a captive portal, and what follows from what is found.
//!
//! Sans-IO: [`PortalSearch::observe`] is told how the connection is after every change of it, the other `handle_*` what
//! has happened; [`PortalSearch::poll_step`] says what to do. A look begins when the gateway has not answered for
//! [`UNANSWERED`], once an attempt. Until it has a result, and as long as a portal is there, the wish to connect outlasts
//! attempts that fail. Whatever the gateway answers, there is no portal in between.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use evenkeel_ipc::{PortalReport, PortalVerdict};
use evenkeel_profile::WebUrl;

/// The gateway's silence after which a look begins: longer than most round trips, so that an ordinary connect asks nobody
/// anything, and short enough for a result within two seconds of most looks.
const UNANSWERED: Duration = Duration::from_millis(500);

/// The longest that a look may take: its own budget, and as much again for a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(4);

/// How the connection is, as far as portals are concerned.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::control) enum Standing {
    /// The gateway is being asked and has yet to answer.
    Asking,
    /// It has not answered, and will be asked again.
    Pausing,
    /// It has answered, or is not asked.
    Settled,
}

/// Something to do, in order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::control) enum Step {
    /// Look for a portal.
    Look,
    /// End the look, or the watch.
    Forget,
    /// The wish outlasts attempts that nobody answers, or no longer does.
    Outlast(bool),
    /// The portal is gone: try the gateway at once.
    StartOver,
}

/// The portal that holds the connection back.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::control) struct Found {
    /// Where to log in.
    pub(in crate::control) url: Option<WebUrl>,
    /// Since when it has been seen.
    pub(in crate::control) since: Instant,
}

/// The search for a portal during one wish to connect.
pub(in crate::control) struct PortalSearch {
    phase: Phase,
    outlasting: bool,
    steps: VecDeque<Step>,
}

enum Phase {
    Idle,
    ExpectAnswer { until: Instant },
    ExpectReport { until: Instant },
    Held(Found),
    NotFound { paused: bool },
}

impl PortalSearch {
    /// One that has nothing to look for yet.
    pub(in crate::control) fn new() -> Self {
        let mut search = Self { phase: Phase::Idle, outlasting: false, steps: VecDeque::new() };
        search.outlast(true);
        search
    }

    /// The portal that holds the connection back.
    pub(in crate::control) fn found(&self) -> Option<&Found> {
        if let Phase::Held(found) = &self.phase { Some(found) } else { None }
    }

    /// How the connection is now. What is due is done.
    pub(in crate::control) fn observe(&mut self, standing: Standing, now: Instant) {
        if standing == Standing::Settled {
            self.end(Phase::Idle);
            return;
        }
        match &mut self.phase {
            Phase::Idle => {
                self.phase = Phase::ExpectAnswer { until: now + UNANSWERED };
                // What has failed already need not be waited for.
                if standing == Standing::Pausing {
                    self.look(now);
                }
            }
            Phase::ExpectAnswer { until } if *until <= now || standing == Standing::Pausing => self.look(now),
            Phase::ExpectReport { until } if *until <= now => self.not_found(),
            Phase::NotFound { paused: paused @ false } => *paused = standing == Standing::Pausing,
            Phase::NotFound { paused: true } if standing == Standing::Asking => {
                self.phase = Phase::ExpectAnswer { until: now + UNANSWERED };
            }
            Phase::ExpectAnswer { .. }
            | Phase::ExpectReport { .. }
            | Phase::Held(_)
            | Phase::NotFound { paused: true } => {}
        }
    }

    /// A look, or the watch over a portal, has something to say.
    pub(in crate::control) fn handle_report(&mut self, report: &PortalReport, now: Instant) {
        let found = report.verdict == PortalVerdict::Portal;
        match &mut self.phase {
            Phase::ExpectReport { .. } if found => {
                tracing::warn!("a captive portal holds the connection back");
                self.outlast(true);
                self.phase = Phase::Held(Found { url: report.url.clone(), since: now });
            }
            Phase::ExpectReport { .. } => {
                tracing::debug!(verdict = ?report.verdict, "no captive portal");
                self.not_found();
            }
            Phase::Held(held) if found => held.url.clone_from(&report.url),
            Phase::Held(_) => {
                tracing::info!("the captive portal is gone");
                self.end(Phase::Idle);
                self.steps.push_back(Step::StartOver);
            }
            // Of a look that has been ended.
            Phase::Idle | Phase::ExpectAnswer { .. } | Phase::NotFound { .. } => {}
        }
    }

    /// The machine is on another network, or may be: what was found on the last one is of no account any more, and the wish
    /// outlasts what fails before that network was looked at.
    pub(in crate::control) fn handle_network_change(&mut self) {
        self.outlast(true);
        if matches!(self.phase, Phase::ExpectAnswer { .. }) {
            return;
        }
        let held = self.found().is_some();
        self.end(Phase::Idle);
        if held {
            self.steps.push_back(Step::StartOver);
        }
    }

    /// When [`Self::observe`] is to be called again, if nothing changes before.
    pub(in crate::control) fn poll_timeout(&self) -> Option<Instant> {
        match self.phase {
            Phase::ExpectAnswer { until } | Phase::ExpectReport { until } => Some(until),
            Phase::Idle | Phase::Held(_) | Phase::NotFound { .. } => None,
        }
    }

    /// The next thing to do.
    pub(in crate::control) fn poll_step(&mut self) -> Option<Step> {
        self.steps.pop_front()
    }

    fn look(&mut self, now: Instant) {
        self.phase = Phase::ExpectReport { until: now + PATIENCE };
        self.steps.push_back(Step::Look);
    }

    fn not_found(&mut self) {
        self.end(Phase::NotFound { paused: false });
        self.outlast(false);
    }

    fn end(&mut self, next: Phase) {
        if let Phase::ExpectReport { .. } | Phase::Held(_) = std::mem::replace(&mut self.phase, next) {
            self.steps.push_back(Step::Forget);
        }
    }

    fn outlast(&mut self, outlasting: bool) {
        if self.outlasting != outlasting {
            self.outlasting = outlasting;
            self.steps.push_back(Step::Outlast(outlasting));
        }
    }
}

#[cfg(test)]
#[path = "search_tests.rs"]
mod tests;
