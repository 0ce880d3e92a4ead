//! What NetworkManager says, from one of our own on a private D-Bus.
#![cfg(target_os = "linux")]
#![allow(missing_docs, reason = "a test binary")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test binary")]

use std::{collections::HashMap, fs, path::Path, time::Duration};

use evenkeel_platform::network_hints::{Connectivity, ConnectivityCheck, HintsSystem, read};
use tempfile::TempDir;
use zbus::{Connection, ObjectPath, OwnedObjectPath, OwnedVariant, Variant, connection::Builder, interface};

#[path = "bus/mod.rs"]
mod bus;
use bus::Bus;

const PRIMARY: &str = "/org/freedesktop/NetworkManager/ActiveConnection/1";
const LEASE: &str = "/org/freedesktop/NetworkManager/DHCP4Config/1";

#[derive(Clone)]
struct Manager {
    enabled: bool,
    connectivity: u32,
    primary: &'static str,
}

fn path(path: &'static str) -> OwnedObjectPath {
    ObjectPath::from_static_str_unchecked(path).into()
}

#[interface(name = "org.freedesktop.NetworkManager")]
impl Manager {
    #[zbus(property)]
    fn connectivity(&self) -> u32 {
        self.connectivity
    }
    #[zbus(property)]
    fn connectivity_check_available(&self) -> bool {
        true
    }
    #[zbus(property)]
    fn connectivity_check_enabled(&self) -> bool {
        self.enabled
    }
    #[zbus(property)]
    fn connectivity_check_uri(&self) -> &str {
        "http://check.example/nm"
    }
    #[zbus(property)]
    fn primary_connection(&self) -> OwnedObjectPath {
        path(self.primary)
    }
}

struct Active;

#[interface(name = "org.freedesktop.NetworkManager.Connection.Active")]
impl Active {
    #[zbus(property)]
    fn dhcp4_config(&self) -> OwnedObjectPath {
        path(LEASE)
    }
}

struct Lease(&'static str);

#[interface(name = "org.freedesktop.NetworkManager.DHCP4Config")]
impl Lease {
    #[zbus(property)]
    fn options(&self) -> HashMap<String, OwnedVariant> {
        let option = |value: &'static str| OwnedVariant::try_from(Variant::from(value)).unwrap();
        [("routers", option("192.168.1.1")), ("default_url", option(self.0))]
            .map(|(name, value)| (name.to_owned(), value))
            .into()
    }
}

async fn serve(bus: &Bus, manager: Manager, url: &'static str) -> Connection {
    let serving = Builder::address(bus.address())
        .name("org.freedesktop.NetworkManager")
        .serve_at("/org/freedesktop/NetworkManager", manager)
        .serve_at(PRIMARY, Active)
        .serve_at(LEASE, Lease(url))
        .build();
    tokio::time::timeout(Duration::from_secs(10), serving).await.unwrap().unwrap()
}

fn machine() -> (TempDir, Bus, HintsSystem) {
    let root = tempfile::tempdir().unwrap();
    let bus = Bus::start(root.path());
    let system = HintsSystem {
        root: root.path().to_owned(),
        bus: Some(bus.address().to_owned()),
        patience: Duration::from_secs(10),
    };
    (root, bus, system)
}

fn write(root: &Path, file: &str, text: &str) {
    let file = root.join(file);
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(file, text).unwrap();
}

const ONLINE: Manager = Manager { enabled: true, connectivity: 2, primary: PRIMARY };
const API: &str = "https://portal.example.com/api";

#[tokio::test]
async fn the_check_and_the_lease_of_the_primary_connection_are_reported() {
    let (root, bus, system) = machine();
    let _service = serve(&bus, ONLINE, API).await;
    write(root.path(), "etc/NetworkManager/NetworkManager.conf", "[connectivity]\nresponse=OK\n");
    let hints = read(&system).await.unwrap();
    assert_eq!(hints.portal_apis, [API]);
    let check = ConnectivityCheck {
        uri: "http://check.example/nm".to_owned(),
        response: "OK".to_owned(),
        connectivity: Connectivity::Portal,
    };
    assert_eq!(hints.check, Some(check));
}

#[tokio::test]
async fn a_check_that_is_switched_off_is_not_used() {
    let (_root, bus, system) = machine();
    let _service = serve(&bus, Manager { enabled: false, ..ONLINE }, API).await;
    let hints = read(&system).await.unwrap();
    assert_eq!((hints.portal_apis.len(), hints.check), (1, None));
}

#[tokio::test]
async fn without_a_connection_only_the_check_is_reported() {
    let (_root, bus, system) = machine();
    let _service = serve(&bus, Manager { primary: "/", connectivity: 77, ..ONLINE }, API).await;
    let hints = read(&system).await.unwrap();
    assert!(hints.portal_apis.is_empty());
    let check = hints.check.unwrap();
    assert_eq!(
        (check.response.as_str(), check.connectivity),
        ("NetworkManager is online", Connectivity::Unknown)
    );
}

#[tokio::test]
async fn links_and_leases_are_both_heard_and_each_api_once() {
    let (root, bus, system) = machine();
    let _service = serve(&bus, ONLINE, API).await;
    let long = format!("https://portal.example.com/{}", "x".repeat(4096));
    for (link, uri) in [("1", API), ("2", "https://other.example/"), ("3", long.as_str())] {
        write(root.path(), &format!("run/systemd/netif/links/{link}"), &format!("CAPTIVE_PORTAL={uri}\n"));
    }
    let mut apis = read(&system).await.unwrap().portal_apis;
    apis.sort();
    assert_eq!(apis, ["https://other.example/", API]);
}

#[tokio::test]
async fn who_does_not_answer_in_time_is_left_out() {
    let (root, _bus, system) = machine();
    // Somebody who accepts and says nothing.
    let silent = tokio::net::UnixListener::bind(root.path().join("silent")).unwrap();
    let bus = Some(format!("unix:path={}", root.path().join("silent").display()));
    write(root.path(), "run/systemd/netif/links/1", &format!("CAPTIVE_PORTAL={API}\n"));
    let hints = HintsSystem { bus, patience: Duration::from_millis(500), ..system };
    let accepted = async {
        let kept = silent.accept().await.unwrap();
        std::future::pending::<()>().await;
        drop(kept);
    };
    let read = tokio::time::timeout(Duration::from_secs(10), read(&hints));
    tokio::select! {
        hints = read => assert_eq!(hints.expect("no end").unwrap().portal_apis, [API]),
        () = accepted => unreachable!(),
    }
}

#[tokio::test]
async fn where_nothing_runs_nothing_is_known() {
    let (_root, bus, system) = machine();
    assert_eq!(read(&system).await.unwrap(), Default::default());
    let nowhere = HintsSystem { bus: Some("unix:path=/nonexistent".to_owned()), ..system };
    assert_eq!(read(&nowhere).await.unwrap(), Default::default());
    drop(bus);
}
