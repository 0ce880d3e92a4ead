//! What networks do not let through. Can be changed while traffic flows.

use std::fmt::Write;

use crate::Host;

/// Something that a router on the path drops, in both directions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Block {
    /// UDP to and from this port.
    Udp(u16),
    /// TCP to and from this port.
    Tcp(u16),
    /// UDP altogether.
    AllUdp,
    /// Everything but TCP to and from port 443, and ICMP.
    AllButTcp443,
    /// ESP in UDP on port 4500, while IKE and keepalives pass: a filter that knows the non-ESP marker (RFC 3948 §2).
    EspInUdp,
    /// Ping, in both families.
    Echo,
}

impl Block {
    fn rules(self) -> String {
        match self {
            Self::Udp(port) => format!("udp dport {port} drop\nudp sport {port} drop"),
            Self::Tcp(port) => format!("tcp dport {port} drop\ntcp sport {port} drop"),
            Self::AllUdp => "meta l4proto udp drop".to_owned(),
            // As sets: nft makes one comparison of two neighbouring ports, and `!=` of both is not `!=` of each.
            Self::AllButTcp443 => "tcp dport { 0-442, 444-65535 } tcp sport { 0-442, 444-65535 } drop\n\
                 meta l4proto != { tcp, icmp, icmpv6 } drop"
                .to_owned(),
            // The first four bytes after the UDP header are an SPI, or zero before IKE. A keepalive is too short for this to
            // match.
            Self::EspInUdp => {
                "udp dport 4500 @th,64,32 != 0 drop\nudp sport 4500 @th,64,32 != 0 drop".to_owned()
            }
            Self::Echo => "icmp type { echo-request, echo-reply } drop\n\
                 icmpv6 type { echo-request, echo-reply } drop"
                .to_owned(),
        }
    }
}

/// Has `router` drop exactly this of what it forwards, in place of what it dropped before.
pub fn set(router: &Host, blocks: &[Block]) -> anyhow::Result<()> {
    let mut rules = String::new();
    for block in blocks {
        // Writing to a String can't fail.
        let _ = writeln!(rules, "{}", block.rules());
    }
    // In one transaction: there is no moment without rules.
    router.nft(&format!(
        "table inet blocks {{}}
         delete table inet blocks
         table inet blocks {{
           chain through {{
             type filter hook forward priority 0
             {rules}
           }}
         }}"
    ))
}
