//! EAP conversations.

use evenkeel_ipsec::eap::{EapAction, EapServerAction};

use super::Seed;
use crate::{eap, frame};

pub(super) fn add(seeds: &mut Vec<Seed>) {
    let (to_peer, to_server) = conversation();
    for (name, packets) in to_peer_variants(&to_peer) {
        seeds.push(Seed::new("eap_peer", name, packets));
    }
    seeds.push(Seed::new("eap_server", "mschapv2", framed(&to_server)));
    let identity = to_server.first().cloned().unwrap_or_default();
    seeds.push(Seed::new("eap_server", "nak", framed(&[identity.clone(), nak(&to_server)])));
    seeds.push(Seed::new("eap_server", "wrong_password", framed(&[identity, wrong(&to_server)])));
    seeds.push(Seed::new("eap_server", "unknown_identity", framed(&[vec![2, 0, 0, 8, 1, b'b', b'o', b'b']])));
}

/// The packets in each direction of a whole authentication.
fn conversation() -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
    let (mut peer, mut server) = (eap::peer(), eap::server());
    let mut request = server.start();
    let (mut to_peer, mut to_server) = (vec![request.clone()], Vec::new());
    while let Ok(EapAction::Reply(reply)) = peer.handle(&request) {
        to_server.push(reply.clone());
        request = match server.handle(&reply) {
            EapServerAction::Send(packet)
            | EapServerAction::Done { packet, .. }
            | EapServerAction::Failed { packet } => packet,
        };
        to_peer.push(request.clone());
    }
    (to_peer, to_server)
}

fn to_peer_variants(whole: &[Vec<u8>]) -> Vec<(&'static str, Vec<u8>)> {
    let early_success = [whole.get(..2).unwrap_or_default(), &[vec![3, 9, 0, 4]]].concat();
    let notification = vec![1, 4, 0, 7, 2, b'h', b'i'];
    let tls = vec![1, 5, 0, 6, 13, 0x20];
    let rejection = b"\x04\x09\0\x31E=691 R=0 C=00112233445566778899aabbccddeeff V=3 M=no";
    let mut rejected = vec![1, 9, 0, 0, 26];
    rejected.extend_from_slice(rejection);
    if let Some(length) = rejected.get_mut(3) {
        *length = u8::try_from(5 + rejection.len()).unwrap_or(0);
    }
    vec![
        ("mschapv2", framed(whole)),
        ("early_success", framed(&early_success)),
        ("notification_first", framed(&[&[notification], whole].concat())),
        ("tls_offered", framed(&[&[tls], whole].concat())),
        ("rejected", framed(&[whole.get(..2).unwrap_or_default(), &[rejected]].concat())),
        ("failure", framed(&[vec![4, 9, 0, 4]])),
    ]
}

fn nak(to_server: &[Vec<u8>]) -> Vec<u8> {
    let identifier = to_server.get(1).and_then(|packet| packet.get(1)).copied().unwrap_or(0);
    vec![2, identifier, 0, 6, 3, 13]
}

/// The response with one octet of the proof changed.
fn wrong(to_server: &[Vec<u8>]) -> Vec<u8> {
    let mut packet = to_server.get(1).cloned().unwrap_or_default();
    if let Some(octet) = packet.get_mut(40) {
        *octet ^= 1;
    }
    packet
}

fn framed(packets: &[Vec<u8>]) -> Vec<u8> {
    let mut out = Vec::new();
    packets.iter().for_each(|packet| frame(packet, &mut out));
    out
}
