//! Streams, good and bad.

use evenkeel_ipsec::wire::{NON_ESP_MARKER, STREAM_PREFIX, frame};

use super::Seed;

const ORIGINATOR: u8 = 0;
const RESPONDER: u8 = 1;

pub(super) fn add(seeds: &mut Vec<Seed>) {
    let ike = [&NON_ESP_MARKER[..], &[0x5a; 28]].concat();
    let esp = [&[0xc0, 0xde, 0, 1][..], &[0x5a; 60]].concat();
    let streams: [(&str, u8, u8, &[&[u8]]); 5] = [
        ("responder", RESPONDER, 3, &[&ike, &esp, &esp]),
        ("originator", ORIGINATOR, 1, &[&ike, &esp]),
        ("keepalive", RESPONDER, 7, &[&[0xff], &esp]),
        ("long", ORIGINATOR, 200, &[&[1; 1400], &[2; 1400]]),
        ("unmarked", RESPONDER, 0, &[&[1]]),
    ];
    for (name, role, cut, messages) in streams {
        let mut input = vec![role, cut];
        if role == RESPONDER {
            input.extend_from_slice(&STREAM_PREFIX);
        }
        for message in messages {
            let _ = frame(message, &mut input);
        }
        seeds.push(Seed::new("stream_decoder", name, input));
    }
    let bad: [(&str, &[u8]); 5] = [
        ("http", b"\x01\x02GET / HTTP/1.1\r\n\r\n"),
        ("length_zero", b"\x01\x04IKETCP\0\x03A\0\0"),
        ("length_one", b"\x00\x02\0\x03A\0\x01"),
        ("empty_messages", b"\x00\x01\0\x02\0\x02\0\x03A"),
        ("broken_off", b"\x01\x05IKETCP\xff\xffABC"),
    ];
    for (name, input) in bad {
        seeds.push(Seed::new("stream_decoder", name, input.to_vec()));
    }
}
