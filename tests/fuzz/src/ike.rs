//! The IKE decoder, before and after decryption.

use evenkeel_ipsec::wire::{
    Body, ConfigAttribute, ConfigPayload, Envelope, Header, Id, Payload, TrafficSelector, classify,
    decode_payloads, encode_message, encode_payloads, encode_sk_prefix, encode_skf_prefix,
};

use crate::Outcome;

/// The payload of a UDP datagram, as anyone on the Internet can send it.
pub fn ike_datagram(input: &[u8]) -> Outcome {
    let _ = classify(input);
    let envelope = match Envelope::parse(input) {
        Ok(envelope) => envelope,
        Err(error) => {
            let _ = (error.to_string(), error.notify());
            return Outcome::Refused;
        }
    };
    match envelope.body {
        Body::Clear(body) => match body.payloads() {
            Ok(payloads) => {
                let payloads = check(payloads);
                let datagram = encode_message(&envelope.header, &payloads);
                let again = Envelope::parse(&datagram).map(|envelope| envelope.header);
                assert_eq!(again, Ok(envelope.header));
            }
            Err(error) => {
                let _ = (error.to_string(), error.notify());
                return Outcome::Refused;
            }
        },
        Body::Encrypted { first, aad_len } => {
            let sealed_len = input.len() - aad_len;
            check_prefix(&encode_sk_prefix(&envelope.header, first, sealed_len), &envelope, sealed_len);
        }
        Body::Fragment { first, number, total, aad_len } => {
            assert!((1..=total).contains(&number));
            let sealed_len = input.len() - aad_len;
            let prefix = encode_skf_prefix(&envelope.header, first, number, total, sealed_len);
            check_prefix(&prefix, &envelope, sealed_len);
        }
    }
    Outcome::Accepted
}

/// The content of an SK payload behind one octet for the type of its first payload, as an authenticated gateway can
/// send it.
pub fn ike_payloads(input: &[u8]) -> Outcome {
    let Some((first, content)) = input.split_first() else {
        return Outcome::Refused;
    };
    match decode_payloads(*first, content) {
        Ok(payloads) => {
            check(payloads);
            Outcome::Accepted
        }
        Err(error) => {
            let _ = (error.to_string(), error.notify());
            Outcome::Refused
        }
    }
}

/// What was decoded must mean the same after it was written again, and every view of it must work.
fn check(mut payloads: Vec<Payload>) -> Vec<Payload> {
    for payload in &mut payloads {
        let name = payload.to_string();
        assert!(!name.contains(char::is_control), "{name:?}");
        check_views(payload);
    }
    let (first, content) = encode_payloads(&payloads);
    assert_eq!(decode_payloads(first, &content).as_ref(), Ok(&payloads));
    payloads
}

fn check_views(payload: &mut Payload) {
    match payload {
        // Attributes that make a transform unacceptable are the one thing not kept.
        Payload::Sa(proposals) => {
            for transform in proposals.iter_mut().flat_map(|proposal| &mut proposal.transforms) {
                transform.unknown_attribute = false;
            }
        }
        Payload::IdI(id) | Payload::IdR(id) => check_id(id),
        Payload::TsI(selectors) | Payload::TsR(selectors) => selectors.iter().for_each(check_selector),
        Payload::Config(config) => check_config(config),
        Payload::Nonce(nonce) => assert!((16..=256).contains(&nonce.len())),
        Payload::Ke { .. }
        | Payload::Cert(_)
        | Payload::CertReq { .. }
        | Payload::Auth { .. }
        | Payload::Notify(_)
        | Payload::Delete(_)
        | Payload::Vendor(_)
        | Payload::Eap(_) => {}
    }
}

fn check_id(id: &Id) {
    let text = id.to_string();
    assert!(!text.contains(char::is_control), "{text:?}");
    let body = id.to_payload_body();
    assert_eq!(Id::from_parts(id.id_type(), body.get(4..).unwrap_or_default()).as_ref(), Ok(id));
    // Escapes are not undone, but what was read once stays what it is.
    if let Ok(read) = text.parse::<Id>() {
        assert_eq!(read.to_string().parse(), Ok(read));
    }
}

fn check_selector(selector: &TrafficSelector) {
    let subnets = selector.as_cidrs();
    assert_eq!(subnets.first().map(|(ip, _)| *ip), Some(selector.start));
    assert!(subnets.len() <= 254, "{} subnets", subnets.len());
    assert_eq!(selector.intersect(selector).as_ref(), Some(selector));
    assert!(selector.contains(selector.start) && selector.contains(selector.end));
    assert!(!selector.to_string().is_empty());
}

fn check_config(config: &ConfigPayload) {
    for attribute in &config.attributes {
        if let ConfigAttribute::Ip6Address(Some((_, prefix)))
        | ConfigAttribute::Ip6Subnet(Some((_, prefix))) = attribute
        {
            assert!(*prefix <= 128);
        }
    }
}

/// A protected message whose prefix we would have written the same way opens at the same place.
fn check_prefix(prefix: &[u8], envelope: &Envelope<'_>, sealed_len: usize) {
    assert!(prefix.len() > Header::LEN);
    let datagram = [prefix, &vec![0; sealed_len]].concat();
    assert_eq!(Envelope::parse(&datagram).as_ref(), Ok(envelope));
}
