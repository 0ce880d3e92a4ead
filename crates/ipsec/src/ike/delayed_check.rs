//! Delayed checks, a private extension (docs/delayed-check.md): the client asks along a path beside the main one, and the
//! gateway sends a request of its own there after a silence. What comes in proves that a NAT has kept the mapping, whatever
//! ports it gives out.
//!
//! Nothing here moves anything: only with MOBIKE is it agreed on, and there nothing but UPDATE_SA_ADDRESSES moves a peer
//! (RFC 4555 §3.5).

use super::defaults;
use super::established::{Established, Intent};
use super::event::{DelayedCheck, Event};
use super::path::Path;
use super::payloads::{Payloads, status};
use super::sa::{Outstanding, Task};
use super::session::Common;
use crate::wire::{Exchange, NotifyType, Payload};
use std::time::{Duration, Instant};

/// What DELAYED_CHECK_SUPPORTED holds. Others may use its number for something else; the last octet is the version.
const MAGIC: [u8; 16] = *b"Evenkeel check 1";

/// The announcement.
pub(super) fn supported() -> Payload {
    status(NotifyType::DelayedCheckSupported, MAGIC.to_vec())
}

/// Whether a message of IKE_AUTH has the announcement.
pub(super) fn is_supported(payloads: &Payloads) -> bool {
    payloads.notifies(NotifyType::DelayedCheckSupported).any(|notify| notify.data == MAGIC)
}

/// The data of DELAYED_CHECK: which check, and a time in milliseconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Content {
    token: u64,
    /// The delay in the client's request and in its answer; in the check itself what has passed since that answer.
    time: Duration,
}

impl Content {
    fn to_payload(self) -> Payload {
        let millis = u32::try_from(self.time.as_millis()).unwrap_or(u32::MAX);
        let data = [&self.token.to_be_bytes()[..], &millis.to_be_bytes()].concat();
        status(NotifyType::DelayedCheck, data)
    }

    /// The first DELAYED_CHECK of a message, if it is well-formed.
    fn of(payloads: &Payloads) -> Option<Self> {
        let data = payloads.notifies(NotifyType::DelayedCheck).next()?.data.as_slice();
        let (token, millis) = data.split_first_chunk::<8>()?;
        let millis = u32::from_be_bytes(millis.try_into().ok()?);
        Some(Self { token: u64::from_be_bytes(*token), time: Duration::from_millis(millis.into()) })
    }
}

/// What the client has asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Asked {
    pub path: Path,
    token: u64,
    delay: Duration,
    /// Since when nothing goes along the path, once the peer has promised.
    quiet_since: Option<Instant>,
}

/// What the gateway has promised.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Owed {
    pub path: Path,
    token: u64,
    promised: Instant,
    /// When to send it; `None` once it waits for the window.
    due: Option<Instant>,
}

/// One of either kind at a time.
#[derive(Default)]
pub(super) struct DelayedChecks {
    asked: Option<Asked>,
    owed: Option<Owed>,
}

impl DelayedChecks {
    /// Whether what comes along `path` is about the mapping there alone.
    pub(super) fn is_asked_along(&self, path: Path) -> bool {
        self.asked.is_some_and(|asked| asked.path == path)
    }

    pub(super) fn due(&self) -> Option<Instant> {
        self.owed.and_then(|owed| owed.due)
    }

    /// Whether the check is due. Says so once.
    pub(super) fn is_due(&mut self, now: Instant) -> bool {
        self.owed.as_mut().is_some_and(|owed| owed.due.take_if(|due| *due <= now).is_some())
    }

    /// The client is elsewhere: what it has left is no business of ours.
    pub(super) fn forget_owed(&mut self) {
        self.owed = None;
    }
}

impl Established {
    /// Queues the request for a check along `path`, in place of any before.
    pub(super) fn ask_delayed_check(&mut self, common: &mut Common, path: Path, delay: Duration) -> bool {
        let possible = self.peer.delayed_checks && self.leads_mobike(common) && self.closing.is_none();
        if possible {
            let token = common.out.rng.u64();
            self.delayed.asked = Some(Asked { path, token, delay, quiet_since: None });
            self.intend(Intent::AskDelayedCheck);
        }
        possible
    }

    /* INFORMATIONAL { N(DELAYED_CHECK) } --> along another path */
    pub(super) fn request_delayed_check(&mut self, common: &mut Common, now: Instant) {
        let Some(asked) = self.delayed.asked else { return };
        let payloads = [Content { token: asked.token, time: asked.delay }.to_payload()];
        let task = Task::AskDelayedCheck(asked);
        self.current.request(&mut common.out, Exchange::Informational, &payloads, task, &common.timers, now);
    }

    /// The peer has answered the request, along `arrived`.
    pub(super) fn on_delayed_check_promise(
        &mut self,
        common: &mut Common,
        asked: Asked,
        arrived: Path,
        request: &Outstanding,
        payloads: &Payloads,
        now: Instant,
    ) {
        // The check itself may have overtaken this, or another one have been asked for.
        let Some(present) = self.delayed.asked.as_mut().filter(|present| **present == asked) else { return };
        let promised = Content::of(payloads).is_some_and(|content| content.token == asked.token);
        if !promised || arrived != asked.path || request.moved {
            self.void_delayed_check(common);
            return;
        }
        // A repetition may be answered as long after this as this took at the most.
        let took = now.saturating_duration_since(request.sent_at);
        present.quiet_since = Some(if request.repeated { now + took } else { now });
    }

    /// The IKE SA that carried the request is gone.
    pub(super) fn ask_again(&mut self, asked: Asked) {
        if self.delayed.asked == Some(asked) {
            self.intend(Intent::AskDelayedCheck);
        }
    }

    /// Whatever comes of what was asked for says nothing any more.
    pub(super) fn void_delayed_check(&mut self, common: &mut Common) {
        self.intents.retain(|intent| *intent != Intent::AskDelayedCheck);
        if let Some(Asked { path, .. }) = self.delayed.asked.take() {
            common.events.push_back(Event::DelayedCheck { path, outcome: DelayedCheck::Void });
        }
    }

    /// Works on a DELAYED_CHECK in a request of the peer's, which came along `path`: the check, to the client; to the
    /// gateway the request for one, which the payload answers.
    pub(super) fn answer_delayed_check(
        &mut self,
        common: &mut Common,
        path: Path,
        payloads: &Payloads,
        now: Instant,
    ) -> Option<Payload> {
        let content = Content::of(payloads).filter(|_| self.peer.delayed_checks)?;
        if common.follows_peer {
            let promise = self.promise(path, content, now);
            #[cfg(feature = "responder")]
            if common.faults.ignore_delayed_checks {
                self.delayed.forget_owed();
            }
            return promise;
        }
        let asked = self.delayed.asked.take_if(|asked| asked.token == content.token)?;
        self.intents.retain(|intent| *intent != Intent::AskDelayedCheck);
        let outcome = match asked.quiet_since {
            Some(since) if path == asked.path => {
                DelayedCheck::Arrived { silence: now.saturating_duration_since(since) }
            }
            Some(_) => DelayedCheck::Elsewhere { after: content.time },
            // The promise got lost: repetitions of our request have gone along the path since.
            None => DelayedCheck::Void,
        };
        common.events.push_back(Event::DelayedCheck { path: asked.path, outcome });
        None
    }

    /* <-- INFORMATIONAL { N(DELAYED_CHECK) } */
    fn promise(&mut self, path: Path, asked: Content, now: Instant) -> Option<Payload> {
        let delays = defaults::DELAYED_CHECK_MIN..=defaults::DELAYED_CHECK_MAX;
        if !delays.contains(&asked.time) || self.closing.is_some() {
            return None;
        }
        // One that is due and waits for the window is replaced, too.
        self.intents.retain(|intent| *intent != Intent::DelayedCheck);
        self.delayed.owed =
            Some(Owed { path, token: asked.token, promised: now, due: Some(now + asked.time) });
        Some(asked.to_payload())
    }

    /* <-- INFORMATIONAL { N(DELAYED_CHECK) } along the path that it was asked for on */
    pub(super) fn send_delayed_check(&mut self, common: &mut Common, now: Instant) {
        let Some(owed) = self.delayed.owed.take_if(|owed| owed.due.is_none()) else { return };
        let time = now.saturating_duration_since(owed.promised);
        let payloads = [Content { token: owed.token, time }.to_payload()];
        let task = Task::DelayedCheck(owed);
        self.current.request(&mut common.out, Exchange::Informational, &payloads, task, &common.timers, now);
    }

    /// The IKE SA that carried the check is gone, before there was an answer.
    pub(super) fn owe_still(&mut self, owed: Owed) {
        if self.delayed.owed.is_none() {
            self.delayed.owed = Some(owed);
            self.intend(Intent::DelayedCheck);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests, helpers included")]

    use super::*;
    use crate::wire::Notify;

    fn payloads(kind: NotifyType, data: &[u8]) -> Payloads {
        Payloads { notifies: vec![Notify::new(kind, data.to_vec())], ..Payloads::default() }
    }

    #[test]
    fn the_content_is_a_token_and_milliseconds_in_network_order() {
        let content = Content { token: 0x0102_0304_0506_0708, time: Duration::from_millis(30_500) };
        let octets = [1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0x77, 0x24];
        let Payload::Notify(notify) = content.to_payload() else { panic!("a notification") };
        assert_eq!((notify.kind.number(), notify.data.as_slice()), (60_932, &octets[..]));
        assert_eq!(Content::of(&payloads(NotifyType::DelayedCheck, &octets)), Some(content));
        for wrong in [&octets[..11], &[&octets[..], &[0]].concat(), &[]] {
            assert_eq!(Content::of(&payloads(NotifyType::DelayedCheck, wrong)), None, "{wrong:?}");
        }
        let forever = Content { time: Duration::from_secs(1 << 40), ..content }.to_payload();
        let Payload::Notify(notify) = forever else { panic!("a notification") };
        assert_eq!(notify.data[8..], [0xff; 4]);
    }

    #[test]
    fn the_number_of_somebody_else_is_not_taken_for_the_announcement() {
        let announced = |data: &[u8]| is_supported(&payloads(NotifyType::DelayedCheckSupported, data));
        let Payload::Notify(ours) = supported() else { panic!("a notification") };
        assert_eq!(ours.kind.number(), 60_931);
        assert!(announced(&ours.data));
        assert!(!announced(&[]) && !announced(b"Evenkeel check 2") && !announced(&ours.data[..15]));
    }
}
