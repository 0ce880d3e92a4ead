//! One silence on the second socket, from the base hash to the verdict.

use std::time::{Duration, Instant};

use super::{ActionId, MappingHash};
use crate::defaults;

/// The second socket's mapping, and the silence that is being tried on it.
#[derive(Clone, Copy, Debug)]
pub(super) struct SecondSocket {
    state: State,
    /// The silence that is being tried, and since when.
    silence: Option<(Duration, Instant)>,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// Nothing is known of the mapping.
    Cold,
    /// A check is out.
    Asked { id: ActionId, sent: Instant, of: Asked },
    /// The mapping is new.
    New { hash: MappingHash, heard: Instant },
    /// The mapping was used twice. `sent` and `heard` are the last check's.
    Warm { hash: MappingHash, sent: Instant, heard: Instant },
}

#[derive(Clone, Copy, Debug)]
enum Asked {
    Base,
    Again { hash: MappingHash },
    Verdict { hash: MappingHash, silence: Duration, sent: Instant, heard: Instant },
}

/// What a check shows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Shown {
    /// Nothing yet.
    Nothing,
    /// The same mapping after this silence.
    Same(Duration),
    /// Another mapping after `asked`, which was `bound` since the packet before.
    Changed { asked: Duration, bound: Duration },
    /// The mapping changes without any silence.
    Unstable,
}

impl SecondSocket {
    pub(super) fn new() -> Self {
        Self { state: State::Cold, silence: None }
    }

    pub(super) fn is_busy(&self) -> bool {
        self.silence.is_some()
    }

    /// Begins to try `silence`.
    pub(super) fn begin(&mut self, silence: Duration, now: Instant) {
        self.silence = Some((silence, now));
        if let State::Warm { heard, .. } = self.state
            && now > heard + silence
        {
            // It was idle for longer than is to be tried.
            self.state = State::Cold;
        }
    }

    /// Gives up, and trusts nothing that was seen.
    pub(super) fn reset(&mut self) {
        *self = Self::new();
    }

    /// When the next check is due, or the answer to the last one overdue.
    pub(super) fn due(&self) -> Option<Instant> {
        let (silence, begun) = self.silence?;
        Some(match self.state {
            State::Cold => begun,
            State::Asked { sent, .. } => sent + defaults::CHECK_TIMEOUT,
            State::New { heard, .. } => heard + defaults::WARM_UP,
            State::Warm { heard, .. } => heard + silence,
        })
    }

    /// The check whose answer is awaited.
    pub(super) fn awaits(&self) -> Option<ActionId> {
        match self.state {
            State::Asked { id, .. } => Some(id),
            State::Cold | State::New { .. } | State::Warm { .. } => None,
        }
    }

    /// Whether the answer to a check is overdue.
    pub(super) fn is_overdue(&self, now: Instant) -> bool {
        matches!(self.state, State::Asked { sent, .. } if now >= sent + defaults::CHECK_TIMEOUT)
    }

    /// Sends the check that is due, if one is.
    pub(super) fn poll(&mut self, id: ActionId, now: Instant) -> bool {
        let Some((silence, _)) = self.silence.filter(|_| self.due().is_some_and(|due| due <= now)) else {
            return false;
        };
        let of = match self.state {
            State::Asked { .. } => return false,
            State::Cold => Asked::Base,
            State::New { hash, .. } => Asked::Again { hash },
            State::Warm { hash, sent, heard } => Asked::Verdict { hash, silence, sent, heard },
        };
        self.state = State::Asked { id, sent: now, of };
        true
    }

    /// The gateway answered.
    pub(super) fn answer(&mut self, seen: MappingHash, now: Instant) -> Shown {
        let State::Asked { sent, of, .. } = self.state else { return Shown::Nothing };
        self.state = State::New { hash: seen, heard: now };
        match of {
            Asked::Base => Shown::Nothing,
            Asked::Again { hash } if hash == seen => {
                self.state = State::Warm { hash, sent, heard: now };
                Shown::Nothing
            }
            Asked::Again { .. } => {
                self.silence = None;
                Shown::Unstable
            }
            // The machine slept, or its owner was late: it was another silence than the one to be tried.
            Asked::Verdict { silence, heard, .. } if sent - heard > silence + silence / 4 => {
                self.silence = None;
                Shown::Nothing
            }
            Asked::Verdict { hash, silence, .. } if hash == seen => {
                self.silence = None;
                self.state = State::Warm { hash, sent, heard: now };
                Shown::Same(silence)
            }
            Asked::Verdict { silence, sent: before, .. } => {
                self.silence = None;
                Shown::Changed { asked: silence, bound: sent - before }
            }
        }
    }
}
