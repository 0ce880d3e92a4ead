//! From the socket to the stream.

use std::io;
use std::task::{Context, Poll, ready};

use evenkeel_ipsec::wire::KEEPALIVE;
use evenkeel_platform::socket::ReceiveBatch;
use tokio::io::AsyncWrite;

use crate::backlog::Backlog;
use crate::relay::Ended;
use crate::socket::RelaySocket;
use crate::stats::{RelayCounters, count};

/// Frames are given to TCP in writes of about this size: as much as it takes into one buffer of its own.
const WRITE: usize = 64 << 10;

pub(crate) struct Outgoing {
    batch: ReceiveBatch,
    backlog: Backlog,
}

impl Outgoing {
    pub(crate) fn new(backlog: Backlog) -> Self {
        Self { batch: ReceiveBatch::new(), backlog }
    }

    /// Moves a batch of datagrams. An error is the end.
    ///
    /// The frames of a batch are put together in one buffer before they are written: they lie scattered between their
    /// lengths, TLS would copy them anyway, and one write of many frames beats one of many slices.
    pub(crate) fn poll_round<S: AsyncWrite + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut S,
        socket: &RelaySocket,
        counters: &RelayCounters,
    ) -> Poll<Result<(), Ended>> {
        if let Poll::Ready(Err(error)) = self.backlog.poll_drain(cx, stream) {
            return Poll::Ready(Err(Ended::Failed(error)));
        }
        // Whether TCP takes more or not: what it does not take is better dropped than kept.
        ready!(socket.poll_receive(cx, &mut self.batch)).map_err(Ended::Socket)?;
        Poll::Ready(self.frame_batch(cx, stream, counters).map_err(Ended::Failed))
    }

    /// Gives the stream what waits in the socket and in the backlog.
    pub(crate) fn poll_finish<S: AsyncWrite + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut S,
        socket: &RelaySocket,
        counters: &RelayCounters,
    ) -> Poll<io::Result<()>> {
        while socket.receive_now(&mut self.batch).is_ok() {
            self.frame_batch(cx, stream, counters)?;
        }
        self.backlog.poll_drain(cx, stream)
    }

    /// Makes frames of what was received. An error is the stream's.
    fn frame_batch<S: AsyncWrite + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut S,
        counters: &RelayCounters,
    ) -> io::Result<()> {
        let (trains, storage) = self.batch.parts();
        let mut taking = true;
        for train in trains {
            for datagram in storage.get(train.range.clone()).unwrap_or_default().chunks(train.stride) {
                if datagram == [KEEPALIVE] {
                    count(&counters.keepalives, 1);
                } else if self.backlog.push(datagram) {
                    count(&counters.sent, 1);
                } else {
                    count(&counters.congested, 1);
                }
            }
            if taking && self.backlog.len() >= WRITE {
                match self.backlog.poll_drain(cx, stream) {
                    Poll::Ready(result) => result?,
                    Poll::Pending => taking = false,
                }
            }
        }
        Ok(())
    }
}
