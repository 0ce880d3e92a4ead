//! The traffic selectors of a CHILD SA, in the form that the packet path checks them.

use std::net::IpAddr;

use super::inner::{Addresses, Inner, UpperLayer};
use crate::wire::TrafficSelector;

/// What a CHILD SA may carry, seen from our side (RFC 7296 §2.9).
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct SelectorPair {
    /// Source of what we send, destination of what we receive.
    pub local: Vec<TrafficSelector>,
    /// Destination of what we send, source of what we receive.
    pub remote: Vec<TrafficSelector>,
}

/// Which way a packet goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Direction {
    Outbound,
    Inbound,
}

/// A [`SelectorPair`] for one direction, sorted by address family.
pub(super) struct Policy {
    source: Side,
    destination: Side,
    /// No selector names a protocol or a port, so addresses decide.
    addresses_only: bool,
}

#[derive(Default)]
struct Side {
    v4: Vec<Rule<u32>>,
    v6: Vec<Rule<u128>>,
}

struct Rule<Address> {
    first: Address,
    last: Address,
    protocol: u8,
    start_port: u16,
    end_port: u16,
}

impl Policy {
    pub(super) fn new(selectors: &SelectorPair, direction: Direction) -> Self {
        let (source, destination) = match direction {
            Direction::Outbound => (&selectors.local, &selectors.remote),
            Direction::Inbound => (&selectors.remote, &selectors.local),
        };
        let addresses_only = source
            .iter()
            .chain(destination)
            .all(|ts| ts.protocol == 0 && ts.start_port == 0 && ts.end_port == u16::MAX);
        Self { source: Side::new(source), destination: Side::new(destination), addresses_only }
    }

    #[inline]
    pub(super) fn permits(&self, inner: &Inner<'_>) -> bool {
        let upper = if self.addresses_only { None } else { Some(inner.upper_layer()) };
        let source_port = upper.map(|upper| (upper, upper.ports.map(|ports| ports.0)));
        let destination_port = upper.map(|upper| (upper, upper.ports.map(|ports| ports.1)));
        match inner.addresses {
            Addresses::V4 { source, destination } => {
                any_matches(&self.source.v4, source, source_port)
                    && any_matches(&self.destination.v4, destination, destination_port)
            }
            Addresses::V6 { source, destination } => {
                any_matches(&self.source.v6, source, source_port)
                    && any_matches(&self.destination.v6, destination, destination_port)
            }
        }
    }
}

impl Side {
    fn new(selectors: &[TrafficSelector]) -> Self {
        let mut side = Self::default();
        for ts in selectors {
            match (ts.start, ts.end) {
                (IpAddr::V4(first), IpAddr::V4(last)) => {
                    side.v4.push(Rule::new(first.to_bits(), last.to_bits(), ts));
                }
                (IpAddr::V6(first), IpAddr::V6(last)) => {
                    side.v6.push(Rule::new(first.to_bits(), last.to_bits(), ts));
                }
                // The type promises one family; a selector that breaks it matches nothing.
                (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => {}
            }
        }
        side
    }
}

impl<Address> Rule<Address> {
    const fn new(first: Address, last: Address, ts: &TrafficSelector) -> Self {
        Self { first, last, protocol: ts.protocol, start_port: ts.start_port, end_port: ts.end_port }
    }
}

#[inline]
fn any_matches<Address: Copy + Ord>(
    rules: &[Rule<Address>],
    address: Address,
    upper: Option<(UpperLayer, Option<u16>)>,
) -> bool {
    rules.iter().any(|rule| {
        rule.first <= address
            && address <= rule.last
            && upper.is_none_or(|(upper, port)| {
                (rule.protocol == 0 || rule.protocol == upper.protocol) && rule.matches_port(port)
            })
    })
}

impl<Address> Rule<Address> {
    fn matches_port(&self, port: Option<u16>) -> bool {
        match (self.start_port, self.end_port) {
            (0, u16::MAX) => true,
            // OPAQUE: only packets whose port cannot be seen (RFC 7296 §3.13.1).
            (u16::MAX, 0) => port.is_none(),
            (start, end) => port.is_some_and(|port| start <= port && port <= end),
        }
    }
}
