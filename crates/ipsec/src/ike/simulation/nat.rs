//! The translator between the client and the responder.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

/// A NAT with endpoint-independent mapping and filtering (RFC 4787 §4.1, §5).
#[derive(Default)]
pub(super) struct Translator {
    outside: BTreeMap<SocketAddr, SocketAddr>,
    /// Mappings that were forgotten so far: each time, ports come out otherwise.
    forgotten: u16,
    /// Gives the same port again to a mapping that was forgotten (RFC 4787 §4.2.1).
    pub keeps_ports: bool,
    /// Gives a new mapping to every packet.
    pub restless: bool,
    /// Inside addresses whose link is gone.
    pub dead: BTreeSet<SocketAddr>,
}

impl Translator {
    /// What the responder sees as the source of what `inside` sends; `None` if it does not get out.
    pub(super) fn outward(&mut self, inside: SocketAddr) -> Option<SocketAddr> {
        if self.dead.contains(&inside) {
            return None;
        }
        if self.restless {
            self.forget();
        }
        let port = inside.port() + 1000 + if self.keeps_ports { 0 } else { 7 * self.forgotten };
        let outside = match inside.ip() {
            // Public already.
            IpAddr::V4(ip) if !ip.is_private() => inside,
            // Each private network has an outside address of its own.
            IpAddr::V4(ip) => SocketAddr::from(([203, 0, 113, ip.octets()[2] + 8], port)),
            IpAddr::V6(_) => inside,
        };
        Some(*self.outside.entry(inside).or_insert(outside))
    }

    /// Where a packet for `outside` goes.
    pub(super) fn inward(&self, outside: SocketAddr) -> Option<SocketAddr> {
        let (inside, _) = self.outside.iter().find(|(_, mapped)| **mapped == outside)?;
        (!self.dead.contains(inside)).then_some(*inside)
    }

    /// The mapping that `inside` has.
    pub(super) fn mapped(&self, inside: SocketAddr) -> Option<SocketAddr> {
        self.outside.get(&inside).copied()
    }

    /// Loses one mapping, as for silence; the next packet gets another port.
    pub(super) fn drop_mapping(&mut self, inside: SocketAddr) {
        self.outside.remove(&inside);
        self.forgotten += 1;
    }

    /// Loses every mapping, as a router does that restarts.
    pub(super) fn forget(&mut self) {
        self.outside.clear();
        self.forgotten += 1;
    }
}
