//! boringtun's state machine with the socket that its own messages leave by.

use std::io;
use std::time::Instant;

use boringtun::noise::errors::WireGuardError;
use boringtun::noise::{Tunn, TunnResult};
use evenkeel_platform::socket::UdpSocket;
use evenkeel_platform::tun::MAX_PACKET;

use super::config::{MESSAGE_OVERHEAD, PeerConfig};
use super::timers::KeepaliveClock;

/// Least room for whatever `Tunn` writes; a handshake initiation is the longest of its own messages.
pub(super) const LEAST_ROOM: usize = 148;

/// How many packets boringtun lets wait for a handshake.
const MAX_WAITING: u64 = 256;

/// The kinds of message (WireGuard §5.4): the first byte, after which three are zero.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    Initiation,
    Response,
    Cookie,
    Data,
}

impl Kind {
    #[inline]
    pub(super) fn of(datagram: &[u8]) -> Option<Self> {
        match datagram.first_chunk::<4>()? {
            [1, 0, 0, 0] => Some(Self::Initiation),
            [2, 0, 0, 0] => Some(Self::Response),
            [3, 0, 0, 0] => Some(Self::Cookie),
            [4, 0, 0, 0] => Some(Self::Data),
            _ => None,
        }
    }
}

pub(super) struct Session {
    pub(super) tunn: Tunn,
    pub(super) socket: UdpSocket,
    /// An initiation of ours has not been answered yet.
    pub(super) handshaking: bool,
    pub(super) keepalive: KeepaliveClock,
    /// Nobody answered, and the session is gone.
    pub(super) lost: bool,
    /// That has not been told yet.
    pub(super) tell_lost: bool,
    /// Packets in boringtun's queue.
    waiting: u64,
    /// Packets that waited there in vain.
    pub(super) in_vain: u64,
    /// Room for messages that leave one by one.
    scratch: Box<[u8]>,
}

/// What became of a packet for the peer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Sealed {
    /// So many bytes are in the slot.
    Datagram(usize),
    /// It waits for a handshake.
    Waits,
    /// Too many wait already.
    Dropped,
}

/// What a look at the timers brought.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Due {
    Nothing,
    /// A handshake initiation was sent.
    Initiation,
    /// An empty packet was sent.
    Keepalive,
    /// The session is gone, and what waited for it.
    Lost,
}

impl Session {
    pub(super) fn new(config: &PeerConfig, socket: UdpSocket) -> Self {
        // As boringtun reckons, which begins when the state machine is made.
        let keepalive = KeepaliveClock::new(config.keepalive, Instant::now());
        let tunn = Tunn::new(
            (*config.private_key).into(),
            config.public_key.into(),
            config.preshared_key.as_ref().map(|key| **key),
            config.keepalive,
            config.index,
            None,
        );
        let scratch = vec![0; MAX_PACKET + MESSAGE_OVERHEAD + LEAST_ROOM].into_boxed_slice();
        Self {
            tunn,
            socket,
            handshaking: false,
            keepalive,
            lost: false,
            tell_lost: false,
            waiting: 0,
            in_vain: 0,
            scratch,
        }
    }

    /// Is there a session to send with?
    pub(super) fn is_up(&self) -> bool {
        self.tunn.time_since_last_handshake().is_some()
    }

    /// Sends a handshake initiation, even if another is under way.
    pub(super) fn initiate(&mut self) -> io::Result<()> {
        self.refresh();
        match self.tunn.format_handshake_initiation(&mut self.scratch, true) {
            TunnResult::WriteToNetwork(message) => {
                self.handshaking = true;
                self.socket.send(message, None)
            }
            // The only errors are of a buffer that is too small.
            TunnResult::Done
            | TunnResult::Err(_)
            | TunnResult::WriteToTunnelV4(..)
            | TunnResult::WriteToTunnelV6(..) => Ok(()),
        }
    }

    /// Brings boringtun's clock up to date without waiting for the timers' turn.
    pub(super) fn refresh(&mut self) -> Due {
        match self.tunn.update_timers(&mut self.scratch) {
            TunnResult::WriteToNetwork(message) => {
                let kind = Kind::of(message);
                // A message that is lost here is lost as on the way: the timers will repeat it.
                let _ = self.socket.send(message, None);
                if kind == Some(Kind::Initiation) {
                    self.handshaking = true;
                    Due::Initiation
                } else {
                    self.keepalive.sent(Instant::now());
                    Due::Keepalive
                }
            }
            TunnResult::Err(WireGuardError::ConnectionExpired) => {
                self.tell_lost |= !self.lost;
                (self.handshaking, self.lost) = (false, true);
                self.in_vain += std::mem::take(&mut self.waiting);
                Due::Lost
            }
            TunnResult::Done
            | TunnResult::Err(_)
            | TunnResult::WriteToTunnelV4(..)
            | TunnResult::WriteToTunnelV6(..) => Due::Nothing,
        }
    }

    /// Seals `packet` into `slot`, which has room for it and the overhead, and at least [`LEAST_ROOM`] bytes.
    #[inline]
    pub(super) fn seal(&mut self, packet: &[u8], slot: &mut [u8]) -> Sealed {
        let (result, sent) = match self.tunn.encapsulate(packet, slot) {
            TunnResult::WriteToNetwork(message) if Kind::of(message) == Some(Kind::Data) => {
                return Sealed::Datagram(message.len());
            }
            TunnResult::WriteToNetwork(initiation) => {
                let _ = self.socket.send(initiation, None);
                (self.enqueue(), true)
            }
            TunnResult::Done
            | TunnResult::Err(_)
            | TunnResult::WriteToTunnelV4(..)
            | TunnResult::WriteToTunnelV6(..) => (self.enqueue(), false),
        };
        self.handshaking |= sent;
        result
    }

    #[cold]
    fn enqueue(&mut self) -> Sealed {
        if self.waiting >= MAX_WAITING {
            return Sealed::Dropped;
        }
        self.waiting += 1;
        Sealed::Waits
    }

    /// Notes that a handshake of ours was answered, and sends what waited for it: packets, and inner bytes in them.
    #[cold]
    pub(super) fn flush(&mut self) -> (u64, u64) {
        (self.handshaking, self.lost, self.tell_lost, self.waiting) = (false, false, false, 0);
        let (mut packets, mut bytes) = (0, 0);
        loop {
            let TunnResult::WriteToNetwork(message) = self.tunn.decapsulate(None, &[], &mut self.scratch)
            else {
                return (packets, bytes);
            };
            if self.socket.send(message, None).is_ok() && message.len() > MESSAGE_OVERHEAD {
                packets += 1;
                bytes += (message.len() - MESSAGE_OVERHEAD) as u64;
            }
        }
    }
}
