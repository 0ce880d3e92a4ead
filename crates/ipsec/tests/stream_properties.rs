//! Properties of the stream framing: however TCP cuts a stream, the same messages come out, or the same error.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use evenkeel_ipsec::wire::{
    FRAME_HEADER_LEN, MAX_FRAME_PAYLOAD, STREAM_PREFIX, StreamDecoder, StreamError, frame,
};
use proptest::collection::vec;
use proptest::prelude::*;

/// What RFC 9329 says of a stream that is known as a whole.
fn reference(mut stream: &[u8], prefix: bool) -> (Vec<Vec<u8>>, Result<(), StreamError>) {
    let mut messages = Vec::new();
    if prefix {
        match stream.strip_prefix(&STREAM_PREFIX) {
            Some(rest) => stream = rest,
            None if STREAM_PREFIX.starts_with(stream) => {
                let received = stream.len();
                let ended = if received == 0 { Ok(()) } else { Err(StreamError::Truncated { received }) };
                return (messages, ended);
            }
            None => return (messages, Err(StreamError::BadPrefix)),
        }
    }
    loop {
        let received = stream.len();
        let Some((header, rest)) = stream.split_first_chunk() else {
            let ended = if received == 0 { Ok(()) } else { Err(StreamError::Truncated { received }) };
            return (messages, ended);
        };
        let length = u16::from_be_bytes(*header);
        let Some(payload) = usize::from(length).checked_sub(FRAME_HEADER_LEN) else {
            return (messages, Err(StreamError::BadLength(length)));
        };
        let Some((message, rest)) = rest.split_at_checked(payload) else {
            return (messages, Err(StreamError::Truncated { received }));
        };
        if !message.is_empty() {
            messages.push(message.to_vec());
        }
        stream = rest;
    }
}

/// Decodes `stream` in pieces, whose lengths repeat, each cut further where the decoder has no room for it.
fn decode(stream: &[u8], prefix: bool, cuts: &[usize]) -> (Vec<Vec<u8>>, Result<(), StreamError>) {
    let mut decoder = if prefix { StreamDecoder::responder() } else { StreamDecoder::originator() };
    let (mut messages, mut rest, mut cuts) = (Vec::new(), stream, cuts.iter().cycle());
    while !rest.is_empty() {
        let spare = decoder.spare();
        let length = rest.len().min(*cuts.next().unwrap()).min(spare.len());
        assert!(length > 0, "there is always room once no message waits");
        spare[..length].copy_from_slice(&rest[..length]);
        decoder.received(length);
        rest = &rest[length..];
        loop {
            match decoder.next_frame() {
                Ok(Some(message)) => messages.push(message.to_vec()),
                Ok(None) => break,
                Err(error) => return (messages, Err(error)),
            }
        }
    }
    let ended = decoder.end();
    (messages, ended)
}

fn cuts() -> impl Strategy<Value = Vec<usize>> {
    vec(prop_oneof![1_usize..4, 1_usize..3000, Just(usize::MAX)], 1..20)
}

/// Many short messages, some of ordinary packets' length, seldom the longest that there can be.
fn message() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        6 => vec(any::<u8>(), 1..40),
        3 => (any::<u8>(), 1200_usize..1500).prop_map(|(octet, length)| vec![octet; length]),
        1 => (any::<u8>(), MAX_FRAME_PAYLOAD - 9..=MAX_FRAME_PAYLOAD).prop_map(|(octet, length)| vec![octet; length]),
    ]
}

proptest! {
    #[test]
    fn what_is_framed_comes_out_again_however_it_is_cut(messages in vec(message(), 0..12), prefix: bool, cuts in cuts()) {
        let mut stream = if prefix { STREAM_PREFIX.to_vec() } else { Vec::new() };
        for message in &messages {
            prop_assert!(frame(message, &mut stream));
        }
        prop_assert_eq!(decode(&stream, prefix, &cuts), (messages, Ok(())));
    }

    #[test]
    fn any_stream_however_cut_means_what_it_means_as_a_whole(
        head in prop_oneof![Just(STREAM_PREFIX.to_vec()), vec(any::<u8>(), 0..8)],
        tail in vec(prop_oneof![Just(0_u8), Just(1), Just(2), 0_u8..12, any::<u8>()], 0..200),
        prefix: bool,
        cuts in cuts(),
    ) {
        let stream = [head, tail].concat();
        prop_assert_eq!(decode(&stream, prefix, &cuts), reference(&stream, prefix));
    }

    #[test]
    fn a_stream_that_breaks_off_gives_every_message_that_was_whole(
        messages in vec(message(), 1..6),
        missing in any::<prop::sample::Index>(),
        cuts in cuts(),
    ) {
        let mut stream = STREAM_PREFIX.to_vec();
        for message in &messages {
            prop_assert!(frame(message, &mut stream));
        }
        stream.truncate(missing.index(stream.len()));
        prop_assert_eq!(decode(&stream, true, &cuts), reference(&stream, true));
    }
}
