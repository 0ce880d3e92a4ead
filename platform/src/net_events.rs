//! What changes on the network under the tunnel.

use std::io;

use crate::Unsupported;

#[cfg_attr(target_os = "linux", path = "net_events/linux.rs")]
#[cfg_attr(any(target_os = "macos", windows), path = "net_events/unsupported.rs")]
mod sys;

/// One change. It says what to look at again, not what is true: several may follow one another fast.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NetEvent {
    /// An interface appeared, went away, or began or ceased to carry.
    Link {
        /// Its index.
        index: u32,
        /// Its name.
        name: String,
        /// Whether packets can pass.
        up: bool,
    },
    /// An address was added to or taken from an interface.
    Address {
        /// The interface's index.
        index: u32,
    },
    /// The way to the rest of the world changed.
    DefaultRoute,
    /// Events were lost: look at everything again.
    Overrun,
}

/// Why the network cannot be watched.
#[derive(Debug, thiserror::Error)]
pub enum NetEventsError {
    /// This system has no implementation.
    #[error(transparent)]
    Unsupported(#[from] Unsupported),
    /// The system refused.
    #[error("watching the network: {0}")]
    Io(#[from] io::Error),
}

/// The stream of changes.
#[derive(Debug)]
pub struct NetEvents(sys::NetEvents);

impl NetEvents {
    /// Starts to watch. Needs a tokio runtime.
    pub fn open() -> Result<Self, NetEventsError> {
        sys::NetEvents::open().map(Self)
    }

    /// The next change; `None` when there will be no more. Cancel safe.
    pub async fn next(&mut self) -> Option<NetEvent> {
        self.0.next().await
    }
}
