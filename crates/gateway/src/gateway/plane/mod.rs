//! Where packets are carried: in this process's own network, or by a data plane that takes orders.

mod user;

use std::collections::VecDeque;
use std::time::Instant;

use evenkeel_ipsec::esp::{InboundSa, OutboundSa};
use evenkeel_ipsec::ike::{Path, Transmit};
use evenkeel_ipsec::wire::EspSpi;
use serde::Serialize;

pub(super) use self::user::UserPlane;

/// Both directions of a CHILD SA with where its packets go.
pub struct ChildSas {
    /// What receives.
    pub inbound: InboundSa,
    /// What sends.
    pub outbound: OutboundSa,
    /// Whether packets may leave on it yet.
    pub send_now: bool,
    /// Where the client is.
    pub path: Path,
}

/// An order to a data plane outside, named by the inbound SPI.
pub enum PlaneCommand {
    /// Carry packets on a new CHILD SA.
    Install(Box<ChildSas>),
    /// Send on it from here on.
    SendOn(EspSpi),
    /// Forget it.
    Remove(EspSpi),
    /// Its client is elsewhere.
    SetPath(EspSpi, Path),
}

/// Packets that were not carried, by reason; what an SA itself refuses is in the SA's own counters.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize)]
pub struct PlaneDrops {
    /// ESP with an SPI that nobody has.
    pub unknown_spi: u64,
    /// Packets of the inner network for an address that no CHILD SA leads to.
    pub no_route: u64,
}

/// What carries packets.
pub(super) enum Plane {
    /// The inner network of this process.
    User(Box<UserPlane>),
    /// Somebody else, who is given the orders that wait here.
    Outside(VecDeque<PlaneCommand>),
}

/// An ESP packet that came from whom it should.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Authenticated {
    pub(super) spi_in: EspSpi,
    /// It came from elsewhere than all packets before it.
    pub(super) moved: bool,
}

impl Plane {
    pub(super) fn apply(&mut self, command: PlaneCommand) {
        match self {
            Self::User(plane) => plane.apply(command),
            Self::Outside(commands) => commands.push_back(command),
        }
    }

    /// The next order for the data plane outside.
    pub(super) fn poll_command(&mut self) -> Option<PlaneCommand> {
        match self {
            Self::User(_) => None,
            Self::Outside(commands) => commands.pop_front(),
        }
    }

    /// Takes an ESP packet that arrived along `path`.
    pub(super) fn handle_esp(&mut self, path: Path, esp: &mut [u8], now: Instant) -> Option<Authenticated> {
        match self {
            Self::User(plane) => plane.handle_esp(path, esp, now),
            Self::Outside(_) => None,
        }
    }

    /// Lets the inner network work.
    pub(super) fn poll(&mut self, now: Instant) {
        if let Self::User(plane) = self {
            plane.poll(now);
        }
    }

    /// The next ESP packet to send.
    pub(super) fn poll_transmit(&mut self) -> Option<Transmit> {
        match self {
            Self::User(plane) => plane.poll_transmit(),
            Self::Outside(_) => None,
        }
    }

    pub(super) fn poll_timeout(&mut self, now: Instant) -> Option<Instant> {
        match self {
            Self::User(plane) => plane.poll_timeout(now),
            Self::Outside(_) => None,
        }
    }

    pub(super) fn drops(&self) -> PlaneDrops {
        match self {
            Self::User(plane) => plane.drops(),
            Self::Outside(_) => PlaneDrops::default(),
        }
    }

    pub(super) fn connections(&self) -> usize {
        match self {
            Self::User(plane) => plane.connections(),
            Self::Outside(_) => 0,
        }
    }
}
