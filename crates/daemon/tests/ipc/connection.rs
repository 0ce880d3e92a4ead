//! The life of a connection as a client sees it, and what the machine was told to do meanwhile.

use evenkeel_daemon::control::{Fault, MachineEvent};
use evenkeel_ipc::{Cause, ClientError, Request, RequestError, State, Target};
use evenkeel_profile::{Secret, SecretKind, Secrets};
use evenkeel_tunnel::{ConfigureError, PathError};
use tracing_subscriber::layer::SubscriberExt as _;

use crate::straw::{ALICE, BOB, Daemon, caller, connect, name, profile, wait_for};

#[tokio::test]
async fn the_network_is_configured_after_the_sa_and_restored_before_off() {
    let daemon = Daemon::start();
    let mut alice = daemon.connected(ALICE, "Lab").await;
    let status = alice.status(false).await.unwrap();
    assert_eq!((status.target, status.cause, status.mtu), (Target::Connected, None, Some(1438)));
    assert_eq!(status.round_trips, Some(2));
    assert_eq!(status.child_sas.len(), 1);
    // First with a cautious MTU, then with what the answers to probes allow.
    let journal = daemon.strings.journal();
    assert_eq!(journal[..5], ["resolve", "open", "use", "install", "configure"]);
    assert!(journal[5..].iter().all(|what| *what == "configure"), "{journal:?}");

    alice.perform(Request::Disconnect).await.unwrap();
    let status = wait_for(&mut alice, State::Off).await;
    assert_eq!((status.target, status.profile), (Target::Disconnected, None));
    assert_eq!(daemon.strings.journal()[journal.len()..], ["unconfigure", "remove", "close"]);
}

#[tokio::test]
async fn a_wish_to_connect_while_going_down_is_fulfilled_once_down() {
    let daemon = Daemon::start();
    let mut alice = daemon.connected(ALICE, "Lab").await;
    alice.perform(Request::Disconnect).await.unwrap();
    alice.perform(connect("Corp")).await.unwrap();
    let status = wait_for(&mut alice, State::Connected).await;
    assert_eq!(status.profile, Some(name("Corp")));
}

#[tokio::test]
async fn who_disconnects_takes_back_a_wish_to_connect_that_waits() {
    let daemon = Daemon::start();
    *daemon.strings.restores_slowly.lock().unwrap() = true;
    let mut alice = daemon.connected(ALICE, "Lab").await;
    alice.perform(Request::Disconnect).await.unwrap();
    // One wish can wait: when one of two is told so, the other waits.
    let (mut first, mut second) = (daemon.client(ALICE).await, daemon.client(ALICE).await);
    let mut wishes = [Box::pin(first.perform(connect("Corp"))), Box::pin(second.perform(connect("Corp")))];
    let [one, other] = &mut wishes;
    let (told, waiting) = tokio::select! {
        told = &mut *one => (told, other),
        told = &mut *other => (told, one),
    };
    assert!(matches!(told, Err(ClientError::Refused(RequestError::Busy { .. }))), "{told:?}");

    alice.perform(Request::Disconnect).await.unwrap();
    let taken_back = waiting.await;
    assert!(matches!(taken_back, Err(ClientError::Refused(RequestError::Cancelled))), "{taken_back:?}");
    daemon.strings.say(MachineEvent::Unconfigured);
    assert_eq!(wait_for(&mut alice, State::Off).await.target, Target::Disconnected);
    assert_eq!(daemon.strings.journal().iter().filter(|done| **done == "resolve").count(), 1);
}

#[tokio::test]
async fn what_the_machine_cannot_do_is_the_cause() {
    let refused = Cause::RoutesFailed { detail: "not today".into() };
    let daemon = Daemon::start();
    *daemon.strings.configure.lock().unwrap() =
        Some(Fault { error: ConfigureError::Routes, cause: refused.clone() });
    let mut alice = daemon.client(ALICE).await;
    alice.perform(connect("Lab")).await.unwrap();
    let status = wait_for(&mut alice, State::Failed).await;
    assert_eq!((status.target, status.cause), (Target::Connected, Some(refused)));
    assert!(daemon.strings.journal().ends_with(&["unconfigure", "remove", "close"]));
}

#[tokio::test]
async fn a_device_that_cannot_be_made_fails_the_connection_with_the_systems_word() {
    let cause = Cause::DaemonNotPermitted { what: "tun".into() };
    let daemon = Daemon::start();
    *daemon.strings.open.lock().unwrap() =
        Some(Fault { error: PathError::NoDataPlane, cause: cause.clone() });
    let mut alice = daemon.client(ALICE).await;
    alice.perform(connect("Lab")).await.unwrap();
    assert_eq!(wait_for(&mut alice, State::Failed).await.cause, Some(cause));
}

#[tokio::test]
async fn a_data_plane_that_stops_ends_the_connection_and_restores_the_network() {
    let cause = Cause::DataPlaneFailed { detail: "gone".into() };
    let daemon = Daemon::start();
    let mut alice = daemon.connected(ALICE, "Lab").await;
    daemon.strings.say(MachineEvent::Stopped(cause.clone()));
    assert_eq!(wait_for(&mut alice, State::Failed).await.cause, Some(cause));
    assert!(daemon.strings.journal().contains(&"unconfigure"));
}

#[tokio::test]
async fn a_failed_connection_gives_way_to_anybodys_next() {
    let daemon = Daemon::start();
    *daemon.strings.open.lock().unwrap() =
        Some(Fault { error: PathError::NoDataPlane, cause: Cause::TunUnavailable { detail: String::new() } });
    let mut alice = daemon.client(ALICE).await;
    alice.perform(connect("Lab")).await.unwrap();
    wait_for(&mut alice, State::Failed).await;
    *daemon.strings.open.lock().unwrap() = None;
    daemon.connected(BOB, "Corp").await;
}

#[tokio::test]
async fn stopping_the_daemon_takes_the_connection_down_first() {
    let daemon = Daemon::start();
    daemon.connected(ALICE, "Lab").await;
    let strings = std::sync::Arc::clone(&daemon.strings);
    daemon.stop().await;
    assert!(strings.journal().contains(&"unconfigure"));
    assert_eq!(strings.journal().last(), Some(&"close"));
}

#[tokio::test]
async fn a_wrong_psk_is_the_gateways_refusal() {
    let daemon = Daemon::start();
    let mut alice = daemon.client(ALICE).await;
    let secret = Some(Secret::new("another psk"));
    alice.perform(Request::Connect { name: name("Lab"), secret }).await.unwrap();
    let status = wait_for(&mut alice, State::Failed).await;
    assert_eq!(status.cause, Some(Cause::AuthenticationRejected));
}

#[tokio::test]
async fn a_profile_without_its_secret_asks_for_it_and_keeps_none_that_is_given() {
    let daemon = Daemon::start();
    let mut alice = daemon.client(ALICE).await;
    let import = Request::ImportProfile {
        profile: profile("Bare"),
        secrets: Secrets::default(),
        managed: false,
        replace: false,
    };
    alice.perform(import).await.unwrap();
    let needed = |result: Result<(), ClientError>| {
        matches!(result, Err(ClientError::Refused(RequestError::SecretNeeded { secret: SecretKind::Psk })))
    };
    assert!(needed(alice.perform(connect("Bare")).await));
    let secret = Some(Secret::new(crate::straw::PSK));
    alice.perform(Request::Connect { name: name("Bare"), secret }).await.unwrap();
    wait_for(&mut alice, State::Connected).await;
    alice.perform(Request::Disconnect).await.unwrap();
    wait_for(&mut alice, State::Off).await;
    assert!(needed(alice.perform(connect("Bare")).await));
}

#[tokio::test]
async fn a_profile_that_the_engine_cannot_use_is_refused_by_its_key() {
    let daemon = Daemon::start();
    let mut alice = daemon.client(ALICE).await;
    let mut odd = profile("Odd");
    odd.ike.proposals = vec!["rot13-md5-modp1".parse::<String>().unwrap().try_into().unwrap()];
    let secrets = Secrets { psk: Some(Secret::new("x")), ..Secrets::default() };
    alice
        .perform(Request::ImportProfile { profile: odd, secrets, managed: false, replace: false })
        .await
        .unwrap();
    let refused = alice.perform(connect("Odd")).await;
    let Err(ClientError::Refused(RequestError::ProfileUnusable { key, .. })) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!(key, "ike.proposals");
}

#[tokio::test]
async fn the_log_during_a_connection_is_its_users() {
    let daemon = Daemon::start();
    let logger = tracing_subscriber::registry().with(daemon.log.layer());
    let _logging = tracing::subscriber::set_default(logger);
    daemon.connected(ALICE, "Lab").await;
    let read_by = |uid| daemon.log.tail(&caller(uid), 100);
    assert!(read_by(ALICE).iter().any(|line| line.text.starts_with("connecting")));
    assert!(read_by(BOB).is_empty());
}
