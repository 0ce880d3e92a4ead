//! IKE_AUTH as the responder (RFC 7296 §1.2, §2.15, §2.16).

use super::config::{ResponderAuth, ResponderConfig};
use crate::crypto::{HashAlgorithm, PeerRole, Secret, choose_auth};
use crate::eap::{EapServer, EapServerAction};
use crate::ike::auth::{Certified, certificate};
use crate::ike::auth_data::{AuthMaterial, METHOD_SHARED_KEY, shared_key_auth, shared_key_matches};
use crate::ike::child::{Agreed, Built, narrow, random_spi};
use crate::ike::defaults;
use crate::ike::delayed_check;
use crate::ike::established::{Established, Peer};
use crate::ike::event::{Configuration, Event};
use crate::ike::failure::{Failure, PeerAuthFailure};
use crate::ike::init::verify_policy;
use crate::ike::mobike::{additional_addresses, nat_is_forbidden};
use crate::ike::natd::NatDetected;
use crate::ike::path::Path;
use crate::ike::payloads::{Payloads, status, unreadable};
use crate::ike::sa::{IkeSa, Incoming};
use crate::ike::session::{Common, Phase, Step};
use crate::wire::{
    ConfigAttribute, ConfigPayload, ConfigType, Delete, Envelope, Exchange, Id, NotifyType, Payload,
    Proposal, Spi, TrafficSelector,
};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

/// Waits for an IKE_AUTH request of a peer that has not authenticated.
pub(in crate::ike) struct ExpectAuthRequest {
    pub(in crate::ike) sa: IkeSa,
    config: Arc<ResponderConfig>,
    material: AuthMaterial,
    nat: NatDetected,
    peer_hashes: Option<Vec<HashAlgorithm>>,
    slot: u32,
    expires_at: Instant,
    round_trips: u32,
    stage: Stage,
}

enum Stage {
    First,
    Eap(Box<EapServer>, Wanted),
    EapAuth(Secret, Wanted),
    /// Refused; answers retransmissions until it expires.
    Refused(Option<Failure>),
}

/// What the first request asked for, kept through EAP.
struct Wanted {
    id_i: Id,
    id_r: Id,
    sa: Vec<Proposal>,
    ts_i: Vec<TrafficSelector>,
    ts_r: Vec<TrafficSelector>,
    config: Option<ConfigPayload>,
    tfc_supported: bool,
    mobike: bool,
    delayed_checks: bool,
    additional_addresses: Vec<IpAddr>,
}

/// What to answer, and what the session becomes.
enum Outcome {
    Continue(Vec<Payload>, Stage),
    Done(Vec<Payload>, Box<Finished>),
    Refuse(Vec<Payload>, Failure),
}

struct Finished {
    peer_id: Id,
    mobike: bool,
    delayed_checks: bool,
    additional_addresses: Vec<IpAddr>,
    built: Built,
    configuration: Configuration,
}

impl ExpectAuthRequest {
    pub(in crate::ike) fn new(
        config: Arc<ResponderConfig>,
        sa: IkeSa,
        material: AuthMaterial,
        nat: NatDetected,
        peer_hashes: Option<Vec<HashAlgorithm>>,
        slot: u32,
        now: Instant,
    ) -> Self {
        let expires_at = now + defaults::HALF_OPEN_LIFETIME;
        Self { sa, config, material, nat, peer_hashes, slot, expires_at, round_trips: 1, stage: Stage::First }
    }

    pub(in crate::ike) fn expires_at(&self) -> Instant {
        self.expires_at
    }

    pub(in crate::ike) fn handle_timeout(mut self: Box<Self>, now: Instant) -> Step {
        if now < self.expires_at {
            return Ok(Phase::ExpectAuthRequest(self));
        }
        Err(match &mut self.stage {
            Stage::Refused(failure) => failure.take().unwrap_or(Failure::PeerDead),
            Stage::First | Stage::Eap(..) | Stage::EapAuth(..) => Failure::PeerDead,
        })
    }

    pub(in crate::ike) fn handle(
        mut self: Box<Self>,
        common: &mut Common,
        path: Path,
        envelope: &Envelope<'_>,
        message: &[u8],
        now: Instant,
    ) -> Step {
        if !self.sa.owns(&envelope.header) {
            return Ok(Phase::ExpectAuthRequest(self));
        }
        let Incoming::Request { exchange, id, payloads } =
            self.sa.receive(&mut common.out, path, envelope, message)
        else {
            return Ok(Phase::ExpectAuthRequest(self));
        };
        common.out.path = path;
        self.round_trips += 1;
        let sorted = payloads.map_err(Failure::Malformed).and_then(Payloads::sort);
        let outcome = match (exchange, sorted) {
            (Exchange::IkeAuth, Ok(payloads)) => self.request(common, payloads, now),
            (Exchange::Informational, Ok(payloads))
                if payloads.has(NotifyType::AuthenticationFailed)
                    || payloads.deletes.contains(&Delete::Ike) =>
            {
                Outcome::Refuse(Vec::new(), Failure::PeerClosed)
            }
            (_, Ok(_)) => Outcome::Refuse(
                vec![status(NotifyType::InvalidSyntax, Vec::new())],
                Failure::ProtocolViolation("an exchange before IKE_AUTH"),
            ),
            (_, Err(failure)) => Outcome::Refuse(vec![unreadable(&failure)], failure),
        };
        match outcome {
            Outcome::Continue(answer, stage) => {
                self.sa.respond(&mut common.out, path, exchange, id, &answer);
                self.stage = stage;
                Ok(Phase::ExpectAuthRequest(self))
            }
            Outcome::Refuse(answer, failure) => {
                self.sa.respond(&mut common.out, path, exchange, id, &answer);
                self.stage = Stage::Refused(Some(failure));
                self.expires_at = now + defaults::INIT_ERROR_GRACE * 10;
                Ok(Phase::ExpectAuthRequest(self))
            }
            Outcome::Done(answer, finished) => {
                self.sa.respond(&mut common.out, path, exchange, id, &answer);
                let Finished { peer_id, mobike, delayed_checks, additional_addresses, built, configuration } =
                    *finished;
                let peer = Peer {
                    id: peer_id,
                    nat: self.nat,
                    mobike,
                    delayed_checks,
                    additional_addresses,
                    round_trips: self.round_trips,
                    reauthenticate_by: None,
                };
                let mut established = Established::new(self.sa, peer, common, now);
                common.events.push_back(Event::Established(established.info(common)));
                common.events.push_back(Event::Configured(configuration));
                established.add_child(common, built, None, true);
                Ok(Phase::Established(Box::new(established)))
            }
        }
    }

    fn request(&mut self, common: &mut Common, payloads: Payloads, now: Instant) -> Outcome {
        match std::mem::replace(&mut self.stage, Stage::Refused(None)) {
            Stage::First => self.first(common, payloads, now),
            Stage::Eap(mut eap, wanted) => {
                let Some(packet) = payloads.eap else {
                    return refuse(NotifyType::InvalidSyntax, Failure::ProtocolViolation("no EAP payload"));
                };
                match eap.handle(&packet) {
                    EapServerAction::Send(packet) => {
                        Outcome::Continue(vec![Payload::Eap(packet)], Stage::Eap(eap, wanted))
                    }
                    EapServerAction::Done { packet, msk, .. } => {
                        Outcome::Continue(vec![Payload::Eap(packet)], Stage::EapAuth(msk, wanted))
                    }
                    EapServerAction::Failed { packet } => {
                        Outcome::Refuse(vec![Payload::Eap(packet)], Failure::AuthenticationRejected)
                    }
                }
            }
            Stage::EapAuth(msk, wanted) => {
                let octets = self.material.initiator_octets(&self.sa.keys, &wanted.id_i);
                match &payloads.auth {
                    Some((METHOD_SHARED_KEY, data))
                        if shared_key_matches(self.sa.suite.prf, &msk, &octets, data) => {}
                    Some(_) | None => return denied(PeerAuthFailure::EapKeyMismatch.into()),
                }
                let octets = self.material.responder_octets(&self.sa.keys, &wanted.id_r);
                let data = shared_key_auth(self.sa.suite.prf, &msk, &octets).as_bytes().to_vec();
                let auth = self.spoiled(common, METHOD_SHARED_KEY, data);
                self.finish(common, vec![auth], wanted, now)
            }
            Stage::Refused(failure) => {
                let failure = failure.unwrap_or(Failure::ProtocolViolation("refused before"));
                refuse(NotifyType::AuthenticationFailed, failure)
            }
        }
    }

    fn first(&mut self, common: &mut Common, payloads: Payloads, now: Instant) -> Outcome {
        let (Some(id_i), Some(sa), Some(ts_i), Some(ts_r)) =
            (payloads.id_i.clone(), payloads.sa.clone(), payloads.ts_i.clone(), payloads.ts_r.clone())
        else {
            let failure = Failure::ProtocolViolation("IKE_AUTH without IDi, SA or traffic selectors");
            return refuse(NotifyType::InvalidSyntax, failure);
        };
        let id_r = self.config.local_id.clone();
        let tfc_supported = !payloads.has(NotifyType::EspTfcPaddingNotSupported);
        let mobike = payloads.has(NotifyType::MobikeSupported) && !common.faults.no_mobike;
        let wanted = Wanted {
            id_i,
            id_r,
            sa,
            ts_i,
            ts_r,
            config: payloads.config.clone(),
            tfc_supported,
            mobike,
            // Without MOBIKE a request along another path moves us.
            delayed_checks: mobike
                && delayed_check::is_supported(&payloads)
                && !common.faults.no_delayed_checks,
            additional_addresses: additional_addresses(&payloads).unwrap_or_default(),
        };
        if wanted.mobike && nat_is_forbidden(&payloads, common.out.path) {
            let failure = Failure::UnexpectedNotify(NotifyType::NoNatsAllowed);
            return refuse(NotifyType::UnexpectedNatDetected, failure);
        }
        let is_eap = payloads.auth.is_none();
        if is_eap && self.config.peers.eap_users.is_empty() {
            return denied(PeerAuthFailure::NoAuth.into());
        }
        if !is_eap && let Err(failure) = self.verify(common, &payloads, &wanted.id_i, now) {
            return denied(failure);
        }
        let mut answer = vec![Payload::IdR(wanted.id_r.clone())];
        match self.prove(common, &wanted) {
            Ok(proof) => answer.extend(proof),
            Err(failure) => return denied(failure),
        }
        if !is_eap {
            return self.finish(common, answer, wanted, now);
        }
        let users = Arc::clone(&self.config);
        let lookup = move |name: &str| {
            users.peers.eap_users.iter().find(|(user, _)| user == name).map(|(_, secret)| secret.clone())
        };
        let eap = EapServer::new("practice gateway", &mut common.out.rng, lookup);
        answer.push(Payload::Eap(eap.start()));
        Outcome::Continue(answer, Stage::Eap(Box::new(eap), wanted))
    }

    fn psk(&self, id_i: &Id) -> Option<&Secret> {
        let psks = &self.config.peers.psks;
        let named = psks.iter().find(|(id, _)| id.as_ref() == Some(id_i));
        named.or_else(|| psks.iter().find(|(id, _)| id.is_none())).map(|(_, psk)| psk)
    }

    fn verify(&self, common: &Common, payloads: &Payloads, id_i: &Id, now: Instant) -> Result<(), Failure> {
        let Some((method, data)) = &payloads.auth else { return Err(PeerAuthFailure::NoAuth.into()) };
        let octets = self.material.initiator_octets(&self.sa.keys, id_i);
        if *method == METHOD_SHARED_KEY {
            let psk = self.psk(id_i).ok_or(PeerAuthFailure::MethodMismatch { method: *method })?;
            if shared_key_matches(self.sa.suite.prf, psk, &octets, data) {
                return Ok(());
            }
            return Err(PeerAuthFailure::PskMismatch.into());
        }
        let anchors =
            self.config.peers.anchors.as_ref().ok_or(PeerAuthFailure::MethodMismatch { method: *method })?;
        let policy = verify_policy(self.config.legacy_sha1, self.peer_hashes.as_deref());
        let check = Certified { certs: &payloads.certs, anchors, expected: id_i, role: PeerRole::Client };
        check.verify(common, *method, data, &octets, &policy, now)
    }

    /// CERT and AUTH of the responder.
    fn prove(&self, common: &Common, wanted: &Wanted) -> Result<Vec<Payload>, Failure> {
        let octets = self.material.responder_octets(&self.sa.keys, &wanted.id_r);
        match &self.config.auth {
            ResponderAuth::Psk => {
                let psk = self.psk(&wanted.id_i).ok_or(Failure::SignatureUnavailable)?;
                let data = shared_key_auth(self.sa.suite.prf, psk, &octets).as_bytes().to_vec();
                Ok(vec![self.spoiled(common, METHOD_SHARED_KEY, data)])
            }
            ResponderAuth::Certificate { chain, key } => {
                let choice = choose_auth(key.kind(), self.peer_hashes.as_deref());
                let data = key.sign(choice, &octets).map_err(|_| Failure::SignatureUnavailable)?;
                let mut proof: Vec<Payload> = chain.iter().map(|der| certificate(der)).collect();
                proof.push(self.spoiled(common, choice.method, data));
                Ok(proof)
            }
        }
    }

    fn spoiled(&self, common: &Common, method: u8, mut data: Vec<u8>) -> Payload {
        if common.faults.bad_auth
            && let Some(last) = data.last_mut()
        {
            *last ^= 1;
        }
        Payload::Auth { method, data }
    }

    fn finish(&self, common: &mut Common, mut answer: Vec<Payload>, wanted: Wanted, now: Instant) -> Outcome {
        let child_refused = |mut answer: Vec<Payload>, kind, failure| {
            answer.push(status(kind, Vec::new()));
            Outcome::Refuse(answer, failure)
        };
        if let Some(kind) = common.faults.reject_child {
            return child_refused(answer, kind, Failure::UnexpectedNotify(kind));
        }
        let (reply, configuration) = match self.lease(&wanted) {
            Ok(lease) => lease,
            Err(kind) => return child_refused(answer, kind, Failure::UnexpectedNotify(kind)),
        };
        let Some((mut proposal, suite, _, spi)) = common.esp.select(&wanted.sa, false) else {
            return child_refused(answer, NotifyType::NoProposalChosen, Failure::ChildNoProposal);
        };
        let Spi::Esp(spi_out) = spi else {
            let failure = Failure::ProtocolViolation("SA without an ESP SPI");
            return child_refused(answer, NotifyType::InvalidSyntax, failure);
        };
        // A peer with an assigned address sends from that address alone.
        let assigned: Vec<TrafficSelector> = configuration
            .addresses
            .iter()
            .filter_map(|&(ip, prefix)| TrafficSelector::from_cidr(ip, prefix))
            .collect();
        let ts_remote =
            if assigned.is_empty() { wanted.ts_i.clone() } else { narrow(&wanted.ts_i, &assigned) };
        let mut ts_local = narrow(&wanted.ts_r, &self.config.ts_local);
        if ts_local.is_empty() || ts_remote.is_empty() {
            return child_refused(answer, NotifyType::TsUnacceptable, Failure::TsUnacceptable);
        }
        let spi_in = random_spi(&mut common.out.rng);
        proposal.spi = Spi::Esp(spi_in);
        let keys = self.sa.keys.child(suite, None, &self.material.nonce_i, &self.material.nonce_r, false);
        let agreed = Agreed {
            spi_in,
            spi_out,
            suite,
            group: None,
            keys,
            ts_local: ts_local.clone(),
            ts_remote: ts_remote.clone(),
            tfc_supported: wanted.tfc_supported,
        };
        let built = match agreed.build(common, now) {
            Ok(built) => built,
            Err(failure) => return child_refused(answer, NotifyType::NoProposalChosen, failure),
        };
        if common.faults.wrong_ts {
            ts_local = vec![TrafficSelector::any_v4(), TrafficSelector::any_v6()];
            ts_local.extend(TrafficSelector::from_cidr([203, 0, 113, 0].into(), 24));
        }
        answer.extend(reply);
        answer.extend([Payload::Sa(vec![proposal]), Payload::TsI(ts_remote), Payload::TsR(ts_local)]);
        if common.faults.no_tfc {
            answer.push(status(NotifyType::EspTfcPaddingNotSupported, Vec::new()));
        }
        if wanted.mobike {
            answer.push(status(NotifyType::MobikeSupported, Vec::new()));
        }
        if wanted.delayed_checks {
            answer.push(delayed_check::supported());
        }
        if let Some(lifetime) = common.faults.auth_lifetime {
            let seconds = u32::try_from(lifetime.as_secs()).unwrap_or(u32::MAX);
            answer.push(status(NotifyType::AuthLifetime, seconds.to_be_bytes().to_vec()));
        }
        let Wanted { id_i: peer_id, mobike, delayed_checks, additional_addresses, .. } = wanted;
        Outcome::Done(
            answer,
            Box::new(Finished {
                peer_id,
                mobike,
                delayed_checks,
                additional_addresses,
                built,
                configuration,
            }),
        )
    }

    /// CP(CFG_REPLY) for a CFG_REQUEST.
    fn lease(&self, wanted: &Wanted) -> Result<(Option<Payload>, Configuration), NotifyType> {
        let mut configuration = Configuration::default();
        let Some(ConfigPayload { kind: ConfigType::Request, attributes: requested }) = &wanted.config else {
            return Ok((None, configuration));
        };
        let pool = &self.config.pool;
        let mut attributes = Vec::new();
        let wants_v4 = requested.iter().any(|a| matches!(a, ConfigAttribute::Ip4Address(_)));
        let wants_v6 = requested.iter().any(|a| matches!(a, ConfigAttribute::Ip6Address(_)));
        if wants_v4 && let Some(ip) = pool.address_v4(self.slot) {
            attributes.push(ConfigAttribute::Ip4Address(Some(ip)));
            configuration.addresses.push((ip.into(), 32));
        }
        if wants_v6 && let Some(ip) = pool.address_v6(self.slot) {
            attributes.push(ConfigAttribute::Ip6Address(Some((ip, 128))));
            configuration.addresses.push((ip.into(), 128));
        }
        if (wants_v4 || wants_v6) && configuration.addresses.is_empty() {
            return Err(NotifyType::InternalAddressFailure);
        }
        for ip in &pool.dns {
            attributes.push(match ip {
                IpAddr::V4(ip) => ConfigAttribute::Ip4Dns(Some(*ip)),
                IpAddr::V6(ip) => ConfigAttribute::Ip6Dns(Some(*ip)),
            });
        }
        for &(ip, prefix) in &pool.subnets {
            attributes.push(match ip {
                IpAddr::V4(ip) => {
                    let mask = u32::MAX.checked_shl(32 - u32::from(prefix.min(32))).unwrap_or(0);
                    ConfigAttribute::Ip4Subnet(Some((ip, mask.into())))
                }
                IpAddr::V6(ip) => ConfigAttribute::Ip6Subnet(Some((ip, prefix))),
            });
        }
        attributes.extend(pool.domains.iter().cloned().map(ConfigAttribute::DnsDomain));
        configuration.dns = pool.dns.clone();
        configuration.subnets = pool.subnets.clone();
        configuration.domains = pool.domains.clone();
        Ok((Some(Payload::Config(ConfigPayload { kind: ConfigType::Reply, attributes })), configuration))
    }
}

fn refuse(kind: NotifyType, failure: Failure) -> Outcome {
    Outcome::Refuse(vec![status(kind, Vec::new())], failure)
}

fn denied(failure: Failure) -> Outcome {
    refuse(NotifyType::AuthenticationFailed, failure)
}
