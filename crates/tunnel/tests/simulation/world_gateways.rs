//! The gateway's side of the world, and what both sides propose.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Instant;

use super::WALL;
use evenkeel_ipsec::crypto::{EspProposals, IkeProposals, Secret};
use evenkeel_ipsec::ike::{PeerPolicy, Pool, Responder, ResponderAuth, ResponderConfig, Timers};
use evenkeel_ipsec::wire::{Id, TrafficSelector};

pub(super) fn ike_proposals() -> IkeProposals {
    IkeProposals(vec!["aes256gcm16-prfsha256-x25519".parse().unwrap()])
}

pub(super) fn esp_proposals() -> EspProposals {
    EspProposals(vec!["aes256gcm16".parse().unwrap()])
}

pub(crate) fn responder(seed: u8, now: Instant) -> Responder {
    responder_naming(true, seed, now)
}

pub(super) fn responder_naming(server: bool, seed: u8, now: Instant) -> Responder {
    let config = ResponderConfig {
        local_id: Id::Fqdn("vpn.example.org".into()),
        auth: ResponderAuth::Psk,
        peers: PeerPolicy { psks: vec![(None, Secret::new("a psk"))], ..PeerPolicy::default() },
        ike: ike_proposals(),
        esp: esp_proposals(),
        ts_local: vec![TrafficSelector::from_cidr(Ipv4Addr::new(10, 10, 0, 0).into(), 16).unwrap()],
        pool: Pool {
            v4: Some((Ipv4Addr::new(10, 9, 0, 1), 1000)),
            dns: server.then_some(IpAddr::V4(Ipv4Addr::new(10, 10, 0, 1))).into_iter().collect(),
            domains: vec!["office.example".into()],
            ..Pool::default()
        },
        timers: Timers { ike_rekey: None, child_rekey: None, dpd_after: None, ..Timers::default() },
        cookie_threshold: usize::MAX,
        fragment_size: 1280,
        legacy_sha1: false,
    };
    Responder::new(config, [seed.wrapping_add(100); 32], WALL, now)
}
