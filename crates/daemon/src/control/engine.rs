//! From a profile to what the engine runs on.

use std::sync::Arc;

use evenkeel_ipc::RequestError;
use evenkeel_ipsec::crypto::{
    EspProposals, IkeProposals, Secret as KeyMaterial, SigningKey, TrustAnchors, subject_dn,
};
use evenkeel_ipsec::ike::{ClientConfig, LocalAuth, PeerAuth, Timers, defaults};
use evenkeel_ipsec::wire::{Id, TrafficSelector};
use evenkeel_netprofile::ladder::Transport;
use evenkeel_profile::{
    Auth, Cidr, EspOptions, Fallback, Identity, IkeOptions, Profile, Secret, SecretKind, Secrets, Trust,
};
use evenkeel_tunnel::{GatewayPorts, Overrides, PeerNetwork, TunnelConfig};

use super::machine::{PeerReach, Reach};
use crate::transport::TlsClient;
use crate::wireguard::{PeerConfigError, peer_config};

/// Everything that a connection is started with.
pub struct Engine {
    /// For the tunnel.
    pub tunnel: TunnelConfig,
    /// Where the gateway listens.
    pub reach: Reach,
    /// What signs, if we authenticate by certificate.
    pub key: Option<SigningKey>,
}

impl Engine {
    /// Translates a profile and its secrets. `roots` gives the system's trusted certificates, as DER, when they are
    /// asked for.
    ///
    /// # Errors
    /// Names the key of the profile that can't be used.
    pub fn new(
        profile: &Profile,
        secrets: &Secrets,
        roots: impl Fn() -> Vec<Vec<u8>>,
    ) -> Result<Self, RequestError> {
        let (auth, peer_auth, key) = authentication(&profile.auth, secrets, &roots)?;
        let named = profile.local_identity().map(|identity| id(identity, "local_id")).transpose()?;
        let subject = match &profile.auth {
            Auth::Certificate { chain, .. } => {
                let leaf = chain.as_slice().first();
                leaf.and_then(|leaf| subject_dn(leaf.as_der()).ok()).map(Id::Dn)
            }
            Auth::EapMschapv2 { .. } | Auth::Psk => None,
        };
        let local_id = named.or(subject);
        let identify_by_address = local_id.is_none();
        let (ts_local, ts_remote) = (
            selectors(&profile.tunnel.local_ts, "tunnel.local_ts")?,
            selectors(&profile.tunnel.remote_ts, "tunnel.remote_ts")?,
        );
        let carries = |v6: bool| ts_remote.iter().any(|ts| ts.start.is_ipv6() == v6);
        let client = ClientConfig {
            local_id: local_id.unwrap_or(Id::Ipv4(std::net::Ipv4Addr::UNSPECIFIED)),
            remote_id: Some(id(&profile.remote_id, "remote_id")?),
            auth,
            peer_auth,
            ike: ike_proposals(&profile.ike, profile.legacy)?,
            esp: esp_proposals(&profile.esp, profile.legacy)?,
            request_ipv4: carries(false),
            request_ipv6: carries(true),
            ts_local,
            ts_remote,
            addresses: Vec::new(),
            initial_contact: false,
            mobike: true,
            timers: timers(profile),
            fragment_size: defaults::FRAGMENT_SIZE,
            legacy_sha1: profile.legacy,
        };
        let overrides = Overrides {
            dns: profile.tunnel.dns.clone(),
            domains: profile.tunnel.domains.iter().map(|domain| domain.as_str().to_owned()).collect(),
            mtu: profile.tunnel.mtu,
        };
        let fallbacks = fallbacks(profile);
        let tls = fallbacks.contains(&Transport::Tls443).then(|| TlsClient::of_profile(profile, &roots));
        let reach = Reach {
            udp: profile.gateway_ports.udp.map_or(GatewayPorts::STANDARD, GatewayPorts::single),
            tcp: tcp_port(profile).unwrap_or(GatewayPorts::STANDARD.nat),
            tls: tls.transpose().map_err(|error| unusable("fallback.tls", &error))?,
            peer: None,
        };
        let (network, peer) = wireguard(profile, secrets)?.unzip();
        Ok(Self {
            tunnel: TunnelConfig {
                client: Arc::new(client),
                identify_by_address,
                overrides,
                fallbacks,
                peer: network,
            },
            reach: Reach { peer: peer.map(Arc::new), ..reach },
            key,
        })
    }
}

/// The gateway's TCP port other than the Web's.
fn tcp_port(profile: &Profile) -> Option<u16> {
    profile.tcp_ports().into_iter().find(|port| *port != Fallback::TLS_PORT)
}

/// What may carry the connection where UDP does not get through.
fn fallbacks(profile: &Profile) -> Vec<Transport> {
    let other = tcp_port(profile).map(|_| Transport::Tcp4500);
    let web = profile.tcp_ports().contains(&Fallback::TLS_PORT).then(|| {
        if profile.fallback.is_tls(Fallback::TLS_PORT) { Transport::Tls443 } else { Transport::Tcp443 }
    });
    other.into_iter().chain(web).collect()
}

/// The WireGuard peer to fall back to, if the profile has one and its key has been kept. A key that is none is an error:
/// whoever relies on the fallback is to hear of it before it is needed.
fn wireguard(profile: &Profile, secrets: &Secrets) -> Result<Option<(PeerNetwork, PeerReach)>, RequestError> {
    let Some(peer) = &profile.wireguard else { return Ok(None) };
    if secrets.of(SecretKind::WireguardPrivateKey).is_none() {
        tracing::warn!(
            "the private key for the WireGuard peer is missing: the connection does without that peer"
        );
        return Ok(None);
    }
    let config = peer_config(peer, secrets).map_err(|error| {
        let key = match error {
            PeerConfigError::Secret(SecretKind::WireguardPresharedKey) => "wireguard.preshared_key",
            PeerConfigError::Secret(_) => "wireguard.private_key",
            PeerConfigError::Prefix(_) => "wireguard.allowed_ips",
        };
        unusable(key, &error)
    })?;
    let network = PeerNetwork {
        addresses: peer.addresses().to_vec(),
        remote: peer.allowed_ips().iter().map(|network| (network.network(), network.prefix())).collect(),
        dns: peer.dns().to_vec(),
    };
    Ok(Some((network, PeerReach { endpoint: peer.endpoint().clone(), config })))
}

fn authentication(
    auth: &Auth,
    secrets: &Secrets,
    roots: impl Fn() -> Vec<Vec<u8>>,
) -> Result<(LocalAuth, PeerAuth, Option<SigningKey>), RequestError> {
    let secret = |kind: SecretKind| {
        secrets
            .of(kind)
            .filter(|secret| !secret.is_empty())
            .map(Secret::expose)
            .ok_or(RequestError::SecretNeeded { secret: kind })
    };
    match auth {
        Auth::Psk => {
            let psk = KeyMaterial::new(secret(SecretKind::Psk)?.as_bytes());
            Ok((LocalAuth::Psk(psk.clone()), PeerAuth::Psk(psk), None))
        }
        Auth::EapMschapv2 { identity, trust } => {
            let password = KeyMaterial::new(secret(SecretKind::Password)?.as_bytes());
            let identity = identity.as_str().to_owned();
            Ok((LocalAuth::EapMschapv2 { identity, password }, by_certificate(trust, roots)?, None))
        }
        Auth::Certificate { chain, trust } => {
            let key = SigningKey::from_pem(secret(SecretKind::PrivateKey)?.as_bytes())
                .map_err(|error| unusable("auth.key", &error))?;
            let chain: Vec<Vec<u8>> = chain.as_slice().iter().map(|cert| cert.as_der().to_vec()).collect();
            if !chain.first().is_some_and(|leaf| key.belongs_to(leaf)) {
                return Err(unusable("auth.key", &"the private key does not belong to the certificate"));
            }
            let local = LocalAuth::Certificate { chain, key: key.kind() };
            Ok((local, by_certificate(trust, roots)?, Some(key)))
        }
    }
}

fn by_certificate(trust: &Trust, roots: impl Fn() -> Vec<Vec<u8>>) -> Result<PeerAuth, RequestError> {
    let mut named: Vec<Vec<u8>> = trust.ca().iter().map(|ca| ca.as_der().to_vec()).collect();
    let anchors = if trust.system() {
        // One unreadable root of the system's must not cost all others; the profile's own were checked at import.
        named.extend(roots());
        TrustAnchors::from_readable_der(named)
    } else {
        TrustAnchors::from_der(named).map_err(|error| unusable("trust.ca", &error))?
    };
    if anchors.is_empty() {
        return Err(unusable("trust", &"no certification authority is trusted"));
    }
    Ok(PeerAuth::Certificate { anchors: Arc::new(anchors) })
}

fn id(identity: &Identity, key: &str) -> Result<Id, RequestError> {
    identity.as_str().parse().map_err(|error| unusable(key, &error))
}

/// Without any, everything is asked for: the gateway narrows that to what it serves.
fn selectors(networks: &[Cidr], key: &str) -> Result<Vec<TrafficSelector>, RequestError> {
    if networks.is_empty() {
        return Ok(vec![TrafficSelector::any_v4(), TrafficSelector::any_v6()]);
    }
    let selector = |network: &Cidr| {
        TrafficSelector::from_cidr(network.network(), network.prefix())
            .ok_or_else(|| unusable(key, &format_args!("{network} is no network")))
    };
    networks.iter().map(selector).collect()
}

fn ike_proposals(options: &IkeOptions, legacy: bool) -> Result<IkeProposals, RequestError> {
    const KEY: &str = "ike.proposals";
    let parsed = options.proposals.iter().map(|text| text.as_str().parse());
    let named = IkeProposals(parsed.collect::<Result<_, _>>().map_err(|error| unusable(KEY, &error))?);
    if named.is_legacy() && !legacy {
        return Err(unusable(KEY, &"SHA-1 and group 2 need legacy = true"));
    }
    Ok(match (named.0.is_empty(), legacy) {
        (false, _) => named,
        (true, false) => IkeProposals::modern(),
        (true, true) => IkeProposals::with_legacy(),
    })
}

fn esp_proposals(options: &EspOptions, legacy: bool) -> Result<EspProposals, RequestError> {
    const KEY: &str = "esp.proposals";
    let parsed = options.proposals.iter().map(|text| text.as_str().parse());
    let named = EspProposals(parsed.collect::<Result<_, _>>().map_err(|error| unusable(KEY, &error))?);
    if named.is_legacy() && !legacy {
        return Err(unusable(KEY, &"SHA-1 and group 2 need legacy = true"));
    }
    let mut proposals = match (named.0.is_empty(), legacy) {
        (false, _) => named,
        (true, false) => EspProposals::modern(),
        (true, true) => EspProposals::with_legacy(),
    };
    match options.pfs {
        None => {}
        Some(true) => proposals.0.retain(|proposal| !proposal.groups.is_empty()),
        Some(false) => {
            proposals.0.iter_mut().for_each(|proposal| proposal.groups.clear());
            proposals.0.dedup();
        }
    }
    if proposals.0.is_empty() {
        return Err(unusable("esp.pfs", &"no ESP proposal names a key exchange group"));
    }
    Ok(proposals)
}

fn timers(profile: &Profile) -> Timers {
    let seconds = |given: Option<u32>| given.map(|s| std::time::Duration::from_secs(s.into()));
    let default = Timers::default();
    Timers {
        ike_rekey: seconds(profile.timers.ike_rekey_s).or(default.ike_rekey),
        child_rekey: seconds(profile.timers.child_rekey_s).or(default.child_rekey),
        dpd_after: seconds(profile.timers.dpd_s).or(default.dpd_after),
        ..default
    }
}

fn unusable(key: &str, why: &dyn std::fmt::Display) -> RequestError {
    RequestError::ProfileUnusable { key: key.to_owned(), detail: why.to_string() }
}
