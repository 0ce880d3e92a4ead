//! From the stream to the socket.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use evenkeel_ipsec::wire::{KEEPALIVE, StreamDecoder, StreamError};
use evenkeel_platform::socket::{MAX_TRAIN, MAX_TRAIN_SEGMENTS};
use tokio::io::{AsyncRead, ReadBuf};

use crate::relay::Ended;
use crate::socket::RelaySocket;
use crate::stats::{RelayCounters, count};

pub(crate) struct Incoming {
    decoder: StreamDecoder,
    train: Train,
}

impl Incoming {
    pub(crate) fn new(decoder: StreamDecoder) -> Self {
        Self { decoder, train: Train::new() }
    }

    /// Moves the frames that are there and receives once more. An error is the end.
    pub(crate) fn poll_round<S: AsyncRead + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut S,
        socket: &RelaySocket,
        counters: &RelayCounters,
    ) -> Poll<Result<(), Ended>> {
        self.deliver(socket, counters)?;
        poll_fill(&mut self.decoder, cx, stream)
    }

    /// Hands over all frames that are there, good ones before a bad one included.
    fn deliver(&mut self, socket: &RelaySocket, counters: &RelayCounters) -> Result<(), StreamError> {
        let result = loop {
            let message = match self.decoder.next_frame() {
                Ok(Some(message)) => message,
                Ok(None) => break Ok(()),
                Err(error) => break Err(error),
            };
            if message == [KEEPALIVE] {
                count(&counters.keepalives, 1);
                continue;
            }
            if message.len() > MAX_TRAIN {
                count(&counters.unfit, 1);
                continue;
            }
            if !self.train.has_room(message.len()) {
                self.train.send(socket, counters);
            }
            self.train.add(message);
        };
        self.train.send(socket, counters);
        result
    }
}

/// Receives once. The error is how the stream has ended.
pub(crate) fn poll_fill<S: AsyncRead + Unpin>(
    decoder: &mut StreamDecoder,
    cx: &mut Context<'_>,
    stream: &mut S,
) -> Poll<Result<(), Ended>> {
    let mut room = ReadBuf::new(decoder.spare());
    ready!(Pin::new(stream).poll_read(cx, &mut room)).map_err(Ended::Failed)?;
    let count = room.filled().len();
    if count == 0 {
        decoder.end()?;
        return Poll::Ready(Err(Ended::PeerClosed));
    }
    decoder.received(count);
    Poll::Ready(Ok(()))
}

/// Datagrams back to back for one system call: all of one length, but the last may be shorter and ends the train.
struct Train {
    octets: Vec<u8>,
    stride: usize,
    datagrams: usize,
    ended: bool,
}

impl Train {
    fn new() -> Self {
        Self { octets: Vec::with_capacity(MAX_TRAIN), stride: 0, datagrams: 0, ended: false }
    }

    fn has_room(&self, len: usize) -> bool {
        self.datagrams == 0
            || (!self.ended
                && len <= self.stride
                && self.datagrams < MAX_TRAIN_SEGMENTS
                && self.octets.len() + len <= MAX_TRAIN)
    }

    fn add(&mut self, datagram: &[u8]) {
        if self.datagrams == 0 {
            self.stride = datagram.len();
        }
        self.ended = datagram.len() < self.stride;
        self.octets.extend_from_slice(datagram);
        self.datagrams += 1;
    }

    fn send(&mut self, socket: &RelaySocket, counters: &RelayCounters) {
        if self.datagrams == 0 {
            return;
        }
        let datagrams = u64::try_from(self.datagrams).unwrap_or(u64::MAX);
        match socket.send_train(&self.octets, self.stride) {
            Ok(()) => count(&counters.received, datagrams),
            // The user's buffer is full, or the user is gone: lost, as on any network.
            Err(error) => {
                tracing::trace!(%error, "frames that no datagram could carry");
                count(&counters.unfit, datagrams);
            }
        }
        self.octets.clear();
        self.datagrams = 0;
        self.ended = false;
    }
}
