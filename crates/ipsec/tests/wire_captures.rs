//! Decodes what other implementations sent, and the malformed packets that crashed other decoders, from the captures
//! of Wireshark, tcpdump and Libreswan. They are not part of the repository: `EVENKEEL_VECTORS` names their folder,
//! else `../shared/vectors` beside the workspace is tried.

use std::collections::BTreeMap;

use aws_lc_rs::cipher::{AES_128, DecryptingKey, DecryptionContext, UnboundCipherKey};
use captures::Captured;
use evenkeel_ipsec::crypto::{Encr, Integ, KeyBits, SkError, SkKey};
use evenkeel_ipsec::wire::*;

mod captures;

/// The IKE messages of a capture that are version 2 and decode, clear bodies included.
fn decode_all(packets: &[Captured]) -> Vec<(Header, Vec<Payload>)> {
    let mut messages = Vec::new();
    for packet in packets {
        if let Captured::Ike(message) = packet {
            let envelope = Envelope::parse(message).unwrap_or_else(|error| panic!("{error}: {message:02x?}"));
            let payloads = match envelope.body {
                Body::Clear(body) => {
                    body.payloads().unwrap_or_else(|error| panic!("{error}: {message:02x?}"))
                }
                Body::Encrypted { .. } | Body::Fragment { .. } => Vec::new(),
            };
            messages.push((envelope.header, payloads));
        }
    }
    messages
}

/// How many packets each ESP SA has, in order of SPI.
fn count_esp(packets: &[Captured]) -> Vec<(u32, usize)> {
    let mut counts = BTreeMap::new();
    for packet in packets {
        if let Captured::Esp(esp) = packet
            && let Some(spi) = esp.first_chunk()
        {
            *counts.entry(u32::from_be_bytes(*spi)).or_default() += 1;
        }
    }
    counts.into_iter().collect()
}

fn summary(payloads: &[Payload]) -> String {
    payloads.iter().map(Payload::to_string).collect::<Vec<_>>().join(", ")
}

fn as_notify(payload: &Payload) -> Option<&Notify> {
    if let Payload::Notify(notify) = payload { Some(notify) } else { None }
}

fn spis(messages: &[(Header, Vec<Payload>)]) -> Vec<(u64, u64)> {
    let mut spis: Vec<_> = messages
        .iter()
        .map(|(header, _)| (header.spi_i.0, header.spi_r.0))
        .filter(|spis| spis.1 != 0)
        .collect();
    spis.dedup();
    spis
}

#[test]
fn three_connections_through_a_nat_are_decoded_whole() {
    let Some(folder) = captures::folder() else { return };
    let packets = captures::read(&folder.join("ikev2_nat_t.pcapng"));
    let messages = decode_all(&packets);
    assert_eq!(messages.len(), 30);
    assert_eq!(
        spis(&messages),
        [
            (0x8992_2c91_5f35_570e, 0x98d5_6d32_e2a0_4742),
            (0x99fe_b3ad_ea1e_e8f8, 0x85a3_428f_bdd9_e1df),
            (0x5a64_e0ed_ca3a_3614, 0x7c9e_be2a_8e9f_f7b8),
        ]
    );
    let sas = [0x78bd_5377, 0x958a_753b, 0xac0f_af03, 0xb6b5_f296, 0xc1a9_656b, 0xc1d7_17e8];
    assert_eq!(count_esp(&packets), sas.map(|spi| (spi, 4)));

    /* <-- IKE_SA_INIT response of a Cisco gateway */
    let (header, payloads) = &messages[1];
    assert_eq!((header.exchange, header.response), (Exchange::IkeSaInit, true));
    let names = summary(payloads);
    assert!(
        names.starts_with("SA, KE, No, CERTREQ, V, V, V, V, N(IKEV2_FRAGMENTATION_SUPPORTED)"),
        "{names}"
    );
}

#[test]
fn a_redirected_client_tells_the_next_gateway_where_it_comes_from() {
    let Some(folder) = captures::folder() else { return };
    let messages = decode_all(&captures::read(&folder.join("ikev2_notify_redirect.pcap")));
    let notifies = |index: usize| messages[index].1.iter().filter_map(as_notify).collect::<Vec<_>>();
    assert_eq!(messages.len(), 4);
    /* <-- IKE_SA_INIT { N(REDIRECT) } */
    assert_eq!(notifies(1)[0].kind, NotifyType::Redirect);
    let identity = &notifies(1)[0].data;
    let (gateway, _nonce) = identity[2..].split_at(identity[1].into());
    assert_eq!(gateway, b"moneybin.duckburg.disney.com");
    /* IKE_SA_INIT { SA, KE, Ni, ..., N(REDIRECTED_FROM) } --> */
    let from = notifies(2).into_iter().find(|notify| notify.kind == NotifyType::RedirectedFrom).unwrap();
    assert_eq!(from.data, [1, 4, 10, 5, 2, 52]);
    assert_eq!(notifies(3)[0].kind, NotifyType::NoProposalChosen);
}

#[test]
fn a_cookie_comes_back_first_and_unchanged() {
    let Some(folder) = captures::folder() else { return };
    let messages = decode_all(&captures::read(&folder.join("ikev2four.pcap")));
    assert_eq!(messages.len(), 21);
    let second =
        [(0xa888_75a8_1989_92a6, 0x71be_8358_efae_7663), (0x1d9b_e945_1d4f_97a8, 0x64a2_a4b5_d0e1_7b6a)];
    assert_eq!(spis(&messages), second);
    /* <-- N(COOKIE)   N(COOKIE), SA, KE, Ni, N, N --> */
    assert_eq!(summary(&messages[1].1), "N(COOKIE)");
    assert_eq!(messages[1].1[0], messages[2].1[0]);
    assert_eq!(messages[0].1, messages[2].1[1..]);
}

#[test]
fn the_content_of_another_implementations_sk_payload_is_decoded() {
    let Some(folder) = captures::folder() else { return };
    let packets = captures::read(&folder.join("ikev2pI2.pcap"));
    let messages = decode_all(&packets);
    assert_eq!(spis(&messages), [(0x0001_0203_0405_0607, 0xc02e_7a30_31a0_3188)]);
    assert_eq!(summary(&messages[0].1), "SA, KE, No, V");

    /* HDR, SK { IDi, AUTH } --> */
    let Captured::Ike(auth) = &packets[1] else { panic!("{:?}", packets[1]) };
    let Body::Encrypted { first, aad_len } = Envelope::parse(auth).unwrap().body else {
        panic!("not an SK payload")
    };
    // The initiator's keys, from ikev2pI2-secrets.txt.
    let integ_key = hex::decode("4ea8e662b07cdd430f6944c6723e4b82d5722418").unwrap();
    let encr_key = hex::decode("3f44bf47cafd8150591deb088199fcbf").unwrap();

    // The ICV of this capture is not that of its keys: our own way to open it must refuse it.
    let encr = Encr::AesCbc(KeyBits::Bits128);
    let key = SkKey::new(encr, Some(Integ::HmacSha1_96), &encr_key, &integ_key).unwrap();
    assert!(matches!(key.open(auth, aad_len), Err(SkError::Integrity)));

    let (iv, ciphertext) = auth[aad_len..auth.len() - 12].split_first_chunk::<16>().unwrap();
    let key = UnboundCipherKey::new(&AES_128, &encr_key).and_then(DecryptingKey::cbc).unwrap();
    let mut content = ciphertext.to_vec();
    key.decrypt(&mut content, DecryptionContext::Iv128((*iv).into())).unwrap();
    let pad_len = usize::from(*content.last().unwrap());
    let payloads = decode_payloads(first, &content[..content.len() - pad_len - 1]).unwrap();
    let id = Payload::IdI(Id::Fqdn("west".to_owned()));
    assert_eq!(payloads, [id, Payload::Auth { method: 1, data: vec![0; 192] }]);
}

#[test]
fn ikev1_is_no_error_of_its_own_and_esp_and_keepalives_beside_it_are_told_apart() {
    let Some(folder) = captures::folder() else { return };
    let packets = captures::read(&folder.join("isakmp4500.pcap"));
    let mut ike = 0;
    for packet in &packets {
        if let Captured::Ike(message) = packet {
            let error = Envelope::parse(message).unwrap_err();
            assert_eq!(error, DecodeError::BadVersion { major: 1 });
            assert_eq!(error.notify(), None);
            ike += 1;
        }
    }
    assert_eq!(ike, 15);
    assert_eq!(count_esp(&packets), [(0xf4dc_0ae5, 8)]);
    assert_eq!(packets.iter().filter(|packet| **packet == Captured::Keepalive).count(), 4);
}

#[test]
fn esp_is_recognised_in_udp_and_bare() {
    let Some(folder) = captures::folder() else { return };
    for (name, spi) in [
        ("02-sunrise-sunset-esp.pcap", 0x1234_5678),
        ("08-sunrise-sunset-aes.pcap", 0xd123_4567),
        ("08-sunrise-sunset-esp2.pcap", 0x1234_5678),
        ("espudp1.pcap", 0x1234_5678),
    ] {
        assert_eq!(count_esp(&captures::read(&folder.join(name))), [(spi, 8)], "{name}");
    }
}

/// What crashed other decoders, or made them read out of bounds: refused, each for its own reason.
#[test]
fn malformed_messages_are_refused_with_the_reason() {
    let Some(folder) = captures::folder() else { return };
    for (name, expected) in [
        (
            "ikev2pI2-segfault.pcapng",
            "SA payload at offset 56: last substructure is 46, allowed: 0 in the last transform, else 3",
        ),
        ("ikev2-id-normal.pcap", "IKE header at offset 0: initiator's SPI is 0, allowed: anything but 0"),
        ("ikev2-id-short.pcap", "IKE header at offset 0: initiator's SPI is 0, allowed: anything but 0"),
        ("isakmp-delete-segfault.pcap", "IKE major version 11, allowed: 2"),
        ("isakmp-identification-segfault.pcap", "IKE major version 1, allowed: 2"),
        ("isakmp-no-none-np.pcapng", "IKE major version 1, allowed: 2"),
        ("isakmp-pointer-loop.pcap", "IKE major version 1, allowed: 2"),
        ("isakmp-various-oobr.pcap", "IKE major version 1, allowed: 2"),
    ] {
        let packets = captures::read(&folder.join(name));
        let Some(Captured::Ike(message)) = packets.first() else { panic!("{name}: {packets:?}") };
        let result = Envelope::parse(message).and_then(|envelope| match envelope.body {
            Body::Clear(body) => body.payloads(),
            Body::Encrypted { .. } | Body::Fragment { .. } => Ok(Vec::new()),
        });
        assert_eq!(result.map_err(|error| error.to_string()), Err(expected.to_owned()), "{name}");
    }
    for name in ["esp_truncated.pcap", "isakmp-3948-oobr-2.pcap"] {
        assert_eq!(captures::read(&folder.join(name)), [Captured::Runt], "{name}");
    }
}

/// Those captures are mostly IKEv1, and our header check stops them early. Relabelled as IKEv2 messages with a header
/// that is right, their bodies reach the payload decoder, whole and cut at every length.
#[test]
fn malformed_bodies_behind_a_good_header_never_panic() {
    let Some(folder) = captures::folder() else { return };
    let mut tried = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if !path.extension().is_some_and(|extension| extension == "pcap" || extension == "pcapng") {
            continue;
        }
        for packet in captures::read(&path) {
            let (Captured::Ike(bytes) | Captured::Esp(bytes)) = packet else { continue };
            let body = bytes.get(Header::LEN..).unwrap_or_default();
            for len in 0..=body.len() {
                for first in [33, bytes.get(16).copied().unwrap_or(0)] {
                    let _ = decode_payloads(first, &body[..len]);
                    tried += 1;
                }
            }
        }
    }
    assert!(tried > 10_000, "{tried}");
}
