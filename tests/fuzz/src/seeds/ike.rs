//! IKE messages and contents of SK payloads.

use std::net::{Ipv4Addr, Ipv6Addr};

use evenkeel_ipsec::wire::{
    Cert, ConfigAttribute, ConfigPayload, ConfigType, Delete, EspSpi, Exchange, Header, Id, IkeSpi,
    MessageId, Notify, NotifyType, Payload, Proposal, Protocol, Spi, TrafficSelector, Transform,
    TransformType, encode_message, encode_payloads, encode_sk_prefix, encode_skf_prefix,
};

use super::Seed;

pub(super) fn add(seeds: &mut Vec<Seed>) {
    for (name, datagram) in datagrams() {
        seeds.push(Seed::new("ike_datagram", name, datagram));
    }
    for (name, payloads) in contents() {
        let (first, content) = encode_payloads(&payloads);
        seeds.push(Seed::new("ike_payloads", name, [&[first][..], &content].concat()));
    }
}

fn header(exchange: Exchange, response: bool) -> Header {
    Header {
        spi_i: IkeSpi(0x0102_0304_0506_0708),
        spi_r: IkeSpi(if response { 0x1112_1314_1516_1718 } else { 0 }),
        exchange,
        initiator: !response,
        response,
        message_id: MessageId(0),
    }
}

fn datagrams() -> Vec<(&'static str, Vec<u8>)> {
    let init = header(Exchange::IkeSaInit, false);
    let response = header(Exchange::IkeSaInit, true);
    let auth = Header { message_id: MessageId(1), ..header(Exchange::IkeAuth, true) };
    let nat_detection = |kind| Payload::Notify(Notify::new(kind, vec![0x5a; 20]));
    let offer = vec![
        Payload::Sa(vec![ike_proposal(Spi::None), esp_proposal()]),
        Payload::Ke { group: 31, data: vec![9; 32] },
        Payload::Nonce(vec![7; 32]),
        nat_detection(NotifyType::NatDetectionSourceIp),
        nat_detection(NotifyType::NatDetectionDestinationIp),
        notify(NotifyType::Ikev2FragmentationSupported, &[]),
        notify(NotifyType::SignatureHashAlgorithms, &[0, 2, 0, 3, 0, 4, 0, 5]),
    ];
    let with_cookie = [&[notify(NotifyType::Cookie, &[1, 2, 3, 4])][..], &offer].concat();
    let sealed = [0xaa; 60];
    let mut major_three = encode_message(&init, &offer);
    if let Some(version) = major_three.get_mut(17) {
        *version = 0x30;
    }
    vec![
        ("sa_init_request", encode_message(&init, &offer)),
        ("sa_init_with_cookie", encode_message(&init, &with_cookie)),
        ("sa_init_cookie", encode_message(&response, &[notify(NotifyType::Cookie, &[1, 2, 3, 4])])),
        ("sa_init_invalid_ke", encode_message(&response, &[notify(NotifyType::InvalidKePayload, &[0, 19])])),
        ("sa_init_refused", encode_message(&response, &[notify(NotifyType::NoProposalChosen, &[])])),
        (
            "sa_init_redirect",
            encode_message(&response, &[notify(NotifyType::Redirect, b"\x01\x04\xc0\0\x02\x01")]),
        ),
        ("header_alone", encode_message(&response, &[])),
        ("major_version_three", major_three),
        ("sk", [&encode_sk_prefix(&auth, 36, sealed.len())[..], &sealed].concat()),
        ("sk_empty", [&encode_sk_prefix(&auth, 0, sealed.len())[..], &sealed].concat()),
        ("skf_first", [&encode_skf_prefix(&auth, 36, 1, 3, sealed.len())[..], &sealed].concat()),
        ("skf_last", [&encode_skf_prefix(&auth, 36, 3, 3, sealed.len())[..], &sealed].concat()),
        ("skf_beyond_total", [&encode_skf_prefix(&auth, 36, 4, 3, sealed.len())[..], &sealed].concat()),
        ("keepalive", vec![0xff]),
    ]
}

fn contents() -> Vec<(&'static str, Vec<Payload>)> {
    let esp_spi = Spi::Esp(EspSpi(0xc0de_0001));
    let rekey =
        Notify { protocol: Protocol::Esp, spi: esp_spi, ..Notify::new(NotifyType::RekeySa, Vec::new()) };
    let ids = [
        "192.0.2.1",
        "2001:db8::1",
        "vpn.example.com",
        "alice@example.com",
        "CN=gw, OU=VPN+O=Example, C=CH",
        "keyid:group",
    ];
    let ids = ids.iter().filter_map(|text| text.parse::<Id>().ok());
    let web = TrafficSelector { protocol: 6, start_port: 443, end_port: 443, ..TrafficSelector::any_v4() };
    let odd_range = TrafficSelector {
        start: Ipv4Addr::new(10, 0, 0, 1).into(),
        end: Ipv4Addr::new(10, 0, 3, 77).into(),
        ..TrafficSelector::any_v4()
    };
    vec![
        ("ids", ids.map(Payload::IdR).collect()),
        (
            "auth_request",
            vec![
                Payload::IdI(Id::Fqdn("client.example".to_owned())),
                Payload::Cert(Cert { encoding: Cert::X509_SIGNATURE, data: vec![0x30, 3, 2, 1, 0] }),
                Payload::CertReq { encoding: Cert::X509_SIGNATURE, authorities: vec![0x11; 40] },
                notify(NotifyType::InitialContact, &[]),
                Payload::Auth { method: 14, data: vec![0x22; 80] },
                Payload::Config(config_request()),
                Payload::Sa(vec![esp_proposal()]),
                Payload::TsI(vec![TrafficSelector::any_v4(), TrafficSelector::any_v6()]),
                Payload::TsR(vec![TrafficSelector::any_v4(), TrafficSelector::any_v6()]),
            ],
        ),
        ("config_reply", vec![Payload::Config(config_reply())]),
        (
            "selectors",
            vec![Payload::TsI(vec![web, odd_range]), Payload::TsR(vec![TrafficSelector::any_v6()])],
        ),
        ("eap_request", vec![Payload::Eap(vec![1, 7, 0, 5, 1])]),
        ("vendor", vec![Payload::Vendor(b"strongSwan".to_vec())]),
        (
            "create_child_rekey",
            vec![
                Payload::Notify(rekey),
                Payload::Sa(vec![esp_proposal()]),
                Payload::Nonce(vec![7; 32]),
                Payload::Ke { group: 19, data: vec![4; 64] },
                Payload::TsI(vec![odd_range]),
                Payload::TsR(vec![web]),
            ],
        ),
        (
            "create_child_ike",
            vec![
                Payload::Sa(vec![ike_proposal(Spi::Ike(IkeSpi(77)))]),
                Payload::Nonce(vec![7; 16]),
                Payload::Ke { group: 31, data: vec![9; 32] },
            ],
        ),
        ("delete_ike", vec![Payload::Delete(Delete::Ike)]),
        (
            "delete_esp",
            vec![Payload::Delete(Delete::Esp(vec![EspSpi(1), EspSpi(2)])), Payload::Delete(Delete::Other(2))],
        ),
        ("auth_lifetime", vec![notify(NotifyType::AuthLifetime, &[0, 0, 14, 16])]),
        ("error", vec![notify(NotifyType::TsUnacceptable, &[]), notify(NotifyType::Other(40_000), &[1])]),
    ]
}

pub(super) fn notify(kind: NotifyType, data: &[u8]) -> Payload {
    Payload::Notify(Notify::new(kind, data.to_vec()))
}

fn transform(kind: TransformType, id: u16, key_bits: Option<u16>) -> Transform {
    Transform { kind, id, key_bits, unknown_attribute: false }
}

fn ike_proposal(spi: Spi) -> Proposal {
    let transforms = vec![
        transform(TransformType::Encr, 12, Some(128)),
        transform(TransformType::Integ, 12, None),
        transform(TransformType::Prf, 5, None),
        transform(TransformType::Ke, 31, None),
        transform(TransformType::Ke, 19, None),
    ];
    Proposal { number: 1, protocol: Protocol::Ike, spi, transforms }
}

fn esp_proposal() -> Proposal {
    let transforms =
        vec![transform(TransformType::Encr, 20, Some(256)), transform(TransformType::Esn, 1, None)];
    Proposal { number: 2, protocol: Protocol::Esp, spi: Spi::Esp(EspSpi(0xc0de_0001)), transforms }
}

fn config_request() -> ConfigPayload {
    let attributes = vec![
        ConfigAttribute::Ip4Address(None),
        ConfigAttribute::Ip4Dns(None),
        ConfigAttribute::Ip6Address(None),
        ConfigAttribute::DnsDomain(String::new()),
    ];
    ConfigPayload { kind: ConfigType::Request, attributes }
}

fn config_reply() -> ConfigPayload {
    let v4 = Ipv4Addr::new(10, 3, 0, 1);
    let v6 = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1);
    let attributes = vec![
        ConfigAttribute::Ip4Address(Some(v4)),
        ConfigAttribute::Ip4Netmask(Some(Ipv4Addr::BROADCAST)),
        ConfigAttribute::Ip4Dns(Some(v4)),
        ConfigAttribute::Ip4Subnet(Some((v4, Ipv4Addr::new(255, 255, 0, 0)))),
        ConfigAttribute::Ip6Address(Some((v6, 64))),
        ConfigAttribute::Ip6Dns(Some(v6)),
        ConfigAttribute::Ip6Subnet(Some((v6, 8))),
        ConfigAttribute::DnsDomain("corp.example".to_owned()),
        ConfigAttribute::ApplicationVersion("gateway 1".to_owned()),
        ConfigAttribute::Other(14, vec![0, 1, 0, 3]),
    ];
    ConfigPayload { kind: ConfigType::Reply, attributes }
}
