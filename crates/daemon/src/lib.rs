//! evenkeeld: the privileged half of Evenkeel.
//!
//! | module | what |
//! |---|---|
//! | [`args`] | the command line |
//! | [`logging`] | logs to standard error and into a ring |
//! | [`access`] | who may do what |
//! | [`profiles`] | profiles on disk, their secrets in the vault |
//! | [`server`] | clients and their requests |
//! | [`control`] | the task that owns the connection |
//! | [`machine`] | sockets, packet threads, routes, DNS |
//! | [`networks`] | what was learned of each network |
//! | [`portal`] | captive portals: whether one holds us back, and when it has let us go |
//! | [`transport`] | ways to the gateway other than UDP |
//! | [`wireguard`] | the WireGuard peer to fall back to |
//! | [`daemon`] | start, recovery after a crash, orderly end |

#![forbid(unsafe_code)]

pub mod access;
pub mod args;
pub mod control;
pub mod daemon;
pub mod logging;
pub mod machine;
pub mod networks;
pub mod portal;
pub mod profiles;
pub mod server;
mod timer;
pub mod transport;
pub mod wireguard;
