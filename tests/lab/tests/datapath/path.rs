//! A path with two routers, between which is a link of another MTU.
//!
//! ```text
//! near 192.0.2.1 -- 192.0.2.254 one 203.0.113.1 --(narrow)-- 203.0.113.2 two 198.51.100.254 -- 198.51.100.1 far
//! ```

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use anyhow::Context;
use evenkeel_datapath::PeerAddress;
use evenkeel_lab::Host;
use evenkeel_platform::socket::{UdpOptions, UdpSocket};

use crate::planes::{End, Kind, LEFT, RIGHT, await_address, join};

/// Addresses of the ends' sockets.
pub(crate) const NEAR: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 1))];
pub(crate) const FAR: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(198, 51, 100, 1)), IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 3, 0, 0, 0, 0, 1))];

/// The outer IP version, as an index of [`NEAR`] and [`FAR`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Outer {
    V4,
    V6,
}

/// The hosts between the ends. Sockets are on `near` and `far`.
pub(crate) struct NarrowPath {
    pub(crate) near: Host,
    pub(crate) one: Host,
    pub(crate) two: Host,
    pub(crate) far: Host,
}

impl NarrowPath {
    pub(crate) fn new(mtu: u16) -> anyhow::Result<Self> {
        let path = Self {
            near: Host::new("near")?,
            one: Host::new("one")?,
            two: Host::new("two")?,
            far: Host::new("far")?,
        };
        path.near.connect("out", &path.one, "near")?;
        path.one.connect("two", &path.two, "one")?;
        path.two.connect("far", &path.far, "out")?;
        for router in [&path.one, &path.two] {
            router.sysctl("ipv4/ip_forward", "1")?;
            router.sysctl("ipv6/conf/all/forwarding", "1")?;
        }
        path.near.ip("addr add 192.0.2.1/24 dev out\nroute add default via 192.0.2.254\n\
             addr add 2001:db8:1::1/64 dev out nodad\nroute add default via 2001:db8:1::254")?;
        path.one.ip("addr add 192.0.2.254/24 dev near\naddr add 203.0.113.1/24 dev two\n\
             route add 198.51.100.0/24 via 203.0.113.2\n\
             addr add 2001:db8:1::254/64 dev near nodad\naddr add 2001:db8:2::1/64 dev two nodad\n\
             route add 2001:db8:3::/64 via 2001:db8:2::2")?;
        path.two.ip("addr add 203.0.113.2/24 dev one\naddr add 198.51.100.254/24 dev far\n\
             route add 192.0.2.0/24 via 203.0.113.1\n\
             addr add 2001:db8:2::2/64 dev one nodad\naddr add 2001:db8:3::254/64 dev far nodad\n\
             route add 2001:db8:1::/64 via 2001:db8:2::1")?;
        path.far.ip("addr add 198.51.100.1/24 dev out\nroute add default via 198.51.100.254\n\
             addr add 2001:db8:3::1/64 dev out nodad\nroute add default via 2001:db8:3::254")?;
        for (host, address) in [
            (&path.near, "2001:db8:1::1"),
            (&path.one, "2001:db8:1::254"),
            (&path.one, "2001:db8:2::1"),
            (&path.two, "2001:db8:2::2"),
            (&path.two, "2001:db8:3::254"),
            (&path.far, "2001:db8:3::1"),
        ] {
            await_address(host, address.parse()?)?;
        }
        path.set_mtu(mtu)?;
        Ok(path)
    }

    /// Changes what the link in the middle takes.
    pub(crate) fn set_mtu(&self, mtu: u16) -> anyhow::Result<()> {
        self.one.ip(&format!("link set two mtu {mtu}"))?;
        self.two.ip(&format!("link set one mtu {mtu}"))?;
        Ok(())
    }

    /// Two ends with an SA between them, whose sockets are connected.
    pub(crate) fn pair(&self, outer: Outer, kind: Kind) -> anyhow::Result<(End, End)> {
        let socket = |host: &Host, local: IpAddr| {
            let options = UdpOptions { offload: kind == Kind::Offload, ..UdpOptions::default() };
            host.run(|| UdpSocket::bind(SocketAddr::new(local, 4500), &options)).context("opening a socket")
        };
        let (near, far) = (NEAR[outer as usize], FAR[outer as usize]);
        let mut left = End::new(Host::new("left")?, &LEFT, kind, socket(&self.near, near)?)?;
        let mut right = End::new(Host::new("right")?, &RIGHT, kind, socket(&self.far, far)?)?;
        left.socket.connect(SocketAddr::new(far, 4500))?;
        right.socket.connect(SocketAddr::new(near, 4500))?;
        join(&mut left, &mut right, PeerAddress::Connected, PeerAddress::Connected)?;
        Ok((left, right))
    }
}
