//! Routes, addresses and neighbours by rtnetlink; names from NetworkManager or systemd-networkd, whichever runs.

use std::net::IpAddr;

use super::{IdentitySystem, NetworkIdentity};
use crate::Unsupported;

#[path = "linux/kernel.rs"]
mod kernel;
#[path = "linux/names.rs"]
mod names;

/// The route that leads out.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Way {
    interface: u32,
    name: String,
    gateway: Option<IpAddr>,
    metric: u32,
}

pub(super) async fn read(
    system: &IdentitySystem,
    own: Option<&str>,
) -> Result<Option<NetworkIdentity>, Unsupported> {
    let found = tokio::time::timeout(system.patience, kernel::read(own)).await;
    let Some((way, mut identity)) = found.ok().flatten() else { return Ok(None) };
    let names = tokio::time::timeout(system.patience, names::ask(system, &way)).await.unwrap_or_default();
    identity.ssid = names.ssid;
    identity.dhcp_domain = names.dhcp_domain;
    Ok(Some(identity))
}
