//! What is known of networks, as clients see it.

use std::time::Duration;

use evenkeel_ipc::{
    Blockage, Carrier, How, LearnedNetwork, Measured, NatLifetime, NetworkId, NetworkStatus, PathMtu,
    RememberedNetwork, Timestamp, Verdict, Verdicts,
};
use evenkeel_netprofile::defaults::KEEP_PERCENT;
use evenkeel_netprofile::ladder::{self, Transport};
use evenkeel_netprofile::memory::{Fingerprint, Network, NetworkProfile};
use evenkeel_netprofile::time::UnixSeconds;
use evenkeel_tunnel::Tunnel;

use crate::networks::Present;

/// The network under a tunnel.
pub(super) fn of_tunnel(tunnel: &Tunnel, present: Option<&Present>) -> NetworkStatus {
    let transport = tunnel.way().map(|way| way.transport);
    NetworkStatus {
        id: present.and_then(|present| present.fingerprint).map(id),
        label: present.map(|present| present.label.to_string()),
        transport: transport.map(carrier),
        fallback: transport.is_some_and(|transport| !transport.is_udp()),
        blockage: tunnel.blockage().map(blockage),
        learned: learned(tunnel.network_profile()),
    }
}

/// A remembered network; `present` is where we are.
pub(super) fn remembered(
    fingerprint: Fingerprint,
    network: &Network,
    present: Option<&Present>,
) -> RememberedNetwork {
    let profile = &network.profile;
    let keepalive = profile.lifetime.and_then(|lifetime| lifetime.lower_ms).map(|lower| {
        let kept = Duration::from_millis(lower.into()) * KEEP_PERCENT / 100;
        u32::try_from(kept.as_secs()).unwrap_or(u32::MAX)
    });
    RememberedNetwork {
        id: id(fingerprint),
        label: network.label.to_string(),
        last_seen: at(network.last_seen),
        present: present.and_then(|present| present.fingerprint) == Some(fingerprint),
        transport: profile.last_good.map(|last| carrier(last.transport)),
        keepalive_s: keepalive,
        connect_ms: profile
            .connect_times
            .median()
            .map(|time| u32::try_from(time.as_millis()).unwrap_or(u32::MAX)),
        portal_seen: profile.portal_seen.map(at),
        learned: learned(profile),
    }
}

/// The fingerprint that a client names.
pub(super) fn fingerprint(id: NetworkId) -> Option<Fingerprint> {
    id.to_string().parse().ok()
}

fn id(fingerprint: Fingerprint) -> NetworkId {
    // Both are 64 bits in 16 hexadecimal digits.
    fingerprint.to_string().parse().unwrap_or(NetworkId(0))
}

fn learned(profile: &NetworkProfile) -> LearnedNetwork {
    let seconds = |millis: u32| millis / 1000;
    LearnedNetwork {
        nat: profile.nat.map(|nat| nat.present),
        nat_lifetime_s: profile.lifetime.map(|lifetime| NatLifetime {
            lower: lifetime.lower_ms.map(seconds),
            upper: lifetime.upper_ms.map(seconds),
        }),
        path_mtu: PathMtu {
            up: profile.uplink.map(|mtu| mtu.size),
            down: profile.downlink.map(|mtu| mtu.size),
        },
        verdicts: verdicts(&profile.verdicts),
    }
}

fn verdicts(verdicts: &ladder::Verdicts) -> Verdicts {
    // Every field by name: a verdict that is added there is not to be left out here.
    let ladder::Verdicts { udp500, udp4500, esp_in_udp, tcp4500, tcp443, tls443, wireguard } = *verdicts;
    Verdicts {
        udp500: udp500.map(measured),
        udp4500: udp4500.map(measured),
        esp_in_udp: esp_in_udp.map(measured),
        tcp4500: tcp4500.map(measured),
        tcp443: tcp443.map(measured),
        tls443: tls443.map(measured),
        wireguard: wireguard.map(measured),
    }
}

fn measured(measured: ladder::Measured) -> Measured {
    Measured {
        verdict: match measured.verdict {
            ladder::Verdict::Open => Verdict::Open,
            ladder::Verdict::Blocked => Verdict::Blocked,
        },
        how: match measured.how {
            ladder::How::Answered => How::Answered,
            ladder::How::SilentWhileOthersAnswered => How::SilentWhileOthersAnswered,
            ladder::How::Refused => How::Refused,
        },
        at: at(measured.at),
    }
}

fn carrier(transport: Transport) -> Carrier {
    match transport {
        Transport::Udp4500 | Transport::Udp500 => Carrier::Udp,
        Transport::Tcp4500 => Carrier::Tcp4500,
        Transport::Tcp443 => Carrier::Tcp443,
        Transport::Tls443 => Carrier::Tls443,
        Transport::WireGuard => Carrier::Wireguard,
    }
}

fn blockage(blockage: ladder::Blockage) -> Blockage {
    match blockage {
        ladder::Blockage::Udp4500Blocked => Blockage::Udp4500Blocked,
        ladder::Blockage::UdpBlocked => Blockage::UdpBlocked,
        ladder::Blockage::EspBlocked => Blockage::EspBlocked,
        ladder::Blockage::NothingAnswers => Blockage::NothingAnswers,
    }
}

fn at(at: UnixSeconds) -> Timestamp {
    Timestamp::from_unix(at.0)
}
