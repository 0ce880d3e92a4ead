//! Wish and fact.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use crate::cause::Cause;

/// What the person asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TargetState {
    /// Be connected.
    Up,
    /// Be disconnected.
    Down,
}

/// What is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TunnelState {
    /// No SA, no route, no DNS setting: as before.
    Off,
    /// The gateway's name is being looked up.
    Resolving,
    /// IKE_SA_INIT is under way with this address.
    Connecting {
        /// The gateway's address.
        gateway: IpAddr,
    },
    /// IKE_AUTH is under way.
    Authenticating {
        /// The gateway's address.
        gateway: IpAddr,
    },
    /// The CHILD SA is installed, the system's network is being configured.
    Configuring,
    /// Packets can flow.
    Up,
    /// Pausing before the next try; the cause says why.
    Waiting {
        /// When the next try starts.
        until: Instant,
    },
    /// Taking everything down on request.
    Closing,
    /// Given up; the cause says why. Only a new wish starts another try.
    Failed,
}

/// Wish and fact side by side.
#[derive(Clone, Debug)]
pub struct Status {
    /// What the person asked for.
    pub target: TargetState,
    /// What is.
    pub state: TunnelState,
    /// Since when it is so.
    pub since: Instant,
    /// Whether it has been up since the person asked for it: then it is kept up, and what is under way is a reconnect.
    pub has_been_up: bool,
    /// What last went wrong; cleared when the tunnel comes up.
    pub cause: Option<Arc<Cause>>,
}
