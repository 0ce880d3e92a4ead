//! Frames that TCP has not taken yet.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use evenkeel_ipsec::wire::{FRAME_HEADER_LEN, NON_ESP_MARKER, frame};
use tokio::io::AsyncWrite;

/// The most that waits for TCP in the relay, in octets: a tenth of a second at 10 Mbit/s. What comes on top is dropped.
pub const BACKLOG: usize = 128 << 10;

/// What IKE messages may take beyond [`BACKLOG`], in octets. There are few, and losing one costs a retransmission timer
/// of seconds, or the chance to say goodbye.
pub const CONTROL_RESERVE: usize = 32 << 10;

/// Octets of frames in the order of sending. Only whole frames are added or dropped.
#[derive(Default)]
pub(crate) struct Backlog {
    octets: Vec<u8>,
    /// How many of them TCP has.
    sent: usize,
    /// Whether the stream may hold back what it was given: TLS does, until it is flushed.
    unflushed: bool,
}

impl Backlog {
    /// One that begins with `octets`.
    pub(crate) fn starting_with(octets: &[u8]) -> Self {
        Self { octets: octets.to_vec(), ..Self::default() }
    }

    /// How much waits.
    pub(crate) fn len(&self) -> usize {
        self.octets.len() - self.sent
    }

    /// Adds a datagram as a frame, if there is room for it.
    pub(crate) fn push(&mut self, datagram: &[u8]) -> bool {
        let control = datagram.starts_with(&NON_ESP_MARKER);
        let limit = if control { BACKLOG + CONTROL_RESERVE } else { BACKLOG };
        self.len() + FRAME_HEADER_LEN + datagram.len() <= limit && frame(datagram, &mut self.octets)
    }

    /// Gives all of it to the stream. Pending while that takes no more.
    pub(crate) fn poll_drain<S: AsyncWrite + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut S,
    ) -> Poll<io::Result<()>> {
        while self.len() > 0 {
            let waiting = self.octets.get(self.sent..).unwrap_or_default();
            match Pin::new(&mut *stream).poll_write(cx, waiting) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(count)) => {
                    self.sent += count;
                    self.unflushed = true;
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {
                    // What is sent must not stay in front of what a slow stream leaves over.
                    self.octets.drain(..self.sent);
                    self.sent = 0;
                    return Poll::Pending;
                }
            }
        }
        self.octets.clear();
        self.sent = 0;
        if self.unflushed {
            ready!(Pin::new(stream).poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_backlog_is_bounded_and_keeps_room_for_ike() {
        let mut backlog = Backlog::default();
        while backlog.push(&[1; 1400]) {}
        assert!(backlog.len() <= BACKLOG && backlog.len() > BACKLOG - 1402);
        let full = backlog.len();
        assert!(!backlog.push(&[1; 1400]), "ESP has to wait outside");
        assert_eq!(backlog.len(), full);
        let ike = [&NON_ESP_MARKER[..], &[7; 1400]].concat();
        while backlog.push(&ike) {}
        assert!(backlog.len() > full && backlog.len() <= BACKLOG + CONTROL_RESERVE);
    }

    #[test]
    fn the_longest_datagram_fits_into_an_empty_backlog() {
        assert!(Backlog::default().push(&[1; 65_507]));
    }

    #[tokio::test]
    async fn a_frame_that_has_begun_is_sent_whole() {
        let (mut stream, mut peer) = tokio::io::duplex(5);
        let mut backlog = Backlog::starting_with(b"IKETCP");
        assert!(backlog.push(b"abc"));
        let drained = std::future::poll_fn(|cx| Poll::Ready(backlog.poll_drain(cx, &mut stream))).await;
        assert!(drained.is_pending());
        assert_eq!(backlog.len(), 6, "five octets are with the stream");
        assert!(backlog.push(b"d"));
        let mut received = vec![0; 6 + 5 + 3];
        let reading = tokio::io::AsyncReadExt::read_exact(&mut peer, &mut received);
        let draining = std::future::poll_fn(|cx| backlog.poll_drain(cx, &mut stream));
        let (drained, read) = tokio::join!(draining, reading);
        drained.unwrap();
        read.unwrap();
        assert_eq!(received, b"IKETCP\0\x05abc\0\x03d");
        assert_eq!(backlog.len(), 0);
    }
}
