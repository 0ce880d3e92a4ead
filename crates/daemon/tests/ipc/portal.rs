//! A captive portal between us and the gateway, as a client sees it, and waking from sleep.

use evenkeel_daemon::control::{Fault, MachineEvent};
use evenkeel_ipc::{Cause, Client, PortalReport, PortalVerdict, Request, State, Status, Target};
use evenkeel_profile::{Secret, Secrets};
use evenkeel_tunnel::PathError;
use tokio::io::DuplexStream;

use crate::straw::{ALICE, BOB, Daemon, PSK, ROOT, connect, profile, wait_for, wait_until};

const LOGIN: &str = "http://portal.hotel.example/login";

fn report(verdict: PortalVerdict) -> MachineEvent {
    let url = (verdict == PortalVerdict::Portal).then(|| LOGIN.parse().unwrap());
    MachineEvent::Portal(PortalReport { verdict, url, evidence: Vec::new(), took_ms: 1 })
}

fn url(status: &Status) -> Option<&str> {
    status.portal.as_ref()?.url.as_ref().map(evenkeel_profile::WebUrl::as_str)
}

async fn wait_for_portal(client: &mut Client<DuplexStream>) -> Status {
    wait_until(client, "a portal", |status| status.portal.is_some()).await
}

/// A daemon that Alice has told to connect, and a portal in between.
async fn held() -> (Daemon, Client<DuplexStream>) {
    let daemon = Daemon::start();
    *daemon.strings.silent.lock().unwrap() = true;
    let mut alice = daemon.client(ALICE).await;
    alice.perform(connect("Lab")).await.unwrap();
    daemon.strings.told("look", 1).await;
    assert_eq!(alice.status(false).await.unwrap().portal, None);
    daemon.strings.say(report(PortalVerdict::Portal));
    let status = wait_for_portal(&mut alice).await;
    assert_eq!(url(&status), Some(LOGIN));
    assert_eq!((status.target, status.state), (Target::Connected, State::Connecting));
    (daemon, alice)
}

/// A daemon whose gateway has no route to it.
async fn unreachable(detect: bool) -> (Daemon, Client<DuplexStream>, Cause) {
    let daemon = Daemon::start();
    let cause = Cause::NetworkUnreachable { remote: "198.51.100.10:4500".parse().unwrap() };
    *daemon.strings.open.lock().unwrap() = Some(Fault { error: PathError::NoRoute, cause: cause.clone() });
    let mut alice = daemon.client(ALICE).await;
    let mut inn = profile("Inn");
    inn.portal.detect = detect;
    let secrets = Secrets { psk: Some(Secret::new(PSK)), ..Secrets::default() };
    let import = Request::ImportProfile { profile: inn, secrets, managed: false, replace: false };
    alice.perform(import).await.unwrap();
    alice.perform(connect("Inn")).await.unwrap();
    (daemon, alice, cause)
}

#[tokio::test]
async fn the_connection_is_made_by_itself_once_the_portal_is_gone() {
    let (daemon, mut alice) = held().await;
    *daemon.strings.silent.lock().unwrap() = false;
    daemon.strings.say(report(PortalVerdict::NoPortal));
    let status = wait_for(&mut alice, State::Connected).await;
    assert_eq!((status.portal, status.cause), (None, None));
    daemon.strings.told("forget", 1).await;
}

#[tokio::test]
async fn the_gateways_answer_ends_the_watch_over_a_portal() {
    let (daemon, mut alice) = held().await;
    *daemon.strings.silent.lock().unwrap() = false;
    // Nobody says that the portal is gone: IKE is repeated and gets through.
    assert_eq!(wait_for(&mut alice, State::Connected).await.portal, None);
    daemon.strings.told("forget", 1).await;
}

#[tokio::test]
async fn what_a_portal_stands_before_fails_no_more_than_it_succeeds() {
    let (daemon, mut alice, _) = unreachable(true).await;
    daemon.strings.told("look", 1).await;
    daemon.strings.say(report(PortalVerdict::Portal));
    wait_for_portal(&mut alice).await;
    // Several attempts later it is still held back, and still tries.
    daemon.strings.told("open", 3).await;
    assert_eq!(url(&alice.status(false).await.unwrap()), Some(LOGIN));
    *daemon.strings.open.lock().unwrap() = None;
    daemon.strings.say(report(PortalVerdict::Inconclusive));
    wait_for(&mut alice, State::Connected).await;
}

#[tokio::test]
async fn a_failure_without_a_portal_is_the_failure_that_it_is() {
    for verdict in [PortalVerdict::NoPortal, PortalVerdict::Inconclusive] {
        let (daemon, mut alice, cause) = unreachable(true).await;
        daemon.strings.told("look", 1).await;
        daemon.strings.say(report(verdict));
        let status = wait_for(&mut alice, State::Failed).await;
        assert_eq!((status.portal, status.cause), (None, Some(cause)));
    }
}

#[tokio::test]
async fn a_profile_that_says_not_to_look_has_nobody_asked() {
    let (daemon, mut alice, cause) = unreachable(false).await;
    assert_eq!(wait_for(&mut alice, State::Failed).await.cause, Some(cause));
    assert!(!daemon.strings.journal().contains(&"look"), "{:?}", daemon.strings.journal());
}

#[tokio::test]
async fn a_gateway_that_answers_has_nobody_asked() {
    let daemon = Daemon::start();
    daemon.connected(ALICE, "Lab").await;
    assert!(!daemon.strings.journal().contains(&"look"), "{:?}", daemon.strings.journal());
}

#[tokio::test]
async fn a_portal_is_its_users_business_and_an_administrators() {
    let (daemon, _alice) = held().await;
    let bob = daemon.client(BOB).await.status(false).await.unwrap();
    assert_eq!((bob.state, bob.portal), (State::Connecting, None));
    let root = daemon.client(ROOT).await.status(false).await.unwrap();
    assert_eq!(url(&root), Some(LOGIN));
}

#[tokio::test]
async fn who_disconnects_before_a_portal_is_off() {
    let (daemon, mut alice) = held().await;
    alice.perform(Request::Disconnect).await.unwrap();
    assert_eq!(wait_for(&mut alice, State::Off).await.portal, None);
    // Which ends the watch with everything else.
    assert_eq!(daemon.strings.journal().last(), Some(&"close"));
}

#[tokio::test]
async fn a_portal_on_the_next_network_is_seen_while_the_connection_is_kept() {
    let daemon = Daemon::start();
    let mut alice = daemon.connected(ALICE, "Lab").await;
    *daemon.strings.silent.lock().unwrap() = true;
    daemon.strings.say(MachineEvent::NetworkChanged);
    daemon.strings.told("look", 1).await;
    daemon.strings.say(report(PortalVerdict::Portal));
    assert_eq!(url(&wait_for_portal(&mut alice).await), Some(LOGIN));
    *daemon.strings.silent.lock().unwrap() = false;
    daemon.strings.say(report(PortalVerdict::NoPortal));
    let back = |status: &Status| status.state == State::Connected && status.portal.is_none();
    wait_until(&mut alice, "connected again", back).await;
    assert!(!daemon.strings.journal().contains(&"unconfigure"), "the network inside was given up");
}

#[tokio::test]
async fn a_machine_that_has_slept_asks_the_gateway_at_once() {
    let daemon = Daemon::start();
    daemon.connected(ALICE, "Lab").await;
    let opened = daemon.strings.journal().iter().filter(|told| **told == "open").count();
    daemon.strings.say(MachineEvent::Woke);
    daemon.strings.told("open", opened + 1).await;
}
