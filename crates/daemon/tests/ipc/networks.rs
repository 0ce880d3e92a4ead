//! What is remembered of networks, and who may know.

use evenkeel_daemon::control::MachineEvent;
use evenkeel_ipc::{
    Carrier, Client, ClientError, NetworkId, PortalReport, PortalVerdict, Request, RequestError, State,
    Status,
};
use evenkeel_platform::network_identity::NetworkIdentity;
use evenkeel_profile::{Secret, Secrets};
use tokio::io::DuplexStream;
use tracing_subscriber::layer::SubscriberExt;

use crate::straw::{ALICE, BOB, Daemon, PSK, ROOT, caller, connect, profile, wait_for, wait_until};

fn network(number: u8, ssid: &str) -> NetworkIdentity {
    NetworkIdentity {
        gateway: "192.168.1.1".parse().ok(),
        gateway_mac: Some([2, 0, 0, 0, 0, number]),
        subnet: Some(("192.168.1.5".parse().unwrap(), 24)),
        ssid: Some(ssid.as_bytes().to_vec()),
        dhcp_domain: None,
    }
}

/// The machine is on this network from here on.
async fn enter(daemon: &Daemon, client: &mut Client<DuplexStream>, identity: NetworkIdentity) -> Status {
    let label = identity.ssid.clone().map(|ssid| String::from_utf8(ssid).unwrap());
    daemon.strings.say(MachineEvent::Network(Some(identity)));
    daemon.strings.say(MachineEvent::NetworkChanged);
    let there = |status: &Status| {
        status.state == State::Connected
            && status.network.as_ref().is_some_and(|network| {
                // Measured, not merely arrived.
                network.label == label && network.learned.path_mtu.up.is_some()
            })
    };
    wait_until(client, "what is known of the network", there).await
}

/// At a café, connected as Alice; with the café's ID.
async fn at_the_cafe(daemon: &Daemon) -> (Client<DuplexStream>, NetworkId) {
    let mut alice = daemon.connected(ALICE, "Lab").await;
    let status = enter(daemon, &mut alice, network(1, "Cafe")).await;
    let id = status.network.unwrap().id.unwrap();
    (alice, id)
}

fn labels(networks: &[evenkeel_ipc::RememberedNetwork]) -> Vec<&str> {
    networks.iter().map(|network| network.label.as_str()).collect()
}

#[tokio::test]
async fn the_status_names_the_network_and_what_was_learned_there() {
    let daemon = Daemon::start();
    let (mut alice, _) = at_the_cafe(&daemon).await;
    let network = alice.status(false).await.unwrap().network.unwrap();
    assert_eq!((network.transport, network.fallback, network.blockage), (Some(Carrier::Udp), false, None));
    assert_eq!(network.learned.nat, Some(false));
    assert_eq!((network.learned.path_mtu.up, network.learned.path_mtu.down), (Some(1500), Some(1500)));
    assert!(network.learned.verdicts.tcp4500.is_none(), "what was not tried is not judged");
}

#[tokio::test]
async fn each_network_is_remembered_by_itself_and_after_the_connection() {
    let daemon = Daemon::start();
    let (mut alice, cafe) = at_the_cafe(&daemon).await;
    enter(&daemon, &mut alice, network(2, "Hotel")).await;
    let networks = alice.networks().await.unwrap();
    let remembered = alice.network(cafe).await.unwrap();
    assert_eq!((remembered.label.as_str(), remembered.present), ("Cafe", false));
    assert_eq!(remembered.learned.path_mtu.up, Some(1500));
    assert_eq!(remembered.transport, Some(Carrier::Udp));
    assert!(networks.contains(&remembered));

    alice.perform(Request::Disconnect).await.unwrap();
    wait_for(&mut alice, State::Off).await;
    let mut known = daemon.client(ROOT).await.networks().await.unwrap();
    known.sort_by(|one, other| one.label.cmp(&other.label));
    assert_eq!(labels(&known), ["Cafe", "Hotel"]);
    assert!(known[1].present && !known[0].present);
    // Back on a network that is known, it is known from the first packet.
    daemon.strings.say(MachineEvent::Network(Some(network(1, "Cafe"))));
    let mut root = daemon.client(ROOT).await;
    while !root.network(cafe).await.unwrap().present {
        tokio::task::yield_now().await;
    }
    *daemon.strings.open.lock().unwrap() = Some(crate::straw::unreachable());
    alice.perform(connect("Lab")).await.unwrap();
    let status = alice.status(false).await.unwrap();
    assert_eq!(status.network.unwrap().learned.path_mtu.up, Some(1500));
}

#[tokio::test]
async fn how_long_connecting_took_and_that_there_was_a_portal_are_remembered() {
    let daemon = Daemon::start();
    daemon.strings.say(MachineEvent::Network(Some(network(1, "Cafe"))));
    *daemon.strings.silent.lock().unwrap() = true;
    let mut alice = daemon.client(ALICE).await;
    alice.perform(connect("Lab")).await.unwrap();
    daemon.strings.told("look", 1).await;
    let verdict = PortalVerdict::Portal;
    let report = PortalReport { verdict, url: None, evidence: Vec::new(), took_ms: 1 };
    daemon.strings.say(MachineEvent::Portal(report));
    wait_until(&mut alice, "a portal", |status| status.portal.is_some()).await;
    *daemon.strings.silent.lock().unwrap() = false;
    let status = wait_for(&mut alice, State::Connected).await;
    let cafe = alice.network(status.network.unwrap().id.unwrap()).await.unwrap();
    assert!(cafe.portal_seen.is_some() && cafe.connect_ms.is_some(), "{cafe:?}");
    alice.perform(Request::Disconnect).await.unwrap();
    wait_for(&mut alice, State::Off).await;
    let mut root = daemon.client(ROOT).await;
    assert_eq!(root.network(cafe.id).await.unwrap().portal_seen, cafe.portal_seen);
    // A network without one is no network with one.
    daemon.strings.say(MachineEvent::Network(Some(network(2, "Hotel"))));
    let mut alice = daemon.connected(ALICE, "Lab").await;
    let status = alice.status(false).await.unwrap();
    let hotel = alice.network(status.network.unwrap().id.unwrap()).await.unwrap();
    assert!(hotel.portal_seen.is_none() && hotel.connect_ms.is_some(), "{hotel:?}");
}

#[tokio::test]
async fn what_one_network_taught_is_not_said_of_the_next() {
    let daemon = Daemon::start();
    let (mut alice, _) = at_the_cafe(&daemon).await;
    *daemon.strings.swallows_probes.lock().unwrap() = true;
    daemon.strings.say(MachineEvent::Network(Some(network(2, "Hotel"))));
    daemon.strings.say(MachineEvent::NetworkChanged);
    let arrived = |status: &Status| {
        let label = status.network.as_ref().and_then(|network| network.label.as_deref());
        status.state == State::Connected && label == Some("Hotel")
    };
    let hotel = wait_until(&mut alice, "at the hotel", arrived).await.network.unwrap();
    assert_eq!(hotel.learned.path_mtu.up, None);
    let remembered = alice.networks().await.unwrap();
    let cafe = remembered.iter().find(|network| network.label == "Cafe").unwrap();
    assert_eq!(cafe.learned.path_mtu.up, Some(1500));
}

#[tokio::test]
async fn what_was_measured_stays_when_more_becomes_known_of_the_network() {
    let daemon = Daemon::start();
    let mut alice = daemon.connected(ALICE, "Lab").await;
    let whole = network(1, "Cafe");
    let partial = NetworkIdentity { gateway_mac: None, ..whole.clone() };
    enter(&daemon, &mut alice, partial).await;
    *daemon.strings.swallows_probes.lock().unwrap() = true;
    daemon.strings.say(MachineEvent::Network(Some(whole)));
    let known = |status: &Status| status.network.as_ref().is_some_and(|network| network.id.is_some());
    let network = wait_until(&mut alice, "known", known).await.network.unwrap();
    assert_eq!((network.learned.path_mtu.up, network.learned.path_mtu.down), (Some(1500), Some(1500)));
}

#[tokio::test]
async fn what_is_measured_on_a_network_that_nobody_has_named_yet_is_not_the_last_ones() {
    let daemon = Daemon::start();
    let (mut alice, cafe) = at_the_cafe(&daemon).await;
    *daemon.strings.path_mtu.lock().unwrap() = Some(1400);
    daemon.strings.say(MachineEvent::Network(None));
    daemon.strings.say(MachineEvent::NetworkChanged);
    let measured = |status: &Status| {
        status.state == State::Connected
            && status
                .network
                .as_ref()
                .is_some_and(|network| network.learned.path_mtu.up.is_some_and(|up| up < 1500))
    };
    wait_until(&mut alice, "measured", measured).await;
    alice.perform(Request::Disconnect).await.unwrap();
    wait_for(&mut alice, State::Off).await;
    let remembered = daemon.client(ROOT).await.network(cafe).await.unwrap();
    assert_eq!(remembered.learned.path_mtu.up, Some(1500));
}

#[tokio::test]
async fn what_is_remembered_survives_the_daemon() {
    let daemon = Daemon::start();
    let (_alice, cafe) = at_the_cafe(&daemon).await;
    let state = daemon.stop().await;
    let json = std::fs::read_to_string(state.path().join("networks.json")).unwrap();
    assert!(json.contains(&cafe.to_string()) && json.contains("Cafe"), "{json}");
}

#[tokio::test]
async fn networks_are_forgotten_one_by_one_or_all_at_once_also_on_disk() {
    let daemon = Daemon::start();
    let (mut alice, cafe) = at_the_cafe(&daemon).await;
    enter(&daemon, &mut alice, network(2, "Hotel")).await;
    alice.perform(Request::ForgetNetwork { id: cafe }).await.unwrap();
    assert!(!daemon.remembered().contains("Cafe"), "answered before it was gone");
    for request in [Request::ForgetNetwork { id: cafe }, Request::ShowNetwork { id: cafe }] {
        let refused = alice.request(request).await;
        let expected = RequestError::NetworkNotFound { id: cafe };
        assert!(matches!(refused, Err(ClientError::Refused(error)) if error == expected));
    }
    alice.perform(Request::ForgetNetworks).await.unwrap();
    assert!(alice.networks().await.unwrap().is_empty());
    assert!(!daemon.remembered().contains("Hotel"));
}

#[tokio::test]
async fn forgetting_that_failed_can_be_asked_for_again() {
    let daemon = Daemon::start();
    let (mut alice, cafe) = at_the_cafe(&daemon).await;
    enter(&daemon, &mut alice, network(2, "Hotel")).await;
    let file = daemon.memory_file();
    while !file.exists() {
        tokio::task::yield_now().await;
    }
    // Nothing can be put in the place of a folder that is not empty.
    std::fs::remove_file(&file).unwrap();
    std::fs::create_dir_all(file.join("in the way")).unwrap();
    for _ in 0..2 {
        let failed = alice.request(Request::ForgetNetwork { id: cafe }).await;
        let Err(ClientError::Refused(RequestError::Internal { .. })) = failed else { panic!("{failed:?}") };
    }
    std::fs::remove_dir_all(&file).unwrap();
    alice.perform(Request::ForgetNetwork { id: cafe }).await.unwrap();
    assert!(!daemon.remembered().contains("Cafe"));
    let unknown = alice.request(Request::ForgetNetwork { id: cafe }).await;
    assert!(
        matches!(unknown, Err(ClientError::Refused(RequestError::NetworkNotFound { .. }))),
        "{unknown:?}"
    );
}

#[tokio::test]
async fn only_administrators_and_who_is_connected_may_know_where_the_machine_has_been() {
    for connected in [true, false] {
        for (uid, may) in [(ALICE, connected), (BOB, false), (ROOT, true)] {
            let daemon = Daemon::start();
            let (mut alice, cafe) = at_the_cafe(&daemon).await;
            // Left, and so remembered.
            enter(&daemon, &mut alice, network(2, "Hotel")).await;
            if !connected {
                alice.perform(Request::Disconnect).await.unwrap();
                wait_for(&mut alice, State::Off).await;
            }
            let mut client = daemon.client(uid).await;
            let requests = [
                Request::Networks,
                Request::ShowNetwork { id: cafe },
                Request::ShowNetwork { id: NetworkId(1) },
                Request::ForgetNetwork { id: cafe },
                Request::ForgetNetwork { id: NetworkId(1) },
                Request::ForgetNetworks,
            ];
            for request in requests {
                let refused = matches!(
                    client.request(request).await,
                    Err(ClientError::Refused(RequestError::NotPermitted))
                );
                assert_eq!(refused, !may, "{uid}, connected: {connected}");
            }
            let left = daemon.client(ROOT).await.networks().await.unwrap();
            assert_eq!(labels(&left).contains(&"Cafe"), !may, "{uid}, connected: {connected}");
        }
    }
}

#[tokio::test]
async fn a_wish_that_no_gateway_has_granted_shows_nobody_where_the_machine_has_been() {
    for fails in [false, true] {
        let daemon = Daemon::start();
        let (mut alice, cafe) = at_the_cafe(&daemon).await;
        alice.perform(Request::Disconnect).await.unwrap();
        wait_for(&mut alice, State::Off).await;

        *daemon.strings.silent.lock().unwrap() = true;
        *daemon.strings.open.lock().unwrap() = fails.then(crate::straw::unreachable);
        let mut bob = daemon.client(BOB).await;
        let mut nowhere = profile("Nowhere");
        nowhere.portal.detect = false;
        let secrets = Secrets { psk: Some(Secret::new(PSK)), ..Secrets::default() };
        let import = Request::ImportProfile { profile: nowhere, secrets, managed: false, replace: false };
        bob.perform(import).await.unwrap();
        bob.perform(connect("Nowhere")).await.unwrap();
        let wished = if fails { State::Failed } else { State::Connecting };
        wait_for(&mut bob, wished).await;
        for request in [Request::Networks, Request::ShowNetwork { id: cafe }, Request::ForgetNetworks] {
            let refused = bob.request(request).await;
            let Err(ClientError::Refused(RequestError::NotPermitted)) = refused else {
                panic!("{wished:?}: {refused:?}");
            };
        }
        assert_eq!(labels(&daemon.client(ROOT).await.networks().await.unwrap()), ["Cafe"]);
    }
}

#[tokio::test]
async fn a_connection_that_has_failed_shows_nobody_where_the_machine_has_been() {
    let daemon = Daemon::start();
    let (mut alice, _) = at_the_cafe(&daemon).await;
    assert!(alice.networks().await.is_ok());
    daemon.strings.say(MachineEvent::Stopped(evenkeel_ipc::Cause::DataPlaneFailed { detail: String::new() }));
    *daemon.strings.open.lock().unwrap() = Some(crate::straw::unreachable());
    wait_for(&mut alice, State::Failed).await;
    let refused = alice.networks().await;
    assert!(matches!(refused, Err(ClientError::Refused(RequestError::NotPermitted))), "{refused:?}");
}

#[tokio::test]
async fn the_log_says_to_nobody_else_on_which_network_the_machine_is() {
    let daemon = Daemon::start();
    let logger = tracing_subscriber::registry().with(daemon.log.layer());
    let _logging = tracing::subscriber::set_default(logger);
    daemon.strings.say(MachineEvent::Network(Some(network(1, "Cafe"))));
    let mut alice = daemon.connected(ALICE, "Lab").await;
    enter(&daemon, &mut alice, network(2, "Hotel")).await;
    alice.perform(Request::Disconnect).await.unwrap();
    wait_for(&mut alice, State::Off).await;
    let seen = daemon.log.tail(&caller(BOB), 100);
    assert!(seen.iter().any(|line| line.text.starts_with("on a network")), "{seen:?}");
    for line in seen {
        assert!(["Cafe", "Hotel", "192.168"].iter().all(|told| !line.text.contains(told)), "{line:?}");
    }
}

#[tokio::test]
async fn another_user_does_not_learn_on_which_network_somebody_is_connected() {
    let daemon = Daemon::start();
    let (_alice, _) = at_the_cafe(&daemon).await;
    assert_eq!(daemon.client(BOB).await.status(false).await.unwrap().network, None);
}
