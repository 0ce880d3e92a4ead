//! The first handshake, which tells whether there is a peer at all.

use std::io;

use boringtun::noise::TunnResult;
use boringtun::noise::errors::WireGuardError;
use evenkeel_platform::socket::UdpSocket;
use evenkeel_platform::tun::Tun;

use super::config::{PeerConfig, WireGuardEventSink};
use super::plane::WireGuardPlane;
use super::session::{Kind, LEAST_ROOM, Session};
use crate::mss::MssClamp;

/// A handshake that has not been answered yet. Its owner keeps the time: it calls [`initiate`](Self::initiate) at first
/// and whenever it has waited long enough, and hands over what arrives.
pub struct Handshake {
    session: Session,
    config: PeerConfig,
}

/// What a datagram meant.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Answer {
    /// The peer has proved to hold its private key: go on with [`Handshake::establish`].
    Established,
    /// Nothing: forged, of another handshake, or asking to begin anew with a cookie, which the next
    /// [`Handshake::initiate`] does.
    Ignored,
    /// It answers our message but fits no key of ours. A wrong pre-shared key, unless it is forged.
    Unfit,
}

impl Handshake {
    /// For a socket that is connected to the peer.
    #[must_use]
    pub fn new(config: PeerConfig, socket: UdpSocket) -> Self {
        Self { session: Session::new(&config, socket), config }
    }

    /// Sends an initiation; any later one takes the place of those before.
    ///
    /// # Errors
    /// When the system does not send it.
    pub fn initiate(&mut self) -> io::Result<()> {
        self.session.initiate()
    }

    /// Takes a datagram from the socket.
    pub fn handle_datagram(&mut self, datagram: &[u8]) -> Answer {
        let kind = Kind::of(datagram);
        if !matches!(kind, Some(Kind::Response | Kind::Cookie)) {
            return Answer::Ignored;
        }
        self.session.refresh();
        let from = self.session.socket.peer_addr().ok().map(|peer| peer.ip());
        let mut room = [0; LEAST_ROOM];
        match self.session.tunn.decapsulate(from, datagram, &mut room) {
            TunnResult::WriteToNetwork(first) if kind == Some(Kind::Response) => {
                // The peer may not use the keys before it has seen us use them. Lost, any later packet does as well.
                let _ = self.session.socket.send(first, None);
                self.session.flush();
                Answer::Established
            }
            TunnResult::Err(WireGuardError::InvalidAeadTag) => Answer::Unfit,
            TunnResult::WriteToNetwork(_)
            | TunnResult::Done
            | TunnResult::Err(_)
            | TunnResult::WriteToTunnelV4(..)
            | TunnResult::WriteToTunnelV6(..) => Answer::Ignored,
        }
    }

    /// Goes on with a handshake that was answered; `None` for one that wasn't.
    #[must_use]
    pub fn establish(self) -> Option<Established> {
        let Self { session, config } = self;
        session.is_up().then_some(Established { session, config })
    }
}

/// A session with a peer, not carrying packets yet. It should soon: nobody looks after its timers.
pub struct Established {
    session: Session,
    config: PeerConfig,
}

impl Established {
    /// Starts carrying packets between the peer and `tun`. Nobody else may receive on the socket from here on.
    ///
    /// # Errors
    /// When the system has no threads or descriptors left.
    pub fn start(self, tun: Tun, mss: MssClamp, events: WireGuardEventSink) -> io::Result<WireGuardPlane> {
        WireGuardPlane::start(tun, self.session, &self.config, mss, events)
    }
}
