use std::{
    fs,
    os::unix::fs::symlink,
    sync::{Arc, Mutex},
    time::Duration,
};

use evenkeel_platform::dns::{DnsBackend, DnsError, DnsOutcome};
use zbus::{connection::Builder, fdo, interface};

use crate::{Machine, bus::Bus, plan};

/// Notes what it is told.
#[derive(Clone, Default)]
struct Resolved {
    calls: Arc<Mutex<Vec<String>>>,
    broken: bool,
}

impl Resolved {
    fn note(&self, call: String) {
        self.calls.lock().unwrap().push(call);
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.calls.lock().unwrap())
    }

    async fn serve(&self, bus: &Bus) -> zbus::Connection {
        let serving = Builder::address(bus.address())
            .name("org.freedesktop.resolve1")
            .serve_at("/org/freedesktop/resolve1", self.clone())
            .build();
        tokio::time::timeout(Duration::from_secs(10), serving).await.unwrap().unwrap()
    }
}

#[interface(name = "org.freedesktop.resolve1.Manager")]
impl Resolved {
    #[zbus(name = "SetLinkDNS")]
    fn set_link_dns(&self, index: i32, servers: Vec<(i32, Vec<u8>)>) {
        self.note(format!("SetLinkDNS {index} {servers:?}"));
    }

    fn set_link_domains(&self, index: i32, domains: Vec<(String, bool)>) -> fdo::Result<()> {
        if self.broken {
            return Err(fdo::Error::AccessDenied("not you".into()));
        }
        self.note(format!("SetLinkDomains {index} {domains:?}"));
        Ok(())
    }

    fn set_link_default_route(&self, index: i32, on: bool) {
        self.note(format!("SetLinkDefaultRoute {index} {on}"));
    }

    fn flush_caches(&self) {
        self.note("FlushCaches".into());
    }

    fn revert_link(&self, index: i32) {
        self.note(format!("RevertLink {index}"));
    }
}

/// A machine whose programs ask systemd-resolved, and a bus.
fn machine() -> (Machine, Bus) {
    let mut machine = Machine::new();
    symlink("../run/systemd/resolve/stub-resolv.conf", machine.etc("resolv.conf")).unwrap();
    let bus = Bus::start(machine.root.path());
    machine.bus = Some(bus.address().to_owned());
    (machine, bus)
}

#[tokio::test]
async fn everything_is_asked_of_the_tunnels_servers_in_a_full_tunnel() {
    let (machine, bus) = machine();
    let resolved = Resolved::default();
    let _service = resolved.serve(&bus).await;
    let dns = machine.dns();
    let applied = dns.apply(&plan(true)).await.unwrap();
    assert_eq!(applied.backend(), DnsBackend::Resolved);
    assert_eq!(
        resolved.take(),
        [
            "SetLinkDNS 1 [(2, [10, 10, 0, 53]), (10, [32, 1, 13, 184, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 83])]",
            r#"SetLinkDomains 1 [("corp.example", false), ("lab.example", false), (".", true)]"#,
            "SetLinkDefaultRoute 1 true",
            "FlushCaches",
        ]
    );
    assert_eq!(dns.revert(applied).await.unwrap(), DnsOutcome::Restored);
    assert_eq!(resolved.take(), ["RevertLink 1"]);
    let link = fs::read_link(machine.etc("resolv.conf")).unwrap();
    assert_eq!(link.to_str(), Some("../run/systemd/resolve/stub-resolv.conf"));
}

#[tokio::test]
async fn only_its_domains_are_asked_of_the_tunnels_servers_in_a_split_tunnel() {
    let (machine, bus) = machine();
    let resolved = Resolved::default();
    let _service = resolved.serve(&bus).await;
    let dns = machine.dns();
    let applied = dns.apply(&plan(false)).await.unwrap();
    let calls = resolved.take();
    assert_eq!(calls[1], r#"SetLinkDomains 1 [("corp.example", false), ("lab.example", false)]"#);
    assert_eq!(calls[2], "SetLinkDefaultRoute 1 false");
    dns.revert(applied).await.unwrap();

    // Without a domain nothing would ever be asked there.
    let mut nameless = plan(false);
    nameless.domains.clear();
    let _applied = dns.apply(&nameless).await.unwrap();
    assert!(resolved.take().contains(&"SetLinkDefaultRoute 1 true".to_owned()));
}

#[tokio::test]
async fn a_killed_daemons_settings_are_reverted_by_the_next_one() {
    let (machine, bus) = machine();
    let resolved = Resolved::default();
    let _service = resolved.serve(&bus).await;
    let _ = machine.dns().apply(&plan(true)).await.unwrap();
    resolved.take();
    assert_eq!(machine.dns().recover().await.unwrap(), DnsOutcome::Restored);
    assert_eq!(resolved.take(), ["RevertLink 1"]);
}

#[tokio::test]
async fn a_refusal_is_reported_and_leaves_nothing() {
    let (machine, bus) = machine();
    let resolved = Resolved { broken: true, ..Resolved::default() };
    let _service = resolved.serve(&bus).await;
    let dns = machine.dns();
    match dns.apply(&plan(true)).await {
        Err(DnsError::Resolved { call: "SetLinkDomains", reason }) => assert!(reason.contains("not you")),
        other => panic!("{other:?}"),
    }
    assert!(resolved.take().contains(&"RevertLink 1".to_owned()));
    assert_eq!(dns.recover().await.unwrap(), DnsOutcome::Nothing);
}

#[tokio::test]
async fn where_it_does_not_run_the_file_is_used() {
    let (machine, _bus) = machine();
    let dns = machine.dns();
    let applied = dns.apply(&plan(true)).await.unwrap();
    assert_eq!(applied.backend(), DnsBackend::ResolvConfFile);
    dns.revert(applied).await.unwrap();
    let link = fs::read_link(machine.etc("resolv.conf")).unwrap();
    assert_eq!(link.to_str(), Some("../run/systemd/resolve/stub-resolv.conf"));
}

#[tokio::test]
async fn an_interface_that_is_not_there_is_named() {
    let (machine, bus) = machine();
    let _service = Resolved::default().serve(&bus).await;
    let mut missing = plan(true);
    missing.interface = "no-such-link".into();
    assert!(matches!(machine.dns().apply(&missing).await, Err(DnsError::NoInterface(_))));
}
