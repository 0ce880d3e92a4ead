//! The race for a way to the gateway: several are asked at once, the first that answers is used.
//!
//! A way over UDP is asked twice: straight on the NAT-traversal port and, should that stay silent for a moment, on UDP/500
//! as RFC 7296 §2.23 describes. The two tell a network that blocks UDP/4500 from a gateway that is down, and a gateway
//! that answers on one port only is reached all the same. Not at once: each leaves a half-open IKE SA behind at the
//! gateway, and gateways refuse an address that has more than a handful (strongSwan five), which several people behind
//! one NAT would reach. An answer on UDP/500 is held for a moment: the other, should it come, is the better one.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::cause::{Cause, PathError};
use crate::defaults;
use crate::event::{OpenedPath, WakeReason};
use crate::link::Link;
use crate::way::{PathId, Way};
use evenkeel_ipsec::ike::Failure;
use evenkeel_ipsec::ike::defaults::{RETRANSMIT_FIRST, RETRANSMITS_CONNECTING};
use evenkeel_ipsec::wire::Exchange;
use evenkeel_netprofile::ladder::{Observation, Seen, Transport};
use evenkeel_netprofile::overhead::Family;

/// Ways that are being asked, and those whose turn is to come.
#[derive(Default)]
pub(crate) struct Race {
    /// In order of their time.
    pub(crate) pending: VecDeque<Start>,
    pub(crate) lanes: Vec<Lane>,
    /// What was seen of those that are over.
    pub(crate) observations: Vec<Observation>,
    /// The most telling of the failures so far.
    failure: Option<Cause>,
}

/// A way whose turn comes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Start {
    pub(crate) at: Instant,
    pub(crate) way: Way,
}

/// A way that is being asked.
pub(crate) struct Lane {
    pub(crate) way: Way,
    pub(crate) path: PathId,
    /// Since when its paths are open.
    pub(crate) opened: Option<Instant>,
    /// IKE_SA_INIT on the port that everything else goes to as well.
    pub(crate) direct: Option<Box<Link>>,
    /// IKE_SA_INIT on a port of its own.
    pub(crate) bare: Option<Bare>,
    /// Whether that was answered, should it be over.
    pub(crate) heard_500: bool,
    /// When that begins.
    pub(crate) bare_at: Option<(Instant, OpenedPath)>,
}

/// A session that begins on UDP/500.
pub(crate) struct Bare {
    pub(crate) link: Box<Link>,
    pub(crate) hold: Hold,
}

/// What becomes of the answer on UDP/500.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Hold {
    /// There is none yet.
    Unheard,
    /// It waits for that on the NAT-traversal port.
    Until(Instant),
    /// IKE_AUTH goes out on the NAT-traversal port, whatever that is worth.
    Released,
    /// IKE_AUTH was answered, by whoever has the keys of the IKE SA.
    Answered,
}

/// Which of a lane's sessions.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Half {
    Direct,
    Bare,
}

impl Race {
    /// A race over these, each at its time.
    pub(crate) fn new(mut starts: Vec<Start>) -> Self {
        starts.sort_by_key(|start| start.at);
        Self { pending: starts.into(), ..Self::default() }
    }

    /// The next way whose time has come.
    pub(crate) fn next_due(&mut self, now: Instant) -> Option<Way> {
        let due = self.pending.front().is_some_and(|start| start.at <= now);
        due.then(|| self.pending.pop_front()).flatten().map(|start| start.way)
    }

    /// Something has failed, or looks blocked: what waits moves forward, so that the first of it is due `now` (RFC 8305
    /// §5). The distances between them stay.
    pub(crate) fn hasten(&mut self, now: Instant) {
        let Some(first) = self.pending.front().map(|start| start.at) else { return };
        let early = first.saturating_duration_since(now);
        for start in &mut self.pending {
            start.at -= early;
        }
    }

    /// Whether nothing can come of it any more.
    pub(crate) fn is_over(&self) -> bool {
        self.pending.is_empty() && self.lanes.is_empty()
    }

    /// Remembers why something failed, unless it tells less than what is known.
    pub(crate) fn note(&mut self, cause: Cause) {
        if self.failure.as_ref().is_none_or(|known| telling(&cause) >= telling(known)) {
            self.failure = Some(cause);
        }
    }

    /// The most telling of its failures and this last one.
    pub(crate) fn into_cause_or(mut self, last: Cause) -> Cause {
        match self.failure.take() {
            Some(known) if telling(&known) > telling(&last) => known,
            Some(_) | None => last,
        }
    }

    /// The sessions that are alive; one whose answer is held does nothing meanwhile.
    pub(crate) fn links(&self) -> impl Iterator<Item = &Link> {
        self.lanes.iter().flat_map(|lane| {
            let bare = lane.bare.as_ref().filter(|bare| !bare.is_held()).map(|bare| &*bare.link);
            lane.direct.as_deref().into_iter().chain(bare)
        })
    }

    pub(crate) fn links_mut(&mut self) -> impl Iterator<Item = &mut Link> {
        self.lanes.iter_mut().flat_map(|lane| {
            let bare = lane.bare.as_mut().filter(|bare| !bare.is_held()).map(|bare| &mut *bare.link);
            lane.direct.as_deref_mut().into_iter().chain(bare)
        })
    }

    /// What it wants to be woken for, beside its sessions.
    pub(crate) fn timeouts(&self) -> impl Iterator<Item = (Instant, WakeReason)> {
        let start = self.pending.front().map(|start| (start.at, WakeReason::NextWay));
        let second = self.lanes.iter().filter_map(|lane| Some((lane.bare_at?.0, WakeReason::SecondPort)));
        let held = self.lanes.iter().filter_map(|lane| match lane.bare.as_ref()?.hold {
            Hold::Until(at) => Some((at, WakeReason::HeldAnswer)),
            Hold::Unheard | Hold::Released | Hold::Answered => None,
        });
        start.into_iter().chain(second).chain(held)
    }

    /// The session that has won, if one has: an answer on the port that everything else goes to as well. One that is
    /// authenticating already goes on with that, whichever of the two was answered.
    pub(crate) fn winner(&self) -> Option<(usize, Half)> {
        self.lanes.iter().enumerate().find_map(|(index, lane)| {
            let direct = lane.direct.as_ref().is_some_and(|link| link.heard_init());
            match lane.bare.as_ref().map(|bare| bare.hold) {
                Some(Hold::Answered) => Some((index, Half::Bare)),
                Some(Hold::Released) if direct => Some((index, Half::Bare)),
                Some(Hold::Unheard | Hold::Until(_) | Hold::Released) | None => {
                    direct.then_some((index, Half::Direct))
                }
            }
        })
    }

    /// Adds ways that have become known since it began.
    pub(crate) fn add(&mut self, starts: impl IntoIterator<Item = Start>) {
        self.pending.extend(starts);
        self.pending.make_contiguous().sort_by_key(|start| start.at);
    }

    /// Whether this is among its ways, or was.
    pub(crate) fn knows(&self, transport: Transport) -> bool {
        self.pending.iter().any(|start| start.way.transport == transport)
            || self.lanes.iter().any(|lane| lane.way.transport == transport)
            || self.observations.iter().any(|seen| seen.transport == transport)
    }

    /// Ends it, since a WireGuard peer has answered: the way and the path to that.
    pub(crate) fn end_at(&mut self, index: usize, now: Instant) -> (Way, PathId) {
        let lane = self.lanes.swap_remove(index);
        self.observe(lane.way, Seen::IkeAnswered);
        for abandoned in std::mem::take(&mut self.lanes) {
            self.observe_silence(&abandoned, now);
        }
        (lane.way, lane.path)
    }

    /// Takes the winner out. The others are left alone, and their ways may be asked again should it come to nothing.
    pub(crate) fn take(&mut self, index: usize, half: Half, now: Instant) -> Option<Box<Link>> {
        let lane = self.lanes.swap_remove(index);
        self.observe(lane.way, Seen::IkeAnswered);
        if lane.heard_bare() {
            self.observe_port_500(lane.way, Seen::IkeAnswered);
        }
        let link = match half {
            Half::Direct => lane.direct,
            Half::Bare => lane.bare.map(|bare| bare.link),
        };
        for abandoned in std::mem::take(&mut self.lanes) {
            self.observe_silence(&abandoned, now);
            self.pending.push_front(Start { at: now, way: abandoned.way });
        }
        link
    }
}

impl Race {
    /// Remembers what came of a way.
    pub(crate) fn observe(&mut self, way: Way, seen: Seen) {
        self.observations.push(Observation {
            transport: way.transport,
            family: Family::from(way.gateway),
            seen,
        });
    }

    fn observe_port_500(&mut self, way: Way, seen: Seen) {
        self.observe(Way { transport: Transport::Udp500, ..way }, seen);
    }

    /// A lane has ended without an answer where everything but a first exchange goes.
    pub(crate) fn observe_silence(&mut self, lane: &Lane, now: Instant) {
        let Some(opened) = lane.opened else { return };
        self.observe(lane.way, silence(now.saturating_duration_since(opened)));
        if lane.heard_bare() {
            self.observe_port_500(lane.way, Seen::IkeAnswered);
        } else if lane.bare_began() {
            let waited = now.saturating_duration_since(opened + defaults::SECOND_PORT_AFTER);
            self.observe_port_500(lane.way, silence(waited));
        }
    }
}

/// The requests of a session that has waited so long: its retransmissions double from half a second.
fn silence(waited: Duration) -> Seen {
    let (mut requests, mut next) = (1, RETRANSMIT_FIRST);
    let mut interval = RETRANSMIT_FIRST;
    while next <= waited && requests < RETRANSMITS_CONNECTING + 1 {
        requests += 1;
        interval *= 2;
        next += interval;
    }
    Seen::IkeSilent { waited, requests }
}

impl Lane {
    /// Whether UDP/500 was answered.
    fn heard_bare(&self) -> bool {
        self.heard_500 || self.bare.as_ref().is_some_and(|bare| bare.hold != Hold::Unheard)
    }

    fn bare_began(&self) -> bool {
        self.bare_at.is_none() && self.bare.is_some()
    }

    /// Whether it is at its end.
    pub(crate) fn is_over(&self) -> bool {
        self.opened.is_some() && self.direct.is_none() && self.bare.is_none() && self.bare_at.is_none()
    }
}

impl Bare {
    /// Whether its answer waits for a better one.
    pub(crate) fn is_held(&self) -> bool {
        matches!(self.hold, Hold::Until(_))
    }

    /// Sees whether there is an answer to either request, or whether the wait for a better one is over. Whether the latter.
    pub(crate) fn advance(&mut self, now: Instant) -> bool {
        match self.hold {
            Hold::Unheard if self.link.heard_init() => {
                self.hold = Hold::Until(now + defaults::HOLD_ANSWER);
                false
            }
            Hold::Until(at) if at <= now => {
                self.hold = Hold::Released;
                true
            }
            Hold::Released if self.link.session.heard_auth() => {
                self.hold = Hold::Answered;
                false
            }
            Hold::Unheard | Hold::Until(_) | Hold::Released | Hold::Answered => false,
        }
    }
}

/// How much a failure says about the way to the gateway: that something was answered says more than that nothing was.
fn telling(cause: &Cause) -> u8 {
    match cause {
        // The peer's answer, if nobody else's.
        Cause::Path(PathError::OtherKey) => 2,
        Cause::Path(_) => 0,
        Cause::Session(Failure::NoResponse { exchange: Exchange::IkeSaInit, .. }) => 1,
        Cause::Session(_) | Cause::Resolve(_) | Cause::Configure(_) | Cause::PeerSilent => 2,
    }
}
