//! A session: the public face of the state machine, and what it does once established.

use super::auth::{ExpectAuthResponse, ExpectEapAuth, ExpectEapRequest, ExpectSignature};
use super::child::ChildState;
use super::config::{ClientConfig, Timers};
use super::established::{Established, Intent};
use super::event::{ChildEnd, ChildSaInfo, Event, IkeSaInfo};
use super::failure::Failure;
use super::init::ExpectInitResponse;
use super::mobike::MigrateError;
use super::path::{Path, Transmit};
use super::payloads::Payloads;
#[cfg(feature = "responder")]
use super::responder::{ExpectAuthRequest, Faults};
use super::sa::{IkeSa, Incoming, Outbox, Retransmission};
use super::timers::{Earliest, WakeReason};
use crate::crypto::{EspProposals, IkeProposals, Rng, UnixTime};
use crate::wire::{Delete, Envelope, EspSpi, Exchange, IkeSpi, Payload};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// One association with one peer. See the module documentation for the order of calls.
pub struct Session {
    pub(super) common: Common,
    pub(super) phase: Phase,
}

/// What every phase needs.
pub(super) struct Common {
    pub out: Outbox,
    pub events: VecDeque<Event>,
    pub timers: Timers,
    /// The silence before a DPD request if no ESP was sent meanwhile, where that is longer than what the timers say.
    pub idle_dpd_after: Option<Duration>,
    pub ike: IkeProposals,
    pub esp: EspProposals,
    wall: UnixTime,
    started: Instant,
    /// Follow the peer's address: only for a side that is not behind a NAT itself (RFC 7296 §2.23).
    pub follows_peer: bool,
    #[cfg(feature = "responder")]
    pub faults: Faults,
}

/// The waiting state. A transition consumes the old one.
pub(super) enum Phase {
    ExpectInitResponse(Box<ExpectInitResponse>),
    ExpectSignature(Box<ExpectSignature>),
    ExpectAuthResponse(Box<ExpectAuthResponse>),
    ExpectEapRequest(Box<ExpectEapRequest>),
    ExpectEapAuth(Box<ExpectEapAuth>),
    #[cfg(feature = "responder")]
    ExpectAuthRequest(Box<ExpectAuthRequest>),
    Established(Box<Established>),
    Closed,
}

/// Outcome of a transition.
pub(super) type Step = Result<Phase, Failure>;

impl Common {
    pub(super) fn wall_at(&self, now: Instant) -> UnixTime {
        UnixTime(self.wall.0 + now.saturating_duration_since(self.started).as_secs())
    }

    pub(super) fn new(
        (seed, wall, now): ([u8; 32], UnixTime, Instant),
        path: Path,
        fragment_size: usize,
        timers: Timers,
        (ike, esp): (IkeProposals, EspProposals),
    ) -> Self {
        Self {
            out: Outbox { rng: Rng::from_seed(seed), queue: VecDeque::new(), path, fragment_size },
            events: VecDeque::new(),
            timers,
            idle_dpd_after: None,
            ike,
            esp,
            wall,
            started: now,
            follows_peer: false,
            #[cfg(feature = "responder")]
            faults: Faults::default(),
        }
    }
}

impl Session {
    /// Starts an association as the initiator: IKE_SA_INIT goes to `init_path`, everything after it to
    /// `nat_path`. `seed` must come from a secure source and never be used again; `wall` is the wall clock
    /// at `now`, for certificates.
    #[must_use]
    pub fn connect(
        config: Arc<ClientConfig>,
        init_path: Path,
        nat_path: Path,
        seed: [u8; 32],
        wall: UnixTime,
        now: Instant,
    ) -> Self {
        let proposals = (config.ike.clone(), config.esp.clone());
        let timers = config.timers.clone();
        let mut common = Common::new((seed, wall, now), init_path, config.fragment_size, timers, proposals);
        match ExpectInitResponse::start(&mut common, config, init_path, nat_path, now) {
            Ok(state) => Self { common, phase: Phase::ExpectInitResponse(Box::new(state)) },
            Err(failure) => {
                common.events.push_back(Event::Closed(failure));
                Self { common, phase: Phase::Closed }
            }
        }
    }

    /// Takes an IKE message; a non-ESP marker has been removed. `path` has the same addresses as the path that
    /// messages to its socket's peer leave along.
    pub fn handle_datagram(&mut self, path: Path, message: &[u8], now: Instant) {
        let Ok(envelope) = Envelope::parse(message) else { return };
        self.advance(|phase, common| match phase {
            Phase::ExpectInitResponse(state) => state.handle(common, path, &envelope, message, now),
            Phase::Established(state) => state.handle(common, path, &envelope, message, now),
            Phase::ExpectAuthResponse(mut state) => {
                match state.shake.sa.auth_response(common, path, &envelope, message)? {
                    Some(payloads) => state.handle(common, payloads, now),
                    None => Ok(Phase::ExpectAuthResponse(state)),
                }
            }
            Phase::ExpectEapRequest(mut state) => {
                match state.shake.sa.auth_response(common, path, &envelope, message)? {
                    Some(payloads) => state.handle(common, payloads, now),
                    None => Ok(Phase::ExpectEapRequest(state)),
                }
            }
            Phase::ExpectEapAuth(mut state) => {
                match state.shake.sa.auth_response(common, path, &envelope, message)? {
                    Some(payloads) => state.handle(common, payloads, now),
                    None => Ok(Phase::ExpectEapAuth(state)),
                }
            }
            #[cfg(feature = "responder")]
            Phase::ExpectAuthRequest(state) => state.handle(common, path, &envelope, message, now),
            waiting @ (Phase::ExpectSignature(_) | Phase::Closed) => Ok(waiting),
        });
        self.pump(now);
    }

    /// Does what is due. Call it at the time that `poll_timeout` names, or later.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.advance(|phase, common| match phase {
            Phase::ExpectInitResponse(state) => state.handle_timeout(common, now),
            Phase::Established(state) => state.handle_timeout(common, now),
            Phase::ExpectAuthResponse(mut state) => {
                state.shake.sa.auth_timeout(common, now)?;
                Ok(Phase::ExpectAuthResponse(state))
            }
            Phase::ExpectEapRequest(mut state) => {
                state.shake.sa.auth_timeout(common, now)?;
                Ok(Phase::ExpectEapRequest(state))
            }
            Phase::ExpectEapAuth(mut state) => {
                state.shake.sa.auth_timeout(common, now)?;
                Ok(Phase::ExpectEapAuth(state))
            }
            #[cfg(feature = "responder")]
            Phase::ExpectAuthRequest(state) => state.handle_timeout(now),
            waiting @ (Phase::ExpectSignature(_) | Phase::Closed) => Ok(waiting),
        });
        self.pump(now);
    }

    /// Authenticated ESP came in: the peer is alive, DPD can wait (RFC 7296 §2.4).
    pub fn handle_esp_received(&mut self, now: Instant) {
        if let Phase::Established(state) = &mut self.phase {
            state.last_inbound = state.last_inbound.max(now);
        }
    }

    /// ESP was sent: a peer that nothing comes from after that is asked for a sign of life (RFC 7296 §2.4).
    pub fn handle_esp_sent(&mut self, now: Instant) {
        if let Phase::Established(state) = &mut self.phase {
            state.last_esp_sent = state.last_esp_sent.max(Some(now));
        }
    }

    /// The outbound sequence numbers of this CHILD SA are nearly used up: replace it now (RFC 4303 §3.3.3).
    pub fn handle_sequence_low(&mut self, spi_in: EspSpi, now: Instant) {
        self.rekey_child(spi_in, now);
    }

    /// Answers `Event::SignAuth`: the AUTH payload's data, or that the key could not be used.
    ///
    /// Nothing happens when no signature is awaited.
    pub fn provide_signature(&mut self, signature: Result<Vec<u8>, ()>, now: Instant) {
        if !matches!(self.phase, Phase::ExpectSignature(_)) {
            return;
        }
        self.advance(|phase, common| {
            if let Phase::ExpectSignature(state) = phase {
                state.provide(common, signature, now)
            } else {
                Ok(phase)
            }
        });
    }

    /// Replaces the IKE SA.
    pub fn rekey_ike(&mut self, now: Instant) {
        self.intend(Intent::RekeyIke, now);
    }

    /// Replaces the CHILD SA with this inbound SPI.
    pub fn rekey_child(&mut self, spi_in: EspSpi, now: Instant) {
        self.intend(Intent::RekeyChild(spi_in), now);
    }

    /// Asks for another CHILD SA with the selectors of the first, for a peer that has deleted it.
    pub fn create_child(&mut self, now: Instant) {
        self.intend(Intent::NewChild, now);
    }

    /// Deletes the CHILD SA with this inbound SPI.
    pub fn delete_child(&mut self, spi_in: EspSpi, now: Instant) {
        if let Phase::Established(state) = &mut self.phase {
            state.delete_child(spi_in, ChildEnd::LocalDeleted);
        }
        self.pump(now);
    }

    /// The silence after which a peer is asked for a sign of life that no ESP was sent to in the meantime, if that is to be
    /// longer than `Timers::dpd_after`; nothing if DPD is off.
    pub fn set_idle_dpd_after(&mut self, after: Option<Duration>) {
        self.common.idle_dpd_after = after;
    }

    /// Asks the peer for a sign of life. Behind a NAT and with MOBIKE also for what it sees of our address:
    /// `Event::MappingChanged` follows if that is no longer what it took down (RFC 4555 §3.8).
    pub fn probe(&mut self, now: Instant) {
        self.intend(Intent::Dpd, now);
    }

    /// Moves the association to `path` (RFC 4555): our address or port has changed, or the peer is to be talked
    /// to at another of its addresses. Every IKE message leaves along it from here on, those that wait for
    /// their answer at once; the owner moves ESP at the same time. `Event::Migrated` or
    /// `Event::MigrationRefused` follows for the path that was named last. The same path as before is fine: it
    /// makes the peer look where our packets come from.
    pub fn migrate(&mut self, path: Path, now: Instant) -> Result<(), MigrateError> {
        let Phase::Established(state) = &mut self.phase else { return Err(MigrateError::NotEstablished) };
        state.migrate(&mut self.common, path, now)?;
        self.pump(now);
        Ok(())
    }

    /// Tests whether `path` leads to the peer, and what a NAT on it makes of our address, while everything stays
    /// on the main path (RFC 4555 §3.10). `Event::PathChecked` follows, or `Event::PathUnreachable` once the
    /// test was given up and the peer has answered along the main path.
    ///
    /// False if there will be no test: MOBIKE was not agreed on (without it the request itself would move the
    /// peer), we are the responder, the session is not established or is closing, or this path or too many
    /// others wait already.
    pub fn check_path(&mut self, path: Path, now: Instant) -> bool {
        let Phase::Established(state) = &mut self.phase else { return false };
        let is_queued = state.queue_path_check(&self.common, path);
        self.pump(now);
        is_queued
    }

    /// Asks the peer for a request of its own that comes along `path` after `delay`, in which nothing else goes there
    /// (docs/delayed-check.md): whether it arrives shows whether a NAT has kept the mapping for so long. The path must have
    /// been tested with [`check_path`](Self::check_path) three seconds before, and nothing else be sent along it.
    /// `Event::DelayedCheck` follows; without one for much longer than `delay`, the peer did not do it. Asking again
    /// takes the place of what was asked before.
    ///
    /// False if it will not be asked: `IkeSaInfo::delayed_checks` says no, or the session is closing.
    pub fn ask_delayed_check(&mut self, path: Path, delay: Duration, now: Instant) -> bool {
        let Phase::Established(state) = &mut self.phase else { return false };
        let is_asked = state.ask_delayed_check(&mut self.common, path, delay);
        self.pump(now);
        is_asked
    }

    /// Deletes the IKE SA; `Event::Closed` follows when the peer has answered, or soon after in any case.
    pub fn close(&mut self, now: Instant) {
        match &mut self.phase {
            Phase::Established(state) => state.queue_close(&mut self.common, now),
            Phase::Closed => {}
            Phase::ExpectInitResponse(_)
            | Phase::ExpectSignature(_)
            | Phase::ExpectAuthResponse(_)
            | Phase::ExpectEapRequest(_)
            | Phase::ExpectEapAuth(_) => self.end(Failure::LocalClose),
            #[cfg(feature = "responder")]
            Phase::ExpectAuthRequest(_) => self.end(Failure::LocalClose),
        }
        self.pump(now);
    }

    /// The next datagram to send.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.common.out.queue.pop_front()
    }

    /// The next thing that the owner must know.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.common.events.pop_front()
    }

    /// When and why `handle_timeout` wants to be called.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<(Instant, WakeReason)> {
        let mut earliest = Earliest::default();
        match &self.phase {
            Phase::ExpectInitResponse(state) => {
                earliest.add(Some(state.retransmit_at()), WakeReason::Retransmit);
                earliest.add(state.doubt_ends(), WakeReason::InitError);
            }
            Phase::ExpectAuthResponse(state) => {
                earliest.add(state.shake.sa.retransmit_at(), WakeReason::Retransmit);
            }
            Phase::ExpectEapRequest(state) => {
                earliest.add(state.shake.sa.retransmit_at(), WakeReason::Retransmit);
            }
            Phase::ExpectEapAuth(state) => {
                earliest.add(state.shake.sa.retransmit_at(), WakeReason::Retransmit);
            }
            #[cfg(feature = "responder")]
            Phase::ExpectAuthRequest(state) => earliest.add(Some(state.expires_at()), WakeReason::HalfOpen),
            Phase::Established(state) => state.timeouts(&self.common, &mut earliest),
            Phase::ExpectSignature(_) | Phase::Closed => {}
        }
        earliest.get()
    }

    /// Whether IKE_SA_INIT has not been answered yet.
    #[must_use]
    pub fn expects_init_response(&self) -> bool {
        matches!(self.phase, Phase::ExpectInitResponse(_))
    }

    /// Whether an IKE_AUTH request was answered under the keys of the IKE SA, and the session goes on.
    #[must_use]
    pub fn heard_auth(&self) -> bool {
        matches!(self.phase, Phase::ExpectEapRequest(_) | Phase::ExpectEapAuth(_) | Phase::Established(_))
    }

    /// Facts about the current IKE SA, once there is one.
    #[must_use]
    pub fn info(&self) -> Option<IkeSaInfo> {
        if let Phase::Established(state) = &self.phase { Some(state.info(&self.common)) } else { None }
    }

    /// The CHILD SAs that are in use.
    pub fn children(&self) -> impl Iterator<Item = &ChildSaInfo> {
        let established = if let Phase::Established(state) = &self.phase { Some(state) } else { None };
        established
            .into_iter()
            .flat_map(|state| state.children.values())
            .filter(|child| !matches!(child.state, ChildState::Lingering { .. }))
            .map(|child| &child.info)
    }

    /// Whether a header belongs to one of its IKE SAs, sent by the peer.
    #[cfg(feature = "responder")]
    pub(super) fn owns(&self, header: &crate::wire::Header) -> bool {
        match &self.phase {
            Phase::ExpectAuthRequest(state) => state.sa.owns(header),
            Phase::Established(state) => state.owns(header),
            Phase::ExpectInitResponse(_)
            | Phase::ExpectSignature(_)
            | Phase::ExpectAuthResponse(_)
            | Phase::ExpectEapRequest(_)
            | Phase::ExpectEapAuth(_)
            | Phase::Closed => false,
        }
    }

    /// Whether the peer has not authenticated.
    #[must_use]
    #[cfg(feature = "responder")]
    pub fn is_half_open(&self) -> bool {
        matches!(self.phase, Phase::ExpectAuthRequest(_))
    }

    /// Whether `Event::Closed` was, or is about to be, delivered.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        matches!(self.phase, Phase::Closed)
    }

    fn advance(&mut self, step: impl FnOnce(Phase, &mut Common) -> Step) {
        if matches!(self.phase, Phase::Closed) {
            return;
        }
        match step(std::mem::replace(&mut self.phase, Phase::Closed), &mut self.common) {
            Ok(phase) => self.phase = phase,
            Err(failure) => self.end(failure),
        }
    }

    fn end(&mut self, failure: Failure) {
        self.phase = Phase::Closed;
        self.common.events.push_back(Event::Closed(failure));
    }

    fn intend(&mut self, intent: Intent, now: Instant) {
        if let Phase::Established(state) = &mut self.phase {
            state.intend(intent);
        }
        self.pump(now);
    }

    fn pump(&mut self, now: Instant) {
        if let Phase::Established(state) = &mut self.phase {
            state.pump(&mut self.common, now);
        }
    }
}

impl IkeSa {
    /// Our own SPI of this SA: unique within the session.
    pub(super) fn own_spi(&self) -> IkeSpi {
        if self.initiator { self.spi_i } else { self.spi_r }
    }

    /// The response to the outstanding IKE_AUTH request, if this is it.
    fn auth_response(
        &mut self,
        common: &mut Common,
        path: Path,
        envelope: &Envelope<'_>,
        message: &[u8],
    ) -> Result<Option<Payloads>, Failure> {
        if !self.owns(&envelope.header) {
            return Ok(None);
        }
        match self.receive(&mut common.out, path, envelope, message) {
            Incoming::Response { payloads, .. } => {
                let sorted = payloads.map_err(Failure::from).and_then(Payloads::sort);
                if sorted.is_err() {
                    // To the peer this may have been the last response: it is not to keep an IKE SA without us.
                    self.parting_request(&mut common.out, &[Payload::Delete(Delete::Ike)]);
                }
                sorted.map(Some)
            }
            Incoming::Request { .. } | Incoming::Nothing => Ok(None),
        }
    }

    fn auth_timeout(&mut self, common: &mut Common, now: Instant) -> Result<(), Failure> {
        match self.handle_retransmit(&mut common.out, now) {
            Retransmission::GaveUp => {
                let port = common.out.path.remote.port();
                Err(Failure::NoResponse { exchange: Exchange::IkeAuth, port })
            }
            Retransmission::NotDue | Retransmission::Sent => Ok(()),
        }
    }
}
