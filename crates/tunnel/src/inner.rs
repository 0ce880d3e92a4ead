//! The network inside the tunnel, as this machine has to be configured for it.

use std::net::IpAddr;

use evenkeel_ipsec::crypto::{Encr, EspSuite};
use evenkeel_ipsec::ike::{ChildSaInfo, Configuration};
use evenkeel_netprofile::overhead::{Encapsulation, EspShape, Family, tcp_mss};

use crate::config::Overrides;
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
        let mut remote: Vec<(IpAddr, u8)> = child.ts_remote.iter().flat_map(|ts| ts.as_cidrs()).collect();
        remote.sort_unstable();
        remote.dedup();
        let mut domains = assigned.domains.clone();
        domains.extend(overrides.domains.iter().cloned());
        domains.sort_unstable();
        domains.dedup();
        let gateway = path.nat.remote.ip();
        let mut gateways = known.to_vec();
        gateways.push(gateway);
        gateways.sort_unstable();
        gateways.dedup();
        let encapsulation = Encapsulation { family: Family::from(gateway), esp: shape_of(child.suite) };
        let computed = encapsulation.interface_mtu(sizes.uplink);
        let mtu = overrides.mtu.unwrap_or(computed);
        // Segments are cut to what crosses the path whole in both directions, even where the interface must take larger
        // packets.
        let whole = mtu.min(encapsulation.inner_mtu(sizes.uplink.min(sizes.downlink)));
        Self {
            addresses: assigned.addresses.clone(),
            remote,
            dns: if overrides.dns.is_empty() { assigned.dns.clone() } else { overrides.dns.clone() },
            domains,
            gateways,
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

    /// Whether everything of at least one address family goes through the tunnel.
    #[must_use]
    pub fn is_full_tunnel(&self) -> bool {
        self.remote.iter().any(|(_, prefix)| *prefix == 0)
    }
}

/// What a suite adds to each packet.
pub(crate) fn shape_of(suite: EspSuite) -> EspShape {
    match suite.encr {
        Encr::AesGcm16(_) | Encr::ChaCha20Poly1305 => EspShape::AEAD,
        Encr::AesCbc(_) => EspShape::aes_cbc(suite.icv_len()),
    }
}
