//! Network address translators, as people have them at home and as carriers run them.

use std::time::Duration;

use anyhow::Context;

use crate::Host;

/// The interface away from the clients.
pub(crate) const OUTSIDE: &str = "outside";

/// Which source port a translated flow gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PortAllocation {
    /// The inside port where it is free (RFC 4787 §4.2.1, port preservation).
    Preserving,
    /// A random one.
    Random,
}

/// How a translator behaves.
#[derive(Debug, Clone, Copy)]
pub struct Nat {
    ports: PortAllocation,
    unreplied: Option<Duration>,
    replied: Option<Duration>,
}

impl Nat {
    /// Keeps ports, and mappings for as long as the kernel does by default.
    pub const fn preserving() -> Self {
        Self { ports: PortAllocation::Preserving, unreplied: None, replied: None }
    }

    /// Gives each flow a random port.
    pub const fn random() -> Self {
        Self { ports: PortAllocation::Random, unreplied: None, replied: None }
    }

    /// Forgets UDP mappings after `unreplied` without an answer yet, after `replied` of silence later.
    pub const fn forgetting_after(mut self, unreplied: Duration, replied: Duration) -> Self {
        self.unreplied = Some(unreplied);
        self.replied = Some(replied);
        self
    }

    /// Makes `host` translate what leaves by interface `outside`.
    pub(crate) fn install(&self, host: &Host, outside: &str) -> anyhow::Result<()> {
        let flags = match self.ports {
            PortAllocation::Preserving => "",
            PortAllocation::Random => " random",
        };
        host.nft(&format!(
            "table ip nat {{
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

    /// Forgets every mapping at once, as a router does that restarts, and gives new ones from then on.
    pub fn forget_all(&self, host: &Host) -> anyhow::Result<()> {
        host.nft("flush ruleset")?;
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
