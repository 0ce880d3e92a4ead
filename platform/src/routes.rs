//! The addresses, routes and rules that bring packets into the tunnel, and their exact removal.

use std::{
    io,
    net::IpAddr,
    path::{Path, PathBuf},
};

use crate::{Unsupported, journal::JournalError};

#[cfg_attr(target_os = "linux", path = "routes/linux.rs")]
#[cfg_attr(any(target_os = "macos", windows), path = "routes/unsupported.rs")]
mod sys;

/// What the network of this machine is to look like while a tunnel is up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoutePlan {
    /// The tunnel's interface, by name.
    pub interface: String,
    /// Addresses that the gateway assigned to us. They are set as host addresses: what is behind the
    /// gateway is what `remote` says, not what their prefix lengths suggest.
    pub addresses: Vec<(IpAddr, u8)>,
    /// What is reached through the tunnel: TSr as prefixes. `0.0.0.0/0` and `::/0` make a full tunnel.
    pub remote: Vec<(IpAddr, u8)>,
    /// The gateway's outer addresses. They are reached as they were before, whatever `remote` covers.
    pub gateways: Vec<IpAddr>,
    /// The mark of the daemon's own sockets (`SO_MARK`), whose packets never enter the tunnel.
    pub mark: u32,
    /// The routing table that holds `remote`; ours alone.
    pub table: u32,
    /// The interface's MTU.
    pub mtu: u32,
}

/// Why routes could not be set or removed.
#[derive(Debug, thiserror::Error)]
pub enum RouteError {
    /// This system has no implementation.
    #[error(transparent)]
    Unsupported(#[from] Unsupported),
    /// The tunnel's interface is not there.
    #[error("there is no interface {0}")]
    NoInterface(String),
    /// A prefix length that its address family does not have.
    #[error("{address}/{prefix} is not a prefix")]
    BadPrefix {
        /// The address.
        address: IpAddr,
        /// Its prefix length.
        prefix: u8,
    },
    /// More prefixes than a gateway can mean.
    #[error("{count} routes are more than the {limit} that are set")]
    TooManyRoutes {
        /// How many were asked for.
        count: usize,
        /// How many are set at most.
        limit: usize,
    },
    /// Something is applied already: revert it first.
    #[error("routes are set already")]
    AlreadyApplied,
    /// What is to be changed could not be written down, so it was not changed.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The system refused a change. What had been changed was undone again.
    #[error("{action}: {source}")]
    System {
        /// What was being done.
        action: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

/// Sets and removes what a [`RoutePlan`] says. One at a time is in force.
#[derive(Debug)]
pub struct RouteManager(sys::RouteManager);

/// A [`RoutePlan`] in force. Dropping it changes nothing: what is to be undone is in the journal.
#[derive(Debug)]
#[must_use = "routes stay until they are reverted"]
pub struct Applied(sys::Applied);

/// What a daemon that ended without cleaning up had left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recovered {
    /// Nothing.
    Nothing,
    /// Changes, which are undone now.
    Undone,
}

impl RouteManager {
    /// Keeps its journal in `state_dir`. Needs a tokio runtime.
    pub fn new(state_dir: &Path) -> Result<Self, RouteError> {
        sys::RouteManager::new(PathBuf::from(state_dir)).map(Self)
    }

    /// Undoes what a killed daemon left; to be called before anything is in force, under the
    /// [`InstanceLock`](crate::dirs::InstanceLock).
    pub async fn recover(&self) -> Result<Recovered, RouteError> {
        self.0.recover().await
    }

    /// Puts `plan` into force. On an error nothing of it is. A call that was given up half way, and a revert that
    /// failed, are made good by the next one.
    pub async fn apply(&self, plan: &RoutePlan) -> Result<Applied, RouteError> {
        self.0.apply(plan).await.map(Applied)
    }

    /// Puts `plan` into force in the place of another. What both lead into the tunnel leaves outside it at no moment, where the
    /// interface is the same. On an error neither is in force.
    pub async fn replace(&self, applied: Applied, plan: &RoutePlan) -> Result<Applied, RouteError> {
        self.0.replace(applied.0, plan).await.map(Applied)
    }

    /// Changes the MTU of a tunnel in place; connections through it stay.
    pub async fn set_mtu(&self, applied: &Applied, mtu: u32) -> Result<(), RouteError> {
        self.0.set_mtu(&applied.0, mtu).await
    }

    /// Removes what [`apply`](Self::apply) set, leaving addresses, routes and rules as they were.
    pub async fn revert(&self, applied: Applied) -> Result<(), RouteError> {
        self.0.revert(applied.0).await
    }
}
