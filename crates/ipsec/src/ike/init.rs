//! IKE_SA_INIT as the initiator (RFC 7296 §1.2, §2.6, §2.7).

use super::auth::Handshake;
use super::auth_data::AuthMaterial;
use super::config::ClientConfig;
use super::defaults;
use super::failure::Failure;
use super::keys::{Exchanged, IkeKeys};
use super::natd;
use super::path::Path;
use super::payloads::{Payloads, status};
use super::sa::IkeSa;
use super::session::{Common, Phase, Step};
use crate::crypto::{Group, HashAlgorithm, KeyExchange, Rng, VerifyPolicy};
use crate::wire::{
    Body, Envelope, Exchange, Header, IkeSpi, MessageId, Notify, NotifyType, Payload, Spi, encode_message,
};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Waits for the response to IKE_SA_INIT.
pub(super) struct ExpectInitResponse {
    config: Arc<ClientConfig>,
    init_path: Path,
    nat_path: Path,
    spi_i: IkeSpi,
    nonce: Vec<u8>,
    key_exchange: KeyExchange,
    cookie: Option<Vec<u8>>,
    /// Whether the group is the one that an INVALID_KE_PAYLOAD asked for.
    regrouped: bool,
    /// The request as sent: it goes into AUTH, and retransmissions are bit-identical.
    request: Vec<u8>,
    restarts_left: u32,
    round_trips: u32,
    retransmits_left: u32,
    interval: Duration,
    next_at: Instant,
    /// An unprotected error that is believed when no good answer comes before the time.
    doubtful: Option<(Instant, Failure)>,
}

impl ExpectInitResponse {
    pub(super) fn start(
        common: &mut Common,
        config: Arc<ClientConfig>,
        init_path: Path,
        nat_path: Path,
        now: Instant,
    ) -> Result<Self, Failure> {
        let Some(&group) = config.ike.groups().first() else {
            return Err(Failure::Local("the IKE proposals name no key exchange group"));
        };
        let rng = &mut common.out.rng;
        let spi_i = random_spi(rng);
        let nonce = random_nonce(rng);
        let key_exchange = KeyExchange::generate(group, rng)?;
        let mut state = Self {
            restarts_left: defaults::INIT_RESTARTS,
            retransmits_left: config.timers.retransmits_connecting,
            interval: config.timers.retransmit_first,
            next_at: now + config.timers.retransmit_first,
            config,
            init_path,
            nat_path,
            spi_i,
            nonce,
            key_exchange,
            cookie: None,
            regrouped: false,
            request: Vec::new(),
            round_trips: 0,
            doubtful: None,
        };
        state.send(common);
        Ok(state)
    }

    /* IKE_SA_INIT { [N(COOKIE)], SAi1, KEi, Ni, N(NATD_S), N(NATD_D), N(FRAG_SUP), N(SIG_HASH_ALG) } --> */
    fn send(&mut self, common: &mut Common) {
        let mut payloads = Vec::new();
        payloads.extend(self.cookie.clone().map(|cookie| status(NotifyType::Cookie, cookie)));
        payloads.push(Payload::Sa(self.config.ike.to_wire(Spi::None)));
        payloads.push(Payload::Ke {
            group: self.key_exchange.group().id(),
            data: self.key_exchange.public().to_vec(),
        });
        payloads.push(Payload::Nonce(self.nonce.clone()));
        payloads.extend(natd::notifications(self.spi_i, IkeSpi::ZERO, &self.init_path, true));
        payloads.push(status(NotifyType::Ikev2FragmentationSupported, Vec::new()));
        payloads.push(status(NotifyType::SignatureHashAlgorithms, hash_list()));
        let header = Header {
            spi_i: self.spi_i,
            spi_r: IkeSpi::ZERO,
            exchange: Exchange::IkeSaInit,
            initiator: true,
            response: false,
            message_id: MessageId(0),
        };
        self.request = encode_message(&header, &payloads);
        common.out.queue.push_back(self.init_path.frame(&self.request));
    }

    /// Sends the request anew, with what a response has asked for. `change` is not called any more once the restarts
    /// are used up: whoever forges responses can use them up, but not keep a good one from being taken.
    fn restart(
        mut self: Box<Self>,
        common: &mut Common,
        now: Instant,
        change: impl FnOnce(&mut Self, &mut Rng) -> Result<(), Failure>,
    ) -> Step {
        self.restarts_left = match self.restarts_left.checked_sub(1) {
            Some(left) => left,
            None => {
                let failure = Failure::ProtocolViolation("IKE_SA_INIT goes round in circles");
                return Ok(self.doubt(failure, now));
            }
        };
        change(&mut self, &mut common.out.rng)?;
        self.retransmits_left = self.config.timers.retransmits_connecting;
        self.interval = self.config.timers.retransmit_first;
        self.next_at = now + self.interval;
        self.doubtful = None;
        self.send(common);
        Ok(Phase::ExpectInitResponse(self))
    }

    pub(super) fn handle(
        mut self: Box<Self>,
        common: &mut Common,
        path: Path,
        envelope: &Envelope<'_>,
        datagram: &[u8],
        now: Instant,
    ) -> Step {
        let header = envelope.header;
        let is_ours = header.exchange == Exchange::IkeSaInit
            && header.response
            && !header.initiator
            && header.spi_i == self.spi_i
            && header.message_id == MessageId(0)
            && path.remote == self.init_path.remote;
        let Body::Clear(body) = &envelope.body else { return Ok(Phase::ExpectInitResponse(self)) };
        if !is_ours {
            return Ok(Phase::ExpectInitResponse(self));
        }
        let payloads = match body.payloads().map_err(Failure::from).and_then(Payloads::sort) {
            Ok(payloads) => payloads,
            Err(failure) => return Ok(self.doubt(failure, now)),
        };
        if self.answers_earlier_request(&payloads) {
            return Ok(Phase::ExpectInitResponse(self));
        }
        self.round_trips += 1;
        if let Some(cookie) = payloads.notifies(NotifyType::Cookie).next() {
            // RFC 7296 §3.10.1: 1 to 64 octets.
            if cookie.data.is_empty() || cookie.data.len() > 64 {
                return Ok(self.doubt(Failure::ProtocolViolation("a COOKIE has 1 to 64 octets"), now));
            }
            let cookie = cookie.data.clone();
            return self.restart(common, now, |state, _| {
                state.cookie = Some(cookie);
                Ok(())
            });
        }
        if let Some(error) = payloads.error() {
            return self.refused(common, error, now);
        }
        match self.keys(path, header.spi_r, &payloads, datagram, now) {
            Ok(handshake) => handshake.start(common, now),
            Err(failure) => Ok(self.doubt(failure, now)),
        }
    }

    /// Whether this asks for what the current request already has: the cookie that it carries, or the group. The
    /// responder answers each copy of the request before, and the answers may come when we have moved on.
    fn answers_earlier_request(&self, payloads: &Payloads) -> bool {
        if let Some(cookie) = payloads.notifies(NotifyType::Cookie).next() {
            return self.cookie.as_ref() == Some(&cookie.data);
        }
        let wants_ours = |error: &Notify| {
            error.kind == NotifyType::InvalidKePayload
                && error.data == self.key_exchange.group().id().to_be_bytes()
        };
        self.regrouped && payloads.error().is_some_and(wants_ours)
    }

    fn refused(self: Box<Self>, common: &mut Common, error: &Notify, now: Instant) -> Step {
        if error.kind != NotifyType::InvalidKePayload {
            let failure = if error.kind == NotifyType::NoProposalChosen {
                Failure::NoProposalChosen
            } else {
                Failure::UnexpectedNotify(error.kind)
            };
            return Ok(self.doubt(failure, now));
        }
        let wanted = match error.data.as_slice() {
            &[high, low] => u16::from_be_bytes([high, low]),
            _ => return Ok(self.doubt(Failure::ProtocolViolation("INVALID_KE_PAYLOAD without a group"), now)),
        };
        let group = Group::from_id(wanted).filter(|group| self.config.ike.groups().contains(group));
        match group {
            // Only a group that we proposed: anything else would be a downgrade by whoever sent this.
            Some(group) if group != self.key_exchange.group() => self.restart(common, now, |state, rng| {
                state.key_exchange = KeyExchange::generate(group, rng)?;
                state.regrouped = true;
                Ok(())
            }),
            Some(_) | None => Ok(self.doubt(Failure::InvalidKe(wanted), now)),
        }
    }

    fn keys(
        &self,
        path: Path,
        spi_r: IkeSpi,
        payloads: &Payloads,
        response: &[u8],
        now: Instant,
    ) -> Result<Handshake, Failure> {
        let (Some(sa), Some((group, public)), Some(nonce_r)) = (&payloads.sa, &payloads.ke, &payloads.nonce)
        else {
            return Err(Failure::ProtocolViolation("IKE_SA_INIT response without SA, KE or Nr"));
        };
        if spi_r == IkeSpi::ZERO {
            return Err(Failure::ProtocolViolation("IKE_SA_INIT response with a zero SPI"));
        }
        let (suite, _) =
            self.config.ike.accept(sa).map_err(|_| {
                Failure::ProtocolViolation("the peer chose an IKE proposal that was not offered")
            })?;
        if *group != self.key_exchange.group().id() || suite.group != self.key_exchange.group() {
            return Err(Failure::ProtocolViolation("KE of another group than the chosen one"));
        }
        let shared = self.key_exchange.agree(public)?;
        let exchanged = Exchanged { nonce_i: &self.nonce, nonce_r, spi_i: self.spi_i, spi_r };
        let keys = IkeKeys::initial(suite, &shared, exchanged, true)?;
        let seen = Path { local: self.init_path.local, ..path };
        let nat = natd::detect(self.spi_i, spi_r, &seen, payloads).ok_or(Failure::NoNatTraversal)?;
        let fragmentation = payloads.has(NotifyType::Ikev2FragmentationSupported);
        let peer_hashes = payloads.notifies(NotifyType::SignatureHashAlgorithms).next().map(parse_hashes);
        Ok(Handshake {
            config: Arc::clone(&self.config),
            sa: IkeSa::new(true, (self.spi_i, spi_r), suite, keys, fragmentation, now).after_init(),
            material: AuthMaterial {
                init_request: self.request.clone(),
                init_response: response.to_vec(),
                nonce_i: self.nonce.clone(),
                nonce_r: nonce_r.clone(),
            },
            nat,
            peer_hashes,
            path: self.nat_path,
            round_trips: self.round_trips,
        })
    }

    fn doubt(mut self: Box<Self>, failure: Failure, now: Instant) -> Phase {
        self.doubtful.get_or_insert((now + defaults::INIT_ERROR_GRACE, failure));
        Phase::ExpectInitResponse(self)
    }

    pub(super) fn handle_timeout(mut self: Box<Self>, common: &mut Common, now: Instant) -> Step {
        if let Some((_, failure)) = self.doubtful.take_if(|(at, _)| *at <= now) {
            return Err(failure);
        }
        if now >= self.next_at {
            if self.retransmits_left == 0 {
                let port = self.init_path.remote.port();
                return Err(Failure::NoResponse { exchange: Exchange::IkeSaInit, port });
            }
            self.retransmits_left -= 1;
            self.interval = (self.interval * 2).min(defaults::RETRANSMIT_MAX);
            self.next_at = now + self.interval;
            common.out.queue.push_back(self.init_path.frame(&self.request));
        }
        Ok(Phase::ExpectInitResponse(self))
    }

    pub(super) fn retransmit_at(&self) -> Instant {
        self.next_at
    }

    pub(super) fn doubt_ends(&self) -> Option<Instant> {
        self.doubtful.as_ref().map(|(at, _)| *at)
    }
}

/// A random non-zero SPI.
pub(super) fn random_spi(rng: &mut Rng) -> IkeSpi {
    loop {
        let spi = IkeSpi(rng.u64());
        if spi != IkeSpi::ZERO {
            return spi;
        }
    }
}

/// A fresh nonce.
pub(super) fn random_nonce(rng: &mut Rng) -> Vec<u8> {
    let mut nonce = vec![0; defaults::NONCE_LEN];
    rng.fill(&mut nonce);
    nonce
}

/// Our SIGNATURE_HASH_ALGORITHMS (RFC 7427 §4, RFC 8420).
pub(super) fn hash_list() -> Vec<u8> {
    HashAlgorithm::ANNOUNCED.into_iter().flat_map(|hash| hash.number().to_be_bytes()).collect()
}

/// What to accept in the peer's AUTH. A peer without RFC 7427 has nothing but method 1 for RSA, whose hash is
/// SHA-1: nobody can forge one over our fresh nonce, so it is taken from such a peer alone.
pub(super) fn verify_policy(legacy_sha1: bool, peer_hashes: Option<&[HashAlgorithm]>) -> VerifyPolicy {
    VerifyPolicy { sha1: legacy_sha1 || peer_hashes.is_none(), hashes: HashAlgorithm::ANNOUNCED.to_vec() }
}

/// The peer's SIGNATURE_HASH_ALGORITHMS; unknown ones are ignored.
pub(super) fn parse_hashes(notify: &Notify) -> Vec<HashAlgorithm> {
    notify
        .data
        .chunks_exact(2)
        .filter_map(|pair| <[u8; 2]>::try_from(pair).ok())
        .filter_map(|pair| HashAlgorithm::from_number(u16::from_be_bytes(pair)))
        .collect()
}
