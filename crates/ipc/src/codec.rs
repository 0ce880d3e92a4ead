//! Frames: a length of four bytes, big-endian, then so many bytes of JSON.
use std::io;

use bytes::BytesMut;
use futures_util::StreamExt;
use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio_util::codec::{FramedRead, LengthDelimitedCodec};
use zeroize::{Zeroize, Zeroizing};

/// Largest frame in bytes. A profile with a whole CA store fits; a hostile length does not allocate.
pub const MAX_FRAME: usize = 4 << 20;

/// Largest first frame of either side in bytes: a name and a version, which may be kept as long as the connection.
pub(crate) const MAX_INTRODUCTION: usize = 4 << 10;

/// Why a frame could not be read or written.
#[derive(Debug, Error)]
pub enum CodecError {
    /// The stream failed or ended within a frame.
    #[error("the connection failed: {0}")]
    Io(#[from] io::Error),
    /// The peer announced a frame that is too long for its place (at most [`MAX_FRAME`]), or we would have to send one.
    #[error("a message is longer than the protocol allows")]
    TooLarge,
    /// The frame is no message of this protocol.
    #[error("a message can't be understood")]
    Malformed(#[source] serde_json::Error),
    /// No message came where one had to.
    #[error("the connection was closed")]
    Closed,
}

/// Bytes of the length in front of each frame.
const LENGTH: usize = 4;

/// Room for a message with a password or a key, so that its buffer does not move and leave a copy behind.
const USUAL_FRAME: usize = 64 << 10;

/// The reading end. [`next`](Self::next) is cancel-safe: a frame half read stays buffered.
pub(crate) struct FrameReader<R> {
    inner: FramedRead<R, LengthDelimitedCodec>,
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    /// For frames of at most so many bytes.
    pub(crate) fn new(stream: R, limit: usize) -> Self {
        let framing = LengthDelimitedCodec::builder().max_frame_length(limit).new_codec();
        Self { inner: FramedRead::new(stream, framing) }
    }

    /// Takes frames of at most so many bytes from here on.
    pub(crate) fn set_limit(&mut self, limit: usize) {
        self.inner.decoder_mut().set_max_frame_length(limit);
    }

    /// The next message; `None` if the peer closed between messages.
    pub(crate) async fn next<T: DeserializeOwned>(&mut self) -> Result<Option<T>, CodecError> {
        match self.inner.next().await {
            None => Ok(None),
            Some(Err(error)) if is_too_large(&error) => Err(CodecError::TooLarge),
            Some(Err(error)) => Err(CodecError::Io(error)),
            Some(Ok(frame)) => decode(frame).map(Some),
        }
    }
}

/// The writing end. It holds no buffer that outlives a message, since a message may hold a secret.
pub(crate) struct FrameWriter<W> {
    stream: W,
}

impl<W: AsyncWrite + Unpin> FrameWriter<W> {
    pub(crate) fn new(stream: W) -> Self {
        Self { stream }
    }

    /// Sends one message whole.
    pub(crate) async fn send<T: Serialize>(&mut self, message: &T) -> Result<(), CodecError> {
        let mut frame = Zeroizing::new(Vec::with_capacity(USUAL_FRAME));
        frame.extend_from_slice(&[0; LENGTH]);
        serde_json::to_writer(&mut *frame, message).map_err(CodecError::Malformed)?;
        let length = frame.len().saturating_sub(LENGTH);
        let announced =
            u32::try_from(length).ok().filter(|_| length <= MAX_FRAME).ok_or(CodecError::TooLarge)?;
        if let Some(head) = frame.first_chunk_mut::<LENGTH>() {
            *head = announced.to_be_bytes();
        }
        self.stream.write_all(&frame).await?;
        self.stream.flush().await?;
        Ok(())
    }
}

/// Parses a frame and wipes it.
fn decode<T: DeserializeOwned>(mut frame: BytesMut) -> Result<T, CodecError> {
    let parsed = serde_json::from_slice(&frame).map_err(CodecError::Malformed);
    frame.as_mut().zeroize();
    parsed
}

fn is_too_large(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|e| e.is::<tokio_util::codec::LengthDelimitedCodecError>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_hostile_length_is_refused_before_anything_is_allocated() {
        let (mut peer, ours) = tokio::io::duplex(64);
        peer.write_all(&u32::MAX.to_be_bytes()).await.expect("written");
        let error = FrameReader::new(ours, MAX_FRAME).next::<u32>().await.expect_err("too large");
        assert!(matches!(error, CodecError::TooLarge), "{error}");
    }

    #[tokio::test]
    async fn a_limit_holds_until_another_is_set() {
        let (mut peer, ours) = tokio::io::duplex(64);
        peer.write_all(&[0, 0, 0, 1, b'7', 0, 0, 0, 2, b'4', b'2', 0, 0, 0, 3]).await.expect("written");
        let mut reader = FrameReader::new(ours, 1);
        assert_eq!(reader.next::<u32>().await.expect("a frame"), Some(7));
        // What is there already is measured by the limit that holds when it is asked for.
        reader.set_limit(2);
        assert_eq!(reader.next::<u32>().await.expect("a frame"), Some(42));
        assert!(matches!(reader.next::<u32>().await, Err(CodecError::TooLarge)));
    }

    #[tokio::test]
    async fn a_stream_that_ends_within_a_frame_is_an_error_and_between_frames_an_end() {
        let (mut peer, ours) = tokio::io::duplex(64);
        peer.write_all(&[0, 0, 0, 1, b'7', 0, 0]).await.expect("written");
        drop(peer);
        let mut reader = FrameReader::new(ours, MAX_FRAME);
        assert_eq!(reader.next::<u32>().await.expect("a frame"), Some(7));
        assert!(matches!(reader.next::<u32>().await, Err(CodecError::Io(_))));
        let (peer, ours) = tokio::io::duplex(64);
        drop(peer);
        assert!(matches!(FrameReader::new(ours, MAX_FRAME).next::<u32>().await, Ok(None)));
    }

    #[tokio::test]
    async fn what_is_no_json_is_refused_and_deep_nesting_does_not_overflow() {
        for body in [b"hello".to_vec(), vec![b'['; 100_000], vec![0xff; 10]] {
            let (mut peer, ours) = tokio::io::duplex(1 << 20);
            let length = u32::try_from(body.len()).expect("short");
            peer.write_all(&length.to_be_bytes()).await.expect("written");
            peer.write_all(&body).await.expect("written");
            let error =
                FrameReader::new(ours, MAX_FRAME).next::<serde_json::Value>().await.expect_err("no JSON");
            assert!(matches!(error, CodecError::Malformed(_)), "{error}");
        }
    }

    #[tokio::test]
    async fn a_message_beyond_the_limit_is_not_sent() {
        let (_peer, ours) = tokio::io::duplex(64);
        let error = FrameWriter::new(ours).send(&"x".repeat(MAX_FRAME)).await.expect_err("too large");
        assert!(matches!(error, CodecError::TooLarge), "{error}");
    }
}
