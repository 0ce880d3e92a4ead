//! Proof that a mapping lives by what comes in: after a silence on a flow of its own, the gateway sends a request there
//! (docs/delayed-check.md). Ports tell nothing about it, so it holds behind any number of NATs that keep them.

use std::time::{Duration, Instant};

use evenkeel_ipsec::ike::{DelayedCheck, Path};
use evenkeel_netprofile::defaults::{INBOUND_TIMEOUT, METHOD_FAILURES, WARM_UP};
use evenkeel_netprofile::keepalive::{ActionId, InboundProbe};

use super::Tunnel;
use super::mapping::{Spare, search_by_hash};
use crate::defaults;

/// The flow, and what is being tried on it.
#[derive(Default)]
pub(crate) struct InboundFlow {
    pub(super) spare: Option<Spare>,
    probe: Option<Probe>,
    /// Probes in a row that came to nothing.
    failures: u8,
}

/// One silence.
struct Probe {
    id: ActionId,
    silence: Duration,
    step: Step,
    /// When nothing is to be expected any more; the search says so itself soon after.
    overdue: Instant,
}

enum Step {
    /// The flow is to be used for the first time, or has been.
    Opening,
    /// It is young: NATs give it its long timer at its second use.
    Young { until: Instant },
    /// The gateway was asked.
    Silent,
}

impl InboundFlow {
    /// When there is something to do.
    pub(super) fn due(&self) -> Option<Instant> {
        let probe = self.probe.as_ref()?;
        Some(match probe.step {
            Step::Young { until } => until.min(probe.overdue),
            Step::Opening | Step::Silent => probe.overdue,
        })
    }

    /// The mapping was lost meanwhile: the search begins anew.
    pub(super) fn drop_probe(&mut self) {
        self.probe = None;
    }

    fn is_along(&self, path: Path) -> bool {
        self.spare.as_ref().and_then(|spare| spare.path) == Some(path)
    }
}

impl Tunnel {
    /// Has something come in after `silence`.
    pub(super) fn probe_inbound(&mut self, id: ActionId, silence: Duration, now: Instant) {
        let Some(mapping) = &mut self.mapping else { return };
        // The search gives up a little later.
        let overdue = now + silence + INBOUND_TIMEOUT - defaults::PROBE_SLACK;
        mapping.inbound.probe = Some(Probe { id, silence, step: Step::Opening, overdue });
        match &mapping.inbound.spare {
            Some(Spare { path: Some(path), .. }) => {
                let path = *path;
                self.use_flow(path, now);
            }
            Some(Spare { path: None, .. }) => {}
            None => {
                let spare = self.open_spare();
                if let Some(mapping) = &mut self.mapping {
                    mapping.inbound.spare = spare;
                }
            }
        }
    }

    /// The flow is open, or is to be used again.
    pub(super) fn use_flow(&mut self, path: Path, now: Instant) {
        if !self.phase.link_mut().is_some_and(|link| link.session.check_path(path, now)) {
            self.probed(InboundProbe::Unavailable, now);
        }
    }

    /// The gateway has answered along this path, which may be the flow's. Whether it is.
    pub(super) fn flow_checked(&mut self, path: Path, now: Instant) -> bool {
        let Some(mapping) = self.mapping.as_mut().filter(|mapping| mapping.inbound.is_along(path)) else {
            return false;
        };
        if let Some(probe) = &mut mapping.inbound.probe
            && matches!(probe.step, Step::Opening)
        {
            probe.step = Step::Young { until: now + WARM_UP };
        }
        true
    }

    /// The flow does not lead to the gateway, if this is its path.
    pub(super) fn flow_unreachable(&mut self, path: Path, now: Instant) {
        if self.mapping.as_ref().is_some_and(|mapping| mapping.inbound.is_along(path)) {
            self.probed(InboundProbe::Unavailable, now);
        }
    }

    /// The gateway has sent what it was asked for, or won't.
    pub(super) fn delayed_check(&mut self, path: Path, outcome: DelayedCheck, now: Instant) {
        let Some(mapping) = self.mapping.as_ref().filter(|mapping| mapping.inbound.is_along(path)) else {
            return;
        };
        let Some(Probe { silence, step: Step::Silent, .. }) = mapping.inbound.probe else { return };
        tracing::debug!(?silence, ?outcome, "a delayed check");
        self.probed(judge(outcome, silence), now);
    }

    pub(super) fn inbound_timeout(&mut self, now: Instant) {
        let Some(mapping) = &mut self.mapping else { return };
        let Some(probe) = &mut mapping.inbound.probe else { return };
        if probe.overdue <= now {
            self.probed(InboundProbe::Unavailable, now);
            return;
        }
        let Step::Young { until } = probe.step else { return };
        if until > now {
            return;
        }
        probe.step = Step::Silent;
        let (silence, path) = (probe.silence, mapping.inbound.spare.as_ref().and_then(|spare| spare.path));
        let asked = path
            .zip(self.phase.link_mut())
            .is_some_and(|(path, link)| link.session.ask_delayed_check(path, silence, now));
        if !asked {
            self.probed(InboundProbe::Unavailable, now);
        }
    }

    /// The probe has ended.
    pub(super) fn probed(&mut self, outcome: InboundProbe, now: Instant) {
        let Some(mapping) = &mut self.mapping else { return };
        let Some(probe) = mapping.inbound.probe.take() else { return };
        mapping.inbound.failures = match outcome {
            InboundProbe::Unavailable => mapping.inbound.failures.saturating_add(1),
            InboundProbe::Arrived | InboundProbe::Lost => 0,
        };
        mapping.search.handle_inbound_probe(probe.id, outcome, now);
        let is_hopeless = mapping.inbound.failures >= METHOD_FAILURES;
        self.learn_lifetime(now);
        if is_hopeless {
            tracing::info!("the gateway's delayed checks come to nothing, hashes are compared instead");
            self.mapping = Some(search_by_hash(self.profile.remembered_lifetime(), now));
        }
    }
}

/// What a delayed check says about a silence. One that was too different from it says nothing: a mapping that outlived less
/// may not outlive it, and one that did not outlive more may.
fn judge(outcome: DelayedCheck, silence: Duration) -> InboundProbe {
    let few = silence * defaults::PROBE_TOLERANCE_PERCENT / 100;
    match outcome {
        DelayedCheck::Arrived { silence: was } if was + few >= silence => InboundProbe::Arrived,
        DelayedCheck::Elsewhere { after } if after <= silence + few => InboundProbe::Lost,
        DelayedCheck::Arrived { .. } | DelayedCheck::Elsewhere { .. } | DelayedCheck::Void => {
            InboundProbe::Unavailable
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_silence_counts_only_if_it_was_the_one_that_was_asked_for() {
        let judged = |outcome: fn(Duration) -> DelayedCheck, millis| {
            judge(outcome(Duration::from_millis(millis)), Duration::from_secs(40))
        };
        let arrived = |silence| DelayedCheck::Arrived { silence };
        let elsewhere = |after| DelayedCheck::Elsewhere { after };
        let of = |outcome, times: [u64; 4]| times.map(|millis| judged(outcome, millis));
        let times = [37_999, 38_000, 42_000, 42_001];
        use InboundProbe::{Arrived, Lost, Unavailable};
        assert_eq!(of(arrived, times), [Unavailable, Arrived, Arrived, Arrived]);
        assert_eq!(of(elsewhere, times), [Lost, Lost, Lost, Unavailable]);
        assert_eq!(judge(DelayedCheck::Void, Duration::from_secs(40)), Unavailable);
    }
}
