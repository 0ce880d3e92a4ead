//! Which network the default route leads to.

use std::collections::HashMap;
use std::fs;
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use evenkeel_platform::network_identity::{IdentitySystem, NetworkIdentity, read};
use zbus::{ObjectPath, OwnedObjectPath, OwnedVariant, Variant, connection::Builder, fdo, interface};

use crate::bus::Bus;
use crate::network::{ip, isolated};

/// Longer than anything here takes on the slowest machine.
const PATIENCE: Duration = Duration::from_secs(10);

/// A machine on which neither NetworkManager nor anybody else answers.
fn silent(root: &Path) -> IdentitySystem {
    let bus = Some(format!("unix:path={}", root.join("no-bus").display()));
    IdentitySystem { root: root.to_owned(), bus, patience: PATIENCE }
}

async fn identity(own: Option<&str>) -> Option<NetworkIdentity> {
    let root = tempfile::tempdir().unwrap();
    read(&silent(root.path()), own).await.unwrap()
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn the_gateway_its_hardware_address_and_our_subnet_name_the_network() {
    isolated(
        "network_identity::the_gateway_its_hardware_address_and_our_subnet_name_the_network",
        || async {
            let unasked = identity(None).await.unwrap();
            assert_eq!(unasked.gateway, Some(address("192.168.1.1")));
            assert_eq!(unasked.subnet, Some((address("192.168.1.50"), 24)));
            assert_eq!(unasked.gateway_mac, None, "nobody has spoken with it");
            assert!(unasked.is_partial());

            ip("neigh add 192.168.1.7 lladdr 02:00:00:00:00:07 dev eth0");
            ip("neigh add 192.168.1.1 lladdr 02:00:00:00:00:01 dev eth0");
            let known = identity(None).await.unwrap();
            assert_eq!(known, NetworkIdentity { gateway_mac: Some([2, 0, 0, 0, 0, 1]), ..unasked });
            assert!(!known.is_partial());
        },
    );
}

#[test]
fn our_own_tunnel_is_no_network_and_of_two_routes_the_preferred_one_counts() {
    isolated(
        "network_identity::our_own_tunnel_is_no_network_and_of_two_routes_the_preferred_one_counts",
        || async {
            ip("addr add 10.9.0.1/32 dev tun0");
            ip("link set tun0 up");
            ip("route del default");
            ip("route add default via 192.168.1.1 dev eth0 metric 600");
            ip("route add default dev tun0 metric 50");
            let beside = identity(Some("tun0")).await.unwrap();
            assert_eq!(beside.gateway, Some(address("192.168.1.1")));
            // On somebody else's tunnel, which has no gateway.
            let inside = identity(None).await.unwrap();
            assert_eq!((inside.gateway, inside.subnet), (None, Some((address("10.9.0.1"), 32))));
            assert!(!inside.is_partial());
        },
    );
}

#[test]
fn a_network_of_ipv6_alone_has_a_name_and_no_network_has_none() {
    isolated("network_identity::a_network_of_ipv6_alone_has_a_name_and_no_network_has_none", || async {
        ip("route del default");
        ip("-6 neigh add 2001:db8:1::1 lladdr 02:00:00:00:00:06 dev eth0");
        let six = identity(None).await.unwrap();
        assert_eq!(six.gateway, Some(address("2001:db8:1::1")));
        assert_eq!(six.gateway_mac, Some([2, 0, 0, 0, 0, 6]));
        assert_eq!(six.subnet, Some((address("2001:db8:1::50"), 64)));
        ip("-6 route del default");
        assert_eq!(identity(None).await, None);
    });
}

#[test]
fn networkd_s_lease_names_the_domain() {
    isolated("network_identity::networkd_s_lease_names_the_domain", || async {
        let root = tempfile::tempdir().unwrap();
        let leases = root.path().join("run/systemd/netif/leases");
        fs::create_dir_all(&leases).unwrap();
        let index = ip("-o link show eth0").split(':').next().unwrap().trim().to_owned();
        fs::write(leases.join("999"), "DOMAINNAME=elsewhere.example\n").unwrap();
        fs::write(leases.join(index), "ADDRESS=192.168.1.50\nDOMAINNAME=lan.example\n").unwrap();
        let identity = read(&silent(root.path()), None).await.unwrap().unwrap();
        assert_eq!(identity.dhcp_domain.as_deref(), Some("lan.example"));
    });
}

const DEVICE: &str = "/org/freedesktop/NetworkManager/Devices/3";
const POINT: &str = "/org/freedesktop/NetworkManager/AccessPoint/7";
const LEASE: &str = "/org/freedesktop/NetworkManager/DHCP4Config/1";

fn path(path: &'static str) -> OwnedObjectPath {
    ObjectPath::from_static_str_unchecked(path).into()
}

struct Manager;

#[interface(name = "org.freedesktop.NetworkManager")]
impl Manager {
    fn get_device_by_ip_iface(&self, interface: &str) -> fdo::Result<OwnedObjectPath> {
        let known = (interface == "eth0").then(|| path(DEVICE));
        known.ok_or_else(|| fdo::Error::Failed("no such device".to_owned()))
    }
}

struct Device;

#[interface(name = "org.freedesktop.NetworkManager.Device")]
impl Device {
    #[zbus(property)]
    fn dhcp4_config(&self) -> OwnedObjectPath {
        path(LEASE)
    }
}

struct Wireless;

#[interface(name = "org.freedesktop.NetworkManager.Device.Wireless")]
impl Wireless {
    #[zbus(property)]
    fn active_access_point(&self) -> OwnedObjectPath {
        path(POINT)
    }
}

struct AccessPoint;

#[interface(name = "org.freedesktop.NetworkManager.AccessPoint")]
impl AccessPoint {
    #[zbus(property)]
    fn ssid(&self) -> Vec<u8> {
        b"Caf\xc3\xa9".to_vec()
    }
}

struct Lease;

#[interface(name = "org.freedesktop.NetworkManager.DHCP4Config")]
impl Lease {
    #[zbus(property)]
    fn options(&self) -> HashMap<String, OwnedVariant> {
        let value = OwnedVariant::try_from(Variant::from("cafe.example")).unwrap();
        [("domain_name".to_owned(), value)].into()
    }
}

#[test]
fn network_manager_names_the_wireless_network_and_the_domain_of_the_way_out() {
    isolated(
        "network_identity::network_manager_names_the_wireless_network_and_the_domain_of_the_way_out",
        || async {
            let root = tempfile::tempdir().unwrap();
            let bus = Bus::start(root.path());
            let _service = Builder::address(bus.address())
                .name("org.freedesktop.NetworkManager")
                .serve_at("/org/freedesktop/NetworkManager", Manager)
                .serve_at(DEVICE, Device)
                .serve_at(DEVICE, Wireless)
                .serve_at(POINT, AccessPoint)
                .serve_at(LEASE, Lease)
                .build()
                .await
                .unwrap();
            let system = IdentitySystem {
                root: root.path().to_owned(),
                bus: Some(bus.address().to_owned()),
                patience: PATIENCE,
            };
            let identity = read(&system, None).await.unwrap().unwrap();
            assert_eq!(identity.ssid.as_deref(), Some("Caf\u{e9}".as_bytes()));
            assert_eq!(identity.dhcp_domain.as_deref(), Some("cafe.example"));
        },
    );
}
