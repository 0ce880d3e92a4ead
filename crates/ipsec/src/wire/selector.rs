//! Traffic selectors (RFC 7296 §3.13).

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::DecodeError;
use super::reader::Reader;
use super::writer::{count8, with_length16};

/// One traffic selector. `start` and `end` are of the same family, and `start <= end`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct TrafficSelector {
    /// IP protocol, 0 for any.
    pub protocol: u8,
    /// First port (for ICMP: type and code), 0 for any.
    pub start_port: u16,
    /// Last port, 65535 for any.
    pub end_port: u16,
    /// First address.
    pub start: IpAddr,
    /// Last address.
    pub end: IpAddr,
}

const IPV4_ADDR_RANGE: u8 = 7;
const IPV6_ADDR_RANGE: u8 = 8;
/// Any port, the absent one included.
const ANY_PORT: (u16, u16) = (0, u16::MAX);
/// OPAQUE: the ports can't be seen, as in a later fragment (RFC 7296 §3.13.1).
const OPAQUE_PORT: (u16, u16) = (u16::MAX, 0);

impl TrafficSelector {
    /// 0.0.0.0/0, any protocol and port.
    #[must_use]
    pub fn any_v4() -> Self {
        Self::range(Ipv4Addr::UNSPECIFIED.into(), Ipv4Addr::BROADCAST.into())
    }

    /// ::/0, any protocol and port.
    #[must_use]
    pub fn any_v6() -> Self {
        Self::range(Ipv6Addr::UNSPECIFIED.into(), Ipv6Addr::from(u128::MAX).into())
    }

    /// The subnet that `ip` is in, any protocol and port; `None` if the prefix is longer than the address.
    #[must_use]
    pub fn from_cidr(ip: IpAddr, prefix: u8) -> Option<Self> {
        let host_bits = width(ip).checked_sub(u32::from(prefix))?;
        let host_mask = low_bits(host_bits);
        let start = to_bits(ip) & !host_mask;
        Some(Self::range(from_bits(start, ip), from_bits(start | host_mask, ip)))
    }

    /// Whether the address is in the range.
    #[must_use]
    pub fn contains(&self, ip: IpAddr) -> bool {
        // Families don't mix: every IPv4 address orders before every IPv6 address.
        self.start <= ip && ip <= self.end
    }

    /// What both select, or `None` when nothing.
    #[must_use]
    pub fn intersect(&self, other: &Self) -> Option<Self> {
        let protocol = match (self.protocol, other.protocol) {
            (0, protocol) | (protocol, 0) => protocol,
            (a, b) => (a == b).then_some(a)?,
        };
        let (start_port, end_port) = intersect_ports(self.ports(), other.ports())?;
        let start = self.start.max(other.start);
        let end = self.end.min(other.end);
        (start <= end).then_some(Self { protocol, start_port, end_port, start, end })
    }

    /// The address range as the fewest subnets that cover it exactly, in ascending order.
    #[must_use]
    pub fn as_cidrs(&self) -> Vec<(IpAddr, u8)> {
        let width = width(self.start);
        let last = to_bits(self.end);
        let mut first = to_bits(self.start);
        let mut subnets = Vec::new();
        loop {
            let aligned = first.trailing_zeros().min(width);
            let host_bits = (0..=aligned).rev().find(|bits| block_end(first, *bits) <= last).unwrap_or(0);
            let prefix = u8::try_from(width - host_bits).unwrap_or(u8::MAX);
            subnets.push((from_bits(first, self.start), prefix));
            let block_end = block_end(first, host_bits);
            if block_end >= last {
                return subnets;
            }
            first = block_end + 1;
        }
    }

    fn range(start: IpAddr, end: IpAddr) -> Self {
        let (start_port, end_port) = ANY_PORT;
        Self { protocol: 0, start_port, end_port, start, end }
    }

    fn ports(&self) -> (u16, u16) {
        (self.start_port, self.end_port)
    }

    /// Reads one selector; `None` for a type that is unknown here.
    fn decode(r: &mut Reader<'_>) -> Result<Option<Self>, DecodeError> {
        let start_place = r.place();
        let kind = r.u8("TS type")?;
        let protocol = r.u8("IP protocol ID")?;
        let mut r = r.sub_after_length(4, "traffic selector", "8 or more")?;
        let address_len = match kind {
            IPV4_ADDR_RANGE => 4,
            IPV6_ADDR_RANGE => 16,
            _ => return Ok(None),
        };
        if r.len() != 4 + 2 * address_len {
            let allowed = "16 for IPv4, 40 for IPv6";
            return Err(start_place.bad_length("traffic selector", 4 + r.len(), allowed));
        }
        let port_place = r.place();
        let start_port = r.u16("start port")?;
        let end_port = r.u16("end port")?;
        if start_port > end_port && (start_port, end_port) != OPAQUE_PORT {
            let allowed = "the start port or above, or 65535 and 0 for OPAQUE";
            return Err(port_place.bad_value("end port", end_port, allowed));
        }
        let address_place = r.place();
        let (start, end) = if kind == IPV4_ADDR_RANGE {
            let what = "IPv4 address";
            (IpAddr::from(r.array::<4>(what)?), IpAddr::from(r.array::<4>(what)?))
        } else {
            let what = "IPv6 address";
            (IpAddr::from(r.array::<16>(what)?), IpAddr::from(r.array::<16>(what)?))
        };
        if start > end {
            let allowed = "a start that isn't above the end";
            return Err(address_place.bad_value("address range", 0_u8, allowed));
        }
        Ok(Some(Self { protocol, start_port, end_port, start, end }))
    }

    fn encode(&self, out: &mut Vec<u8>) {
        let head = |kind, out: &mut Vec<u8>| {
            out.extend_from_slice(&[kind, self.protocol, 0, 0]);
            out.extend_from_slice(&self.start_port.to_be_bytes());
            out.extend_from_slice(&self.end_port.to_be_bytes());
        };
        match (self.start, self.end) {
            (IpAddr::V4(start), IpAddr::V4(end)) => {
                head(IPV4_ADDR_RANGE, out);
                out.extend_from_slice(&start.octets());
                out.extend_from_slice(&end.octets());
            }
            (start, end) => {
                head(IPV6_ADDR_RANGE, out);
                out.extend_from_slice(&to_v6(start).octets());
                out.extend_from_slice(&to_v6(end).octets());
            }
        }
    }
}

/// `10.1.0.0/16`, `10.1.0.3..10.1.0.9`, `fd00::/8[tcp/443]`, `0.0.0.0/0[udp/1000-2000]`.
impl fmt::Display for TrafficSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.as_cidrs().as_slice() {
            [(ip, prefix)] => write!(f, "{ip}/{prefix}")?,
            _ => write!(f, "{}..{}", self.start, self.end)?,
        }
        if self.protocol == 0 && self.ports() == ANY_PORT {
            return Ok(());
        }
        match self.protocol {
            0 => f.write_str("[any")?,
            1 => f.write_str("[icmp")?,
            6 => f.write_str("[tcp")?,
            17 => f.write_str("[udp")?,
            58 => f.write_str("[ipv6-icmp")?,
            other => write!(f, "[{other}")?,
        }
        match self.ports() {
            ANY_PORT => f.write_str("]"),
            OPAQUE_PORT => f.write_str("/opaque]"),
            (start, end) if start == end => write!(f, "/{start}]"),
            (start, end) => write!(f, "/{start}-{end}]"),
        }
    }
}

/// Reads the body of a TSi or TSr payload. Selectors of unknown types are left out, which narrows the offer.
pub(super) fn decode_selectors(r: &mut Reader<'_>) -> Result<Vec<TrafficSelector>, DecodeError> {
    let count = r.u8("number of TSs")?;
    r.bytes(3, "reserved octets")?;
    let mut selectors = Vec::with_capacity(usize::from(count));
    for _ in 0..count {
        selectors.extend(TrafficSelector::decode(r)?);
    }
    Ok(selectors)
}

/// Writes the body of a TSi or TSr payload.
pub(super) fn encode_selectors(selectors: &[TrafficSelector], out: &mut Vec<u8>) {
    out.extend_from_slice(&[count8(selectors.len()), 0, 0, 0]);
    for selector in selectors {
        with_length16(out, 2, |out| selector.encode(out));
    }
}

/// RFC 4301 §4.4.1.1: ANY includes OPAQUE, a range of ports doesn't.
fn intersect_ports(a: (u16, u16), b: (u16, u16)) -> Option<(u16, u16)> {
    match (a, b) {
        (ANY_PORT, ports) | (ports, ANY_PORT) => Some(ports),
        (OPAQUE_PORT, OPAQUE_PORT) => Some(OPAQUE_PORT),
        (OPAQUE_PORT, _) | (_, OPAQUE_PORT) => None,
        ((a_start, a_end), (b_start, b_end)) => {
            let (start, end) = (a_start.max(b_start), a_end.min(b_end));
            (start <= end).then_some((start, end))
        }
    }
}

/// Bits of an address of this family.
fn width(family: IpAddr) -> u32 {
    if family.is_ipv4() { 32 } else { 128 }
}

fn low_bits(n: u32) -> u128 {
    u128::MAX.checked_shl(n).map_or(u128::MAX, |high| !high)
}

/// The last address of a block of 2^`host_bits` addresses that starts at `first`, which is aligned to it.
fn block_end(first: u128, host_bits: u32) -> u128 {
    first | low_bits(host_bits)
}

fn to_bits(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(ip) => ip.to_bits().into(),
        IpAddr::V6(ip) => ip.to_bits(),
    }
}

fn from_bits(bits: u128, family: IpAddr) -> IpAddr {
    match family {
        IpAddr::V4(_) => Ipv4Addr::from_bits(u32::try_from(bits).unwrap_or(u32::MAX)).into(),
        IpAddr::V6(_) => Ipv6Addr::from_bits(bits).into(),
    }
}

fn to_v6(ip: IpAddr) -> Ipv6Addr {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn range(start: &str, end: &str) -> TrafficSelector {
        TrafficSelector::range(ip(start), ip(end))
    }

    fn cidr(address: &str, prefix: u8) -> TrafficSelector {
        TrafficSelector::from_cidr(ip(address), prefix).unwrap()
    }

    fn cidrs(selector: TrafficSelector) -> Vec<String> {
        selector.as_cidrs().iter().map(|(ip, prefix)| format!("{ip}/{prefix}")).collect()
    }

    #[test]
    fn a_subnet_covers_its_first_to_its_last_address() {
        assert_eq!(cidr("10.1.2.3", 16), range("10.1.0.0", "10.1.255.255"));
        assert_eq!(cidr("10.1.2.3", 32), range("10.1.2.3", "10.1.2.3"));
        assert_eq!(cidr("10.1.2.3", 0), TrafficSelector::any_v4());
        assert_eq!(cidr("fd00::1", 0), TrafficSelector::any_v6());
        assert_eq!(cidr("fd00::1", 127), range("fd00::", "fd00::1"));
    }

    #[test]
    fn a_prefix_longer_than_the_address_makes_no_subnet() {
        assert_eq!(TrafficSelector::from_cidr(ip("10.0.0.0"), 33), None);
        assert_eq!(TrafficSelector::from_cidr(ip("fd00::"), 129), None);
    }

    #[test]
    fn a_subnet_contains_its_own_family_only() {
        assert!(cidr("10.0.0.0", 8).contains(ip("10.255.255.255")));
        assert!(!cidr("10.0.0.0", 8).contains(ip("11.0.0.0")));
        assert!(!TrafficSelector::any_v4().contains(ip("::ffff:10.0.0.1")));
        assert!(!TrafficSelector::any_v6().contains(ip("10.0.0.1")));
    }

    #[test]
    fn a_subnet_is_one_cidr_and_a_range_the_fewest_that_cover_it() {
        assert_eq!(cidrs(cidr("10.0.0.0", 8)), ["10.0.0.0/8"]);
        assert_eq!(cidrs(TrafficSelector::any_v4()), ["0.0.0.0/0"]);
        assert_eq!(cidrs(TrafficSelector::any_v6()), ["::/0"]);
        assert_eq!(
            cidrs(range("10.0.0.1", "10.0.0.10")),
            ["10.0.0.1/32", "10.0.0.2/31", "10.0.0.4/30", "10.0.0.8/31", "10.0.0.10/32"]
        );
        assert_eq!(cidrs(range("255.255.255.254", "255.255.255.255")), ["255.255.255.254/31"]);
        assert_eq!(cidrs(range("ffff::", "ffff::2")), ["ffff::/127", "ffff::2/128"]);
        assert_eq!(cidrs(range("0.0.0.1", "255.255.255.255")).len(), 32);
        let all_but_the_ends = TrafficSelector::range(ip("::1"), Ipv6Addr::from_bits(u128::MAX - 1).into());
        assert_eq!(all_but_the_ends.as_cidrs().len(), 254);
    }

    #[test]
    fn the_intersection_is_what_both_contain() {
        let any = TrafficSelector::any_v4();
        let office = cidr("10.10.0.0", 16);
        assert_eq!(any.intersect(&office), Some(office));
        assert_eq!(office.intersect(&any), Some(office));
        assert_eq!(office.intersect(&cidr("10.10.3.0", 24)), Some(cidr("10.10.3.0", 24)));
        assert_eq!(
            range("10.0.0.1", "10.0.0.9").intersect(&range("10.0.0.5", "10.0.1.0")),
            Some(range("10.0.0.5", "10.0.0.9"))
        );
        assert_eq!(office.intersect(&cidr("10.11.0.0", 16)), None);
        assert_eq!(any.intersect(&TrafficSelector::any_v6()), None);
        assert_eq!(TrafficSelector::any_v6().intersect(&any), None);
    }

    #[test]
    fn the_intersection_narrows_protocol_and_ports() {
        let any = TrafficSelector::any_v4();
        let web = TrafficSelector { protocol: 6, start_port: 443, end_port: 443, ..any };
        let low = TrafficSelector { protocol: 6, start_port: 0, end_port: 1023, ..any };
        let dns = TrafficSelector { protocol: 17, start_port: 53, end_port: 53, ..any };
        let opaque = TrafficSelector { protocol: 6, start_port: u16::MAX, end_port: 0, ..any };
        assert_eq!(any.intersect(&web), Some(web));
        assert_eq!(low.intersect(&web), Some(web));
        assert_eq!(web.intersect(&dns), None);
        assert_eq!(any.intersect(&opaque), Some(opaque));
        assert_eq!(opaque.intersect(&opaque), Some(opaque));
        assert_eq!(low.intersect(&opaque), None);
    }

    #[test]
    fn the_display_shows_only_what_is_limited() {
        let any = TrafficSelector::any_v4();
        assert_eq!(any.to_string(), "0.0.0.0/0");
        assert_eq!(range("10.0.0.3", "10.0.0.9").to_string(), "10.0.0.3..10.0.0.9");
        let of = |protocol, start_port, end_port| TrafficSelector { protocol, start_port, end_port, ..any };
        assert_eq!(of(6, 443, 443).to_string(), "0.0.0.0/0[tcp/443]");
        assert_eq!(of(17, 1000, 2000).to_string(), "0.0.0.0/0[udp/1000-2000]");
        assert_eq!(of(1, 0, u16::MAX).to_string(), "0.0.0.0/0[icmp]");
        assert_eq!(of(58, u16::MAX, 0).to_string(), "0.0.0.0/0[ipv6-icmp/opaque]");
        assert_eq!(of(132, 0, 0).to_string(), "0.0.0.0/0[132/0]");
        assert_eq!(of(0, 1, 2).to_string(), "0.0.0.0/0[any/1-2]");
    }

    fn decode(selectors: &[u8]) -> Result<Vec<TrafficSelector>, DecodeError> {
        let body = [&[1, 0, 0, 0], selectors].concat();
        decode_selectors(&mut Reader::new(&body, super::super::Part::Trailer, 0))
    }

    #[test]
    fn a_selector_of_an_unknown_type_is_left_out() {
        assert_eq!(decode(&[10, 0, 0, 6, 1, 2]), Ok(Vec::new()));
    }

    #[test]
    fn selectors_that_select_nothing_or_have_the_wrong_length_are_refused() {
        let selector = [7, 0, 0, 16, 0, 0, 0xff, 0xff, 10, 0, 0, 0, 10, 0, 0, 1];
        assert_eq!(decode(&selector), Ok(vec![range("10.0.0.0", "10.0.0.1")]));
        let with = |at: usize, octet| {
            let mut changed = selector;
            changed[at] = octet;
            decode(&changed)
        };
        assert!(with(0, 8).is_err(), "an IPv6 selector of 16 octets");
        assert!(with(3, 15).is_err());
        assert!(with(3, 17).is_err());
        assert!(with(3, 3).is_err());
        assert!(with(8, 11).is_err(), "a range that ends before it starts");
        let mut ports = selector;
        ports[4..8].copy_from_slice(&[0, 2, 0, 1]);
        assert!(decode(&ports).is_err(), "ports that end before they start");
        ports[4..8].copy_from_slice(&[0xff, 0xff, 0, 0]);
        assert!(decode(&ports).is_ok(), "OPAQUE");
    }
}
