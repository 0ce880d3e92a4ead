//! What an interface's network is called.

use std::{collections::HashMap, fs::File, io::Read, path::Path};

use zbus::{OwnedObjectPath, OwnedVariant};

use super::{
    super::{IdentitySystem, MAX_DOMAIN, MAX_SSID},
    Way,
};
use crate::network_manager::{NetworkManager, named};

const DEVICE: &str = "org.freedesktop.NetworkManager.Device";
const WIRELESS: &str = "org.freedesktop.NetworkManager.Device.Wireless";
const ACCESS_POINT: &str = "org.freedesktop.NetworkManager.AccessPoint";
const DHCP4: &str = "org.freedesktop.NetworkManager.DHCP4Config";
/// NetworkManager's name for DHCP option 15 (RFC 2132 §3.17).
const OPTION_15: &str = "domain_name";
/// systemd-networkd keeps a file of assignments for each lease, named after the interface's index.
const LEASES: &str = "run/systemd/netif/leases";
/// Bytes of a lease file that are read; they have a few hundred.
const MAX_LEASE: u64 = 64 << 10;

#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Names {
    pub(super) ssid: Option<Vec<u8>>,
    pub(super) dhcp_domain: Option<String>,
}

/// Asks about the way's own interface: which connection is the main one, NetworkManager decides later than the kernel.
pub(super) async fn ask(system: &IdentitySystem, way: &Way) -> Names {
    let leased = tokio::task::spawn_blocking({
        let file = system.root.join(LEASES).join(way.interface.to_string());
        move || domain_of(&read(&file)?)
    });
    let managed = ask_network_manager(system, &way.name).await.unwrap_or_default();
    let leased = leased.await.ok().flatten();
    Names { dhcp_domain: managed.dhcp_domain.or(leased), ..managed }
}

/// `None` if it does not run or does not know the interface.
async fn ask_network_manager(system: &IdentitySystem, interface: &str) -> Option<Names> {
    let manager = NetworkManager::find(system.bus.as_deref(), system.patience).await?;
    let device = manager.device(interface).await?;
    let (ssid, dhcp_domain) = tokio::join!(ssid(&manager, &device), domain(&manager, &device));
    Some(Names { ssid, dhcp_domain })
}

async fn ssid(manager: &NetworkManager, device: &OwnedObjectPath) -> Option<Vec<u8>> {
    let point = named(manager.property(device.as_str(), WIRELESS, "ActiveAccessPoint").await?)?;
    let ssid: Vec<u8> = manager.property(point.as_str(), ACCESS_POINT, "Ssid").await?.try_into().ok()?;
    (!ssid.is_empty() && ssid.len() <= MAX_SSID).then_some(ssid)
}

async fn domain(manager: &NetworkManager, device: &OwnedObjectPath) -> Option<String> {
    let lease = named(manager.property(device.as_str(), DEVICE, "Dhcp4Config").await?)?;
    let options = manager.property(lease.as_str(), DHCP4, "Options").await?;
    let options: HashMap<String, OwnedVariant> = options.try_into().ok()?;
    plausible(<&str>::try_from(options.get(OPTION_15)?).ok()?)
}

fn plausible(domain: &str) -> Option<String> {
    (!domain.is_empty() && domain.len() <= MAX_DOMAIN).then(|| domain.to_owned())
}

fn read(path: &Path) -> Option<String> {
    let mut bytes = Vec::new();
    File::open(path).ok()?.take(MAX_LEASE).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// The value of `DOMAINNAME`, if the file has one.
fn domain_of(file: &str) -> Option<String> {
    plausible(file.lines().rev().find_map(|line| line.strip_prefix("DOMAINNAME="))?.trim_matches('"'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE: &str = "# This is private data. Do not parse.\nADDRESS=192.168.1.50\nROUTER=192.168.1.1\n\
                         DOMAINNAME=lan.example\nCLIENTID=01\n";

    #[test]
    fn a_lease_is_read_for_the_one_value() {
        assert_eq!(domain_of(LEASE).as_deref(), Some("lan.example"));
        assert_eq!(domain_of(&LEASE.replace("DOMAINNAME", "XDOMAINNAME")), None);
        assert_eq!(domain_of("DOMAINNAME=\n"), None);
        assert_eq!(domain_of(&format!("DOMAINNAME={}\n", "a".repeat(254))), None);
    }
}
