//! IKE and ESP in one TCP stream (RFC 9329 §3, §4).
//!
//! ```text
//! | "IKETCP" | length 2 | message ... | length 2 | message ... |
//! ```
//! The prefix comes once, from whoever opened the connection. A length covers itself and its message, which looks
//! as it would in a UDP datagram on port 4500: [`classify`](super::classify) tells what it is.

/// What the originator of a stream sends first, once (RFC 9329 §4).
pub const STREAM_PREFIX: [u8; 6] = *b"IKETCP";

/// Octets of a length.
pub const FRAME_HEADER_LEN: usize = 2;

/// The longest message that a frame can carry: its 16-bit length counts itself (RFC 9329 §3).
pub const MAX_FRAME_PAYLOAD: usize = 65_535 - FRAME_HEADER_LEN;

/// The longest frame, and the prefix that may precede it.
const BUFFER_LEN: usize = 65_536 + STREAM_PREFIX.len();

/// Why a stream can't be read on. The connection has to be closed: nobody can tell where the next frame begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum StreamError {
    /// Whoever opened the stream speaks another protocol.
    #[error("the stream does not begin with \"IKETCP\"")]
    BadPrefix,
    /// A frame that would be shorter than its own length field (RFC 9329 §3.1).
    #[error("a frame of length {0}, allowed: 2 to 65535")]
    BadLength(u16),
    /// The stream ended within its prefix or within a frame, which is to be discarded (RFC 9329 §6.1).
    #[error("the stream ended within a frame, of which {received} octets had arrived")]
    Truncated {
        /// Octets after the last whole frame.
        received: usize,
    },
}

/// Cuts a stream into messages.
///
/// Octets are received straight into its buffer, and messages are lent from there: nothing is copied but the
/// beginning of a frame whose end did not fit behind it. Whatever a peer sends, it holds 64 KiB and no more.
///
/// Use: receive into [`spare`](Self::spare), tell how much with [`received`](Self::received), then take messages
/// until [`next_frame`](Self::next_frame) has none; only then is there room again. At the end of the stream,
/// [`end`](Self::end).
pub struct StreamDecoder {
    buffer: Box<[u8]>,
    /// The octets that are not consumed yet.
    start: usize,
    end: usize,
    /// Whether the prefix is still to come.
    prefix: bool,
    failed: Option<StreamError>,
}

impl StreamDecoder {
    /// For the side that accepted the connection: the prefix comes first.
    #[must_use]
    pub fn responder() -> Self {
        Self::new(true)
    }

    /// For the side that opened the connection: its peer sends no prefix.
    #[must_use]
    pub fn originator() -> Self {
        Self::new(false)
    }

    fn new(prefix: bool) -> Self {
        Self { buffer: vec![0; BUFFER_LEN].into_boxed_slice(), start: 0, end: 0, prefix, failed: None }
    }

    /// Room for what the stream brings next. Empty only while whole frames wait to be taken.
    pub fn spare(&mut self) -> &mut [u8] {
        if self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        self.buffer.get_mut(self.end..).unwrap_or_default()
    }

    /// `count` octets have been received into [`spare`](Self::spare), from its beginning.
    pub fn received(&mut self, count: usize) {
        self.end = (self.end + count).min(self.buffer.len());
    }

    /// Whether the whole prefix has come, or none is due. Takes it, but no message.
    ///
    /// # Errors
    /// When something else came; the same error from then on.
    pub fn has_begun(&mut self) -> Result<bool, StreamError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        let begun = self.take_prefix();
        self.failed = begun.err();
        begun
    }

    /// The next message that is there as a whole, in place. Empty ones are skipped (RFC 9329 §3).
    ///
    /// # Errors
    /// When the stream can't be read on; the same error from then on.
    pub fn next_frame(&mut self) -> Result<Option<&mut [u8]>, StreamError> {
        match self.failed {
            Some(error) => Err(error),
            None => match self.advance() {
                Ok(None) => Ok(None),
                Ok(Some((start, end))) => Ok(self.buffer.get_mut(start..end)),
                Err(error) => {
                    self.failed = Some(error);
                    Err(error)
                }
            },
        }
    }

    /// The stream has ended.
    ///
    /// # Errors
    /// When it could not be read on before, or ended within a frame.
    pub fn end(&self) -> Result<(), StreamError> {
        match (self.failed, self.end - self.start) {
            (Some(error), _) => Err(error),
            (None, 0) => Ok(()),
            (None, received) => Err(StreamError::Truncated { received }),
        }
    }

    /// Consumes up to the end of the next message and says where that lies.
    fn advance(&mut self) -> Result<Option<(usize, usize)>, StreamError> {
        if !self.take_prefix()? {
            return Ok(None);
        }
        loop {
            let waiting = self.buffer.get(self.start..self.end).unwrap_or_default();
            let Some(header) = waiting.first_chunk() else { return Ok(None) };
            let length = u16::from_be_bytes(*header);
            let frame = usize::from(length);
            if frame < FRAME_HEADER_LEN {
                return Err(StreamError::BadLength(length));
            }
            if waiting.len() < frame {
                return Ok(None);
            }
            let message = (self.start + FRAME_HEADER_LEN, self.start + frame);
            self.start += frame;
            if frame > FRAME_HEADER_LEN {
                return Ok(Some(message));
            }
        }
    }

    /// Whether the prefix is there. It is judged octet by octet: who speaks another protocol and waits for an answer
    /// is not waited for.
    fn take_prefix(&mut self) -> Result<bool, StreamError> {
        if !self.prefix {
            return Ok(true);
        }
        let waiting = self.buffer.get(self.start..self.end).unwrap_or_default();
        let seen = waiting.get(..STREAM_PREFIX.len()).unwrap_or(waiting);
        if !STREAM_PREFIX.starts_with(seen) {
            return Err(StreamError::BadPrefix);
        }
        if seen.len() < STREAM_PREFIX.len() {
            return Ok(false);
        }
        self.start += STREAM_PREFIX.len();
        self.prefix = false;
        Ok(true)
    }
}

/// Appends a frame with `message` to `out`. Returns whether it did: a message that is empty or longer than
/// [`MAX_FRAME_PAYLOAD`] has no frame.
#[must_use]
pub fn frame(message: &[u8], out: &mut Vec<u8>) -> bool {
    let length = u16::try_from(message.len() + FRAME_HEADER_LEN);
    match length {
        Ok(length) if !message.is_empty() => {
            out.extend_from_slice(&length.to_be_bytes());
            out.extend_from_slice(message);
            true
        }
        Ok(_) | Err(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn feed(decoder: &mut StreamDecoder, bytes: &[u8]) {
        decoder.spare()[..bytes.len()].copy_from_slice(bytes);
        decoder.received(bytes.len());
    }

    fn framed(message: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        assert!(frame(message, &mut out));
        out
    }

    #[test]
    fn a_length_counts_itself() {
        assert_eq!(framed(&[0, 0, 0, 0, 9]), [0, 7, 0, 0, 0, 0, 9]);
        let longest = framed(&[1; MAX_FRAME_PAYLOAD]);
        assert_eq!(longest[..2], [0xff, 0xff]);
        let mut decoder = StreamDecoder::originator();
        feed(&mut decoder, &longest);
        assert_eq!(decoder.next_frame().unwrap().unwrap(), [1; MAX_FRAME_PAYLOAD]);
        assert_eq!(decoder.end(), Ok(()));
    }

    #[test]
    fn what_no_length_can_tell_is_not_framed() {
        let mut out = Vec::new();
        assert!(!frame(&[], &mut out));
        assert!(!frame(&[1; MAX_FRAME_PAYLOAD + 1], &mut out));
        assert!(out.is_empty());
    }

    #[test]
    fn a_responder_takes_nothing_before_the_whole_prefix() {
        let mut decoder = StreamDecoder::responder();
        feed(&mut decoder, b"IKET");
        assert_eq!(decoder.next_frame(), Ok(None));
        assert_eq!(decoder.has_begun(), Ok(false));
        feed(&mut decoder, b"CP\0\x03A");
        assert_eq!(decoder.next_frame().unwrap().unwrap(), b"A");
        assert_eq!(decoder.has_begun(), Ok(true));
        assert_eq!(decoder.next_frame(), Ok(None));
    }

    #[test]
    fn another_protocol_is_recognised_by_its_first_octets() {
        for greeting in [&b"GET / HTTP/1.1"[..], b"I\0", b"\x16\x03\x01", b"IKETCQ"] {
            let mut decoder = StreamDecoder::responder();
            feed(&mut decoder, greeting);
            assert_eq!(decoder.next_frame(), Err(StreamError::BadPrefix));
            assert_eq!(decoder.next_frame(), Err(StreamError::BadPrefix), "and stays refused");
        }
    }

    #[test]
    fn a_second_prefix_is_a_frame_like_any_other() {
        let mut decoder = StreamDecoder::responder();
        feed(&mut decoder, b"IKETCPIKETCP");
        assert_eq!(decoder.next_frame(), Ok(None), "0x494b octets are to come");
        assert_eq!(decoder.end(), Err(StreamError::Truncated { received: 6 }));
    }

    #[test]
    fn lengths_of_zero_and_one_end_the_stream_and_two_is_ignored() {
        for length in [0, 1] {
            let mut decoder = StreamDecoder::originator();
            feed(&mut decoder, &[0, 3, 7, 0, length, 9]);
            assert_eq!(decoder.next_frame().unwrap().unwrap(), [7], "what came before is good");
            assert_eq!(decoder.next_frame(), Err(StreamError::BadLength(length.into())));
            assert_eq!(decoder.end(), Err(StreamError::BadLength(length.into())));
        }
        let mut decoder = StreamDecoder::originator();
        feed(&mut decoder, &[0, 2, 0, 2, 0, 3, 7, 0, 2]);
        assert_eq!(decoder.next_frame().unwrap().unwrap(), [7]);
        assert_eq!(decoder.next_frame(), Ok(None));
        assert_eq!(decoder.end(), Ok(()));
    }

    #[test]
    fn the_end_within_a_frame_is_told() {
        let mut decoder = StreamDecoder::originator();
        feed(&mut decoder, &[0, 3, 7, 0, 9, 1, 2]);
        assert_eq!(decoder.next_frame().unwrap().unwrap(), [7]);
        assert_eq!(decoder.next_frame(), Ok(None));
        assert_eq!(decoder.end(), Err(StreamError::Truncated { received: 4 }));
        assert_eq!(StreamDecoder::responder().end(), Ok(()), "who only connects breaks nothing off");
    }
}
