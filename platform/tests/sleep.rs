//! Waking as logind tells it, from one of our own on a private D-Bus.
#![cfg(target_os = "linux")]
#![allow(missing_docs, reason = "a test binary")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test binary")]

use std::time::Duration;

use evenkeel_platform::sleep::{SleepError, SleepEvents, SleepSystem};
use tempfile::TempDir;
use zbus::{Connection, connection::Builder, interface, object_server::SignalEmitter};

#[path = "bus/mod.rs"]
mod bus;
use bus::Bus;

const PATH: &str = "/org/freedesktop/login1";
/// Longer than anything here takes on the slowest machine.
const PATIENCE: Duration = Duration::from_secs(10);

struct Manager;

#[interface(name = "org.freedesktop.login1.Manager")]
impl Manager {
    #[zbus(signal)]
    async fn prepare_for_sleep(emitter: &SignalEmitter<'_>, going: bool) -> zbus::Result<()>;
}

async fn connected(bus: &Bus, name: Option<&'static str>) -> Connection {
    let builder = Builder::address(bus.address()).serve_at(PATH, Manager);
    let builder = match name {
        Some(name) => builder.name(name),
        None => builder,
    };
    tokio::time::timeout(PATIENCE, builder.build()).await.unwrap().unwrap()
}

async fn says(connection: &Connection, going: bool) {
    let emitter = SignalEmitter::new(connection, PATH).unwrap();
    Manager::prepare_for_sleep(&emitter, going).await.unwrap();
}

fn system(bus: &Bus) -> SleepSystem {
    SleepSystem { bus: Some(bus.address().to_owned()) }
}

#[tokio::test]
async fn waking_is_told_and_going_to_sleep_is_not() {
    let folder = TempDir::new().unwrap();
    let bus = Bus::start(folder.path());
    let logind = connected(&bus, Some("org.freedesktop.login1")).await;
    let mut sleep = SleepEvents::open(&system(&bus)).await.unwrap();
    for _ in 0..2 {
        says(&logind, true).await;
        says(&logind, false).await;
        assert!(tokio::time::timeout(PATIENCE, sleep.woke()).await.unwrap());
    }
    says(&logind, true).await;
    assert!(tokio::time::timeout(Duration::from_millis(200), sleep.woke()).await.is_err());
}

#[tokio::test]
async fn nobody_but_logind_is_believed() {
    let folder = TempDir::new().unwrap();
    let bus = Bus::start(folder.path());
    let logind = connected(&bus, Some("org.freedesktop.login1")).await;
    let mut sleep = SleepEvents::open(&system(&bus)).await.unwrap();
    let somebody = connected(&bus, None).await;
    says(&somebody, false).await;
    // The bus answers one connection's messages in order: what was said before this has been passed on.
    let bus_itself = zbus::fdo::DBusProxy::new(&somebody).await.unwrap();
    tokio::time::timeout(PATIENCE, bus_itself.get_id()).await.unwrap().unwrap();
    says(&logind, false).await;
    assert!(tokio::time::timeout(PATIENCE, sleep.woke()).await.unwrap());
    // That was logind. Had the other been believed, it would have come first and this second.
    drop(bus);
    assert!(!tokio::time::timeout(PATIENCE, sleep.woke()).await.unwrap());
}

#[tokio::test]
async fn a_bus_that_ends_is_the_end_and_one_that_is_not_there_is_an_error() {
    let folder = TempDir::new().unwrap();
    let bus = Bus::start(folder.path());
    let _logind = connected(&bus, Some("org.freedesktop.login1")).await;
    let mut sleep = SleepEvents::open(&system(&bus)).await.unwrap();
    let gone = system(&bus);
    drop(bus);
    assert!(!tokio::time::timeout(PATIENCE, sleep.woke()).await.unwrap());
    assert!(matches!(SleepEvents::open(&gone).await, Err(SleepError::Unavailable(_))));
}
