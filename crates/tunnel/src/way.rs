//! Ways to the gateway, and the open paths along them.

use std::fmt;
use std::net::IpAddr;

use evenkeel_netprofile::ladder::Transport;

/// One way to try: an address of the gateway and what carries IKE and ESP there. UDP is always [`Transport::Udp4500`]: that
/// a session may begin on UDP/500 is the race's own business.
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

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} over {:?}", self.gateway, self.transport)
    }
}
