//! The framing of IKE and ESP in a TCP stream.

use evenkeel_ipsec::wire::{STREAM_PREFIX, StreamDecoder, frame};

use crate::Outcome;

/// One octet for who we are, one for how the stream is cut, then the stream. What comes out, framed anew, is the stream
/// again as far as it was good, but for empty messages; and the cut does not matter.
pub fn stream_decoder(input: &[u8]) -> Outcome {
    let [role, cut, stream @ ..] = input else {
        return Outcome::Refused;
    };
    let responder = role & 1 == 1;
    let whole = decode(stream, responder, usize::MAX);
    let cut = decode(stream, responder, usize::from(*cut).max(1));
    assert_eq!(cut, whole, "it matters how the stream is cut");

    let mut again = if responder { STREAM_PREFIX.to_vec() } else { Vec::new() };
    for message in &whole.messages {
        assert!(frame(message, &mut again), "a message that has no frame");
    }
    if !whole.messages.is_empty() {
        assert!(again.len() <= stream.len());
        assert_eq!(decode(&again, responder, usize::MAX).messages, whole.messages);
    }
    if whole.ended && !whole.messages.is_empty() { Outcome::Accepted } else { Outcome::Refused }
}

#[derive(PartialEq, Eq, Debug)]
struct Decoded {
    messages: Vec<Vec<u8>>,
    /// Whether the stream was good to its end.
    ended: bool,
}

fn decode(mut stream: &[u8], responder: bool, cut: usize) -> Decoded {
    let mut decoder = if responder { StreamDecoder::responder() } else { StreamDecoder::originator() };
    let mut messages = Vec::new();
    loop {
        loop {
            match decoder.next_frame() {
                Ok(Some(message)) => messages.push(message.to_vec()),
                Ok(None) => break,
                Err(error) => {
                    assert_eq!(decoder.end(), Err(error), "an error stays");
                    return Decoded { messages, ended: false };
                }
            }
        }
        if stream.is_empty() {
            return Decoded { messages, ended: decoder.end().is_ok() };
        }
        let spare = decoder.spare();
        assert!(!spare.is_empty(), "no room though no message waits");
        let length = stream.len().min(cut).min(spare.len());
        let (now, later) = stream.split_at(length);
        for (slot, octet) in spare.iter_mut().zip(now) {
            *slot = *octet;
        }
        decoder.received(length);
        stream = later;
    }
}
