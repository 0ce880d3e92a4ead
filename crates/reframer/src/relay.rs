//! A stream's life between its socket and its peer.

use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use evenkeel_ipsec::wire::{STREAM_PREFIX, StreamDecoder, StreamError};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};

use crate::backlog::Backlog;
use crate::incoming::{Incoming, poll_fill};
use crate::outgoing::Outgoing;
use crate::socket::RelaySocket;
use crate::stats::RelayCounters;

/// How often each direction moves something before the other has its turn.
const ROUNDS: usize = 8;

/// How long a stream that is closed has for what waits.
const FAREWELL: Duration = Duration::from_secs(1);

/// Why a relay ended.
#[derive(Debug, thiserror::Error)]
pub enum Ended {
    /// The peer closed the stream, between two frames.
    #[error("the peer closed the stream")]
    PeerClosed,
    /// The peer sent what is no frame, or closed within one.
    #[error(transparent)]
    BadFrame(#[from] StreamError),
    /// The stream broke: reset, timed out, or a layer between TCP and the frames failed.
    #[error("the stream broke: {0}")]
    Failed(io::Error),
    /// The UDP socket at this end broke.
    #[error("the socket in front of the stream broke: {0}")]
    Socket(io::Error),
}

/// An accepted stream whose prefix has come, and what came after it. Whoever sends none costs no relay.
pub struct Begun(StreamDecoder);

impl Begun {
    /// Waits for the prefix.
    ///
    /// # Errors
    /// When something else comes, or the stream ends first.
    pub async fn wait<S: AsyncRead + Unpin>(stream: &mut S) -> Result<Self, Ended> {
        let mut decoder = StreamDecoder::responder();
        while !decoder.has_begun()? {
            poll_fn(|cx| poll_fill(&mut decoder, cx, stream)).await?;
        }
        Ok(Self(decoder))
    }
}

/// Moves datagrams between a [`RelaySocket`] and a stream.
pub struct Relay {
    socket: RelaySocket,
    incoming: Incoming,
    outgoing: Outgoing,
    counters: Arc<RelayCounters>,
    /// Which direction comes first next time.
    outgoing_first: bool,
}

impl Relay {
    /// For the side that opened the connection: sends the prefix before everything else.
    #[must_use]
    pub fn originator(socket: RelaySocket, counters: Arc<RelayCounters>) -> Self {
        Self::new(socket, StreamDecoder::originator(), Backlog::starting_with(&STREAM_PREFIX), counters)
    }

    /// For the side that accepted it, once the prefix has come.
    #[must_use]
    pub fn responder(begun: Begun, socket: RelaySocket, counters: Arc<RelayCounters>) -> Self {
        Self::new(socket, begun.0, Backlog::default(), counters)
    }

    fn new(
        socket: RelaySocket,
        decoder: StreamDecoder,
        backlog: Backlog,
        counters: Arc<RelayCounters>,
    ) -> Self {
        Self {
            socket,
            incoming: Incoming::new(decoder),
            outgoing: Outgoing::new(backlog),
            counters,
            outgoing_first: true,
        }
    }

    /// Relays until that is no longer possible. Cancel safe: no datagram is half taken, no frame half lost.
    pub async fn run<S: AsyncRead + AsyncWrite + Unpin>(&mut self, stream: &mut S) -> Ended {
        poll_fn(|cx| {
            let Self { socket, incoming, outgoing, counters, outgoing_first } = self;
            *outgoing_first = !*outgoing_first;
            for outward in [*outgoing_first, !*outgoing_first] {
                let turn = if outward {
                    poll_turn(cx, |cx| outgoing.poll_round(cx, stream, socket, counters))
                } else {
                    poll_turn(cx, |cx| incoming.poll_round(cx, stream, socket, counters))
                };
                if turn.is_ready() {
                    return turn;
                }
            }
            Poll::Pending
        })
        .await
    }

    /// Sends what waits, says goodbye to the stream, and gives up after a second.
    pub async fn finish<S: AsyncWrite + Unpin>(&mut self, stream: &mut S) {
        let farewell = async {
            let Self { socket, outgoing, counters, .. } = self;
            poll_fn(|cx| outgoing.poll_finish(cx, stream, socket, counters)).await?;
            stream.shutdown().await
        };
        match tokio::time::timeout(FAREWELL, farewell).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(%error, "the stream broke while it was closed"),
            Err(_) => tracing::debug!("the stream took nothing more while it was closed"),
        }
    }
}

/// One direction's turn: rounds until nothing waits, but not so many that the other starves. Ready only when the
/// direction can't go on.
fn poll_turn(
    cx: &mut Context<'_>,
    mut round: impl FnMut(&mut Context<'_>) -> Poll<Result<(), Ended>>,
) -> Poll<Ended> {
    for _ in 0..ROUNDS {
        if let Err(ended) = ready!(round(cx)) {
            return Poll::Ready(ended);
        }
    }
    cx.waker().wake_by_ref();
    Poll::Pending
}

#[cfg(test)]
mod tests;
