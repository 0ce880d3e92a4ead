//! A laptop with several uplinks, each with a router, a translator and a provider's address of its own.
//!
//! ```text
//!           / wifi      192.168.10.11 -- router 203.0.113.66 -\
//!  client -+- ethernet  192.168.11.11 -- router 203.0.113.82 --+- isp -- core -- gateway -- server
//!           \ hotspot   192.168.12.11 -- router 203.0.113.98 -/
//! ```
//!
//! The client's interfaces have addresses and default routes as a network manager gives them: while there is a carrier.

use std::{
    net::{Ipv4Addr, Ipv6Addr},
    sync::atomic::{AtomicU8, Ordering},
    time::Duration,
};

use anyhow::{Context, ensure};

use crate::{Host, Nat, Topology, nat, topology::forward, wait};

/// Metric of the default routes of an uplink; the preferred one's is lower.
const METRIC: u32 = 100;
const PREFERRED: u32 = 50;

/// Address families of an uplink.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Families {
    /// IPv4 alone, translated.
    V4,
    /// IPv6 alone, not translated.
    V6,
    /// Both.
    Both,
}

impl Families {
    fn v4(self) -> bool {
        matches!(self, Self::V4 | Self::Both)
    }

    fn v6(self) -> bool {
        matches!(self, Self::V6 | Self::Both)
    }
}

/// One way of the client's to the internet.
pub struct Uplink {
    /// The client's interface.
    pub interface: String,
    /// Router and translator.
    pub router: Host,
    /// What it carries.
    pub families: Families,
    number: u8,
    /// The last part of the client's addresses; another after a new lease.
    host: AtomicU8,
}

/// A network that is there. Dropping it removes it.
pub struct Roaming {
    /// The laptop. Nothing is plugged in at first.
    pub client: Host,
    /// Its uplinks.
    pub uplinks: Vec<Uplink>,
    /// The router of all providers.
    pub isp: Host,
    /// The router before the gateway.
    pub core: Host,
    /// Where the VPN gateway goes; at [`GATEWAY_V4`](crate::topology::GATEWAY_V4) and
    /// [`GATEWAY_V6`](crate::topology::GATEWAY_V6).
    pub gateway: Host,
    /// The server in the office network.
    pub server: Host,
}

impl Uplink {
    fn lan_v4(&self, host: u8) -> Ipv4Addr {
        Ipv4Addr::new(192, 168, self.number.saturating_add(10), host)
    }

    fn lan_v6(&self, host: u8) -> Ipv6Addr {
        Ipv6Addr::new(0x2001, 0xdb8, 1, self.number.into(), 0, 0, 0, host.into())
    }

    /// One of the sixteen addresses between the router and its provider.
    fn access_v4(&self, host: u8) -> Ipv4Addr {
        Ipv4Addr::new(203, 0, 113, 64_u8.saturating_add(self.number.saturating_mul(16)).saturating_add(host))
    }

    /// The client's IPv4 address, where the uplink has one.
    pub fn address_v4(&self) -> Option<Ipv4Addr> {
        self.families.v4().then(|| self.lan_v4(self.host.load(Ordering::Relaxed)))
    }

    /// The client's IPv6 address, where the uplink has one.
    pub fn address_v6(&self) -> Option<Ipv6Addr> {
        self.families.v6().then(|| self.lan_v6(self.host.load(Ordering::Relaxed)))
    }

    /// The address under which the internet sees the client's IPv4.
    pub fn public_v4(&self) -> Ipv4Addr {
        self.access_v4(2)
    }

    /// What a network manager does once there is a carrier.
    fn configure(&self, client: &Host) -> anyhow::Result<()> {
        let dev = &self.interface;
        if let Some(address) = self.address_v4() {
            client.ip(&format!("address add {address}/24 dev {dev}"))?;
        }
        if let Some(address) = self.address_v6() {
            client.ip(&format!("address add {address}/64 dev {dev} nodad"))?;
        }
        self.change_routes(client, "add", self.metric())
    }

    fn change_routes(&self, client: &Host, action: &str, metric: u32) -> anyhow::Result<()> {
        let dev = &self.interface;
        if self.families.v4() {
            let via = self.lan_v4(1);
            client.ip(&format!("route {action} 0.0.0.0/0 via {via} dev {dev} metric {metric}"))?;
        }
        if self.families.v6() {
            let via = self.lan_v6(1);
            client.ip(&format!("route {action} ::/0 via {via} dev {dev} metric {metric}"))?;
        }
        Ok(())
    }

    fn metric(&self) -> u32 {
        METRIC + u32::from(self.number)
    }

    /// What a network manager does once there is no carrier any more. IPv4 routes go with their addresses; IPv6 routes stay.
    fn deconfigure(&self, client: &Host) -> anyhow::Result<()> {
        client.ip(&format!("address flush dev {} scope global", self.interface))?;
        client.output("ip", &["-6", "route", "flush", "exact", "default", "dev", &self.interface]).map(drop)
    }
}

impl Roaming {
    /// A laptop with these uplinks, at most nine: interface, translator, families.
    pub fn build(uplinks: &[(&str, Nat, Families)]) -> anyhow::Result<Self> {
        ensure!(uplinks.len() < 10, "more uplinks than addresses");
        let topology = Topology::plain().with_ipv6();
        let (isp, core) = (Host::new("isp")?, Host::new("core")?);
        let (gateway, server) = (Host::new("gateway")?, Host::new("server")?);
        topology.build_internet(&isp, &core)?;
        topology.build_office(&core, &gateway, &server)?;
        let client = Host::new("client1")?;
        let uplinks = (0..).zip(uplinks).map(|(number, (interface, translator, families))| {
            build_uplink(&client, &isp, number, interface, translator, *families)
                .with_context(|| format!("building uplink {interface}"))
        });
        let uplinks = uplinks.collect::<anyhow::Result<_>>()?;
        Ok(Self { client, uplinks, isp, core, gateway, server })
    }

    /// The uplink of this interface.
    pub fn uplink(&self, interface: &str) -> anyhow::Result<&Uplink> {
        let mut uplinks = self.uplinks.iter();
        uplinks.find(|uplink| uplink.interface == interface).with_context(|| format!("no uplink {interface}"))
    }

    /// Gives an uplink its carrier, addresses and routes.
    pub fn plug(&self, interface: &str) -> anyhow::Result<()> {
        let uplink = self.uplink(interface)?;
        uplink.router.ip("link set inside up")?;
        uplink.configure(&self.client)?;
        wait::until("the link to work", Duration::from_secs(5), || {
            let works = is_ready(&self.client, interface)? && is_ready(&uplink.router, "inside")?;
            works.then_some(())
        })
    }

    /// Takes an uplink's carrier, and with it addresses and routes.
    pub fn unplug(&self, interface: &str) -> anyhow::Result<()> {
        let uplink = self.uplink(interface)?;
        uplink.router.ip("link set inside down")?;
        uplink.deconfigure(&self.client)
    }

    /// Has the client's packets leave by this uplink, which is plugged in, until [`prefer_none`](Self::prefer_none) or its
    /// unplugging: a second default route of a lower metric. Addresses stay as they are.
    pub fn prefer(&self, interface: &str) -> anyhow::Result<()> {
        self.uplink(interface)?.change_routes(&self.client, "add", PREFERRED)
    }

    /// Takes [`prefer`](Self::prefer) of this uplink back.
    pub fn prefer_none(&self, interface: &str) -> anyhow::Result<()> {
        self.uplink(interface)?.change_routes(&self.client, "del", PREFERRED)
    }

    /// Gives the client another address under the same link, as after a new lease.
    pub fn readdress(&self, interface: &str) -> anyhow::Result<()> {
        let uplink = self.uplink(interface)?;
        uplink.deconfigure(&self.client)?;
        let host = uplink.host.load(Ordering::Relaxed);
        uplink.host.store(if host == 200 { 11 } else { host + 1 }, Ordering::Relaxed);
        uplink.configure(&self.client)
    }
}

/// Whether an interface has a carrier, and addresses that may be used.
fn is_ready(host: &Host, interface: &str) -> Option<bool> {
    let link = host.output("ip", &["link", "show", "dev", interface]).ok()?;
    let tentative = host.output("ip", &["address", "show", "dev", interface, "tentative"]).ok()?;
    Some(link.contains("LOWER_UP") && link.contains("state UP") && tentative.trim().is_empty())
}

fn build_uplink(
    client: &Host,
    isp: &Host,
    number: u8,
    interface: &str,
    translator: &Nat,
    families: Families,
) -> anyhow::Result<Uplink> {
    let router = Host::new(&format!("router-{interface}"))?;
    let access = format!("access{number}");
    client.connect(interface, &router, "inside")?;
    router.connect(nat::OUTSIDE, isp, &access)?;
    let uplink =
        Uplink { interface: interface.to_owned(), router, families, number, host: AtomicU8::new(11) };
    let router = &uplink.router;
    forward(router)?;
    if families.v4() {
        isp.ip(&format!("address add {}/28 dev {access}", uplink.access_v4(1)))?;
        router.ip(&format!(
            "address add {}/24 dev inside\naddress add {}/28 dev {}\nroute add default via {}",
            uplink.lan_v4(1),
            uplink.access_v4(2),
            nat::OUTSIDE,
            uplink.access_v4(1)
        ))?;
        translator.install(router, nat::OUTSIDE)?;
    }
    if families.v6() {
        isp.ip(&format!("address add fe80::1/64 dev {access} nodad"))?;
        router.ip(&format!(
            "address add fe80::2/64 dev {0} nodad\nroute add default via fe80::1 dev {0}",
            nat::OUTSIDE
        ))?;
        isp.ip(&format!("route add {}/64 via fe80::2 dev {access}", uplink.lan_v6(0)))?;
        // With the carrier goes an IPv6 address; this one shall come back with it.
        router.sysctl("ipv6/conf/inside/keep_addr_on_down", "1")?;
        router.ip(&format!("address add {}/64 dev inside nodad", uplink.lan_v6(1)))?;
    }
    router.ip("link set inside down")?;
    Ok(uplink)
}
