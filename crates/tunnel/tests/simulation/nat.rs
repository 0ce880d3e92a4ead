//! Networks that the client can be in, and their translators.

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

/// A NAT that gives another port to each new mapping, or always the same one, and forgets it when nothing is sent for its
/// lifetime (RFC 4787 §4).
#[derive(Default)]
pub(crate) struct Translator {
    pub(crate) lifetime: Option<Duration>,
    /// The outside port is the inside one.
    pub(crate) keeps_ports: bool,
    /// Inside port, outside port, last used.
    mappings: Vec<(u16, u16, Instant)>,
    made: u16,
}

impl Translator {
    pub(crate) fn forgetting_after(lifetime: Option<Duration>) -> Self {
        Self { lifetime, ..Self::default() }
    }

    fn lives(&self, last: Instant, now: Instant) -> bool {
        self.lifetime.is_none_or(|lifetime| now - last <= lifetime)
    }

    /// Translates a packet on its way out.
    pub(crate) fn outside(&mut self, inside: u16, now: Instant) -> u16 {
        let lifetime = self.lifetime;
        if let Some(entry) = self.mappings.iter_mut().find(|entry| entry.0 == inside)
            && lifetime.is_none_or(|lifetime| now - entry.2 <= lifetime)
        {
            entry.2 = now;
            return entry.1;
        }
        self.made += 1;
        let port = if self.keeps_ports { inside } else { 50_000 + self.made };
        self.mappings.retain(|entry| entry.0 != inside);
        self.mappings.push((inside, port, now));
        port
    }

    /// Translates a packet on its way in.
    pub(crate) fn inside(&self, outside: u16, now: Instant) -> Option<u16> {
        let entry = self.mappings.iter().find(|entry| entry.1 == outside)?;
        self.lives(entry.2, now).then_some(entry.0)
    }
}

/// A network with one translator.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct NetworkId {
    pub(crate) inside: u8,
    pub(crate) outside: u8,
}

impl NetworkId {
    pub(crate) fn client(self) -> IpAddr {
        IpAddr::V4(Ipv4Addr::new(192, 168, self.inside, 5))
    }

    pub(crate) fn outside(self) -> IpAddr {
        IpAddr::V4(Ipv4Addr::new(203, 0, 113, self.outside))
    }
}
