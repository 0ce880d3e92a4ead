//! Inner packets, alone and as the authenticated content of ESP packets.

use super::Seed;
use crate::frame;

const GCM: u8 = 0;
const CHACHA: u8 = 2;
const CBC: u8 = 3;
const ESN: u8 = 4;
const IPV4: u8 = 4;
const IPV6: u8 = 41;
const NO_NEXT_HEADER: u8 = 59;

pub(super) fn add(seeds: &mut Vec<Seed>) {
    let inward4 = ipv4([10, 2, 0, 9], [10, 1, 0, 9]);
    let inward6 = ipv6(2, 1);
    let foreign = ipv4([192, 0, 2, 9], [10, 1, 0, 9]);
    let with_tfc_padding = [&inward4[..], &[0; 20]].concat();
    let open = [
        ("ipv4", GCM, vec![(1, content(&inward4, IPV4))]),
        ("ipv6", GCM, vec![(1, content(&inward6, IPV6))]),
        ("tfc_padding", GCM, vec![(1, content(&with_tfc_padding, IPV4))]),
        ("dummy", GCM, vec![(1, content(&[0; 30], NO_NEXT_HEADER))]),
        ("other_family", GCM, vec![(1, content(&inward6, IPV4))]),
        ("outside_the_selectors", GCM, vec![(1, content(&foreign, IPV4))]),
        ("too_much_padding", GCM, vec![(1, vec![0, 0, 200, IPV4])]),
        ("replay", GCM, vec![(5, content(&inward4, IPV4)), (5, content(&inward4, IPV4))]),
        ("leap_and_late", GCM, [9, 3000, 10, 2999].map(|seq| (seq, content(&inward4, IPV4))).to_vec()),
        (
            "esn",
            GCM | ESN,
            [1, 0xffff_ffff, 0x1_0000_0000].map(|seq| (seq, content(&inward4, IPV4))).to_vec(),
        ),
    ];
    for (name, choice, packets) in open {
        let mut input = vec![choice];
        for (sequence, content) in packets {
            let sequence: u64 = sequence;
            frame(&[&[1][..], &sequence.to_be_bytes(), &content].concat(), &mut input);
        }
        seeds.push(Seed::new("esp_open", name, input));
    }
    for (name, choice) in [("forged_chacha", CHACHA), ("forged_cbc", CBC), ("forged_gcm", GCM)] {
        let mut input = vec![choice];
        frame(&[&[0, 0, 0, 0, 1][..], &[0x5a; 60]].concat(), &mut input);
        seeds.push(Seed::new("esp_open", name, input));
    }

    let outward4 = swap(&inward4, 12, 4, 20);
    let outward6 = swap(&inward6, 8, 16, 0);
    for (suite, choice) in
        [("gcm", GCM), ("gcm_esn", GCM | ESN), ("chacha", CHACHA), ("cbc", CBC), ("cbc_esn", CBC | ESN)]
    {
        for (family, inner) in [("ipv4", &outward4), ("ipv6", &outward6)] {
            let input = [&[choice, 77][..], inner].concat();
            seeds.push(Seed::new("esp_seal", &format!("{suite}_{family}"), input));
        }
    }
    seeds.push(Seed::new("esp_seal", "outside_the_selectors", [&[GCM, 0][..], &foreign].concat()));
}

/// TCP from port 443 to port 50000.
fn ipv4(source: [u8; 4], destination: [u8; 4]) -> Vec<u8> {
    let head = [0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6, 0, 0];
    [&head[..], &source, &destination, &tcp()].concat()
}

fn ipv6(source: u8, destination: u8) -> Vec<u8> {
    let head = [0x60, 0, 0, 0, 0, 20, 6, 64];
    let address = |subnet| [0xfd, 0, 0, 0, 0, subnet, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
    [&head[..], &address(source), &address(destination), &tcp()].concat()
}

fn tcp() -> [u8; 20] {
    let mut header = [0; 20];
    let [s0, s1, d0, d1, ..] = &mut header;
    [*s0, *s1] = 443_u16.to_be_bytes();
    [*d0, *d1] = 50_000_u16.to_be_bytes();
    header
}

/// The packet in the other direction: addresses of `width` octets from `at` on, and ports at `ports` unless that is 0.
fn swap(packet: &[u8], at: usize, width: usize, ports: usize) -> Vec<u8> {
    let mut swapped = packet.to_vec();
    if let Some(addresses) = swapped.get_mut(at..at + 2 * width) {
        addresses.rotate_left(width);
    }
    if let Some(both) = swapped.get_mut(ports..ports + 4)
        && ports > 0
    {
        both.rotate_left(2);
    }
    swapped
}

/// A packet with padding to four octets and trailer.
fn content(packet: &[u8], next_header: u8) -> Vec<u8> {
    let mut content = packet.to_vec();
    let mut padding = 0;
    while !(content.len() + 2).is_multiple_of(4) {
        padding += 1;
        content.push(padding);
    }
    content.extend_from_slice(&[padding, next_header]);
    content
}
