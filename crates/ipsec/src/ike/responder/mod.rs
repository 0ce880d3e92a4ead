//! The responder role: for the practice gateway and for tests, never in the client.

mod auth;
mod config;

pub(super) use auth::ExpectAuthRequest;
pub use config::{Faults, PeerPolicy, Pool, ResponderAuth, ResponderConfig};

use super::auth_data::AuthMaterial;
use super::event::Event;
use super::init::{hash_list, parse_hashes, random_nonce, random_spi};
use super::keys::{Exchanged, IkeKeys};
use super::natd;
use super::path::{Path, Transmit};
use super::payloads::{Payloads, status};
use super::sa::IkeSa;
use super::session::{Common, Phase, Session};
use super::timers::{Earliest, WakeReason};
use crate::crypto::{KeyExchange, Prf, Rng, Secret, UnixTime};
use crate::wire::{Body, Envelope, Exchange, Header, IkeSpi, MessageId, NotifyType, Payload, encode_message};
use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

/// Names a session of a responder. Never used again.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SessionId(pub u64);

/// Listens for initiators and owns the sessions with them.
pub struct Responder {
    config: Arc<ResponderConfig>,
    faults: Faults,
    rng: Rng,
    cookie_secret: Secret,
    wall: UnixTime,
    started: Instant,
    next_id: u64,
    sessions: BTreeMap<SessionId, Accepted>,
    transmits: VecDeque<Transmit>,
    events: VecDeque<(SessionId, Event)>,
}

struct Accepted {
    session: Session,
    /// To recognise a retransmitted IKE_SA_INIT request and answer it alike.
    init_request: Vec<u8>,
    init_response: Transmit,
    slot: u32,
}

/// Sessions that a responder holds at once, half-open ones included.
const MAX_SESSIONS: usize = 4096;

impl Responder {
    /// `seed` must come from a secure source and never be used again.
    #[must_use]
    pub fn new(config: ResponderConfig, seed: [u8; 32], wall: UnixTime, now: Instant) -> Self {
        let mut rng = Rng::from_seed(seed);
        let cookie_secret = Secret::new(rng.fork());
        Self {
            config: Arc::new(config),
            faults: Faults::default(),
            rng,
            cookie_secret,
            wall,
            started: now,
            next_id: 0,
            sessions: BTreeMap::new(),
            transmits: VecDeque::new(),
            events: VecDeque::new(),
        }
    }

    /// Sets the misbehaviour of all sessions, those to come included.
    pub fn set_faults(&mut self, faults: Faults) {
        for accepted in self.sessions.values_mut() {
            accepted.session.common.faults = faults.clone();
        }
        self.faults = faults;
    }

    /// The misbehaviour in force.
    #[must_use]
    pub fn faults(&self) -> &Faults {
        &self.faults
    }

    /// Takes an IKE message; a non-ESP marker has been removed.
    pub fn handle_datagram(&mut self, path: Path, message: &[u8], now: Instant) {
        let Ok(envelope) = Envelope::parse(message) else { return };
        let header = envelope.header;
        if header.exchange == Exchange::IkeSaInit {
            if !header.response && header.initiator && header.message_id == MessageId(0) {
                self.handle_init(path, &envelope, message, now);
            }
            return;
        }
        let owner = self.sessions.iter().find(|(_, accepted)| accepted.session.owns(&header));
        if let Some((&id, _)) = owner {
            self.with_session(id, |session| session.handle_datagram(path, message, now));
        }
    }

    /// Does what is due on every session.
    pub fn handle_timeout(&mut self, now: Instant) {
        let due: Vec<SessionId> = self
            .sessions
            .iter()
            .filter(|(_, accepted)| accepted.session.poll_timeout().is_some_and(|(at, _)| at <= now))
            .map(|(&id, _)| id)
            .collect();
        for id in due {
            self.with_session(id, |session| session.handle_timeout(now));
        }
    }

    /// The next datagram to send.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.transmits.pop_front()
    }

    /// The next event with the session that it belongs to. After `Event::Closed` the session is gone.
    pub fn poll_event(&mut self) -> Option<(SessionId, Event)> {
        self.events.pop_front()
    }

    /// When and why `handle_timeout` wants to be called.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<(Instant, WakeReason)> {
        let mut earliest = Earliest::default();
        for accepted in self.sessions.values() {
            if let Some((at, reason)) = accepted.session.poll_timeout() {
                earliest.add(Some(at), reason);
            }
        }
        earliest.get()
    }

    /// All sessions, half-open ones included.
    pub fn sessions(&self) -> impl Iterator<Item = (SessionId, &Session)> {
        self.sessions.iter().map(|(&id, accepted)| (id, &accepted.session))
    }

    /// Calls `act` on a session, and collects what it wants to send and say. False if there is none.
    pub fn with_session(&mut self, id: SessionId, act: impl FnOnce(&mut Session)) -> bool {
        let Some(accepted) = self.sessions.get_mut(&id) else { return false };
        act(&mut accepted.session);
        while let Some(transmit) = accepted.session.poll_transmit() {
            self.transmits.push_back(transmit);
        }
        let mut closed = false;
        while let Some(event) = accepted.session.poll_event() {
            closed |= matches!(event, Event::Closed(_));
            self.events.push_back((id, event));
        }
        if closed {
            self.sessions.remove(&id);
        }
        true
    }

    /// Drops a session without a word to the peer, as a gateway does that restarts.
    pub fn forget(&mut self, id: SessionId) -> bool {
        self.sessions.remove(&id).is_some()
    }

    fn handle_init(&mut self, path: Path, envelope: &Envelope<'_>, message: &[u8], now: Instant) {
        let again = self.sessions.values().find(|accepted| {
            accepted.init_response.path.remote == path.remote && accepted.init_request == message
        });
        if let Some(accepted) = again {
            self.transmits.push_back(accepted.init_response.clone());
            return;
        }
        let Body::Clear(body) = &envelope.body else { return };
        let spi_i = envelope.header.spi_i;
        let payloads = match body.payloads() {
            Ok(payloads) => payloads,
            Err(error) => {
                if let Some((kind, data)) = error.notify() {
                    self.answer_init(path, spi_i, IkeSpi::ZERO, &[status(kind, data)]);
                }
                return;
            }
        };
        let accepted = match Payloads::sort(payloads) {
            Ok(payloads) => self.accept(path, spi_i, &payloads, message, now),
            Err(_) => Err(status(NotifyType::InvalidSyntax, Vec::new())),
        };
        if let Err(refusal) = accepted {
            self.answer_init(path, spi_i, IkeSpi::ZERO, &[refusal]);
        }
    }

    fn answer_init(&mut self, path: Path, spi_i: IkeSpi, spi_r: IkeSpi, payloads: &[Payload]) -> Vec<u8> {
        let header = Header {
            spi_i,
            spi_r,
            exchange: Exchange::IkeSaInit,
            initiator: false,
            response: true,
            message_id: MessageId(0),
        };
        let message = encode_message(&header, payloads);
        self.transmits.push_back(path.frame(&message));
        message
    }

    /* <-- IKE_SA_INIT { SAr1, KEr, Nr, N(NATD_S), N(NATD_D), [CERTREQ], N(FRAG_SUP), N(SIG_HASH_ALG) } */
    fn accept(
        &mut self,
        path: Path,
        spi_i: IkeSpi,
        payloads: &Payloads,
        message: &[u8],
        now: Instant,
    ) -> Result<(), Payload> {
        let refuse = |kind| status(kind, Vec::new());
        let (Some(offered), Some((group, public)), Some(nonce_i)) =
            (&payloads.sa, &payloads.ke, &payloads.nonce)
        else {
            return Err(refuse(NotifyType::InvalidSyntax));
        };
        self.demand_cookie(path, spi_i, nonce_i, payloads)?;
        if self.sessions.len() >= MAX_SESSIONS {
            return Err(refuse(NotifyType::TemporaryFailure));
        }
        let config = Arc::clone(&self.config);
        let Some((answer, suite, _)) = config.ike.select(offered) else {
            return Err(refuse(NotifyType::NoProposalChosen));
        };
        if suite.group.id() != *group {
            return Err(status(NotifyType::InvalidKePayload, suite.group.id().to_be_bytes().to_vec()));
        }
        let Ok((own, shared)) = KeyExchange::respond(suite.group, public, &mut self.rng) else {
            return Err(refuse(NotifyType::InvalidSyntax));
        };
        let (spi_r, nonce_r) = (random_spi(&mut self.rng), random_nonce(&mut self.rng));
        let exchanged = Exchanged { nonce_i, nonce_r: &nonce_r, spi_i, spi_r };
        let Ok(keys) = IkeKeys::initial(suite, &shared, exchanged, false) else {
            return Err(refuse(NotifyType::NoProposalChosen));
        };
        // The initiator hashed before it knew our SPI.
        let nat = natd::detect(spi_i, IkeSpi::ZERO, &path, payloads).unwrap_or_default();
        let mut response = vec![
            Payload::Sa(vec![answer]),
            Payload::Ke { group: suite.group.id(), data: own.public().to_vec() },
            Payload::Nonce(nonce_r.clone()),
        ];
        response.extend(natd::notifications(spi_i, spi_r, &path, false));
        let fragmentation =
            payloads.has(NotifyType::Ikev2FragmentationSupported) && !self.faults.no_fragmentation;
        if fragmentation {
            response.push(status(NotifyType::Ikev2FragmentationSupported, Vec::new()));
        }
        if !self.faults.no_signature_hashes {
            response.push(status(NotifyType::SignatureHashAlgorithms, hash_list()));
        }
        let message_out = self.answer_init(path, spi_i, spi_r, &response);
        let slot = self.free_slot();
        let proposals = (config.ike.clone(), config.esp.clone());
        let clocks = (self.rng.fork(), UnixTime(self.wall.0 + (now - self.started).as_secs()), now);
        let mut common = Common::new(clocks, path, config.fragment_size, config.timers.clone(), proposals);
        common.follows_peer = true;
        common.faults = self.faults.clone();
        let state = ExpectAuthRequest::new(
            config,
            IkeSa::new(false, (spi_i, spi_r), suite, keys, fragmentation, now).after_init(),
            AuthMaterial {
                init_request: message.to_vec(),
                init_response: message_out.clone(),
                nonce_i: nonce_i.clone(),
                nonce_r,
            },
            nat,
            payloads.notifies(NotifyType::SignatureHashAlgorithms).next().map(parse_hashes),
            slot,
            now,
        );
        let session = Session { common, phase: Phase::ExpectAuthRequest(Box::new(state)) };
        let id = SessionId(self.next_id);
        self.next_id += 1;
        let accepted = Accepted {
            session,
            init_request: message.to_vec(),
            init_response: path.frame(&message_out),
            slot,
        };
        self.sessions.insert(id, accepted);
        Ok(())
    }

    /// Stateless proof that the initiator receives at its address (RFC 7296 §2.6).
    fn demand_cookie(
        &self,
        path: Path,
        spi_i: IkeSpi,
        nonce_i: &[u8],
        payloads: &Payloads,
    ) -> Result<(), Payload> {
        let half_open = self.sessions.values().filter(|accepted| accepted.session.is_half_open()).count();
        if half_open < self.config.cookie_threshold {
            return Ok(());
        }
        let ip = match path.remote.ip() {
            IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
            IpAddr::V6(ip) => ip.octets(),
        };
        let cookie =
            Prf::HmacSha256.mac(self.cookie_secret.as_bytes(), &[nonce_i, &ip, &spi_i.0.to_be_bytes()]);
        let shown = payloads.notifies(NotifyType::Cookie).any(|n| Secret::new(n.data.as_slice()) == cookie);
        if shown { Ok(()) } else { Err(status(NotifyType::Cookie, cookie.as_bytes().to_vec())) }
    }

    fn free_slot(&self) -> u32 {
        let taken: std::collections::BTreeSet<u32> = self.sessions.values().map(|a| a.slot).collect();
        (0..).find(|slot| !taken.contains(slot)).unwrap_or(u32::MAX)
    }
}
