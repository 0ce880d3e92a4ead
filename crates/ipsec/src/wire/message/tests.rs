use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::*;
use crate::wire::{
    Cert, ConfigAttribute, ConfigPayload, ConfigType, Delete, EspSpi, Exchange, Id, IkeSpi, MessageId,
    Notify, NotifyType, Proposal, Protocol, Spi, TrafficSelector, Transform, TransformType,
};

const HEADER: Header = Header {
    spi_i: IkeSpi(0x0102_0304_0506_0708),
    spi_r: IkeSpi(0x1112_1314_1516_1718),
    exchange: Exchange::IkeSaInit,
    initiator: true,
    response: false,
    message_id: MessageId(7),
};

fn transform(kind: TransformType, id: u16, key_bits: Option<u16>) -> Transform {
    Transform { kind, id, key_bits, unknown_attribute: false }
}

fn ike_proposal() -> Proposal {
    let transforms = vec![
        transform(TransformType::Encr, 20, Some(256)),
        transform(TransformType::Prf, 5, None),
        transform(TransformType::Ke, 31, None),
    ];
    Proposal { number: 1, protocol: Protocol::Ike, spi: Spi::None, transforms }
}

fn esp_proposal() -> Proposal {
    let transforms =
        vec![transform(TransformType::Encr, 28, None), transform(TransformType::Other(200), 1, None)];
    Proposal { number: 2, protocol: Protocol::Esp, spi: Spi::Esp(EspSpi(0xc0de_0001)), transforms }
}

fn one_of_each() -> Vec<Payload> {
    let subnet = (Ipv4Addr::new(10, 1, 0, 0), Ipv4Addr::new(255, 255, 0, 0));
    let v6 = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1);
    vec![
        Payload::Sa(vec![ike_proposal(), esp_proposal()]),
        Payload::Ke { group: 31, data: vec![9; 32] },
        Payload::Nonce(vec![5; 16]),
        Payload::IdI(Id::Fqdn("client.example".to_owned())),
        Payload::IdR(Id::Ipv4(Ipv4Addr::new(192, 0, 2, 1))),
        Payload::Cert(Cert { encoding: Cert::X509_SIGNATURE, data: vec![0x30, 0] }),
        Payload::CertReq { encoding: 4, authorities: vec![1; 20] },
        Payload::Auth { method: 14, data: vec![3; 64] },
        Payload::Notify(Notify::new(NotifyType::Cookie, vec![1, 2, 3])),
        Payload::Notify(Notify {
            protocol: Protocol::Esp,
            spi: Spi::Esp(EspSpi(4)),
            kind: NotifyType::RekeySa,
            data: Vec::new(),
        }),
        Payload::Delete(Delete::Ike),
        Payload::Delete(Delete::Esp(vec![EspSpi(1), EspSpi(2)])),
        Payload::Delete(Delete::Other(2)),
        Payload::Vendor(b"Evenkeel".to_vec()),
        Payload::TsI(vec![TrafficSelector::any_v4(), TrafficSelector::any_v6()]),
        Payload::TsR(vec![TrafficSelector::from_cidr(Ipv4Addr::new(10, 0, 0, 0).into(), 8).unwrap()]),
        Payload::Config(ConfigPayload {
            kind: ConfigType::Reply,
            attributes: vec![
                ConfigAttribute::Ip4Address(None),
                ConfigAttribute::Ip4Address(Some(subnet.0)),
                ConfigAttribute::Ip4Netmask(Some(subnet.1)),
                ConfigAttribute::Ip4Dns(Some(subnet.0)),
                ConfigAttribute::Ip4Subnet(Some(subnet)),
                ConfigAttribute::Ip6Address(Some((v6, 64))),
                ConfigAttribute::Ip6Dns(Some(v6)),
                ConfigAttribute::Ip6Subnet(Some((v6, 8))),
                ConfigAttribute::DnsDomain("corp.example".to_owned()),
                ConfigAttribute::ApplicationVersion(String::new()),
                ConfigAttribute::Other(0x4001, vec![1, 2, 3]),
            ],
        }),
        Payload::Eap(vec![1, 7, 0, 5, 1]),
    ]
}

/// A payload: next payload, critical bit and reserved bits, body.
fn raw_payload(next: u8, flags: u8, body: &[u8]) -> Vec<u8> {
    let length = length16(GENERIC_HEADER_LEN + body.len()).to_be_bytes();
    [&[next, flags], &length[..], body].concat()
}

fn payloads_of(datagram: &[u8]) -> Result<Vec<Payload>, DecodeError> {
    match Envelope::parse(datagram)?.body {
        Body::Clear(body) => body.payloads(),
        body @ (Body::Encrypted { .. } | Body::Fragment { .. }) => panic!("not clear: {body:?}"),
    }
}

#[test]
fn every_payload_survives_a_round_trip() {
    let payloads = one_of_each();
    let datagram = encode_message(&HEADER, &payloads);
    assert_eq!(Envelope::parse(&datagram).unwrap().header, HEADER);
    assert_eq!(payloads_of(&datagram), Ok(payloads));
}

#[test]
fn a_message_without_payloads_is_its_header() {
    let datagram = encode_message(&HEADER, &[]);
    assert_eq!(datagram.len(), Header::LEN);
    assert_eq!(payloads_of(&datagram), Ok(Vec::new()));
}

#[test]
fn the_header_is_laid_out_as_in_rfc_7296() {
    let header = Header { initiator: false, response: true, ..HEADER };
    let datagram = encode_message(&header, &[Payload::Vendor(vec![0xaa])]);
    let expected = [
        1, 2, 3, 4, 5, 6, 7, 8, 0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18, // SPIs
        43, 0x20, 34, 0x20, // first payload, version, exchange, flags
        0, 0, 0, 7, 0, 0, 0, 33, // message ID, length
        0, 0, 0, 5, 0xaa, // V
    ];
    assert_eq!(datagram, expected);
}

#[test]
fn a_message_cut_short_anywhere_is_refused() {
    let datagram = encode_message(&HEADER, &one_of_each());
    for len in 0..datagram.len() {
        assert!(Envelope::parse(&datagram[..len]).is_err(), "{len} octets");
    }
}

#[test]
fn a_chain_cut_short_anywhere_is_refused() {
    let (first, bytes) = encode_payloads(&one_of_each());
    for len in 0..bytes.len() {
        assert!(decode_payloads(first, &bytes[..len]).is_err(), "{len} octets");
    }
}

#[test]
fn a_payload_cut_short_anywhere_is_decoded_whole_or_refused() {
    for payload in one_of_each() {
        let (first, bytes) = encode_payloads(std::slice::from_ref(&payload));
        let body = &bytes[GENERIC_HEADER_LEN..];
        for len in 0..body.len() {
            let cut = raw_payload(0, 0, &body[..len]);
            // A shorter value of a variable-length field is a different payload, never the same one.
            assert_ne!(decode_payloads(first, &cut), Ok(vec![payload.clone()]), "{payload:?} at {len}");
        }
    }
}

#[test]
fn octets_behind_the_last_payload_are_refused() {
    let (first, mut bytes) = encode_payloads(&one_of_each());
    bytes.push(0);
    let error = decode_payloads(first, &bytes).unwrap_err();
    assert!(matches!(error, DecodeError::BadLength { length: 1, .. }), "{error}");
    assert!(decode_payloads(0, &[0]).is_err());
}

#[test]
fn an_unknown_critical_payload_is_refused_by_its_type() {
    let bytes = raw_payload(0, CRITICAL, &[1, 2, 3]);
    let error = decode_payloads(200, &bytes).unwrap_err();
    assert_eq!(error, DecodeError::UnsupportedCriticalPayload(200));
    assert_eq!(error.notify(), Some((NotifyType::UnsupportedCriticalPayload, vec![200])));
}

#[test]
fn an_unknown_payload_without_the_critical_bit_is_skipped() {
    let nonce = Payload::Nonce(vec![1; 32]);
    let (first, mut bytes) = encode_payloads(std::slice::from_ref(&nonce));
    bytes[0] = 200;
    bytes.extend_from_slice(&raw_payload(0, 0x7f, &[1, 2, 3]));
    assert_eq!(decode_payloads(first, &bytes), Ok(vec![nonce]));
}

#[test]
fn the_critical_bit_of_a_known_payload_is_ignored() {
    let vendor = raw_payload(0, CRITICAL, b"x");
    assert_eq!(decode_payloads(43, &vendor), Ok(vec![Payload::Vendor(b"x".to_vec())]));
}

#[test]
fn payload_lengths_below_the_generic_header_are_refused() {
    for length in 0..4 {
        let error = decode_payloads(43, &[0, 0, 0, length]).unwrap_err();
        assert!(matches!(error, DecodeError::BadLength { .. }), "{error}");
        assert_eq!(error.notify(), Some((NotifyType::InvalidSyntax, Vec::new())));
    }
}

#[test]
fn a_payload_longer_than_the_message_is_refused_by_name_and_offset() {
    let error = decode_payloads(43, &[0, 0, 0xff, 0xff, 1]).unwrap_err();
    assert_eq!(error.to_string(), "V payload at offset 4: payload needs 65531 octets, 1 are left");
}

#[test]
fn offsets_in_a_clear_body_count_from_the_start_of_the_datagram() {
    let mut datagram = encode_message(&HEADER, &[Payload::Vendor(Vec::new())]);
    datagram[Header::LEN + 3] = 3;
    let error = payloads_of(&datagram).unwrap_err();
    assert_eq!(error.to_string(), "V payload at offset 30: payload is 3 octets long, allowed: 4 or more");
}

#[test]
fn the_number_of_payloads_is_bounded_whether_they_are_known_or_not() {
    for kind in [43, 200] {
        let chain = |n: usize| {
            let mut bytes = raw_payload(kind, 0, &[]).repeat(n - 1);
            bytes.extend_from_slice(&raw_payload(0, 0, &[]));
            decode_payloads(kind, &bytes)
        };
        assert!(chain(MAX_PAYLOADS).is_ok());
        let error = chain(MAX_PAYLOADS + 1).unwrap_err();
        assert!(matches!(error, DecodeError::TooMany { limit: MAX_PAYLOADS, .. }), "{error}");
    }
}

#[test]
fn the_header_must_fit_the_datagram_and_the_protocol() {
    let datagram = encode_message(&HEADER, &[Payload::Nonce(vec![0; 16])]);
    let with = |at: usize, octet: u8| {
        let mut changed = datagram.clone();
        changed[at] = octet;
        Envelope::parse(&changed).map(|_| ())
    };
    assert_eq!(with(17, 0x2f), Ok(()), "the minor version is ignored");
    assert_eq!(with(17, 0x10), Err(DecodeError::BadVersion { major: 1 }));
    assert_eq!(with(17, 0x30), Err(DecodeError::BadVersion { major: 3 }));
    assert_eq!(with(19, 0xff), Ok(()), "reserved flags are ignored");
    assert!(with(27, 47).is_err(), "length below the datagram's");
    assert!(with(24, 0xff).is_err(), "length above the datagram's");

    let no_spi = encode_message(&Header { spi_i: IkeSpi::ZERO, ..HEADER }, &[]);
    let error = Envelope::parse(&no_spi).unwrap_err();
    assert_eq!(error.notify(), None, "nothing to answer with: {error}");
}

#[test]
fn only_a_version_above_ours_is_answered() {
    assert_eq!(DecodeError::BadVersion { major: 1 }.notify(), None);
    let answer = Some((NotifyType::InvalidMajorVersion, Vec::new()));
    assert_eq!(DecodeError::BadVersion { major: 3 }.notify(), answer);
}

#[test]
fn the_prefix_of_an_encrypted_message_is_its_associated_data() {
    let header = Header { exchange: Exchange::IkeAuth, ..HEADER };
    let sealed = [0x55; 40];
    let prefix = encode_sk_prefix(&header, 35, sealed.len());
    let datagram = [&prefix[..], &sealed].concat();

    let envelope = Envelope::parse(&datagram).unwrap();
    assert_eq!(envelope.header, header);
    assert_eq!(envelope.body, Body::Encrypted { first: 35, aad_len: prefix.len() });
}

#[test]
fn the_prefix_of_a_fragment_names_the_first_payload_in_fragment_one_only() {
    let sealed = [0x55; 40];
    for (number, expected_first) in [(1, 35), (2, 0), (3, 0)] {
        let prefix = encode_skf_prefix(&HEADER, 35, number, 3, sealed.len());
        let datagram = [&prefix[..], &sealed].concat();
        let envelope = Envelope::parse(&datagram).unwrap();
        assert_eq!(
            envelope.body,
            Body::Fragment { first: expected_first, number, total: 3, aad_len: prefix.len() }
        );
    }
}

#[test]
fn impossible_fragment_numbers_are_refused() {
    for (number, total) in [(0, 0), (0, 1), (1, 0), (2, 1), (u16::MAX, 3)] {
        let datagram = encode_skf_prefix(&HEADER, 35, number, total, 0);
        let error = Envelope::parse(&datagram).unwrap_err();
        assert!(matches!(error, DecodeError::BadValue { what: "fragment number", .. }), "{error}");
    }
}

#[test]
fn an_encrypted_payload_reaches_to_the_end_of_its_message() {
    for mut datagram in [encode_sk_prefix(&HEADER, 35, 8), encode_skf_prefix(&HEADER, 35, 1, 1, 8)] {
        datagram.extend_from_slice(&[0; 8]);
        assert!(Envelope::parse(&datagram).is_ok());
        for off_by in [7, 9] {
            let mut cut = datagram.clone();
            cut.resize(datagram.len() - 8 + off_by, 0);
            cut[27] = u8::try_from(cut.len()).unwrap();
            assert!(Envelope::parse(&cut).is_err());
        }
    }
}

#[test]
fn encrypted_payloads_are_refused_within_others() {
    for kind in [PayloadType::Sk, PayloadType::Skf] {
        let chain = [raw_payload(kind.number(), 0, b"x"), raw_payload(0, 0, &[0; 8])].concat();
        assert!(decode_payloads(43, &chain).is_err(), "{kind} behind V");
        assert!(decode_payloads(kind.number(), &chain).is_err(), "{kind} inside SK");
    }
}

#[test]
fn a_structure_too_long_for_its_length_field_is_refused_and_never_read_as_another() {
    let (first, bytes) = encode_payloads(&[Payload::Vendor(vec![0; 65_536 + 4])]);
    assert!(decode_payloads(first, &bytes).is_err());
}

#[test]
fn addresses_mixed_in_a_selector_are_written_as_one_family() {
    let selector = TrafficSelector {
        start: Ipv4Addr::LOCALHOST.into(),
        end: IpAddr::V6(Ipv6Addr::LOCALHOST),
        ..TrafficSelector::any_v4()
    };
    let (_, bytes) = encode_payloads(&[Payload::TsI(vec![selector])]);
    assert_eq!(bytes.len(), 8 + 40);
}
