//! What a gateway sends to a client that waits for its IKE_AUTH response, or is connected.

use std::iter::once;

use evenkeel_ipsec::wire::{
    ConfigAttribute, ConfigPayload, ConfigType, Delete, EspSpi, Exchange, MessageId, Notify, NotifyType,
    Payload, Protocol, Spi, TrafficSelector, encode_payloads,
};

use super::{Seed, ike};
use crate::frame;
use crate::gateway::{Gateway, Message};

const AFTER_INIT: u8 = 0;
const ESTABLISHED: u8 = 1;
const SK: u8 = 0;
const SKF: u8 = 1;
const TIME: u8 = 2;
const DATAGRAM: u8 = 3;

pub(super) fn add(seeds: &mut Vec<Seed>) {
    let (auth, content) = Gateway::after_init().auth_response();
    let whole = step(SK, auth, &content);
    let (head, tail) = content.split_at(content.len() / 2);
    let fragments = [step(SKF, auth, &[&[1, 2], head].concat()), step(SKF, auth, &[&[2, 2], tail].concat())];
    let mut add = |name: &str, state, steps: &[Vec<u8>]| {
        let mut input = vec![state];
        steps.iter().for_each(|step| frame(step, &mut input));
        seeds.push(Seed::new("ike_session", name, input));
    };
    add("auth_response", AFTER_INIT, &[whole]);
    add("auth_response_in_fragments", AFTER_INIT, &fragments);
    add("auth_response_forged", AFTER_INIT, &[[&[DATAGRAM][..], &[0x2e; 80]].concat()]);
    add(
        "auth_failed",
        AFTER_INIT,
        &[response(1, Exchange::IkeAuth, &[notify(NotifyType::AuthenticationFailed)])],
    );
    add("silence", AFTER_INIT, &[5, 20, 60].map(|seconds| vec![TIME, seconds]));
    for (name, payloads) in requests() {
        add(name, ESTABLISHED, &[request(0, &payloads)]);
    }
    let (dpd, delete) = (request(0, &[]), request(1, &[Payload::Delete(Delete::Ike)]));
    add("dpd_again_and_delete", ESTABLISHED, &[dpd.clone(), dpd, delete]);
    add("dpd_from_us", ESTABLISHED, &[vec![TIME, 31], response(2, Exchange::Informational, &[])]);

    for (name, payloads) in requests() {
        let (first, content) = encode_payloads(&payloads);
        let plan = [0x10, 0x42, 0x37, 0x03, 0x24];
        let kind = exchange(&payloads).number() - 36;
        let input = [&[4][..], &plan, &[kind, first], &content].concat();
        seeds.push(Seed::new("skf_reassembly", name, input));
    }
}

fn requests() -> Vec<(&'static str, Vec<Payload>)> {
    let selectors = || vec![TrafficSelector::any_v4()];
    let rekey = Notify {
        protocol: Protocol::Esp,
        spi: Spi::Esp(EspSpi(0xc0de_0001)),
        ..Notify::new(NotifyType::RekeySa, Vec::new())
    };
    let child = vec![
        Payload::Sa(Gateway::esp_offer()),
        Payload::Nonce(vec![7; 32]),
        Payload::TsI(selectors()),
        Payload::TsR(selectors()),
    ];
    let rekey_child = once(Payload::Notify(rekey)).chain(child.clone()).collect();
    let rekey_ike = vec![
        Payload::Sa(Gateway::ike_offer()),
        Payload::Nonce(vec![7; 32]),
        Payload::Ke { group: 31, data: [&[9][..], &[0; 31]].concat() },
    ];
    let attributes = vec![ConfigAttribute::Ip4Address(None)];
    let config = ConfigPayload { kind: ConfigType::Request, attributes };
    vec![
        ("dpd", vec![]),
        ("delete_ike", vec![Payload::Delete(Delete::Ike)]),
        ("delete_child", vec![Payload::Delete(Delete::Esp(vec![EspSpi(0xc0de_0001)]))]),
        ("rekey_child", rekey_child),
        ("new_child", child),
        ("rekey_ike", rekey_ike),
        ("auth_lifetime", vec![ike::notify(NotifyType::AuthLifetime, &[0, 0, 14, 16])]),
        ("config_request", vec![Payload::Config(config)]),
        ("mobike", vec![notify(NotifyType::UpdateSaAddresses)]),
    ]
}

fn notify(kind: NotifyType) -> Payload {
    ike::notify(kind, &[])
}

/// CREATE_CHILD_SA for what has an SA payload, else INFORMATIONAL.
fn exchange(payloads: &[Payload]) -> Exchange {
    if payloads.iter().any(|payload| matches!(payload, Payload::Sa(_))) {
        Exchange::CreateChildSa
    } else {
        Exchange::Informational
    }
}

fn request(message_id: u32, payloads: &[Payload]) -> Vec<u8> {
    message(message_id, exchange(payloads), false, payloads)
}

fn response(message_id: u32, exchange: Exchange, payloads: &[Payload]) -> Vec<u8> {
    message(message_id, exchange, true, payloads)
}

fn message(message_id: u32, exchange: Exchange, response: bool, payloads: &[Payload]) -> Vec<u8> {
    let (first, content) = encode_payloads(payloads);
    let message = Message { exchange, response, message_id: MessageId(message_id), first };
    step(SK, message, &content)
}

fn step(kind: u8, message: Message, content: &[u8]) -> Vec<u8> {
    let exchange = message.exchange.number() - 34;
    let id = u8::try_from(message.message_id.0).unwrap_or(u8::MAX);
    [&[kind, exchange, message.response.into(), id, message.first], content].concat()
}
