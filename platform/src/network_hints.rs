//! What the network and the system say about captive portals, unasked.

use std::path::PathBuf;
use std::time::Duration;

use crate::Unsupported;

#[cfg_attr(target_os = "linux", path = "network_hints/linux.rs")]
#[cfg_attr(any(target_os = "macos", windows), path = "network_hints/elsewhere.rs")]
mod sys;

/// The longest URI that is taken from anybody, in bytes; a DHCP option has room for 255.
pub const MAX_URI: usize = 2048;

/// The most captive portal APIs that are reported: a laptop has a few networks at once, not dozens.
pub const MAX_APIS: usize = 4;

/// What is known at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NetworkHints {
    /// URIs of captive portal APIs (RFC 8908) that networks have told us by DHCP or router advertisement (RFC 8910), or
    /// the URN by which a network says that it has none. Anyone on the network can say anything here.
    pub portal_apis: Vec<String>,
    /// The system's own connectivity check, if there is one and it is switched on.
    pub check: Option<ConnectivityCheck>,
}

/// The system's own connectivity check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectivityCheck {
    /// The page that it asks for. Empty if the system keeps that to itself.
    pub uri: String,
    /// How the right answer's body begins; empty for no body. The administrator's choice, or the system's default.
    pub response: String,
    /// What it last found.
    pub connectivity: Connectivity,
}

/// What a connectivity check found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Connectivity {
    /// Not known.
    Unknown,
    /// No network.
    None,
    /// A captive portal.
    Portal,
    /// A network, but not the Internet.
    Limited,
    /// The Internet.
    Full,
}

/// Local services and files answer in milliseconds, or not in time to matter.
const PATIENCE: Duration = Duration::from_millis(500);

/// Where to look; another place in tests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HintsSystem {
    /// The root directory.
    pub root: PathBuf,
    /// The message bus's address; the system's own without one.
    pub bus: Option<String>,
    /// How long each source of knowledge is waited for.
    pub patience: Duration,
}

impl Default for HintsSystem {
    fn default() -> Self {
        Self { root: PathBuf::from("/"), bus: None, patience: PATIENCE }
    }
}

/// Looks. Takes no longer than `system` has patience, half a second by default; what is not known by then is left out, as
/// is what can't be read. Cancel safe.
///
/// # Errors
/// On systems of which nothing can be learned.
pub async fn read(system: &HintsSystem) -> Result<NetworkHints, Unsupported> {
    sys::read(system).await
}
