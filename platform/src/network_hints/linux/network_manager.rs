//! NetworkManager: its connectivity check, and the DHCP options of the connection that leads out.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

use zbus::{OwnedObjectPath, OwnedVariant};

use super::super::{Connectivity, ConnectivityCheck, HintsSystem, MAX_URI};
use crate::network_manager::{NetworkManager, ROOT, SERVICE, named};

const CONNECTION: &str = "org.freedesktop.NetworkManager.Connection.Active";
const DHCP4: &str = "org.freedesktop.NetworkManager.DHCP4Config";
/// NetworkManager's name for DHCP option 114, which RFC 8910 redefined.
const OPTION_114: &str = "default_url";
/// `response` of NetworkManager.conf(5) where nobody sets it.
const DEFAULT_RESPONSE: &str = "NetworkManager is online";

/// The API that the network named, and the check. `None` if it does not run.
pub(super) async fn ask(system: &HintsSystem) -> Option<(Option<String>, Option<ConnectivityCheck>)> {
    let network_manager = NetworkManager::find(system.bus.as_deref(), system.patience).await?;
    let manager = network_manager.properties(ROOT, SERVICE).await?;
    let root = system.root.clone();
    let response = tokio::task::spawn_blocking(move || configured_response(&root)).await.ok().flatten();
    let api = portal_api(&network_manager, &manager).await;
    Some((api, check(&manager, response)))
}

async fn portal_api(
    network_manager: &NetworkManager,
    manager: &HashMap<String, OwnedVariant>,
) -> Option<String> {
    let primary = path(manager, "PrimaryConnection")?;
    let connection = network_manager.properties(primary.as_str(), CONNECTION).await?;
    let dhcp = path(&connection, "Dhcp4Config")?;
    let lease = network_manager.properties(dhcp.as_str(), DHCP4).await?;
    let options: HashMap<String, OwnedVariant> = lease.get("Options")?.try_clone().ok()?.try_into().ok()?;
    text(&options, OPTION_114)
}

/// The check, if it is there and switched on.
fn check(manager: &HashMap<String, OwnedVariant>, response: Option<String>) -> Option<ConnectivityCheck> {
    let on = |name| manager.get(name).and_then(|value| bool::try_from(value).ok()).unwrap_or(false);
    if !on("ConnectivityCheckAvailable") || !on("ConnectivityCheckEnabled") {
        return None;
    }
    let state = manager.get("Connectivity").and_then(|value| u32::try_from(value).ok());
    Some(ConnectivityCheck {
        uri: text(manager, "ConnectivityCheckUri").unwrap_or_default(),
        response: response.unwrap_or_else(|| DEFAULT_RESPONSE.to_owned()),
        connectivity: connectivity(state.unwrap_or_default()),
    })
}

/// `NMConnectivityState`.
fn connectivity(state: u32) -> Connectivity {
    match state {
        1 => Connectivity::None,
        2 => Connectivity::Portal,
        3 => Connectivity::Limited,
        4 => Connectivity::Full,
        _ => Connectivity::Unknown,
    }
}

fn path(properties: &HashMap<String, OwnedVariant>, name: &str) -> Option<OwnedObjectPath> {
    named(properties.get(name)?.try_clone().ok()?)
}

fn text(properties: &HashMap<String, OwnedVariant>, name: &str) -> Option<String> {
    let text = properties.get(name).and_then(|value| <&str>::try_from(value).ok())?;
    (!text.is_empty() && text.len() <= MAX_URI).then(|| text.to_owned())
}

/// `response` of section `connectivity`, from the files in the order of NetworkManager.conf(5): distribution, run time,
/// the main file, the administrator's. A later file of the same name replaces an earlier one.
fn configured_response(root: &Path) -> Option<String> {
    let drop_ins = |folder: &str| -> BTreeMap<String, PathBuf> {
        let Ok(entries) = fs::read_dir(root.join(folder)) else { return BTreeMap::new() };
        let named = entries.flatten().take(256).filter_map(|entry| {
            let name = entry.file_name().into_string().ok().filter(|name| name.ends_with(".conf"))?;
            Some((name, entry.path()))
        });
        named.collect()
    };
    let own = drop_ins("etc/NetworkManager/conf.d");
    let mut given = drop_ins("usr/lib/NetworkManager/conf.d");
    given.extend(drop_ins("run/NetworkManager/conf.d"));
    given.retain(|name, _| !own.contains_key(name));
    let main = root.join("etc/NetworkManager/NetworkManager.conf");
    let files = given.into_values().chain([main]).chain(own.into_values());
    let texts = files.filter_map(|file| {
        let small = fs::metadata(&file).is_ok_and(|known| known.is_file() && known.len() <= 64 << 10);
        small.then(|| fs::read(&file).ok()).flatten()
    });
    texts.rev().find_map(|text| response(&String::from_utf8_lossy(&text)))
}

/// `response` of section `connectivity` of a key file.
fn response(file: &str) -> Option<String> {
    let mut inside = false;
    let mut found = None;
    for line in file.lines().map(str::trim) {
        if let Some(section) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            inside = section == "connectivity";
        } else if let Some((key, value)) = line.split_once('=')
            && inside
            && key.trim_end() == "response"
        {
            found = Some(value.trim_start().to_owned());
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_response_is_that_of_its_own_section_and_the_last_one() {
        let file = "[main]\nresponse=no\n# response=no\n[connectivity]\nuri=http://a.example/\nresponse = OK\n[x]\nresponse=no";
        assert_eq!(response(file).as_deref(), Some("OK"));
        assert_eq!(response("[connectivity]\nresponse=\n").as_deref(), Some(""));
        assert_eq!(response("[connectivity]\nuri=http://a.example/\n"), None);
    }

    #[test]
    fn the_administrators_files_win_over_the_distributions() {
        let root = tempfile::tempdir().unwrap();
        let write = |file: &str, response: &str| {
            let file = root.path().join(file);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, format!("[connectivity]\n{response}\n")).unwrap();
        };
        assert_eq!(configured_response(root.path()), None);
        write("usr/lib/NetworkManager/conf.d/20-connectivity.conf", "response=distribution");
        assert_eq!(configured_response(root.path()).as_deref(), Some("distribution"));
        write("etc/NetworkManager/conf.d/20-connectivity.conf", "");
        assert_eq!(configured_response(root.path()), None, "a file of the same name replaces it");
        write("etc/NetworkManager/NetworkManager.conf", "response=main");
        write("run/NetworkManager/conf.d/90-run.conf", "response=run");
        assert_eq!(configured_response(root.path()).as_deref(), Some("main"));
        write("etc/NetworkManager/conf.d/99-own.conf", "response=own");
        write("etc/NetworkManager/conf.d/99-own.conf~", "response=backup");
        assert_eq!(configured_response(root.path()).as_deref(), Some("own"));
    }
}
