//! Why a session wants to be woken.

use std::time::Instant;

/// What the next call of `handle_timeout` will do.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum WakeReason {
    /// Send a request again, or give up on it.
    Retransmit,
    /// Ask a silent peer whether it is alive.
    Dpd,
    /// Replace the IKE SA.
    IkeRekey,
    /// Replace a CHILD SA.
    ChildRekey,
    /// Drop an SA that has been replaced, or whose lifetime ended.
    Expiry,
    /// Believe an unprotected error.
    InitError,
    /// Ask for re-authentication.
    Reauthentication,
    /// Send the check that was asked for.
    DelayedCheck,
    /// Forget a half-open IKE SA.
    HalfOpen,
}

/// The earliest of several wake-ups.
#[derive(Default)]
pub(super) struct Earliest(Option<(Instant, WakeReason)>);

impl Earliest {
    pub(super) fn add(&mut self, at: Option<Instant>, reason: WakeReason) {
        if let Some(at) = at
            && self.0.is_none_or(|(earliest, _)| at < earliest)
        {
            self.0 = Some((at, reason));
        }
    }

    pub(super) fn get(self) -> Option<(Instant, WakeReason)> {
        self.0
    }
}
