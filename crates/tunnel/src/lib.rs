//! One VPN connection, without sockets, clocks or randomness of its own.
//!
//! A [`Tunnel`] turns one person's wish ("be connected") into fact and keeps it so: it asks for the gateway's
//! addresses, races the ways to them, keeps the [`ike::Session`](evenkeel_ipsec::ike::Session) that is answered, asks for
//! the network to be configured once a CHILD SA can carry packets, replaces the session before the gateway's
//! lifetime for it ends (RFC 4478), reconnects when the gateway dies or forgets us, and on the way down has the
//! network restored before it says that it is off.
//!
//! Everything slow or owned by the operating system is an [`Event`] that is answered by a [`Command`]:
//!
//! | event | answer |
//! |---|---|
//! | [`Event::ResolveGateway`] | [`Command::Resolved`] |
//! | [`Event::ResolvePeer`] | [`Command::PeerResolved`] |
//! | [`Event::OpenPath`] | [`Command::PathOpened`] |
//! | [`Event::RebindPath`] | [`Command::Rebound`] |
//! | [`Event::SignAuth`] | [`Command::Signed`] |
//! | [`Event::Configure`] | [`Command::Configured`] |
//! | [`Event::Unconfigure`] | [`Command::Unconfigured`] |
//!
//! Keys go to the data plane in [`Event::InstallChild`]; ESP packets never pass through here.
//!
//! A WireGuard peer, where there is one, is the last of the ways. It is no [`ike::Session`](evenkeel_ipsec::ike::Session):
//! its path counts as open once the owner has done the handshake, and the tunnel is up with no IKE SA and no CHILD SA.
//!
//! After each call of a `handle_*`, drain [`Tunnel::poll_transmit`], then [`Tunnel::poll_event`], then read
//! [`Tunnel::poll_timeout`].

#![forbid(unsafe_code)]

mod backoff;
mod cause;
mod config;
pub mod defaults;
mod event;
mod inner;
mod keepalive;
mod link;
mod moving;
mod peer;
mod phase;
mod race;
mod sizes;
mod state;
mod tunnel;
mod way;

pub use cause::{Cause, ConfigureError, PathError, ResolveError};
pub use config::{GatewayPorts, Overrides, PeerNetwork, TunnelConfig};
pub use event::{Activity, Command, Event, LinkId, OpenedPath, PathEvent, WakeReason};
pub use inner::InnerNetwork;
pub use peer::PeerInfo;
pub use sizes::{PathSizes, SizeProbe};
pub use state::{Status, TargetState, TunnelState};
pub use tunnel::Tunnel;
pub use way::{PathId, Way};
