//! The WireGuard fallback as a client sees it.

use evenkeel_daemon::control::{Fault, MachineEvent};
use evenkeel_ipc::{Carrier, Cause, ClientError, Request, RequestError, State};
use evenkeel_profile::{Profile, Secret, Secrets};
use evenkeel_tunnel::PathError;
use tokio::io::DuplexStream;

use crate::straw::{ALICE, Daemon, PSK, connect, wait_for, wait_until};

const PRIVATE_KEY: &str = "yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk=";

/// A profile that falls back to nothing but a WireGuard peer.
fn profile() -> Profile {
    serde_json::from_value(serde_json::json!({
        "name": "Peer", "gateway": "198.51.100.10", "remote_id": "vpn.example", "auth": { "method": "psk" },
        "local_id": "alice@example.org", "fallback": { "tcp": [] },
        "wireguard": {
            "endpoint": "peer.example:51820",
            "public_key": "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=",
            "addresses": ["10.99.0.2"], "allowed_ips": ["10.10.0.0/16"], "dns": ["10.10.0.53"], "keepalive_s": 25,
        },
    }))
    .unwrap()
}

async fn import(daemon: &Daemon, secrets: Secrets) -> evenkeel_ipc::Client<DuplexStream> {
    let mut alice = daemon.client(ALICE).await;
    let secrets = Secrets { psk: Some(Secret::new(PSK)), ..secrets };
    let import = Request::ImportProfile { profile: profile(), secrets, managed: false, replace: false };
    alice.perform(import).await.unwrap();
    alice
}

fn with_key() -> Secrets {
    Secrets { wireguard_private_key: Some(Secret::new(PRIVATE_KEY)), ..Secrets::default() }
}

#[tokio::test]
async fn a_peer_that_carries_the_tunnel_is_said_to_be_a_fallback_with_its_counters() {
    let daemon = Daemon::start();
    *daemon.strings.silent.lock().unwrap() = true;
    let mut alice = import(&daemon, with_key()).await;
    alice.perform(connect("Peer")).await.unwrap();
    let status = wait_for(&mut alice, State::Connected).await;
    let network = status.network.unwrap();
    assert_eq!((network.transport, network.fallback), (Some(Carrier::Wireguard), true));
    let peer = status.wireguard.unwrap();
    assert_eq!(peer.endpoint.to_string(), "peer.example:51820");
    assert_eq!(peer.remote.to_string(), "203.0.113.20:51820");
    assert_eq!((peer.bytes_in, peer.bytes_out, peer.handshakes), (5, 6, 1));
    assert_eq!(peer.allowed_ips, ["10.10.0.0/16"]);
    assert!(status.ike_sa.is_none() && status.child_sas.is_empty());
    assert_eq!(status.addresses.iter().map(ToString::to_string).collect::<Vec<_>>(), ["10.99.0.2/32"]);
    assert_eq!((status.keepalive_s, status.cause), (Some(25), None));
    // Beside looking for a portal, and open more than once where there are several ways.
    let told = |journal: Vec<&'static str>| -> Vec<&'static str> {
        journal.into_iter().filter(|told| !["open", "look", "forget"].contains(told)).collect()
    };
    let up = told(daemon.strings.journal());
    assert_eq!(up, ["resolve", "resolve peer", "open peer", "use peer", "configure"]);

    // Another network: another socket.
    daemon.strings.say(MachineEvent::NetworkChanged);
    daemon.strings.told("rebind", 1).await;
    let moved = wait_until(&mut alice, "moved", |status| {
        status.wireguard.as_ref().is_some_and(|peer| peer.local.port() == 8)
    });
    assert_eq!(moved.await.state, State::Connected);
    alice.perform(Request::Disconnect).await.unwrap();
    wait_for(&mut alice, State::Off).await;
    assert_eq!(told(daemon.strings.journal())[up.len()..], ["rebind", "unconfigure", "close peer", "close"]);
}

#[tokio::test]
async fn a_peer_that_does_not_answer_any_more_has_a_cause_of_its_own() {
    let daemon = Daemon::start();
    *daemon.strings.silent.lock().unwrap() = true;
    let mut alice = import(&daemon, with_key()).await;
    alice.perform(connect("Peer")).await.unwrap();
    wait_for(&mut alice, State::Connected).await;
    let path = daemon.strings.peer.lock().unwrap().unwrap();
    daemon.strings.say(MachineEvent::PeerSilent { path });
    let status = wait_for(&mut alice, State::Reconnecting).await;
    assert_eq!((status.cause, status.wireguard), (Some(Cause::WireguardPeerLost), None));
    // It answers again, and the gateway still does not.
    wait_for(&mut alice, State::Connected).await;
}

#[tokio::test]
async fn another_preshared_key_at_the_peer_is_the_cause() {
    let daemon = Daemon::start();
    *daemon.strings.silent.lock().unwrap() = true;
    *daemon.strings.handshake.lock().unwrap() =
        Some(Fault { error: PathError::OtherKey, cause: Cause::WireguardPresharedKey });
    let mut alice = import(&daemon, with_key()).await;
    alice.perform(connect("Peer")).await.unwrap();
    let status = wait_for(&mut alice, State::Failed).await;
    assert_eq!(status.cause, Some(Cause::WireguardPresharedKey));
}

#[tokio::test]
async fn keys_that_are_none_are_told_before_they_are_needed_and_missing_ones_left_out() {
    let daemon = Daemon::start();
    let mut alice = import(&daemon, Secrets::default()).await;
    alice.perform(connect("Peer")).await.unwrap();
    let status = wait_for(&mut alice, State::Connected).await;
    assert!(status.ike_sa.is_some() && status.wireguard.is_none());
    assert!(!daemon.strings.journal().contains(&"resolve peer"));

    let daemon = Daemon::start();
    let broken = Secrets { wireguard_preshared_key: Some(Secret::new("no key")), ..with_key() };
    let mut alice = import(&daemon, broken).await;
    let refused = alice.perform(connect("Peer")).await;
    let Err(ClientError::Refused(RequestError::ProfileUnusable { key, detail })) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!(key, "wireguard.preshared_key");
    assert!(!detail.contains("no key"), "{detail}");
}
