//! Properties of the wire codecs: what is written is read back, and no bytes at all make the decoder panic.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use evenkeel_ipsec::wire::*;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

fn bytes(max: usize) -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 0..=max)
}

/// Any text, control characters included (`any::<String>()` has none).
fn text() -> impl Strategy<Value = String> {
    vec(any::<char>(), 0..32).prop_map(String::from_iter)
}

fn transform() -> impl Strategy<Value = Transform> {
    (any::<u8>(), any::<u16>(), any::<Option<u16>>()).prop_map(|(kind, id, key_bits)| Transform {
        kind: TransformType::from_number(kind),
        id,
        key_bits,
        unknown_attribute: false,
    })
}

fn any_spi() -> impl Strategy<Value = Spi> {
    prop_oneof![
        Just(Spi::None),
        any::<u32>().prop_map(|spi| Spi::Esp(EspSpi(spi))),
        any::<u64>().prop_map(|spi| Spi::Ike(IkeSpi(spi))),
    ]
}

/// Protocols with an SPI that they can have.
fn protocol_and_spi() -> impl Strategy<Value = (Protocol, Spi)> {
    (any::<u8>(), any_spi(), any::<u32>()).prop_map(|(number, spi, esp)| {
        let protocol = Protocol::from_number(number);
        let spi = match (protocol, spi) {
            (Protocol::Ike, Spi::Esp(_)) => Spi::None,
            (Protocol::Ah | Protocol::Esp, Spi::None | Spi::Ike(_)) => Spi::Esp(EspSpi(esp)),
            (Protocol::Ike | Protocol::Ah | Protocol::Esp | Protocol::Other(_), spi) => spi,
        };
        (protocol, spi)
    })
}

fn proposal() -> impl Strategy<Value = Proposal> {
    (any::<u8>(), protocol_and_spi(), vec(transform(), 0..8))
        .prop_map(|(number, (protocol, spi), transforms)| Proposal { number, protocol, spi, transforms })
}

fn id() -> impl Strategy<Value = Id> {
    prop_oneof![
        any::<Ipv4Addr>().prop_map(Id::Ipv4),
        any::<Ipv6Addr>().prop_map(Id::Ipv6),
        text().prop_map(Id::Fqdn),
        text().prop_map(Id::Email),
        bytes(64).prop_map(Id::Dn),
        bytes(64).prop_map(Id::KeyId),
        (12_u8.., bytes(64)).prop_map(|(kind, data)| Id::Other(kind, data)),
    ]
}

fn notify() -> impl Strategy<Value = Notify> {
    (any::<u8>(), any_spi(), any::<u16>(), bytes(64)).prop_map(|(protocol, spi, kind, data)| Notify {
        protocol: Protocol::from_number(protocol),
        spi,
        kind: NotifyType::from_number(kind),
        data,
    })
}

fn delete() -> impl Strategy<Value = Delete> {
    prop_oneof![
        Just(Delete::Ike),
        vec(any::<u32>().prop_map(EspSpi), 0..16).prop_map(Delete::Esp),
        (4_u8..).prop_map(Delete::Other),
    ]
}

fn addresses() -> impl Strategy<Value = (IpAddr, IpAddr)> {
    prop_oneof![
        any::<[Ipv4Addr; 2]>().prop_map(|[a, b]| (a.min(b).into(), a.max(b).into())),
        any::<[Ipv6Addr; 2]>().prop_map(|[a, b]| (a.min(b).into(), a.max(b).into())),
    ]
}

fn selector() -> impl Strategy<Value = TrafficSelector> {
    let ports = prop_oneof![
        Just((0, u16::MAX)),
        Just((u16::MAX, 0)),
        any::<[u16; 2]>().prop_map(|[a, b]| (a.min(b), a.max(b))),
    ];
    (prop_oneof![Just(0), any::<u8>()], ports, addresses()).prop_map(
        |(protocol, (start_port, end_port), (start, end))| TrafficSelector {
            protocol,
            start_port,
            end_port,
            start,
            end,
        },
    )
}

fn attribute() -> impl Strategy<Value = ConfigAttribute> {
    let prefix = || proptest::option::of((any::<Ipv6Addr>(), prop_oneof![Just(128), 0..128_u8]));
    prop_oneof![
        any::<Option<Ipv4Addr>>().prop_map(ConfigAttribute::Ip4Address),
        any::<Option<Ipv4Addr>>().prop_map(ConfigAttribute::Ip4Netmask),
        any::<Option<Ipv4Addr>>().prop_map(ConfigAttribute::Ip4Dns),
        any::<Option<(Ipv4Addr, Ipv4Addr)>>().prop_map(ConfigAttribute::Ip4Subnet),
        prefix().prop_map(ConfigAttribute::Ip6Address),
        any::<Option<Ipv6Addr>>().prop_map(ConfigAttribute::Ip6Dns),
        prefix().prop_map(ConfigAttribute::Ip6Subnet),
        text().prop_map(ConfigAttribute::DnsDomain),
        text().prop_map(ConfigAttribute::ApplicationVersion),
        (26..0x8000_u16, bytes(64)).prop_map(|(kind, data)| ConfigAttribute::Other(kind, data)),
    ]
}

fn config() -> impl Strategy<Value = ConfigPayload> {
    (any::<u8>(), vec(attribute(), 0..12))
        .prop_map(|(kind, attributes)| ConfigPayload { kind: ConfigType::from_number(kind), attributes })
}

fn eap() -> impl Strategy<Value = Vec<u8>> {
    (0..64_u8).prop_flat_map(|data_len| {
        (any::<[u8; 2]>(), vec(any::<u8>(), usize::from(data_len))).prop_map(
            move |([code, identifier], data)| [&[code, identifier, 0, 4 + data_len], &data[..]].concat(),
        )
    })
}

fn payload() -> impl Strategy<Value = Payload> {
    prop_oneof![
        vec(proposal(), 1..5).prop_map(Payload::Sa),
        (any::<u16>(), bytes(600)).prop_map(|(group, data)| Payload::Ke { group, data }),
        id().prop_map(Payload::IdI),
        id().prop_map(Payload::IdR),
        (any::<u8>(), bytes(900)).prop_map(|(encoding, data)| Payload::Cert(Cert { encoding, data })),
        (any::<u8>(), bytes(60))
            .prop_map(|(encoding, authorities)| Payload::CertReq { encoding, authorities }),
        (any::<u8>(), bytes(300)).prop_map(|(method, data)| Payload::Auth { method, data }),
        vec(any::<u8>(), 16..=256).prop_map(Payload::Nonce),
        notify().prop_map(Payload::Notify),
        delete().prop_map(Payload::Delete),
        bytes(64).prop_map(Payload::Vendor),
        vec(selector(), 0..8).prop_map(Payload::TsI),
        vec(selector(), 0..8).prop_map(Payload::TsR),
        config().prop_map(Payload::Config),
        eap().prop_map(Payload::Eap),
    ]
}

fn header() -> impl Strategy<Value = Header> {
    (1..=u64::MAX, any::<u64>(), any::<u8>(), any::<bool>(), any::<bool>(), any::<u32>()).prop_map(
        |(spi_i, spi_r, exchange, initiator, response, message_id)| Header {
            spi_i: IkeSpi(spi_i),
            spi_r: IkeSpi(spi_r),
            exchange: Exchange::from_number(exchange),
            initiator,
            response,
            message_id: MessageId(message_id),
        },
    )
}

fn clear_payloads(datagram: &[u8]) -> Result<Vec<Payload>, DecodeError> {
    match Envelope::parse(datagram)?.body {
        Body::Clear(body) => body.payloads(),
        Body::Encrypted { .. } | Body::Fragment { .. } => Ok(Vec::new()),
    }
}

/// What the decoder accepts must mean the same after it was written again. Attributes that make a transform
/// unacceptable are the one thing not kept.
fn assert_stable(payloads: Vec<Payload>) {
    let forget = |payload: &mut Payload| {
        if let Payload::Sa(proposals) = payload {
            proposals.iter_mut().flat_map(|p| &mut p.transforms).for_each(|t| t.unknown_attribute = false);
        }
    };
    let mut expected = payloads;
    expected.iter_mut().for_each(forget);
    let (first, bytes) = encode_payloads(&expected);
    assert_eq!(decode_payloads(first, &bytes), Ok(expected));
}

fn successor(ip: IpAddr) -> Option<IpAddr> {
    match ip {
        IpAddr::V4(ip) => ip.to_bits().checked_add(1).map(|bits| Ipv4Addr::from_bits(bits).into()),
        IpAddr::V6(ip) => ip.to_bits().checked_add(1).map(|bits| Ipv6Addr::from_bits(bits).into()),
    }
}

proptest! {
    #[test]
    fn any_message_is_read_back_as_it_was_written(header in header(), payloads in vec(payload(), 0..8)) {
        let datagram = encode_message(&header, &payloads);
        prop_assert_eq!(Envelope::parse(&datagram).map(|envelope| envelope.header), Ok(header));
        prop_assert_eq!(clear_payloads(&datagram), Ok(payloads));
    }

    #[test]
    fn any_message_cut_short_is_refused(header in header(), payloads in vec(payload(), 0..4), at: Index) {
        let datagram = encode_message(&header, &payloads);
        prop_assert!(Envelope::parse(&datagram[..at.index(datagram.len())]).is_err());
    }

    #[test]
    fn a_damaged_chain_is_refused_or_means_the_same_when_written_again(
        payloads in vec(payload(), 1..4),
        damage in vec((any::<Index>(), any::<u8>()), 1..6),
    ) {
        let (first, mut bytes) = encode_payloads(&payloads);
        for (at, octet) in damage {
            let at = at.index(bytes.len());
            bytes[at] = octet;
        }
        if let Ok(decoded) = decode_payloads(first, &bytes) {
            assert_stable(decoded);
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(first: u8, bytes in bytes(400)) {
        let _ = Envelope::parse(&bytes);
        let _ = classify(&bytes);
        if let Ok(decoded) = decode_payloads(first, &bytes) {
            assert_stable(decoded);
        }
    }

    #[test]
    fn arbitrary_bodies_of_known_payloads_never_panic(kind in 33..54_u8, body in bytes(200)) {
        let length = u16::try_from(4 + body.len()).unwrap().to_be_bytes();
        let bytes = [&[0, 0], &length[..], &body].concat();
        match decode_payloads(kind, &bytes) {
            Ok(decoded) => assert_stable(decoded),
            Err(error) => prop_assert!(!error.to_string().is_empty()),
        }
    }

    #[test]
    fn a_protected_message_is_opened_where_its_prefix_ends(
        header in header(), first: u8, number in 1..9_u16, more in 0..9_u16, sealed in bytes(200),
    ) {
        let total = number + more;
        let prefix = encode_sk_prefix(&header, first, sealed.len());
        let datagram = [&prefix[..], &sealed].concat();
        let expected = Envelope { header, body: Body::Encrypted { first, aad_len: prefix.len() } };
        prop_assert_eq!(Envelope::parse(&datagram), Ok(expected));

        let prefix = encode_skf_prefix(&header, first, number, total, sealed.len());
        let datagram = [&prefix[..], &sealed].concat();
        let first = if number == 1 { first } else { 0 };
        let expected = Envelope { header, body: Body::Fragment { first, number, total, aad_len: prefix.len() } };
        prop_assert_eq!(Envelope::parse(&datagram), Ok(expected));
    }

    #[test]
    fn the_display_of_any_identity_has_no_control_character(id in id()) {
        prop_assert!(!id.to_string().contains(char::is_control));
    }

    #[test]
    fn a_displayed_identity_is_read_back(text in "[ -~]{1,24}") {
        let text = text.trim().to_owned();
        prop_assume!(!text.is_empty());
        for id in [Id::Fqdn(text.clone()), Id::Email(text.clone()), Id::KeyId(text.clone().into_bytes())] {
            prop_assert_eq!(id.to_string().parse(), Ok(id));
        }
    }

    #[test]
    fn any_text_is_an_identity_or_refused(
        text in text(),
        name in "[A-Z]{1,2}=[ -~]{0,20}(, [A-Z]{1,2}=[ -~]{0,9})*",
    ) {
        for text in [text, name] {
            if let Ok(id) = text.parse::<Id>() {
                let body = id.to_payload_body();
                prop_assert_eq!(Id::from_parts(id.id_type(), &body[4..]), Ok(id));
            }
        }
    }

    #[test]
    fn the_cidrs_of_a_range_cover_it_exactly_and_none_can_be_joined(selector in selector()) {
        let cidrs = selector.as_cidrs();
        let blocks: Vec<_> =
            cidrs.iter().map(|(ip, prefix)| TrafficSelector::from_cidr(*ip, *prefix).unwrap()).collect();
        prop_assert_eq!(blocks.first().map(|block| block.start), Some(selector.start));
        prop_assert_eq!(blocks.last().map(|block| block.end), Some(selector.end));
        for (block, (ip, _)) in blocks.iter().zip(&cidrs) {
            prop_assert_eq!(block.start, *ip, "no bits behind the prefix");
        }
        for (pair, prefixes) in blocks.windows(2).zip(cidrs.windows(2)) {
            prop_assert_eq!(successor(pair[0].end), Some(pair[1].start));
            let (ip, prefix) = prefixes[0];
            let joined = TrafficSelector::from_cidr(ip, prefix - 1).unwrap();
            let is_one_block = prefix == prefixes[1].1 && joined.start == pair[0].start;
            prop_assert!(!is_one_block, "{ip}/{prefix} and the next are one subnet");
        }
    }

    #[test]
    fn an_intersection_contains_what_both_contain(a in selector(), b in selector(), ip: IpAddr) {
        prop_assert_eq!(a.intersect(&b), b.intersect(&a));
        prop_assert_eq!(a.intersect(&a), Some(a));
        if let Some(both) = a.intersect(&b) {
            prop_assert!(both.start <= both.end);
            for ip in [a.start, a.end, b.start, b.end, ip] {
                prop_assert_eq!(both.contains(ip), a.contains(ip) && b.contains(ip));
            }
        }
    }
}
