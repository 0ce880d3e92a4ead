//! Who may do what, asked over IPC as each kind of caller.

use evenkeel_ipc::{Client, ClientError, Request, RequestError, Response};
use evenkeel_profile::{Secret, Secrets};
use tokio::io::DuplexStream;

use crate::straw::{ALICE, BOB, Daemon, ROOT, connect, name, profile};

/// What came of a request, as far as permissions go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Verdict {
    Ok,
    NotPermitted,
    NotFound,
    Exists,
    Busy,
    InUse,
}
use Verdict::{Busy, Exists, InUse, NotFound, NotPermitted, Ok as Fine};

async fn ask(client: &mut Client<DuplexStream>, request: Request) -> Verdict {
    match client.request(request).await {
        Ok(_) => Verdict::Ok,
        Err(ClientError::Refused(error)) => match error {
            RequestError::NotPermitted => NotPermitted,
            RequestError::ProfileNotFound { .. } => NotFound,
            RequestError::ProfileExists { .. } => Exists,
            RequestError::Busy { .. } => Busy,
            RequestError::ProfileInUse { .. } => InUse,
            other @ (RequestError::ProfileUnusable { .. }
            | RequestError::SecretNeeded { .. }
            | RequestError::Cancelled
            | RequestError::LimitReached
            | RequestError::NetworkNotFound { .. }
            | RequestError::Internal { .. }) => panic!("{other}"),
        },
        Err(other) => panic!("{other}"),
    }
}

fn import(profile_name: &str, managed: bool, replace: bool) -> Request {
    let secrets = Secrets { psk: Some(Secret::new("planted")), ..Secrets::default() };
    Request::ImportProfile { profile: profile(profile_name), secrets, managed, replace }
}

fn show(profile: &str) -> Request {
    Request::ShowProfile { name: name(profile) }
}

fn remove(profile: &str) -> Request {
    Request::RemoveProfile { name: name(profile) }
}

/// A request, as it is made, and what Alice, Bob and an administrator hear.
type Row = (&'static str, fn() -> Request, [Verdict; 3]);

#[tokio::test]
async fn profiles_are_their_owners_and_managed_ones_the_administrators() {
    let table: [Row; 10] = [
        //                                                     Alice         Bob           administrator
        ("see Alice's", || show("Lab"), [Fine, NotFound, NotFound]),
        ("use Alice's", || connect("Lab"), [Fine, NotFound, NotFound]),
        ("remove Alice's", || remove("Lab"), [Fine, NotFound, NotFound]),
        ("see a managed one", || show("Corp"), [Fine, Fine, Fine]),
        ("use a managed one", || connect("Corp"), [Fine, Fine, Fine]),
        ("remove a managed one", || remove("Corp"), [NotPermitted, NotPermitted, Fine]),
        ("replace a managed one", || import("Corp", true, true), [NotPermitted, NotPermitted, Fine]),
        ("add a managed one", || import("New", true, false), [NotPermitted, NotPermitted, Fine]),
        ("hide a managed one", || import("Corp", false, true), [Exists, Exists, Exists]),
        ("add one's own", || import("Mine", false, false), [Fine, Fine, Fine]),
    ];
    for (what, request, expected) in table {
        for (uid, expected) in [ALICE, BOB, ROOT].into_iter().zip(expected) {
            let daemon = Daemon::start();
            let mut client = daemon.client(uid).await;
            assert_eq!(ask(&mut client, request()).await, expected, "{what} as {uid}");
        }
    }
}

#[tokio::test]
async fn a_connection_is_its_users_and_the_administrators() {
    let table: [Row; 5] = [
        //                                                     Alice         Bob           administrator
        ("disconnect", || Request::Disconnect, [Fine, NotPermitted, Fine]),
        ("connect with the same", || connect("Lab"), [Fine, NotFound, NotFound]),
        ("connect with another", || connect("Corp"), [Busy, NotPermitted, Busy]),
        ("remove what is in use", || remove("Lab"), [InUse, NotFound, NotFound]),
        ("replace what is in use", || import("Lab", false, true), [InUse, Fine, Fine]),
    ];
    for (what, request, expected) in table {
        for (uid, expected) in [ALICE, BOB, ROOT].into_iter().zip(expected) {
            let daemon = Daemon::start();
            daemon.connected(ALICE, "Lab").await;
            let mut client = daemon.client(uid).await;
            assert_eq!(ask(&mut client, request()).await, expected, "{what} as {uid}");
        }
    }
}

#[tokio::test]
async fn another_user_sees_that_there_is_a_connection_and_nothing_else_of_it() {
    let daemon = Daemon::start();
    let mut alice = daemon.connected(ALICE, "Lab").await;
    let full = alice.status(false).await.unwrap();
    assert!(full.ike_sa.is_some() && full.profile.is_some() && !full.addresses.is_empty());
    assert_eq!(daemon.client(ROOT).await.status(false).await.unwrap().ike_sa, full.ike_sa);

    let mut bob = daemon.client(BOB).await;
    for watch in [false, true] {
        let seen = bob.status(watch).await.unwrap();
        let json = serde_json::to_string(&seen).unwrap();
        assert_eq!(seen.state, full.state);
        for secret in ["Lab", "198.51.100.10", "10.9.0.", "10.10.", "vpn.example", "AES", "192.168.1.5"] {
            assert!(!json.contains(secret), "{secret} in {json}");
        }
    }
    assert!(!bob.profiles().await.unwrap().iter().any(|profile| profile.active));
}

#[tokio::test]
async fn lists_hold_ones_own_and_managed_profiles_and_for_administrators_all() {
    let daemon = Daemon::start();
    for (uid, expected) in [(ALICE, vec!["Lab", "Corp"]), (BOB, vec!["Corp"]), (ROOT, vec!["Lab", "Corp"])] {
        let profiles = daemon.client(uid).await.profiles().await.unwrap();
        let names: Vec<&str> = profiles.iter().map(|profile| profile.name.as_str()).collect();
        assert_eq!(names, expected, "{uid}");
    }
}

#[tokio::test]
async fn no_answer_ever_holds_a_secret() {
    let daemon = Daemon::start();
    let mut alice = daemon.connected(ALICE, "Lab").await;
    let requests =
        [show("Lab"), show("Corp"), Request::ListProfiles, Request::Status, Request::Log { lines: 1000 }];
    for request in requests {
        let response: Response = alice.request(request).await.unwrap();
        assert!(!serde_json::to_string(&response).unwrap().contains(crate::straw::PSK));
    }
}

#[tokio::test]
async fn what_one_user_plants_under_anothers_profile_name_stays_that_users() {
    let daemon = Daemon::start();
    let mut bob = daemon.client(BOB).await;
    assert_eq!(ask(&mut bob, import("Lab", false, true)).await, Fine);
    // Alice's still has Alice's key: the gateway takes it.
    daemon.connected(ALICE, "Lab").await;
}
