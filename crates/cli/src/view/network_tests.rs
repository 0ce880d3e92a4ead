//! What a person sees of networks.
use evenkeel_ipc::{How, NetworkId};
use unicode_width::UnicodeWidthStr;

use super::*;

const NOW: u64 = 1_800_000_000;
const WIDE: Canvas = Canvas { width: 100, unicode: true };

fn measured(verdict: Verdict) -> Option<Measured> {
    Some(Measured { verdict, how: How::Answered, at: Timestamp::from_unix(NOW) })
}

fn cafe() -> RememberedNetwork {
    RememberedNetwork {
        id: NetworkId(0x0123_4567_89ab_cdef),
        label: "Café".to_owned(),
        last_seen: Timestamp::from_unix(NOW - 7980),
        present: false,
        transport: Some(Carrier::Tcp4500),
        keepalive_s: Some(96),
        connect_ms: Some(1250),
        portal_seen: Some(Timestamp::from_unix(NOW - 90_000)),
        learned: LearnedNetwork {
            nat: Some(true),
            nat_lifetime_s: Some(NatLifetime { lower: Some(120), upper: Some(132) }),
            path_mtu: PathMtu { up: Some(1492), down: Some(1400) },
            verdicts: Verdicts {
                udp500: measured(Verdict::Open),
                udp4500: measured(Verdict::Blocked),
                tcp443: measured(Verdict::Blocked),
                tcp4500: measured(Verdict::Open),
                ..Verdicts::default()
            },
        },
    }
}

/// One that nothing but its name is known of, and where we are.
fn home() -> RememberedNetwork {
    RememberedNetwork {
        id: NetworkId(1),
        label: "192.168.1.0/24".to_owned(),
        last_seen: Timestamp::from_unix(NOW),
        present: true,
        transport: None,
        keepalive_s: None,
        connect_ms: None,
        portal_seen: None,
        learned: LearnedNetwork::default(),
    }
}

fn list(canvas: Canvas) -> String {
    let text = network_list(&[home(), cafe()], Timestamp::from_unix(NOW), canvas);
    anstream::adapter::strip_str(&text).to_string()
}

#[test]
fn each_network_is_one_line_of_what_a_person_asks_for() {
    let expected = "\
NETWORK         LAST SEEN       KEEPALIVE   MTU                 BLOCKED            USES      ID
192.168.1.0/24  here            –           –                   –                  –         0000000000000001
Café            2 h 13 min ago  1 min 36 s  1492 up, 1400 down  UDP/4500, TCP/443  TCP/4500  0123456789abcdef
";
    assert_eq!(list(Canvas { width: 120, unicode: true }), expected);
}

#[test]
fn on_a_narrow_terminal_each_network_is_a_block_that_fits() {
    for width in [24, 40, 80] {
        let text = list(Canvas { width, unicode: true });
        assert!(text.lines().all(|line| line.width() <= width), "{width}: {text}");
        assert!(text.contains("TCP/4500") && text.contains("0123456789abcdef"), "{text}");
    }
}

#[test]
fn what_is_known_of_a_network_is_told_in_full_and_the_rest_is_not_called_free() {
    let draw = |network: &RememberedNetwork| {
        let text = network_details(network, Timestamp::from_unix(NOW), WIDE);
        anstream::adapter::strip_str(&text).to_string()
    };
    let expected = "\
Café
  ID         0123456789abcdef
  Last seen  2 h 13 min ago
  Uses       TCP/4500
  NAT        yes
  Mappings   survive 2 min of silence, not 2 min 12 s
  Keepalive  every 1 min 36 s
  MTU        1492 up, 1400 down
  Open       UDP/500, TCP/4500
  Blocked    UDP/4500, TCP/443
  Connects   in 1.2 s
  Portal     seen 1 d 1 h ago
";
    assert_eq!(draw(&cafe()), expected);
    let nothing = draw(&home());
    assert!(nothing.contains("MTU        not measured") && nothing.contains("Blocked    nothing known"));
}

#[test]
fn a_status_speaks_of_the_network_only_when_something_is_in_the_way() {
    let mut network = NetworkStatus {
        id: None,
        label: Some("Café".to_owned()),
        transport: Some(Carrier::Udp),
        fallback: false,
        blockage: None,
        learned: LearnedNetwork::default(),
    };
    assert_eq!(in_the_way(&network), None);
    network.blockage = Some(Blockage::NothingAnswers);
    assert_eq!(in_the_way(&network).as_deref(), Some("Café (nothing gets through to the gateway)"));
    (network.transport, network.fallback) = (Some(Carrier::Tcp4500), true);
    for (blockage, text) in [
        (Some(Blockage::Udp4500Blocked), "Café (UDP/4500 is blocked here, so TCP/4500 is used)"),
        (Some(Blockage::UdpBlocked), "Café (UDP is blocked here, so TCP/4500 is used)"),
        (Some(Blockage::EspBlocked), "Café (ESP is blocked here, so TCP/4500 is used)"),
        (None, "Café (TCP/4500 is used in place of UDP)"),
    ] {
        network.blockage = blockage;
        assert_eq!(in_the_way(&network).as_deref(), Some(text));
    }
    network.label = None;
    assert_eq!(in_the_way(&network).as_deref(), Some("TCP/4500 is used in place of UDP"));
}

#[test]
fn what_a_network_is_called_can_not_move_the_cursor() {
    let evil = RememberedNetwork { label: "\u{1b}[2J\u{202e}".to_owned(), ..cafe() };
    let now = Timestamp::from_unix(NOW);
    for canvas in [WIDE, Canvas { width: 24, unicode: true }] {
        let text =
            network_list(std::slice::from_ref(&evil), now, canvas) + &network_details(&evil, now, canvas);
        assert!(!text.contains("\u{1b}[2J") && !text.contains('\u{202e}'), "{text:?}");
    }
}
