//! Typed topologies. Addresses are the same in all of them, since no two share a network.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::{Context, ensure};

use crate::{
    Block, Host, Nat, blocks,
    relay::{self, Relay},
};

/// The gateway's public addresses.
pub const GATEWAY_V4: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 10);
/// The gateway's public IPv6 address.
pub const GATEWAY_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 2, 0, 0, 0, 0, 0x10);
/// The server in the office network, reachable only through the gateway.
pub const SERVER_V4: Ipv4Addr = Ipv4Addr::new(10, 10, 0, 80);
/// The server's IPv6 address.
pub const SERVER_V6: Ipv6Addr = Ipv6Addr::new(0xfd10, 0x10, 0, 0, 0, 0, 0, 0x80);

/// A network to be built.
#[derive(Debug, Clone)]
pub struct Topology {
    clients: u8,
    nat: Option<Nat>,
    carrier: Option<Nat>,
    ipv6: bool,
    blocks: Vec<Block>,
    narrow: Option<u16>,
}

impl Topology {
    /// One client with a public address, and a gateway with an office network behind it.
    pub fn plain() -> Self {
        Self { clients: 1, nat: None, carrier: None, ipv6: false, blocks: Vec::new(), narrow: None }
    }

    /// One client behind a translator.
    pub fn behind(nat: Nat) -> Self {
        Self { nat: Some(nat), ..Self::plain() }
    }

    /// So many clients in the same local network, at most 99.
    pub fn clients(mut self, clients: u8) -> Self {
        self.clients = clients;
        self
    }

    /// Another translator, of the carrier's, outside the first; IPv4 only.
    pub fn and_carrier(mut self, nat: Nat) -> Self {
        self.carrier = Some(nat);
        self
    }

    /// IPv6 beside IPv4 on the way to the gateway, never translated; the office has both in any case. Clients behind a translator get global addresses all the same.
    pub fn with_ipv6(mut self) -> Self {
        self.ipv6 = true;
        self
    }

    /// The clients' access network drops UDP to this port.
    pub fn blocking_udp(self, port: u16) -> Self {
        self.blocking(Block::Udp(port))
    }

    /// The clients' access network drops this. [`Network::block`] changes it later.
    pub fn blocking(mut self, block: Block) -> Self {
        self.blocks.push(block);
        self
    }

    /// A link of this MTU in the middle of the path, beside routers whose ICMP errors get lost.
    pub fn narrowed_to(mut self, mtu: u16) -> Self {
        self.narrow = Some(mtu);
        self
    }

    /// Builds it. See the crate's documentation for a drawing.
    pub fn build(&self) -> anyhow::Result<Network> {
        ensure!(
            self.carrier.is_none() || (self.nat.is_some() && !self.ipv6),
            "no carrier without NAT, or with IPv6"
        );
        let isp = Host::new("isp")?;
        let core = Host::new("core")?;
        let gateway = Host::new("gateway")?;
        let server = Host::new("server")?;
        self.build_internet(&isp, &core)?;
        self.build_office(&core, &gateway, &server)?;
        let (nat, carrier) = self.build_translators(&isp)?;
        let lan = nat.as_ref().unwrap_or(&isp);
        let clients = (1..=self.clients)
            .map(|number| self.build_client(number, lan, nat.is_some()))
            .collect::<anyhow::Result<Vec<Host>>>()
            .context("building the clients")?;
        Ok(Network { clients, nat, carrier, isp, core, gateway, server })
    }

    /// Two routers with the link between them that may be narrow.
    pub(crate) fn build_internet(&self, isp: &Host, core: &Host) -> anyhow::Result<()> {
        isp.connect("core", core, "isp")?;
        isp.ip("address add 192.0.2.1/30 dev core\nroute add 198.51.100.0/24 via 192.0.2.2")?;
        core.ip("address add 192.0.2.2/30 dev isp\nroute add 203.0.113.0/24 via 192.0.2.1")?;
        for router in [isp, core] {
            forward(router)?;
        }
        if self.ipv6 {
            isp.ip(
                "address add 2001:db8:ff::1/64 dev core nodad\nroute add 2001:db8:2::/64 via 2001:db8:ff::2",
            )?;
            core.ip(
                "address add 2001:db8:ff::2/64 dev isp nodad\nroute add 2001:db8:1::/48 via 2001:db8:ff::1",
            )?;
        }
        if let Some(mtu) = self.narrow {
            narrow(isp, core, mtu, IcmpErrors::Lost)?;
        }
        blocks::set(isp, &self.blocks)
    }

    pub(crate) fn build_office(&self, core: &Host, gateway: &Host, server: &Host) -> anyhow::Result<()> {
        core.connect("gateway", gateway, "outside")?;
        gateway.connect("office", server, "office")?;
        core.ip("address add 198.51.100.1/24 dev gateway")?;
        gateway.ip(&format!(
            "address add {GATEWAY_V4}/24 dev outside\nroute add default via 198.51.100.1\n\
             address add 10.10.0.1/16 dev office\naddress add fd10:10::1/64 dev office nodad"
        ))?;
        server.ip(&format!(
            "address add {SERVER_V4}/16 dev office\nroute add default via 10.10.0.1\n\
             address add {SERVER_V6}/64 dev office nodad\nroute add default via fd10:10::1"
        ))?;
        if self.ipv6 {
            core.ip("address add 2001:db8:2::1/64 dev gateway nodad")?;
            gateway.ip(&format!(
                "address add {GATEWAY_V6}/64 dev outside nodad\nroute add default via 2001:db8:2::1"
            ))?;
        }
        forward(gateway)
    }

    /// The translators between the clients' network and the ISP, which has 203.0.113.1.
    fn build_translators(&self, isp: &Host) -> anyhow::Result<(Option<Host>, Option<Host>)> {
        let carrier = match &self.carrier {
            None => None,
            Some(behaviour) => {
                let carrier = Host::new("carrier")?;
                carrier.connect("outside", isp, "access")?;
                isp.ip("address add 203.0.113.1/24 dev access")?;
                carrier.ip("address add 203.0.113.3/24 dev outside\nroute add default via 203.0.113.1")?;
                forward(&carrier)?;
                behaviour.install(&carrier, "outside")?;
                Some(carrier)
            }
        };
        let nat = match &self.nat {
            None => None,
            Some(behaviour) => {
                let nat = Host::new("nat")?;
                match &carrier {
                    // Carriers number their customers from RFC 6598's range.
                    Some(carrier) => {
                        nat.connect("outside", carrier, "inside")?;
                        carrier.ip("address add 100.64.0.1/24 dev inside")?;
                        nat.ip("address add 100.64.0.2/24 dev outside\nroute add default via 100.64.0.1")?;
                    }
                    None => {
                        nat.connect("outside", isp, "access")?;
                        isp.ip("address add 203.0.113.1/24 dev access")?;
                        nat.ip("address add 203.0.113.2/24 dev outside\nroute add default via 203.0.113.1")?;
                    }
                }
                // The clients' side is a switch with the translator on it.
                nat.ip(
                    "link add inside type bridge mcast_snooping 0\nlink set inside up\naddress add 192.168.1.1/24 dev inside",
                )?;
                if self.ipv6 {
                    nat.ip(
                        "address add 2001:db8:1::1/64 dev inside nodad\n\
                         address add fe80::2/64 dev outside nodad\nroute add default via fe80::1 dev outside",
                    )?;
                    isp.ip("address add fe80::1/64 dev access nodad\n\
                         route add 2001:db8:1::/64 via fe80::2 dev access")?;
                }
                forward(&nat)?;
                behaviour.install(&nat, "outside")?;
                Some(nat)
            }
        };
        if nat.is_none() {
            isp.ip("link add inside type bridge mcast_snooping 0\nlink set inside up\naddress add 203.0.113.1/24 dev inside")?;
            if self.ipv6 {
                isp.ip("address add 2001:db8:1::1/64 dev inside nodad")?;
            }
        }
        Ok((nat, carrier))
    }

    /// A client on the bridge `inside` of its router.
    fn build_client(&self, number: u8, router: &Host, translated: bool) -> anyhow::Result<Host> {
        let client = Host::new(&format!("client{number}"))?;
        let port = format!("client{number}");
        client.connect("eth0", router, &port)?;
        router.ip(&format!("link set {port} master inside"))?;
        let (address, via) = client_v4(number, translated);
        client.ip(&format!("address add {address}/24 dev eth0\nroute add default via {via}"))?;
        if self.ipv6 {
            let address = Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, u16::from(number) + 0x10);
            client.ip(&format!(
                "address add {address}/64 dev eth0 nodad\nroute add default via 2001:db8:1::1"
            ))?;
        }
        Ok(client)
    }
}

/// A client's own IPv4 address and its router's.
fn client_v4(number: u8, translated: bool) -> (Ipv4Addr, Ipv4Addr) {
    let last = number.saturating_add(10);
    if translated {
        (Ipv4Addr::new(192, 168, 1, last), Ipv4Addr::new(192, 168, 1, 1))
    } else {
        (Ipv4Addr::new(203, 0, 113, last), Ipv4Addr::new(203, 0, 113, 1))
    }
}

pub(crate) fn forward(host: &Host) -> anyhow::Result<()> {
    host.sysctl("ipv4/ip_forward", "1")?;
    host.sysctl("ipv6/conf/all/forwarding", "1")
}

/// Whether routers' ICMP errors about packets that are too long reach their senders.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IcmpErrors {
    /// They do.
    Sent,
    /// They get lost.
    Lost,
}

/// Gives the link between the two routers an MTU.
fn narrow(isp: &Host, core: &Host, mtu: u16, errors: IcmpErrors) -> anyhow::Result<()> {
    isp.ip(&format!("link set core mtu {mtu}"))?;
    core.ip(&format!("link set isp mtu {mtu}"))?;
    [isp, core].into_iter().try_for_each(|router| relay::eat_errors(router, errors == IcmpErrors::Lost))
}

/// A network that is there. Dropping it removes it.
pub struct Network {
    /// The clients, in the order of their numbers; the first is `client1`.
    pub clients: Vec<Host>,
    /// The clients' translator.
    pub nat: Option<Host>,
    /// The carrier's translator.
    pub carrier: Option<Host>,
    /// The router of the clients' provider.
    pub isp: Host,
    /// The router before the gateway.
    pub core: Host,
    /// Where the VPN gateway goes.
    pub gateway: Host,
    /// The server in the office network.
    pub server: Host,
}

impl Network {
    /// The first client, which every network has.
    pub fn client(&self) -> &Host {
        &self.clients[0]
    }

    /// The gateway's address as a profile names it.
    pub fn gateway_address(&self) -> IpAddr {
        IpAddr::V4(GATEWAY_V4)
    }

    /// Has the clients' access network drop exactly this from here on.
    pub fn block(&self, blocks: &[Block]) -> anyhow::Result<()> {
        blocks::set(&self.isp, blocks)
    }

    /// Makes the link in the middle of the path narrow, or as wide as usual with 1500, in both directions.
    pub fn narrow(&self, mtu: u16, errors: IcmpErrors) -> anyhow::Result<()> {
        narrow(&self.isp, &self.core, mtu, errors)
    }

    /// Makes the path through the clients' provider one with delay, loss and the like; it is as before when this is dropped.
    pub fn relay(&self) -> anyhow::Result<Relay<'_>> {
        let inside = if self.nat.is_some() { "access" } else { "inside" };
        Relay::between(&self.isp, inside, "core")
    }
}
