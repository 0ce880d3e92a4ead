//! Networks that the client can be in, and their translators.

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

/// A NAT that forgets a mapping when nothing is sent for its lifetime (RFC 4787 §4), and gives another port to each new
/// one or keeps that of the inside.
#[derive(Default)]
pub(crate) struct Translator {
    pub(crate) lifetime: Option<Duration>,
    pub(crate) keeps_ports: bool,
    /// Another one between this and the client.
    inner: Option<Box<Self>>,
    /// Packets on their way in for which there was no mapping any more, by the port that they came to.
    pub(crate) refused: Vec<u16>,
    /// Inside port, outside port, last used.
    mappings: Vec<(u16, u16, Instant)>,
    made: u16,
}

impl Translator {
    pub(crate) fn forgetting_after(lifetime: Option<Duration>) -> Self {
        Self { lifetime, ..Self::default() }
    }

    /// The same, handing out the ports of the inside.
    pub(crate) fn keeping_ports(self) -> Self {
        Self { keeps_ports: true, ..self }
    }

    /// The same, with `inner` between it and the client.
    pub(crate) fn outside_of(self, inner: Self) -> Self {
        Self { inner: Some(Box::new(inner)), ..self }
    }

    fn lives(&self, last: Instant, now: Instant) -> bool {
        self.lifetime.is_none_or(|lifetime| now - last <= lifetime)
    }

    /// Translates a packet on its way out.
    pub(crate) fn outside(&mut self, inside: u16, now: Instant) -> u16 {
        let inside = self.inner.as_mut().map_or(inside, |inner| inner.outside(inside, now));
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

    /// Where a packet to this port would get.
    pub(crate) fn leads_to(&self, outside: u16, now: Instant) -> Option<u16> {
        let found = self.mappings.iter().find(|entry| entry.1 == outside);
        let &(inside, ..) = found.filter(|entry| self.lives(entry.2, now))?;
        self.inner.as_ref().map_or(Some(inside), |inner| inner.leads_to(inside, now))
    }

    /// Translates a packet on its way in.
    pub(crate) fn inside(&mut self, outside: u16, now: Instant) -> Option<u16> {
        let entry = self.mappings.iter().find(|entry| entry.1 == outside);
        let Some(&(inside, ..)) = entry.filter(|entry| self.lives(entry.2, now)) else {
            self.refused.push(outside);
            return None;
        };
        let Some(inner) = &mut self.inner else { return Some(inside) };
        let further = inner.inside(inside, now);
        self.refused.extend(further.is_none().then_some(outside));
        further
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
