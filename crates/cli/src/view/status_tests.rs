//! What a person sees.
use std::collections::BTreeMap;

use evenkeel_ipc::{Address, Cause, EspSpi, IkeSpi, Portal};
use unicode_width::UnicodeWidthStr;

use super::*;

const NOW: u64 = 1_800_000_000;

fn connected() -> Status {
    let mut status = Status::off(Timestamp::from_unix(NOW - 7980));
    status.target = Target::Connected;
    status.state = State::Connected;
    status.profile = "Lab".parse().ok();
    status.gateway = "vpn.lab.example".parse().ok();
    status.ike_sa = Some(IkeSa {
        spi_i: IkeSpi(1),
        spi_r: IkeSpi(2),
        local: "192.168.1.20:38211".parse().expect("address"),
        remote: "198.51.100.10:4500".parse().expect("address"),
        transport: Transport::Udp,
        proposal: "AES_GCM_16_256/PRF_HMAC_SHA2_256/CURVE_25519".to_owned(),
        nat_local: true,
        nat_remote: false,
        peer_id: "vpn.lab.example".to_owned(),
        established: Timestamp::from_unix(NOW - 7980),
        rekey_in_s: Some(6000),
    });
    status.child_sas = vec![ChildSa {
        spi_in: EspSpi(0xc0ff_ee01),
        spi_out: EspSpi(0xc0ff_ee02),
        suite: "AES_GCM_16_256".to_owned(),
        ts_i: vec!["10.10.200.3/32".to_owned()],
        ts_r: vec!["10.10.0.0/16".to_owned()],
        bytes_in: 12_400_000,
        bytes_out: 1_100_000,
        packets_in: 10_231,
        packets_out: 4120,
        drops: BTreeMap::from([("replay".to_owned(), 2), ("icv".to_owned(), 0)]),
        rekey_in_s: Some(2900),
    }];
    status.addresses = vec![Address { ip: "10.10.200.3".parse().expect("address"), prefix: 32 }];
    status.dns = vec!["10.10.0.53".parse().expect("address")];
    status.domains = vec!["lab.example".to_owned()];
    status.mtu = Some(1400);
    status.keepalive_s = Some(20);
    status.round_trips = Some(6);
    status.received_ago_s = Some(1);
    status.sent_ago_s = Some(0);
    status
}

fn draw(status: &Status, width: usize) -> String {
    let text = super::status(status, None, Timestamp::from_unix(NOW), Canvas { width, unicode: true });
    anstream::adapter::strip_str(&text).to_string()
}

#[test]
fn a_connection_is_told_at_a_glance() {
    let expected = "\
● Connected to Lab for 2 h 13 min – bytes move both ways

  Received    12.4 MB in 10,231 packets, just now
  Sent        1.1 MB in 4,120 packets, just now
  Networks    10.10.0.0/16
  Address     10.10.200.3
  DNS         10.10.0.53 for lab.example

  Gateway     vpn.lab.example
  Path        192.168.1.20:38211 → 198.51.100.10:4500 over UDP, you are behind NAT
  Algorithms  AES_GCM_16_256 (ESP), AES_GCM_16_256/PRF_HMAC_SHA2_256/CURVE_25519 (IKE)
  Next rekey  ESP in 48 min, IKE in 1 h 40 min
  Dropped     2 received twice
  Details     MTU 1400, NAT keepalive every 20 s, up in 6 round trips
";
    assert_eq!(draw(&connected(), 100), expected);
}

#[test]
fn a_fallback_is_said_to_be_one_before_anything_else() {
    let mut status = connected();
    (status.ike_sa, status.round_trips) = (None, None);
    let sa = status.child_sas.remove(0);
    status.wireguard = Some(Box::new(WireguardPeer {
        endpoint: "peer.lab.example:51820".parse().expect("endpoint"),
        public_key: "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=".to_owned().try_into().expect("key"),
        local: "192.168.1.20:38211".parse().expect("address"),
        remote: "203.0.113.20:51820".parse().expect("address"),
        allowed_ips: sa.ts_r,
        last_handshake: Some(Timestamp::from_unix(NOW - 100)),
        handshakes: 66,
        bytes_in: sa.bytes_in,
        bytes_out: sa.bytes_out,
        packets_in: sa.packets_in,
        packets_out: sa.packets_out,
        drops: BTreeMap::from([("no_sa".to_owned(), 3)]),
    }));
    status.keepalive_s = Some(25);
    let expected = "\
● Connected to Lab by a fallback for 2 h 13 min – bytes move both ways

  Fallback    a WireGuard peer, peer.lab.example:51820, in place of vpn.lab.example, which has not
              answered. It is another server with rules of its own; the connection goes back to the
              gateway by itself.
  Received    12.4 MB in 10,231 packets, just now
  Sent        1.1 MB in 4,120 packets, just now
  Networks    10.10.0.0/16
  Address     10.10.200.3
  DNS         10.10.0.53 for lab.example

  Path        192.168.1.20:38211 → 203.0.113.20:51820 over WireGuard
  Handshake   1 min 40 s ago
  Dropped     3 that no SA carries
  Details     MTU 1400, NAT keepalive every 25 s
";
    assert_eq!(draw(&status, 100), expected);
}

#[test]
fn a_portal_is_told_with_its_page_and_hides_what_it_causes() {
    let mut status = Status::off(Timestamp::from_unix(NOW - 5));
    status.target = Target::Connected;
    status.state = State::Connecting;
    status.profile = "Lab".parse().ok();
    status.cause = Some(Cause::GatewayLost);
    let url = "http://portal.hotel.example/login".parse().ok();
    status.portal = Some(Portal { url, since: Timestamp::from_unix(NOW - 3) });
    let expected = "\
◐ Connecting to Lab: waiting for somebody to sign in to this network…
  Sign in     This network wants you to sign in first: http://portal.hotel.example/login; the
              connection continues by itself afterwards.
";
    assert_eq!(draw(&status, 100), expected);
}

#[test]
fn legacy_algorithms_are_warned_about_as_long_as_they_are_in_use() {
    let mut status = connected();
    assert!(!draw(&status, 100).contains("Warning"));
    status.legacy = vec!["HMAC_SHA1_96".to_owned(), "PRF_HMAC_SHA1".to_owned(), "MODP_1024".to_owned()];
    let text = draw(&status, 160);
    let warning = "  Warning     HMAC_SHA1_96, PRF_HMAC_SHA1 and MODP_1024 are broken or close to it; \
                   ask the gateway's operator for newer algorithms.\n";
    assert!(text.contains(warning), "{text}");
    status.legacy.truncate(1);
    assert!(draw(&status, 160).contains("HMAC_SHA1_96 is broken"), "{text}");
}

#[test]
fn what_the_network_blocks_is_said_and_what_is_used_instead() {
    let mut status = connected();
    status.network = Some(evenkeel_ipc::NetworkStatus {
        id: None,
        label: Some("Café".to_owned()),
        transport: Some(evenkeel_ipc::Carrier::Tcp4500),
        fallback: true,
        blockage: Some(evenkeel_ipc::Blockage::Udp4500Blocked),
        learned: evenkeel_ipc::LearnedNetwork::default(),
    });
    let line = "  Network     Café (UDP/4500 is blocked here, so TCP/4500 is used)\n";
    assert!(draw(&status, 100).contains(line), "{}", draw(&status, 100));
    status.network.as_mut().expect("there").fallback = false;
    status.network.as_mut().expect("there").blockage = None;
    assert!(!draw(&status, 100).contains("  Network  "));
}

#[test]
fn nothing_is_wider_than_the_terminal() {
    for width in [24, 40, 60, 80] {
        let text = draw(&connected(), width);
        for line in text.lines() {
            assert!(line.width() <= width, "{width}: {line:?}");
        }
    }
}

#[test]
fn connected_without_answers_is_not_good_news() {
    let mut status = connected();
    status.received_ago_s = Some(34);
    assert!(draw(&status, 100).contains("we send, but nothing has come back for 34 s"));
    status.received_ago_s = None;
    assert!(draw(&status, 100).contains("we send, but nothing has come back yet"));
    status.sent_ago_s = Some(400);
    status.received_ago_s = Some(300);
    assert!(draw(&status, 100).contains("quiet for 5 min"));
}

#[test]
fn a_failure_says_what_why_and_what_to_do() {
    let mut status = Status::off(Timestamp::from_unix(NOW));
    status.state = State::Failed;
    status.profile = "Lab".parse().ok();
    status.cause = Some(Cause::WrongPassword);
    let text = draw(&status, 100);
    assert!(text.starts_with("✗ Not connected to Lab: The user name or the password is wrong.\n  Why         the gateway says so"), "{text}");
    assert!(text.contains("\n  Now         Try again."), "{text}");
}

#[test]
fn of_another_users_connection_only_its_existence_is_told() {
    let mut status = Status::off(Timestamp::from_unix(NOW - 60));
    status.target = Target::Connected;
    status.state = State::Connected;
    assert_eq!(draw(&status, 80), "● Another user of this machine is connected, for 1 min\n");
}

#[test]
fn off_is_one_line() {
    assert_eq!(draw(&Status::off(Timestamp::from_unix(NOW)), 80), "○ Not connected\n");
}

#[test]
fn what_a_gateway_says_can_not_move_the_cursor() {
    let mut status = connected();
    let evil = "\u{1b}[2J\u{202e}".to_owned();
    status.domains = vec![evil.clone()];
    status.legacy = vec![evil.clone()];
    if let Some(sa) = &mut status.ike_sa {
        sa.peer_id.clone_from(&evil);
        sa.proposal.clone_from(&evil);
    }
    for sa in &mut status.child_sas {
        sa.suite.clone_from(&evil);
        sa.ts_r = vec![evil.clone()];
        sa.drops = BTreeMap::from([(evil.clone(), 1)]);
    }
    let text = super::status(&status, None, Timestamp::from_unix(NOW), Canvas { width: 100, unicode: true });
    assert!(!text.contains("\u{1b}[2J") && !text.contains('\u{202e}'), "{text:?}");
}

#[test]
fn a_plain_terminal_gets_ascii() {
    let text =
        super::status(&connected(), None, Timestamp::from_unix(NOW), Canvas { width: 100, unicode: false });
    assert!(text.is_ascii(), "{text}");
}
