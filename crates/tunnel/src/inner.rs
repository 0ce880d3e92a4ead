//! The network inside the tunnel, as this machine has to be configured for it.

use std::net::IpAddr;

use evenkeel_ipsec::crypto::{Encr, EspSuite};
use evenkeel_ipsec::ike::{ChildSaInfo, Configuration};
use evenkeel_netprofile::overhead::{
    Encapsulation, EspShape, Family, IPV6_MIN_MTU, tcp_mss, wireguard_inner_mtu,
};

use crate::config::{Overrides, PeerNetwork};
use crate::event::OpenedPath;
use crate::sizes::PathSizes;

/// Addresses, routes, DNS and MTU of a tunnel that is up.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct InnerNetwork {
    /// Our addresses with their prefix lengths.
    pub addresses: Vec<(IpAddr, u8)>,
    /// What goes through the tunnel: TSr as networks.
    pub remote: Vec<(IpAddr, u8)>,
    /// DNS servers.
    pub dns: Vec<IpAddr>,
    /// Domains that they answer for; with none, all.
    pub domains: Vec<String>,
    /// The gateway's outer addresses, in use or not, which must not be routed into the tunnel: a connection that moves
    /// from one to another changes no route.
    pub gateways: Vec<IpAddr>,
    /// MTU of the interface.
    pub mtu: u16,
    /// The largest inner packet that crosses the path whole. The interface's MTU may be larger, since systems take IPv6
    /// from one with less than 1280.
    pub whole: u16,
    /// Whether senders are to be told of [`whole`](Self::whole), who remember it: not while it is only what was known before
    /// this path was measured.
    pub whole_is_told: bool,
    /// The largest inner packet that crosses the path whole on its way here, of which far ends are to be told; `None` while
    /// that has yet to be measured.
    pub from_afar: Option<u16>,
    /// TCP MSS for inner IPv4.
    pub mss_v4: u16,
    /// TCP MSS for inner IPv6.
    pub mss_v6: u16,
}

impl InnerNetwork {
    pub(crate) fn new(
        assigned: &Configuration,
        child: &ChildSaInfo,
        path: &OpenedPath,
        sizes: PathSizes,
        known: &[IpAddr],
        overrides: &Overrides,
    ) -> Self {
        let remote: Vec<(IpAddr, u8)> = child.ts_remote.iter().flat_map(|ts| ts.as_cidrs()).collect();
        let mut domains = assigned.domains.clone();
        domains.extend(overrides.domains.iter().cloned());
        let gateway = path.nat.remote.ip();
        let encapsulation = Encapsulation { family: Family::from(gateway), esp: shape_of(child.suite) };
        let computed = encapsulation.interface_mtu(sizes.uplink);
        let mtu = overrides.mtu.unwrap_or(computed);
        // Segments are cut to what crosses the path whole in both directions, even where the interface must take larger
        // packets.
        let whole = mtu.min(encapsulation.inner_mtu(sizes.uplink.min(sizes.downlink)));
        Self {
            addresses: assigned.addresses.clone(),
            remote: sorted(remote),
            dns: if overrides.dns.is_empty() { assigned.dns.clone() } else { overrides.dns.clone() },
            domains: sorted(domains),
            gateways: sorted(known.iter().copied().chain([gateway]).collect()),
            mtu,
            whole: mtu.min(encapsulation.inner_mtu(sizes.uplink)),
            whole_is_told: sizes.uplink_measured,
            from_afar: sizes.downlink_measured.then(|| {
                let crosses = encapsulation.inner_mtu(sizes.downlink);
                overrides.mtu.map_or(crosses, |mtu| mtu.min(crosses))
            }),
            mss_v4: tcp_mss(Family::V4, whole),
            mss_v6: tcp_mss(Family::V6, whole),
        }
    }

    /// Leaves alone what connections hold on to until the path has been measured: limits that are lower for a moment would be
    /// theirs for long. What leaves is cut to [`whole`](Self::whole) at once.
    pub(crate) fn keeping_limits_of(self, before: &Self) -> Self {
        let mtu = if self.whole_is_told { self.mtu } else { self.mtu.max(before.mtu) };
        let measured = self.whole_is_told && self.from_afar.is_some();
        let kept = |limit: u16, before: u16| if measured { limit } else { limit.max(before) };
        let (mss_v4, mss_v6) = (kept(self.mss_v4, before.mss_v4), kept(self.mss_v6, before.mss_v6));
        Self { mtu, mss_v4, mss_v6, ..self }
    }

    /// Behind a WireGuard peer. `known` are its addresses and the gateway's.
    pub(crate) fn behind(
        peer: &PeerNetwork,
        path: &OpenedPath,
        sizes: PathSizes,
        known: &[IpAddr],
        overrides: &Overrides,
    ) -> Self {
        let remote = path.nat.remote.ip();
        let inner_mtu = |size| wireguard_inner_mtu(Family::from(remote), size);
        let mtu = overrides.mtu.unwrap_or(inner_mtu(sizes.uplink).max(IPV6_MIN_MTU));
        let whole = mtu.min(inner_mtu(sizes.uplink.min(sizes.downlink)));
        let host = |address: &IpAddr| (*address, if address.is_ipv4() { 32 } else { 128 });
        Self {
            addresses: peer.addresses.iter().map(host).collect(),
            remote: sorted(peer.remote.clone()),
            dns: peer.dns.clone(),
            domains: sorted(overrides.domains.clone()),
            gateways: sorted(known.iter().copied().chain([remote]).collect()),
            mtu,
            whole: mtu.min(inner_mtu(sizes.uplink)),
            // Nobody is asked behind a peer: senders here are told what fits, far ends are the peer's business.
            whole_is_told: true,
            from_afar: None,
            mss_v4: tcp_mss(Family::V4, whole),
            mss_v6: tcp_mss(Family::V6, whole),
        }
    }

    /// Our addresses that a gateway has assigned: those that we have behind `peer` are not the gateway's to give.
    pub(crate) fn assigned(&self, peer: Option<&PeerNetwork>) -> Vec<IpAddr> {
        let ours = self.addresses.iter().map(|(address, _)| *address);
        ours.filter(|address| peer.is_none_or(|peer| !peer.addresses.contains(address))).collect()
    }

    /// Whether everything of at least one address family goes through the tunnel.
    #[must_use]
    pub fn is_full_tunnel(&self) -> bool {
        self.remote.iter().any(|(_, prefix)| *prefix == 0)
    }
}

/// Each once, in an order that does not depend on whoever listed them.
fn sorted<T: Ord>(mut all: Vec<T>) -> Vec<T> {
    all.sort_unstable();
    all.dedup();
    all
}

/// What a suite adds to each packet.
pub(crate) fn shape_of(suite: EspSuite) -> EspShape {
    match suite.encr {
        Encr::AesGcm16(_) | Encr::ChaCha20Poly1305 => EspShape::AEAD,
        Encr::AesCbc(_) => EspShape::aes_cbc(suite.icv_len()),
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use evenkeel_ipsec::crypto::UnixTime;
    use evenkeel_ipsec::ike::{Framing, Path};

    use super::*;

    #[test]
    fn the_addresses_behind_a_peer_are_asked_of_no_gateway() {
        let (v4, v6) = ("10.9.0.2".parse::<IpAddr>().unwrap(), "fd10:9::2".parse::<IpAddr>().unwrap());
        let peer = PeerNetwork { addresses: vec![v4, v6], remote: Vec::new(), dns: Vec::new() };
        let end = |address: &str| address.parse::<SocketAddr>().unwrap();
        let path = Path {
            local: end("[2001:db8::5]:7"),
            remote: end("[2001:db8::1]:51820"),
            framing: Framing::NonEspMarker,
        };
        let opened = OpenedPath { init: path, nat: path, path_mtu: 1500, wall: UnixTime(0) };
        let sizes =
            PathSizes { uplink: 1500, downlink: 1400, uplink_measured: false, downlink_measured: false };
        let mut inner = InnerNetwork::behind(&peer, &opened, sizes, &[], &Overrides::default());
        assert_eq!(inner.addresses, [(v4, 32), (v6, 128)]);
        // 80 bytes less than the path takes, and segments as short as the narrower way wants them.
        assert_eq!((inner.mtu, inner.whole, inner.mss_v4, inner.mss_v6), (1420, 1420, 1280, 1260));
        assert_eq!(inner.assigned(Some(&peer)), [] as [IpAddr; 0]);
        let assigned = "10.9.0.3".parse().unwrap();
        inner.addresses.push((assigned, 32));
        assert_eq!(inner.assigned(Some(&peer)), [assigned]);
        assert_eq!(inner.assigned(None).len(), 3);
    }
}
