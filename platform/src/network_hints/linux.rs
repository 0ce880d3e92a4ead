//! systemd-networkd's state files and NetworkManager over D-Bus, whichever runs.

use super::{HintsSystem, MAX_APIS, MAX_URI, NetworkHints};
use crate::Unsupported;

#[path = "linux/network_manager.rs"]
mod network_manager;
#[path = "linux/networkd.rs"]
mod networkd;

pub(super) async fn read(system: &HintsSystem) -> Result<NetworkHints, Unsupported> {
    let links = tokio::task::spawn_blocking({
        let root = system.root.clone();
        move || networkd::portal_apis(&root)
    });
    let links = tokio::time::timeout(system.patience, links);
    let managed = tokio::time::timeout(system.patience, network_manager::ask(system));
    let (links, managed) = tokio::join!(links, managed);
    let mut said: Vec<String> = links.ok().and_then(Result::ok).unwrap_or_default();
    let (api, check) = managed.ok().flatten().unwrap_or_default();
    said.extend(api);
    let mut portal_apis: Vec<String> = Vec::new();
    for uri in said.into_iter().filter(|uri| !uri.is_empty() && uri.len() <= MAX_URI) {
        if !portal_apis.contains(&uri) && portal_apis.len() < MAX_APIS {
            portal_apis.push(uri);
        }
    }
    Ok(NetworkHints { portal_apis, check })
}
