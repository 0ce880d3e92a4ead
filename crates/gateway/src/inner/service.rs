//! What runs on a TCP connection.

use std::collections::VecDeque;

use smoltcp::socket::tcp;

use super::dns::Zone;
use super::http::{Http, Shared};

/// Bytes moved between the socket and a service in one step.
const STEP: usize = 16 * 1024;
/// Answers that a DNS connection may have waiting before it stops reading.
const DNS_BACKLOG: usize = 64 * 1024;

/// The service behind a port.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum ServiceKind {
    Echo,
    Discard,
    Dns,
    Http,
}

/// One connection's service with its state.
pub(super) enum Service {
    Echo,
    Discard,
    Dns(DnsStream),
    Http(Box<Http>),
}

/// Whether a service waits for the network or wants its next turn soon.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Progress {
    /// Nothing to do until a packet comes or goes.
    Waiting,
    /// There is more work than fits in one turn.
    Busy,
}

impl Service {
    pub(super) fn new(kind: ServiceKind) -> Self {
        match kind {
            ServiceKind::Echo => Self::Echo,
            ServiceKind::Discard => Self::Discard,
            ServiceKind::Dns => Self::Dns(DnsStream::default()),
            ServiceKind::Http => Self::Http(Box::default()),
        }
    }

    /// Moves bytes between the socket and the service.
    pub(super) fn drive(
        &mut self,
        socket: &mut tcp::Socket<'_>,
        zone: &Zone,
        shared: &mut Shared,
    ) -> Progress {
        match self {
            Self::Echo => echo(socket),
            Self::Discard => discard(socket),
            Self::Dns(stream) => stream.drive(socket, zone),
            Self::Http(http) => return http.drive(socket, shared),
        }
        Progress::Waiting
    }
}

/// Room in the socket's send buffer.
pub(super) fn send_room(socket: &tcp::Socket<'_>) -> usize {
    if socket.may_send() { socket.send_capacity() - socket.send_queue() } else { 0 }
}

/// Whether the peer has closed its side and everything it sent was read.
pub(super) fn read_to_end(socket: &tcp::Socket<'_>) -> bool {
    !socket.may_recv() && socket.recv_queue() == 0 && socket.may_send()
}

fn echo(socket: &mut tcp::Socket<'_>) {
    let mut step = [0; STEP];
    loop {
        let room = send_room(socket).min(STEP);
        match socket.recv_slice(&mut step[..room]) {
            // The room was asked for, so all of it is taken.
            Ok(count) if count > 0 => drop(socket.send_slice(&step[..count])),
            Ok(_) | Err(_) => break,
        }
    }
    if read_to_end(socket) {
        socket.close();
    }
}

fn discard(socket: &mut tcp::Socket<'_>) {
    while socket.recv(|data| (data.len(), data.len())).is_ok_and(|count| count > 0) {}
    if read_to_end(socket) {
        socket.close();
    }
}

/// DNS over TCP: each message after its length (RFC 1035 §4.2.2, RFC 7766).
#[derive(Default)]
pub(super) struct DnsStream {
    input: Vec<u8>,
    output: VecDeque<u8>,
}

impl DnsStream {
    fn drive(&mut self, socket: &mut tcp::Socket<'_>, zone: &Zone) {
        while self.output.len() < DNS_BACKLOG {
            let received = socket.recv(|data| {
                self.input.extend_from_slice(data);
                (data.len(), data.len())
            });
            self.answer_messages(zone);
            if !received.is_ok_and(|count| count > 0) {
                break;
            }
        }
        let (front, _) = self.output.as_slices();
        if let Ok(sent) = socket.send_slice(front) {
            self.output.drain(..sent);
        }
        self.output.make_contiguous();
        if self.output.is_empty() && read_to_end(socket) {
            socket.close();
        }
    }

    fn answer_messages(&mut self, zone: &Zone) {
        let mut rest = self.input.as_slice();
        while let Some((length, tail)) = rest.split_first_chunk() {
            let length = usize::from(u16::from_be_bytes(*length));
            let Some((message, tail)) = tail.split_at_checked(length) else { break };
            rest = tail;
            let Some(answer) = zone.answer(message) else { continue };
            let Ok(length) = u16::try_from(answer.len()) else { continue };
            self.output.extend(length.to_be_bytes());
            self.output.extend(answer);
        }
        let used = self.input.len() - rest.len();
        self.input.drain(..used);
    }
}
