//! What each stage of the search wants next.

use std::time::Duration;

use super::super::bracket::{Bracket, Next};
use super::super::{Confidence, Method, PortAssignment};
use super::{BY_HASH, BY_INBOUND, LifetimeSearch, Proven, Stage};

/// What a stage wants.
pub(super) enum Step {
    ByHash(Duration),
    ByInbound(Duration),
    Enter(Stage),
    Accept { lower: Duration, method: Method, confidence: Confidence },
    Keep,
    GiveUp,
    Rest,
}

impl LifetimeSearch {
    pub(super) fn step(&self) -> Step {
        match self.stage {
            Stage::Settled { .. } => Step::Rest,
            Stage::Recall => self.recall(),
            Stage::Hash if self.hash_works() => self.by_hash(),
            Stage::Hash => self.without_hash(),
            Stage::Confirm => self.confirm(),
            Stage::Inbound if self.inbound_works() => self.by_inbound(),
            Stage::Inbound => Step::GiveUp,
        }
    }

    fn recall(&self) -> Step {
        let Some(proven) = self.doubted.or(self.proven) else { return Step::Enter(Stage::Hash) };
        let lived = |bracket: &Bracket| bracket.lived.is_some_and(|lived| lived.asked >= proven.lower);
        let Proven { lower, method, confidence, .. } = proven;
        // A hash can vouch only for what a hash has found.
        if lived(&self.inbound) || (lived(&self.hash) && method == Method::SecondSocket) {
            Step::Accept { lower, method, confidence }
        } else if method == Method::SecondSocket && self.hash_works() {
            Step::ByHash(lower)
        } else if self.inbound_works() {
            Step::ByInbound(lower)
        } else if self.doubted.is_some() {
            Step::Enter(Stage::Hash)
        } else {
            Step::Keep
        }
    }

    fn by_hash(&self) -> Step {
        let lived = self.hash.lived.map(|lived| lived.asked);
        match (self.hash.next(BY_HASH), lived) {
            (Next::Try(silence), _) => Step::ByHash(silence),
            (Next::Converged, Some(_)) => Step::Enter(Stage::Confirm),
            // On a NAT that was seen to change ports before, never dying means living.
            (Next::NoDeath, Some(_)) if self.ports == Some(PortAssignment::Changing) => {
                Step::Enter(Stage::Confirm)
            }
            (Next::Converged | Next::NoDeath | Next::Unreliable, _) => self.without_hash(),
        }
    }

    fn without_hash(&self) -> Step {
        if self.inbound_works() { Step::Enter(Stage::Inbound) } else { Step::GiveUp }
    }

    fn confirm(&self) -> Step {
        let Some(found) = self.hash.lived.map(|lived| lived.asked) else {
            return Step::Enter(Stage::Hash);
        };
        let lived = self.inbound.lived.is_some_and(|lived| lived.asked >= found);
        let died = self.inbound.confirmed.is_some_and(|died| died.asked <= found);
        if lived {
            Step::Accept { lower: found, method: Method::InboundAfterSilence, confidence: Confidence::High }
        } else if died {
            Step::Enter(Stage::Inbound)
        } else if self.inbound_works() {
            Step::ByInbound(found)
        } else if self.config.trust_hash_alone {
            Step::Accept { lower: found, method: Method::SecondSocket, confidence: Confidence::Medium }
        } else {
            Step::GiveUp
        }
    }

    fn by_inbound(&self) -> Step {
        match (self.inbound.next(BY_INBOUND), self.inbound.lived) {
            (Next::Try(silence), _) => Step::ByInbound(silence),
            (Next::Converged | Next::NoDeath, Some(lived)) => Step::Accept {
                lower: lived.asked,
                method: Method::InboundAfterSilence,
                confidence: Confidence::High,
            },
            (Next::Converged | Next::NoDeath, None) | (Next::Unreliable, _) => Step::GiveUp,
        }
    }
}
