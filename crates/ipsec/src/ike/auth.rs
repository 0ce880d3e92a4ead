//! IKE_AUTH as the initiator (RFC 7296 §1.2, §2.15, §2.16).
//!
//! Each waiting state is a struct of its own and consumes itself: no EAP payload can leave before the
//! gateway's AUTH was verified, because only [`ExpectEapRequest`] sends one and only a verified response
//! makes it.

use super::auth_data::{AuthMaterial, METHOD_SHARED_KEY, shared_key_auth, shared_key_matches};
use super::child::{self, FirstChild};
use super::config::{ClientConfig, LocalAuth, PeerAuth};
use super::defaults;
use super::delayed_check;
use super::established::{Established, Peer};
use super::event::{Configuration, Event, SignRequest};
use super::failure::{Failure, PeerAuthFailure};
use super::init::verify_policy;
use super::mobike::additional_addresses;
use super::natd::NatDetected;
use super::path::Path;
use super::payloads::{Payloads, status};
use super::sa::{IkeSa, Task};
use super::session::{Common, Phase, Step};
use crate::crypto::{
    CertificateCheck, HashAlgorithm, PeerRole, Secret, TrustAnchors, VerifyPolicy, choose_auth, same_name,
    verify_auth,
};
use crate::eap::{EapAction, EapPeer};
use crate::wire::{Cert, ConfigAttribute, ConfigPayload, ConfigType, Exchange, Id, NotifyType, Payload, Spi};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What every state of IKE_AUTH carries along.
pub(super) struct Handshake {
    pub config: Arc<ClientConfig>,
    pub sa: IkeSa,
    pub material: AuthMaterial,
    pub nat: NatDetected,
    pub peer_hashes: Option<Vec<HashAlgorithm>>,
    /// UDP/4500: IKE floats there whether or not a NAT was found, since ESP goes there in any case.
    pub path: Path,
    pub round_trips: u32,
}

/// Waits for the owner of the private key.
pub(super) struct ExpectSignature {
    pub shake: Handshake,
    choice_method: u8,
}

/// Waits for the first IKE_AUTH response.
pub(super) struct ExpectAuthResponse {
    pub shake: Handshake,
    child: FirstChild,
}

/// Waits for the next EAP request of a gateway that has authenticated itself.
pub(super) struct ExpectEapRequest {
    pub shake: Handshake,
    child: FirstChild,
    peer_id: Id,
    eap: EapPeer,
    rounds_left: u32,
}

/// Waits for the response that carries the gateway's AUTH of the EAP key.
pub(super) struct ExpectEapAuth {
    pub shake: Handshake,
    child: FirstChild,
    peer_id: Id,
    msk: Secret,
}

impl Handshake {
    pub(super) fn start(self, common: &mut Common, now: Instant) -> Step {
        common.out.path = self.path;
        match &self.config.auth {
            LocalAuth::Psk(psk) => {
                let octets = self.material.initiator_octets(&self.sa.keys, &self.config.local_id);
                let data = shared_key_auth(self.sa.suite.prf, psk, &octets);
                let auth = Payload::Auth { method: METHOD_SHARED_KEY, data: data.as_bytes().to_vec() };
                Ok(self.send_first(common, Some(auth), now))
            }
            LocalAuth::EapMschapv2 { .. } => Ok(self.send_first(common, None, now)),
            LocalAuth::Certificate { key, .. } => {
                let choice = choose_auth(*key, self.peer_hashes.as_deref());
                let octets = self.material.initiator_octets(&self.sa.keys, &self.config.local_id);
                let choice_method = choice.method;
                common.events.push_back(Event::SignAuth(SignRequest { choice, octets }));
                Ok(Phase::ExpectSignature(Box::new(ExpectSignature { shake: self, choice_method })))
            }
        }
    }

    /* IKE_AUTH { IDi, [CERT+], [CERTREQ], [IDr], [AUTH], [CP(CFG_REQUEST)], SAi2, TSi, TSr } --> */
    fn send_first(mut self, common: &mut Common, auth: Option<Payload>, now: Instant) -> Phase {
        let config = Arc::clone(&self.config);
        let child = FirstChild::new(&mut common.out.rng);
        let mut payloads = vec![Payload::IdI(config.local_id.clone())];
        if let LocalAuth::Certificate { chain, .. } = &config.auth {
            payloads.extend(chain.iter().map(|der| certificate(der)));
        }
        if let PeerAuth::Certificate { anchors } = &config.peer_auth {
            payloads.push(Payload::CertReq {
                encoding: Cert::X509_SIGNATURE,
                authorities: anchors.ca_key_hashes(),
            });
        }
        payloads.extend(config.remote_id.clone().map(Payload::IdR));
        payloads.extend(auth);
        if config.initial_contact {
            payloads.push(status(NotifyType::InitialContact, Vec::new()));
        }
        payloads.extend(configuration_request(&config));
        // In the message with the SA payload (RFC 4555 §3.1).
        if config.mobike {
            payloads.push(status(NotifyType::MobikeSupported, Vec::new()));
            payloads.push(delayed_check::supported());
        }
        payloads.push(Payload::Sa(config.esp.to_wire_without_ke(Spi::Esp(child.spi_in))));
        payloads.push(Payload::TsI(config.ts_local.clone()));
        payloads.push(Payload::TsR(config.ts_remote.clone()));
        self.request(common, &payloads, now);
        Phase::ExpectAuthResponse(Box::new(ExpectAuthResponse { shake: self, child }))
    }

    fn request(&mut self, common: &mut Common, payloads: &[Payload], now: Instant) {
        self.round_trips += 1;
        self.sa.request(&mut common.out, Exchange::IkeAuth, payloads, Task::Auth, &common.timers, now);
    }

    /// Verifies IDr, the certificate and AUTH; returns who the gateway is.
    fn verify_gateway(&self, common: &Common, payloads: &Payloads, now: Instant) -> Result<Id, Failure> {
        let (Some(id_r), Some((method, data))) = (&payloads.id_r, &payloads.auth) else {
            return Err(PeerAuthFailure::NoAuth.into());
        };
        if let Some(expected) = &self.config.remote_id
            && !same_identity(expected, id_r)
        {
            let (expected, got) = (expected.clone(), id_r.clone());
            return Err(PeerAuthFailure::WrongIdentity { expected, got }.into());
        }
        let octets = self.material.responder_octets(&self.sa.keys, id_r);
        match &self.config.peer_auth {
            PeerAuth::Psk(psk) => {
                if *method != METHOD_SHARED_KEY {
                    return Err(PeerAuthFailure::MethodMismatch { method: *method }.into());
                }
                if !shared_key_matches(self.sa.suite.prf, psk, &octets, data) {
                    return Err(PeerAuthFailure::PskMismatch.into());
                }
            }
            PeerAuth::Certificate { anchors } => {
                if *method == METHOD_SHARED_KEY {
                    return Err(PeerAuthFailure::MethodMismatch { method: *method }.into());
                }
                let policy = verify_policy(self.config.legacy_sha1, self.peer_hashes.as_deref());
                let expected = self.config.remote_id.as_ref().unwrap_or(id_r);
                let check = Certified { certs: &payloads.certs, anchors, expected, role: PeerRole::Gateway };
                check.verify(common, *method, data, &octets, &policy, now)?;
            }
        }
        Ok(id_r.clone())
    }

    /// The last response of IKE_AUTH: configuration and the first CHILD SA.
    fn finish(
        self,
        common: &mut Common,
        child: FirstChild,
        peer_id: Id,
        payloads: Payloads,
        now: Instant,
    ) -> Step {
        let Self { config, mut sa, material, nat, round_trips, .. } = self;
        if let Some(error) = payloads.error() {
            let failure = Failure::from_auth_notify(error.kind);
            if Failure::leaves_ike_sa(error.kind) {
                sa.parting_request(&mut common.out, &[Payload::Delete(crate::wire::Delete::Ike)]);
            }
            return Err(failure);
        }
        let configuration = configuration_reply(&payloads);
        let offer = child::Offer { ts_local: &config.ts_local, ts_remote: &config.ts_remote };
        let nonces = (material.nonce_i.as_slice(), material.nonce_r.as_slice());
        let installed = match child.complete(common, &sa, &payloads, offer, nonces, now) {
            Ok(installed) => installed,
            Err(failure) => {
                sa.parting_request(&mut common.out, &[Payload::Delete(crate::wire::Delete::Ike)]);
                return Err(failure);
            }
        };
        let reauthenticate_by = payloads.notifies(NotifyType::AuthLifetime).next().and_then(|notify| {
            let seconds = u32::from_be_bytes(<[u8; 4]>::try_from(notify.data.as_slice()).ok()?);
            Some(now + Duration::from_secs(u64::from(seconds)))
        });
        let mobike = config.mobike && payloads.has(NotifyType::MobikeSupported);
        let peer = Peer {
            id: peer_id,
            nat,
            mobike,
            delayed_checks: mobike && delayed_check::is_supported(&payloads),
            additional_addresses: additional_addresses(&payloads).unwrap_or_default(),
            round_trips,
            reauthenticate_by,
        };
        let mut established = Established::new(sa, peer, common, now);
        common.events.push_back(Event::Established(established.info(common)));
        if configuration != Configuration::default() {
            common.events.push_back(Event::Configured(configuration));
        }
        established.add_child(common, installed, None, true);
        Ok(Phase::Established(Box::new(established)))
    }

    /// Tells the gateway that its proof of identity was refused (RFC 7296 §2.21.2), and fails.
    fn distrust(mut self, common: &mut Common, failure: Failure) -> Step {
        let refusal = status(NotifyType::AuthenticationFailed, Vec::new());
        self.sa.parting_request(&mut common.out, &[refusal]);
        Err(failure)
    }
}

impl ExpectSignature {
    pub(super) fn provide(self, common: &mut Common, signature: Result<Vec<u8>, ()>, now: Instant) -> Step {
        let data = signature.map_err(|()| Failure::SignatureUnavailable)?;
        let auth = Payload::Auth { method: self.choice_method, data };
        Ok(self.shake.send_first(common, Some(auth), now))
    }
}

impl ExpectAuthResponse {
    pub(super) fn handle(self, common: &mut Common, payloads: Payloads, now: Instant) -> Step {
        let Self { shake, child } = self;
        if payloads.auth.is_none()
            && let Some(error) = payloads.error()
        {
            return Err(Failure::from_auth_notify(error.kind));
        }
        let peer_id = match shake.verify_gateway(common, &payloads, now) {
            Ok(id) => id,
            Err(failure) => return shake.distrust(common, failure),
        };
        let LocalAuth::EapMschapv2 { identity, password } = &shake.config.auth else {
            if payloads.eap.is_some() {
                let failure = Failure::ProtocolViolation("the gateway asks for EAP, the profile does not");
                return shake.distrust(common, failure);
            }
            return shake.finish(common, child, peer_id, payloads, now);
        };
        let Some(packet) = payloads.eap else {
            if let Some(error) = payloads.error() {
                return Err(Failure::from_auth_notify(error.kind));
            }
            return shake.distrust(common, Failure::ProtocolViolation("the gateway does not ask for EAP"));
        };
        let eap = EapPeer::new(identity.clone(), password.clone(), &mut common.out.rng);
        let rounds_left = defaults::EAP_ROUNDS;
        ExpectEapRequest { shake, child, peer_id, eap, rounds_left }.handle_packet(common, &packet, now)
    }
}

impl ExpectEapRequest {
    pub(super) fn handle(self, common: &mut Common, payloads: Payloads, now: Instant) -> Step {
        match payloads.eap {
            Some(packet) => self.handle_packet(common, &packet, now),
            None => Err(match payloads.error() {
                Some(error) => Failure::from_auth_notify(error.kind),
                None => Failure::ProtocolViolation("IKE_AUTH response without EAP"),
            }),
        }
    }

    fn handle_packet(mut self, common: &mut Common, packet: &[u8], now: Instant) -> Step {
        self.rounds_left = match self.rounds_left.checked_sub(1) {
            Some(left) => left,
            None => return Err(Failure::ProtocolViolation("EAP does not come to an end")),
        };
        match self.eap.handle(packet)? {
            EapAction::Reply(reply) => {
                self.shake.request(common, &[Payload::Eap(reply)], now);
                Ok(Phase::ExpectEapRequest(Box::new(self)))
            }
            EapAction::Success { msk } => {
                let Self { mut shake, child, peer_id, .. } = self;
                let octets = shake.material.initiator_octets(&shake.sa.keys, &shake.config.local_id);
                let data = shared_key_auth(shake.sa.suite.prf, &msk, &octets);
                let auth = Payload::Auth { method: METHOD_SHARED_KEY, data: data.as_bytes().to_vec() };
                shake.request(common, &[auth], now);
                Ok(Phase::ExpectEapAuth(Box::new(ExpectEapAuth { shake, child, peer_id, msk })))
            }
        }
    }
}

impl ExpectEapAuth {
    pub(super) fn handle(self, common: &mut Common, payloads: Payloads, now: Instant) -> Step {
        let Self { shake, child, peer_id, msk } = self;
        let Some((METHOD_SHARED_KEY, data)) = &payloads.auth else {
            return match payloads.error() {
                Some(error) => Err(Failure::from_auth_notify(error.kind)),
                None => shake.distrust(common, PeerAuthFailure::NoAuth.into()),
            };
        };
        let octets = shake.material.responder_octets(&shake.sa.keys, &peer_id);
        if !shared_key_matches(shake.sa.suite.prf, &msk, &octets, data) {
            return shake.distrust(common, PeerAuthFailure::EapKeyMismatch.into());
        }
        shake.finish(common, child, peer_id, payloads, now)
    }
}

/// A peer that authenticates by certificate.
pub(super) struct Certified<'a> {
    pub certs: &'a [Cert],
    pub anchors: &'a TrustAnchors,
    pub expected: &'a Id,
    pub role: PeerRole,
}

impl Certified<'_> {
    /// Checks the chain first, then AUTH with the leaf's key.
    pub(super) fn verify(
        &self,
        common: &Common,
        method: u8,
        data: &[u8],
        octets: &[u8],
        policy: &VerifyPolicy,
        now: Instant,
    ) -> Result<(), Failure> {
        let chain: Vec<Vec<u8>> = self
            .certs
            .iter()
            .filter(|cert| cert.encoding == Cert::X509_SIGNATURE)
            .map(|cert| cert.data.clone())
            .collect();
        let Some(leaf) = chain.first() else { return Err(PeerAuthFailure::NoCertificate.into()) };
        CertificateCheck {
            chain: &chain,
            anchors: self.anchors,
            expected_id: self.expected,
            now: common.wall_at(now),
            role: self.role,
        }
        .verify()
        .map_err(PeerAuthFailure::from)?;
        verify_auth(leaf, method, data, octets, policy).map_err(PeerAuthFailure::from)?;
        Ok(())
    }
}

/// Whether two identities are the same: names without regard to case, distinguished names without regard to how
/// their strings are encoded, everything else to the octet.
fn same_identity(a: &Id, b: &Id) -> bool {
    match (a, b) {
        (Id::Fqdn(a), Id::Fqdn(b)) | (Id::Email(a), Id::Email(b)) => a.eq_ignore_ascii_case(b),
        (Id::Dn(a), Id::Dn(b)) => a == b || same_name(a, b),
        (a, b) => a == b,
    }
}

/// A CERT payload of encoding 4.
pub(super) fn certificate(der: &[u8]) -> Payload {
    Payload::Cert(Cert { encoding: Cert::X509_SIGNATURE, data: der.to_vec() })
}

fn configuration_request(config: &ClientConfig) -> Option<Payload> {
    let mut attributes = Vec::new();
    let v4 = config.addresses.iter().find_map(|address| match address {
        IpAddr::V4(address) => Some(*address),
        IpAddr::V6(_) => None,
    });
    let v6 = config.addresses.iter().find_map(|address| match address {
        IpAddr::V4(_) => None,
        IpAddr::V6(address) => Some((*address, 128)),
    });
    if config.request_ipv4 {
        attributes.extend([
            ConfigAttribute::Ip4Address(v4),
            ConfigAttribute::Ip4Dns(None),
            ConfigAttribute::Ip4Subnet(None),
        ]);
    }
    if config.request_ipv6 {
        attributes.extend([
            ConfigAttribute::Ip6Address(v6),
            ConfigAttribute::Ip6Dns(None),
            ConfigAttribute::Ip6Subnet(None),
        ]);
    }
    if attributes.is_empty() {
        return None;
    }
    attributes.push(ConfigAttribute::DnsDomain(String::new()));
    Some(Payload::Config(ConfigPayload { kind: ConfigType::Request, attributes }))
}

fn configuration_reply(payloads: &Payloads) -> Configuration {
    let mut configuration = Configuration::default();
    let Some(ConfigPayload { kind: ConfigType::Reply, attributes }) = &payloads.config else {
        return configuration;
    };
    for attribute in attributes {
        match attribute {
            ConfigAttribute::Ip4Address(Some(ip)) if !ip.is_unspecified() => {
                configuration.addresses.push(((*ip).into(), 32));
            }
            // The prefix that a gateway sends is its pool's; only the one address is ours (RFC 7296 §3.15.3).
            ConfigAttribute::Ip6Address(Some((ip, _))) if !ip.is_unspecified() => {
                configuration.addresses.push(((*ip).into(), 128));
            }
            ConfigAttribute::Ip4Dns(Some(ip)) => configuration.dns.push((*ip).into()),
            ConfigAttribute::Ip6Dns(Some(ip)) => configuration.dns.push((*ip).into()),
            ConfigAttribute::Ip4Subnet(Some((ip, mask))) => {
                let prefix = u32::from(*mask).leading_ones().try_into().unwrap_or(32);
                configuration.subnets.push(((*ip).into(), prefix));
            }
            ConfigAttribute::Ip6Subnet(Some((ip, prefix))) => {
                configuration.subnets.push(((*ip).into(), (*prefix).min(128)));
            }
            ConfigAttribute::DnsDomain(domain) if !domain.is_empty() => {
                configuration.domains.push(domain.clone());
            }
            ConfigAttribute::Ip4Address(_)
            | ConfigAttribute::Ip4Netmask(_)
            | ConfigAttribute::Ip4Dns(None)
            | ConfigAttribute::Ip4Subnet(None)
            | ConfigAttribute::Ip6Address(_)
            | ConfigAttribute::Ip6Dns(None)
            | ConfigAttribute::Ip6Subnet(None)
            | ConfigAttribute::DnsDomain(_)
            | ConfigAttribute::ApplicationVersion(_)
            | ConfigAttribute::Other(..) => {}
        }
    }
    configuration
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::{EspProposals, IkeProposals};
    use crate::ike::Timers;

    #[test]
    fn a_distinguished_name_is_the_same_however_its_strings_are_encoded() {
        const PRINTABLE_STRING: u8 = 0x13;
        const UTF8_STRING: u8 = 0x0c;
        let Ok(Id::Dn(typed)) = "O=Example, CN=Gateway".parse() else { panic!("a distinguished name") };
        let from = if typed.contains(&UTF8_STRING) { UTF8_STRING } else { PRINTABLE_STRING };
        let to = PRINTABLE_STRING ^ UTF8_STRING ^ from;
        let sent: Vec<u8> = typed.iter().map(|octet| if *octet == from { to } else { *octet }).collect();
        assert_ne!(sent, typed);
        assert!(same_identity(&Id::Dn(typed.clone()), &Id::Dn(sent.clone())));
        let Ok(other) = "O=Example, CN=Another".parse() else { panic!("a distinguished name") };
        assert!(!same_identity(&other, &Id::Dn(sent)));
        assert!(!same_identity(&Id::KeyId(typed.clone()), &Id::Dn(typed)));
    }

    fn asking_for(addresses: Vec<IpAddr>) -> Vec<ConfigAttribute> {
        let config = ClientConfig {
            local_id: Id::Ipv4([192, 0, 2, 1].into()),
            remote_id: None,
            auth: LocalAuth::Psk(Secret::new("psk")),
            peer_auth: PeerAuth::Psk(Secret::new("psk")),
            ike: IkeProposals::modern(),
            esp: EspProposals::modern(),
            ts_local: Vec::new(),
            ts_remote: Vec::new(),
            request_ipv4: true,
            request_ipv6: true,
            addresses,
            initial_contact: false,
            mobike: true,
            timers: Timers::default(),
            fragment_size: 1280,
            legacy_sha1: false,
        };
        match configuration_request(&config) {
            Some(Payload::Config(ConfigPayload { kind: ConfigType::Request, attributes })) => attributes,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn addresses_that_are_wanted_back_are_asked_for_by_name() {
        let (v4, v6) = ([10, 20, 0, 7].into(), "fd10:20::7".parse().unwrap());
        let named = asking_for(vec![IpAddr::V6(v6), IpAddr::V4(v4), [10, 20, 0, 8].into()]);
        assert!(named.contains(&ConfigAttribute::Ip4Address(Some(v4))), "{named:?}");
        assert!(named.contains(&ConfigAttribute::Ip6Address(Some((v6, 128)))), "{named:?}");
        let any = asking_for(Vec::new());
        assert!(any.contains(&ConfigAttribute::Ip4Address(None)), "{any:?}");
        assert!(any.contains(&ConfigAttribute::Ip6Address(None)), "{any:?}");
    }
}
