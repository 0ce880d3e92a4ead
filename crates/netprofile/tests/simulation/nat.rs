//! A NAT in the words of RFC 4787, and a chain of them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::rng::Rng;

/// An address and a port.
pub(crate) type Endpoint = (u32, u16);

/// What mapping and filtering depend on (RFC 4787 §4.1, §5).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Depends {
    /// Nothing but the inner endpoint.
    EndpointIndependent,
    /// The outer address.
    AddressDependent,
    /// The outer address and port.
    AddressAndPortDependent,
}

/// Port assignment (RFC 4787 §4.2).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Ports {
    Preserving,
    Random,
}

/// Which packets keep a mapping (RFC 4787 §4.3).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Refresh {
    Outbound,
    Both,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Behaviour {
    pub(crate) mapping: Depends,
    pub(crate) filtering: Depends,
    pub(crate) ports: Ports,
    pub(crate) refresh: Refresh,
    /// Each refresh draws a lifetime from this range: equal ends for a fixed timer.
    pub(crate) lifetime: (Duration, Duration),
    /// A flow that was not used both ways for two seconds lives only this long (Linux).
    pub(crate) young: Option<Duration>,
}

impl Behaviour {
    pub(crate) fn plain(seconds: u64, ports: Ports) -> Self {
        let lifetime = Duration::from_secs(seconds);
        Self {
            mapping: Depends::AddressAndPortDependent,
            filtering: Depends::AddressAndPortDependent,
            ports,
            refresh: Refresh::Both,
            lifetime: (lifetime, lifetime),
            young: None,
        }
    }
}

struct Mapping {
    inner: Endpoint,
    outer_port: u16,
    born: Duration,
    expires: Duration,
    replied: bool,
    sent_to: BTreeSet<Endpoint>,
}

/// One NAT. No hairpinning: nothing here would use it.
pub(crate) struct Nat {
    pub(crate) behaviour: Behaviour,
    pub(crate) address: u32,
    mappings: BTreeMap<(Endpoint, Option<Endpoint>), Mapping>,
    rng: Rng,
}

fn relevant(depends: Depends, remote: Endpoint) -> Option<Endpoint> {
    match depends {
        Depends::EndpointIndependent => None,
        Depends::AddressDependent => Some((remote.0, 0)),
        Depends::AddressAndPortDependent => Some(remote),
    }
}

impl Nat {
    pub(crate) fn new(behaviour: Behaviour, address: u32, seed: u64) -> Self {
        Self { behaviour, address, mappings: BTreeMap::new(), rng: Rng::new(seed) }
    }

    fn draw_lifetime(&mut self) -> Duration {
        let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap();
        let (low, high) = self.behaviour.lifetime;
        Duration::from_millis(self.rng.within(millis(low), millis(high)))
    }

    fn outbound(&mut self, inner: Endpoint, remote: Endpoint, now: Duration) -> Endpoint {
        let key = (inner, relevant(self.behaviour.mapping, remote));
        self.mappings.retain(|_, mapping| mapping.expires > now);
        let lifetime = self.draw_lifetime();
        let random = u16::try_from(self.rng.within(1024, 65535)).unwrap();
        let young = self.behaviour.young;
        let ports = self.behaviour.ports;
        let mapping = self.mappings.entry(key).or_insert_with(|| Mapping {
            inner,
            outer_port: if ports == Ports::Preserving { inner.1 } else { random },
            born: now,
            expires: now,
            replied: false,
            sent_to: BTreeSet::new(),
        });
        mapping.sent_to.insert(remote);
        let established = mapping.replied && now >= mapping.born + Duration::from_secs(2);
        let lifetime = young.filter(|_| !established).unwrap_or(lifetime);
        mapping.expires = mapping.expires.max(now + lifetime);
        (self.address, mapping.outer_port)
    }

    fn inbound(&mut self, outer_port: u16, remote: Endpoint, now: Duration) -> Option<Endpoint> {
        self.mappings.retain(|_, mapping| mapping.expires > now);
        let lifetime = self.draw_lifetime();
        let Behaviour { filtering, refresh, young, .. } = self.behaviour;
        let mapping = self.mappings.values_mut().find(|mapping| {
            mapping.outer_port == outer_port
                && (filtering == Depends::EndpointIndependent
                    || mapping
                        .sent_to
                        .iter()
                        .any(|&known| relevant(filtering, known) == relevant(filtering, remote)))
        })?;
        mapping.replied = true;
        let established = now >= mapping.born + Duration::from_secs(2);
        if refresh == Refresh::Both && (established || young.is_none()) {
            mapping.expires = mapping.expires.max(now + lifetime);
        }
        Some(mapping.inner)
    }
}

/// NATs one behind the other, the innermost first.
pub(crate) struct Chain(pub(crate) Vec<Nat>);

impl Chain {
    pub(crate) fn new(behaviours: &[Behaviour], seed: u64) -> Self {
        Self(
            behaviours
                .iter()
                .zip(0_u32..)
                .map(|(&behaviour, index)| Nat::new(behaviour, 0xc633_6400 + index, seed + u64::from(index)))
                .collect(),
        )
    }

    /// Where the remote sees the packet come from.
    pub(crate) fn outbound(&mut self, inner: Endpoint, remote: Endpoint, now: Duration) -> Endpoint {
        self.0.iter_mut().fold(inner, |from, nat| nat.outbound(from, remote, now))
    }

    /// Whether a packet to `outer` gets in.
    pub(crate) fn inbound(&mut self, outer: Endpoint, remote: Endpoint, now: Duration) -> bool {
        let mut to = outer;
        for nat in self.0.iter_mut().rev() {
            match nat.inbound(to.1, remote, now) {
                Some(inner) => to = inner,
                None => return false,
            }
        }
        true
    }

    /// The shortest time that any of them may forget an established mapping after.
    pub(crate) fn lifetime(&self) -> Duration {
        self.0.iter().map(|nat| nat.behaviour.lifetime.0).min().unwrap()
    }
}
