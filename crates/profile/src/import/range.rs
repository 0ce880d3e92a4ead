//! Address ranges as networks.
use std::net::IpAddr;

use crate::Cidr;

/// The networks that make up `FIRST-LAST`, or the one that `ADDRESS/PREFIX` is. Host bits are dropped, as the
/// programs that such texts come from do.
pub(super) fn networks(text: &str) -> Option<Vec<Cidr>> {
    let text: String = text.chars().filter(|c| !c.is_whitespace()).collect();
    match text.split_once('-') {
        Some((first, last)) => between(first.parse().ok()?, last.parse().ok()?),
        None => Some(vec![match text.parse() {
            Ok(network) => network,
            Err(crate::CidrError::HostBits { meant }) => meant,
            Err(crate::CidrError::Malformed | crate::CidrError::Prefix { .. }) => return None,
        }]),
    }
}

fn between(first: IpAddr, last: IpAddr) -> Option<Vec<Cidr>> {
    let (mut next, last, bits) = match (first, last) {
        (IpAddr::V4(a), IpAddr::V4(b)) => (u128::from(a.to_bits()), u128::from(b.to_bits()), 32),
        (IpAddr::V6(a), IpAddr::V6(b)) => (a.to_bits(), b.to_bits(), 128),
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => return None,
    };
    if next > last {
        return None;
    }
    let mut networks = Vec::new();
    loop {
        // The largest network that begins at `next` and does not reach beyond `last`.
        let mut size = next.trailing_zeros().min(bits);
        while size > 0 && end(next, size) > last {
            size -= 1;
        }
        let address = match u32::try_from(next) {
            Ok(v4) if bits == 32 => IpAddr::V4(v4.into()),
            _ => IpAddr::V6(next.into()),
        };
        networks.push(Cidr::new(address, u8::try_from(bits - size).ok()?).ok()?);
        let covered = end(next, size);
        if covered >= last {
            return Some(networks);
        }
        next = covered.checked_add(1)?;
    }
}

/// The last address of the network of 2^`size` addresses at `start`.
fn end(start: u128, size: u32) -> u128 {
    start | 1_u128.checked_shl(size).map_or(u128::MAX, |count| count - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> Option<String> {
        networks(text).map(|all| all.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn ranges_become_the_fewest_networks() {
        assert_eq!(shown("10.0.0.0-10.0.0.255").as_deref(), Some("10.0.0.0/24"));
        assert_eq!(
            shown("192.168.1.1 - 192.168.1.10").as_deref(),
            Some("192.168.1.1/32 192.168.1.2/31 192.168.1.4/30 192.168.1.8/31 192.168.1.10/32")
        );
        assert_eq!(shown("0.0.0.0-255.255.255.255").as_deref(), Some("0.0.0.0/0"));
        assert_eq!(shown("::-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff").as_deref(), Some("::/0"));
        assert_eq!(shown("::1-::2").as_deref(), Some("::1/128 ::2/128"));
        assert_eq!(shown("10.0.0.7/8").as_deref(), Some("10.0.0.0/8"));
        for wrong in ["10.0.0.2-10.0.0.1", "10.0.0.1-::2", "x", "10.0.0.0/99", "-"] {
            assert_eq!(shown(wrong), None, "{wrong}");
        }
    }
}
