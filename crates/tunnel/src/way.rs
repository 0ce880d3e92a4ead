//! Ways to the gateway, and the open paths along them.

use std::fmt;
use std::net::IpAddr;

/// What carries IKE and ESP.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Transport {
    /// UDP encapsulation (RFC 3948), on the ports that the owner knows.
    Udp,
    /// TCP encapsulation (RFC 9329).
    Tcp {
        /// The gateway's port.
        port: u16,
        /// Whether the stream runs inside TLS (RFC 9329 Appendix A).
        tls: bool,
    },
}

/// One way to try: an address of the gateway and a transport.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Way {
    /// The gateway's address.
    pub gateway: IpAddr,
    /// How its packets travel.
    pub transport: Transport,
}

/// One opening of a way: its sockets, until [`Event::ClosePath`](crate::Event::ClosePath).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct PathId(pub(crate) u64);

impl Transport {
    /// Whether this is what a network that lets everything through is used with.
    #[must_use]
    pub const fn is_fallback(self) -> bool {
        !matches!(self, Self::Udp)
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Udp => f.write_str("UDP"),
            Self::Tcp { port, tls: false } => write!(f, "TCP/{port}"),
            Self::Tcp { port, tls: true } => write!(f, "TLS/{port}"),
        }
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} over {}", self.gateway, self.transport)
    }
}
