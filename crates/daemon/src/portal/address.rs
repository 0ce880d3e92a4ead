//! Which addresses may be asked, and the first of them that takes a connection.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use evenkeel_ipc::HttpOutcome;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::Connector;

/// Addresses of one name that are tried. A lying resolver may give a thousand.
pub(super) const MAX_ADDRESSES: usize = 4;

/// How long one address is waited for before the next is tried beside it (RFC 8305 §5, Connection Attempt Delay).
const STAGGER: Duration = Duration::from_millis(250);

/// Whether somebody else than this machine can be there. A resolver that says "127.0.0.1" would make us talk to this
/// machine's own services, with a root process's sockets; `never` are the tunnel's own addresses.
pub(super) fn may_be_asked(address: IpAddr, never: &[IpAddr]) -> bool {
    let address = address.to_canonical();
    let somebody = match address {
        IpAddr::V4(v4) => {
            !v4.is_loopback() && v4.octets()[0] != 0 && !v4.is_multicast() && !v4.is_broadcast()
        }
        // Link-local addresses mean nothing without an interface, IPv4-compatible ones nothing at all, and the latter
        // include ::1 and ::.
        IpAddr::V6(v6) => !v6.is_multicast() && !v6.is_unicast_link_local() && v6.segments()[..6] != [0; 6],
    };
    somebody && !never.iter().any(|own| own.to_canonical() == address)
}

/// Whether an address belongs to a network of somebody's own (RFC 1918, 6598, 3927, 4193).
pub(super) fn is_private(address: IpAddr) -> bool {
    let shared = |v4: Ipv4Addr| v4.octets()[0] == 100 && (64..128).contains(&v4.octets()[1]);
    match address.to_canonical() {
        IpAddr::V4(v4) => v4.is_private() || v4.is_link_local() || shared(v4),
        IpAddr::V6(v6) => Ipv6Addr::is_unique_local(&v6),
    }
}

/// Whether an address means something on one link only (RFC 3927, RFC 4291 §2.5.6).
pub(super) fn is_link_local(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    }
}

/// The first few addresses that may be asked, families in turn beginning with that of the first.
pub(super) fn candidates(addresses: &[IpAddr], never: &[IpAddr]) -> Vec<IpAddr> {
    let mut usable: Vec<IpAddr> = Vec::new();
    for address in addresses.iter().map(IpAddr::to_canonical) {
        if may_be_asked(address, never) && !usable.contains(&address) {
            usable.push(address);
        }
        // Enough to have both families if the resolver gave both among its first.
        if usable.len() >= 4 * MAX_ADDRESSES {
            break;
        }
    }
    let first_is_v4 = usable.first().is_some_and(IpAddr::is_ipv4);
    let (first, second): (Vec<IpAddr>, Vec<IpAddr>) =
        usable.into_iter().partition(|address| address.is_ipv4() == first_is_v4);
    let (mut first, mut second) = (first.into_iter(), second.into_iter());
    let mut turns = Vec::new();
    while turns.len() < MAX_ADDRESSES {
        let turn = [first.next(), second.next()];
        if turn == [None, None] {
            break;
        }
        turns.extend(turn.into_iter().flatten());
    }
    turns
}

/// A connection to the first of `addresses` that takes one. Cancel safe: what is under way ends with the future.
pub(super) async fn connect<C: Connector>(
    connector: &Arc<C>,
    addresses: Vec<IpAddr>,
    port: u16,
    deadline: Instant,
) -> Result<C::Stream, HttpOutcome> {
    let mut attempts = JoinSet::new();
    let mut waiting = addresses.into_iter();
    let mut refused = false;
    let mut next_at = Instant::now();
    let mut left = true;
    loop {
        if !left && attempts.is_empty() {
            return Err(if refused { HttpOutcome::Refused } else { HttpOutcome::Unreachable });
        }
        tokio::select! {
            // Attempts first: an address that answered is not left for one that has not been tried.
            biased;
            Some(done) = attempts.join_next(), if !attempts.is_empty() => match done {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(error)) => {
                    let error: io::Error = error;
                    refused |= matches!(
                        error.kind(),
                        io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset
                    );
                    next_at = Instant::now();
                }
                Err(_) => {}
            },
            () = sleep_until(next_at), if left => match waiting.next() {
                Some(address) => {
                    let connector = Arc::clone(connector);
                    let timeout = deadline.saturating_duration_since(Instant::now());
                    attempts.spawn(async move {
                        connector.connect(SocketAddr::new(address, port), timeout).await
                    });
                    next_at = Instant::now() + STAGGER;
                }
                None => left = false,
            },
            () = sleep_until(deadline) => return Err(HttpOutcome::Silent),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn this_machine_and_nobody_are_never_asked() {
        for forbidden in [
            "127.0.0.1",
            "127.255.255.254",
            "::1",
            "::",
            "0.0.0.0",
            "0.1.2.3",
            "::ffff:127.0.0.1",
            "::ffff:0.0.0.0",
            "::7f00:1",
            "255.255.255.255",
            "224.0.0.251",
            "ff02::fb",
            "fe80::1",
        ] {
            assert!(!may_be_asked(ip(forbidden), &[]), "{forbidden}");
        }
        for allowed in ["192.0.2.1", "10.0.0.1", "100.64.0.1", "169.254.1.1", "2001:db8::1", "fd00::1"] {
            assert!(may_be_asked(ip(allowed), &[]), "{allowed}");
        }
    }

    #[test]
    fn addresses_of_one_link_are_known_however_they_are_written() {
        for local in ["169.254.169.254", "::ffff:169.254.169.254", "fe80::1", "febf::1"] {
            assert!(is_link_local(ip(local)), "{local}");
        }
        for other in ["169.253.0.1", "10.0.0.1", "fec0::1", "fd00::1"] {
            assert!(!is_link_local(ip(other)), "{other}");
        }
    }

    #[test]
    fn the_tunnels_own_addresses_are_never_asked_however_they_are_written() {
        let own = [ip("10.10.0.7"), ip("fd10::7")];
        assert!(!may_be_asked(ip("10.10.0.7"), &own));
        assert!(!may_be_asked(ip("::ffff:10.10.0.7"), &own));
        assert!(!may_be_asked(ip("fd10::7"), &own));
        assert!(may_be_asked(ip("10.10.0.8"), &own));
    }

    #[test]
    fn of_a_thousand_addresses_a_few_of_both_families_are_tried() {
        let many: Vec<IpAddr> =
            (0..1000_u16).map(|n| IpAddr::from([10, 1, n.to_be_bytes()[0], n.to_be_bytes()[1]])).collect();
        assert_eq!(candidates(&many, &[]), many[..MAX_ADDRESSES]);
        let mixed =
            ["2001:db8::1", "2001:db8::2", "2001:db8::3", "127.0.0.1", "192.0.2.1", "192.0.2.1"].map(ip);
        let tried = ["2001:db8::1", "192.0.2.1", "2001:db8::2", "2001:db8::3"].map(ip);
        assert_eq!(candidates(&mixed, &[]), tried);
        assert_eq!(candidates(&[ip("127.0.0.1"), ip("::1")], &[]), Vec::<IpAddr>::new());
        assert_eq!(candidates(&[], &[]), Vec::<IpAddr>::new());
    }

    #[test]
    fn addresses_of_private_networks_are_known() {
        for private in [
            "10.0.0.1",
            "172.16.0.1",
            "192.168.1.1",
            "100.64.0.1",
            "169.254.0.1",
            "fd00::1",
            "::ffff:10.0.0.1",
        ] {
            assert!(is_private(ip(private)), "{private}");
        }
        for public in ["198.51.100.10", "100.128.0.1", "172.32.0.1", "2001:db8::1"] {
            assert!(!is_private(ip(public)), "{public}");
        }
    }
}
