//! Network address translators, as people have them at home and as carriers run them.

use std::time::Duration;

use anyhow::Context;

use crate::Host;

/// The interface away from the clients.
pub(crate) const OUTSIDE: &str = "outside";

/// Takes the translator's rules away, if there are any.
const NO_TABLE: &str = "table ip nat {}
delete table ip nat";

/// Which source port a translated flow gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PortAllocation {
    /// The inside port where it is free (RFC 4787 §4.2.1, port preservation).
    Preserving,
    /// A random one.
    Random,
}

/// Which packets keep a mapping (RFC 4787 §4.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refresh {
    /// Those of either direction, as the kernel's connection tracking does it.
    Both,
    /// Those from the inside alone: once nothing has left for so long, nothing gets in.
    Outbound(Duration),
}

/// How a translator behaves.
#[derive(Debug, Clone, Copy)]
pub struct Nat {
    ports: PortAllocation,
    refresh: Refresh,
    unreplied: Option<Duration>,
    replied: Option<Duration>,
}

impl Nat {
    /// Keeps ports, and mappings for as long as the kernel does by default.
    pub const fn preserving() -> Self {
        Self { ports: PortAllocation::Preserving, refresh: Refresh::Both, unreplied: None, replied: None }
    }

    /// Gives each flow a random port.
    pub const fn random() -> Self {
        Self { ports: PortAllocation::Random, ..Self::preserving() }
    }

    /// Forgets UDP mappings after `unreplied` without an answer yet, after `replied` of silence later.
    pub const fn forgetting_after(mut self, unreplied: Duration, replied: Duration) -> Self {
        self.unreplied = Some(unreplied);
        self.replied = Some(replied);
        self
    }

    /// Lets UDP in for `lifetime` after the last packet that went out, whatever comes in meanwhile. Connection tracking
    /// itself knows no such thing: a set that only outbound packets refresh guards the way in. So what is lost with the
    /// mapping is the way in alone; the next packet out gets the old port.
    pub const fn refreshed_from_inside_only(mut self, lifetime: Duration) -> Self {
        self.refresh = Refresh::Outbound(lifetime);
        self
    }

    /// Makes `host` translate what leaves by interface `outside`. Mappings that exist stay, with the timers of before until
    /// their next packet.
    pub(crate) fn install(&self, host: &Host, outside: &str) -> anyhow::Result<()> {
        let flags = match self.ports {
            PortAllocation::Preserving => "",
            PortAllocation::Random => " random",
        };
        let guard = match self.refresh {
            Refresh::Both => String::new(),
            Refresh::Outbound(lifetime) => format!(
                "set open {{
                   type ipv4_addr . inet_service
                   flags dynamic,timeout
                   timeout {0}ms
                   size 65535
                 }}
                 chain through {{
                   type filter hook forward priority 10
                   oifname {outside} meta l4proto udp update @open {{ ip saddr . udp sport timeout {0}ms }}
                   iifname {outside} meta l4proto udp ip daddr . udp dport != @open drop
                 }}",
                lifetime.as_millis()
            ),
        };
        host.nft(&format!(
            "{NO_TABLE}
             table ip nat {{
               {guard}
               chain post {{
                 type nat hook postrouting priority 100
                 oifname {outside} masquerade{flags}
               }}
             }}"
        ))?;
        let timers =
            [("nf_conntrack_udp_timeout", self.unreplied), ("nf_conntrack_udp_timeout_stream", self.replied)];
        for (name, value) in timers {
            if let Some(value) = value {
                host.sysctl(&format!("netfilter/{name}"), &value.as_secs().to_string())?;
            }
        }
        Ok(())
    }

    /// Makes a translator that is at work behave like this. Mappings that exist stay.
    pub fn reconfigure(&self, host: &Host) -> anyhow::Result<()> {
        self.install(host, OUTSIDE)
    }

    /// Forgets every mapping at once, as a router does that restarts, and gives new ones from then on.
    pub fn forget_all(&self, host: &Host) -> anyhow::Result<()> {
        host.nft(NO_TABLE)?;
        // Connections that are being tracked keep their translation whatever the rules say; without conntrack's own tool,
        // an interface that loses its address is what makes the kernel drop them (nf_nat_masquerade).
        let address = host.output("ip", &["-4", "-o", "address", "show", "dev", OUTSIDE])?;
        let address = address.split_whitespace().nth(3).context("the outside address")?.to_owned();
        let route = host.output("ip", &["-4", "route", "show", "default"])?;
        host.ip(&format!("address del {address} dev {OUTSIDE}\naddress add {address} dev {OUTSIDE}"))?;
        host.ip(&format!("route replace {}", route.trim()))?;
        self.install(host, OUTSIDE)
    }
}
