//! The program against a daemon of straw: what it prints, what it ends with.
#![expect(clippy::expect_used, reason = "a test stops at the first surprise")]

mod mock;

use std::path::PathBuf;

use evenkeel_ipc::{
    Address, Carrier, Cause, LearnedNetwork, NameFault, Portal, RememberedNetwork, State, Status, Timestamp,
};
use evenkeel_profile::SecretKind;
use mock::{Daemon, PATIENCE, World, evenkeel, finish, line, status};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::time::timeout;

fn data(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "../profile/tests/data", name].iter().collect()
}

/// A profile file in a folder of its own, beside the CA it names.
fn profile_file(text: &str) -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().expect("folder");
    let file = folder.path().join("lab.toml");
    std::fs::write(&file, text).expect("written");
    std::fs::copy(data("ca.crt"), folder.path().join("ca.crt")).expect("copied");
    let name = file.to_str().expect("UTF-8").to_owned();
    (folder, name)
}

const LAB: &str = r#"name = "Lab"
gateway = "vpn.lab.example"
[auth]
method = "eap-mschapv2"
identity = "alice"
[trust]
ca = ["ca.crt"]
"#;

#[tokio::test]
async fn connect_waits_until_connected_and_says_the_address() {
    let mut up = status(State::Connected, "Lab");
    up.addresses = vec![Address { ip: "10.10.200.3".parse().expect("address"), prefix: 32 }];
    let course = vec![status(State::Connecting, "Lab"), status(State::Authenticating, "Lab"), up];
    let daemon = Daemon::start(World { course, ..World::default() });
    let run = daemon.run(&["connect", "Lab"]).await;
    assert_eq!(
        (run.code, run.out.as_str()),
        (Some(0), "Connected to Lab with address 10.10.200.3.\n"),
        "{}",
        run.err
    );
}

#[tokio::test]
async fn each_kind_of_failure_has_its_exit_code() {
    let name = "vpn.lab.example".to_owned();
    for (cause, code, words) in [
        (Cause::WrongPassword, 3, "password is wrong"),
        (Cause::NameUnresolved { name, fault: NameFault::NotFound }, 4, "no host named vpn.lab.example"),
        (Cause::NoCommonIkeProposal, 5, "no algorithms in common"),
        (Cause::NoAddressAssigned, 6, "no address for you"),
        (Cause::TunUnavailable { detail: "ENOENT".to_owned() }, 7, "no tunnel device"),
        (Cause::Cancelled, 11, "Disconnected"),
    ] {
        let mut failed = status(State::Failed, "Lab");
        failed.cause = Some(cause);
        let course = vec![status(State::Connecting, "Lab"), failed];
        let daemon = Daemon::start(World { course, ..World::default() });
        let run = daemon.run(&["connect", "Lab"]).await;
        assert_eq!(run.code, Some(code), "{}", run.err);
        assert!(run.err.contains(words), "{}", run.err);
        assert_eq!(run.out, "");
    }
}

#[tokio::test]
async fn a_needed_password_comes_from_standard_input_or_the_run_fails_at_once() {
    let world = || World {
        needs: Some(SecretKind::Password),
        course: vec![status(State::Connected, "Lab")],
        ..World::default()
    };
    let daemon = Daemon::start(world());
    let run = daemon.run(&["connect", "Lab"]).await;
    assert_eq!(run.code, Some(3), "{}", run.err);
    assert!(run.err.contains("--password-stdin"), "{}", run.err);

    let daemon = Daemon::start(world());
    let run = daemon.run_with(&["connect", "Lab", "--password-stdin"], "open sesame\n").await;
    assert_eq!(run.code, Some(0), "{}", run.err);
    assert_eq!(daemon.world.lock().expect("lock").given.as_deref(), Some("open sesame"));
    assert!(!format!("{}{}", run.out, run.err).contains("sesame"));
}

#[tokio::test]
async fn waiting_ends_when_it_was_said_to() {
    let daemon = Daemon::start(World { course: vec![status(State::Connecting, "Lab")], ..World::default() });
    let run = daemon.run(&["connect", "Lab", "--wait", "1"]).await;
    assert_eq!(run.code, Some(10), "{}", run.err);
    let daemon = Daemon::start(World { course: vec![status(State::Connecting, "Lab")], ..World::default() });
    let run = daemon.run(&["connect", "Lab", "--wait", "0"]).await;
    assert_eq!((run.code, run.out.as_str()), (Some(0), "Connecting to Lab has begun.\n"), "{}", run.err);
}

#[tokio::test]
async fn a_portal_is_told_once_and_waited_for() {
    let held = |url: &str| {
        let portal = Portal { url: url.parse().ok(), since: Timestamp::from_unix(1_800_000_000) };
        Status { portal: Some(portal), ..status(State::Connecting, "Lab") }
    };
    let page = "http://portal.hotel.example/login";
    let sentence = format!(
        "This network wants you to sign in first: {page}; the connection continues by itself afterwards.\n"
    );
    // The same page with another number is no other page.
    let again = "http://portal.hotel.example/login?nonce=2";
    let course = vec![held(page), held(page), held(again), status(State::Connected, "Lab")];
    let daemon = Daemon::start(World { course, ..World::default() });
    let run = daemon.run(&["connect", "Lab"]).await;
    assert_eq!((run.code, run.err), (Some(0), sentence.clone()));

    let other = "http://portal.hotel.example/step2";
    let course = vec![held(page), held(other), status(State::Connected, "Lab")];
    let daemon = Daemon::start(World { course, ..World::default() });
    let run = daemon.run(&["connect", "Lab"]).await;
    assert_eq!(run.err, format!("{sentence}{}", sentence.replace(page, other)));

    let daemon = Daemon::start(World { course: vec![held(page)], ..World::default() });
    let run = daemon.run(&["connect", "Lab", "--wait", "1"]).await;
    assert_eq!(run.code, Some(12), "{}", run.err);
    assert!(run.err.starts_with(&sentence), "{}", run.err);
    assert!(run.err.contains("Nobody has signed in to this network."), "{}", run.err);
}

#[tokio::test]
async fn a_profile_is_imported_listed_shown_and_removed() {
    let daemon = Daemon::start(World::default());
    let (_folder, file) = profile_file(LAB);
    let run = daemon.run(&["profile", "import", &file]).await;
    assert_eq!((run.code, run.err.as_str()), (Some(0), ""));
    assert_eq!(run.out, "Imported Lab. Connect with: evenkeel connect Lab\n");
    let run = daemon.run(&["profile", "import", &file]).await;
    assert_eq!(run.code, Some(5), "a second of the same name");
    assert_eq!(daemon.run(&["profile", "import", "--replace", &file]).await.code, Some(0));
    assert_eq!(daemon.run(&["profile", "import", "--name", "Two", "--managed", &file]).await.code, Some(9));

    let run = daemon.run(&["profile", "list"]).await;
    assert_eq!(run.out, "NAME  GATEWAY          METHOD\nLab   vpn.lab.example  eap-mschapv2\n");
    let run = daemon.run(&["profile", "show", "Lab"]).await;
    assert!(run.out.contains("alice, by password (EAP-MSCHAPv2), asked for at each connect"), "{}", run.out);
    assert!(run.out.contains("CN=Example CA"), "{}", run.out);
    let run = daemon.run(&["profile", "show", "Lab", "--json"]).await;
    let json: serde_json::Value = serde_json::from_str(&run.out).expect("JSON");
    assert_eq!(json.pointer("/profile/auth/identity"), Some(&"alice".into()));

    assert_eq!(daemon.run(&["profile", "remove", "Lab"]).await.code, Some(0));
    assert_eq!(daemon.run(&["profile", "remove", "Lab"]).await.code, Some(5));
}

#[tokio::test]
async fn a_wrong_profile_is_refused_by_file_line_and_key_and_nothing_is_sent() {
    let daemon = Daemon::start(World::default());
    let (_folder, file) = profile_file(&LAB.replace("eap-mschapv2", "eap-tls"));
    let run = daemon.run(&["profile", "import", &file]).await;
    assert_eq!(run.code, Some(5));
    let told = run.err.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(
        told.contains("auth.method: unknown value `eap-tls`; allowed: eap-mschapv2, certificate, psk"),
        "{told}"
    );
    assert!(told.contains("toml:4:10:"), "{told}");
    assert!(daemon.world.lock().expect("lock").profiles.is_empty());
}

#[tokio::test]
async fn an_encrypted_key_opens_with_a_passphrase_from_standard_input() {
    let daemon = Daemon::start(World::default());
    let text =
        LAB.replace("identity = \"alice\"", "pkcs12 = \"alice.p12\"").replace("eap-mschapv2", "certificate");
    let (folder, file) = profile_file(&text);
    std::fs::copy(data("alice-sesame.p12"), folder.path().join("alice.p12")).expect("copied");
    let run = daemon.run(&["profile", "import", &file]).await;
    assert_eq!(run.code, Some(5));
    assert!(run.err.contains("--passphrase-stdin"), "{}", run.err);
    let run = daemon.run_with(&["profile", "import", "--passphrase-stdin", &file], "sesame\n").await;
    assert_eq!(run.code, Some(0), "{}", run.err);
    let world = daemon.world.lock().expect("lock");
    assert!(world.profiles.first().is_some_and(|(_, secrets)| secrets.private_key.is_some()));
}

#[tokio::test]
async fn status_in_json_has_every_field_of_the_interface() {
    let daemon = Daemon::start(World { status: Some(status(State::Connected, "Lab")), ..World::default() });
    let run = daemon.run(&["status", "--json"]).await;
    let json: serde_json::Value = serde_json::from_str(&run.out).expect("JSON");
    for field in [
        "target",
        "state",
        "since",
        "cause",
        "portal",
        "network",
        "profile",
        "gateway",
        "ike_sa",
        "child_sas",
        "legacy",
        "addresses",
        "dns",
        "domains",
        "mtu",
        "keepalive_s",
        "round_trips",
        "received_ago_s",
        "sent_ago_s",
    ] {
        assert!(json.get(field).is_some(), "{field} is missing");
    }
    assert_eq!(json.get("state"), Some(&"connected".into()));
    assert_eq!(json.get("since"), Some(&"2027-01-15T08:00:00Z".into()));
}

#[tokio::test]
async fn watching_prints_each_status_until_the_daemon_ends() {
    let daemon = Daemon::start(World::default());
    let mut child = daemon.evenkeel(&["status", "--watch", "--json"]).spawn().expect("starts");
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    let first =
        timeout(PATIENCE, lines.next_line()).await.expect("in time").expect("readable").expect("a line");
    assert!(first.contains(r#""state":"off""#), "{first}");
    let done = daemon.run(&["disconnect"]).await;
    assert_eq!(done.out, "Not connected.\n");
    child.kill().await.expect("ends");
}

#[tokio::test]
async fn output_that_nobody_reads_any_more_is_no_error() {
    let log = (0..20_000).map(|n| line(&format!("line {n}"))).collect();
    let daemon = Daemon::start(World { log, ..World::default() });
    let mut child = daemon.evenkeel(&["log", "-n", "20000"]).spawn().expect("starts");
    let mut out = child.stdout.take().expect("piped");
    let mut some = [0; 64];
    timeout(PATIENCE, out.read_exact(&mut some)).await.expect("in time").expect("readable");
    drop(out);
    let end = timeout(PATIENCE, child.wait_with_output()).await.expect("ends in time").expect("is awaited");
    assert_eq!((end.status.code(), String::from_utf8_lossy(&end.stderr).as_ref()), (Some(0), ""));
}

#[tokio::test]
async fn without_a_daemon_the_program_says_so() {
    let folder = tempfile::tempdir().expect("folder");
    let run = finish(evenkeel(&folder.path().join("none.sock"), &["status"]), "").await;
    assert_eq!(run.code, Some(8));
    assert!(run.err.contains("The Evenkeel daemon is not running."), "{}", run.err);
}

#[tokio::test]
async fn a_hostile_daemon_gets_nothing_onto_the_terminal() {
    let frame = |json: &str| {
        let length = u32::try_from(json.len()).expect("short").to_be_bytes();
        [&length[..], json.as_bytes()].concat()
    };
    let welcome = frame(r#"{"protocol":1,"daemon":"d"}"#);
    let evil = "\\u001b]0;owned\\u0007\\u202e";
    let lines = format!(
        r#"{{"response":{{"id":1,"response":{{"log":[{{"at":"2027-01-15T08:00:00Z","level":"info","target":"{evil}","message":"{evil}\\n"}}]}}}}}}"#
    );
    for (bytes, arguments, code) in [
        (u32::MAX.to_be_bytes().to_vec(), vec!["log"], 8),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(), vec!["log"], 8),
        (frame(&format!(r#"{{"protocol":7,"daemon":"{evil}"}}"#)), vec!["log"], 8),
        ([welcome.clone(), frame("[[[[")].concat(), vec!["log"], 8),
        ([welcome.clone(), frame(r#"{"response":{"id":1,"response":"done"}}"#)].concat(), vec!["status"], 8),
        ([welcome.clone(), frame(&lines)].concat(), vec!["log"], 0),
        ([welcome.clone(), frame(&lines)].concat(), vec!["log", "--json"], 0),
    ] {
        let daemon = Daemon::hostile(bytes);
        let run = daemon.run(&arguments).await;
        assert_eq!(run.code, Some(code), "{}", run.err);
        let shown = format!("{}{}", run.out, run.err);
        assert!(!shown.contains(['\u{1b}', '\u{7}', '\u{202e}']), "{shown:?}");
    }
}

#[tokio::test]
async fn completions_and_manual_pages_are_generated() {
    let folder = tempfile::tempdir().expect("folder");
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let run = finish(evenkeel(folder.path(), &["completions", shell]), "").await;
        assert_eq!(run.code, Some(0), "{}", run.err);
        assert!(run.out.contains("evenkeel"), "{shell}");
    }
    let run = finish(evenkeel(folder.path(), &["man", folder.path().to_str().expect("UTF-8")]), "").await;
    assert_eq!(run.code, Some(0), "{}", run.err);
    let page = std::fs::read_to_string(folder.path().join("evenkeel.1")).expect("the page");
    assert!(page.contains("EXIT STATUS") && page.contains("could not prove who it is"), "{page}");
    assert!(folder.path().join("evenkeel-profile-import.1").exists());
}

#[tokio::test]
async fn help_names_the_exit_codes() {
    let folder = tempfile::tempdir().expect("folder");
    let run = finish(evenkeel(folder.path(), &["--help"]), "").await;
    assert!(run.out.contains("Exit codes:"), "{}", run.out);
    assert_eq!(finish(evenkeel(folder.path(), &["conect"]), "").await.code, Some(2));
}

/// A network that the daemon remembers.
fn network(id: &str, label: &str) -> RememberedNetwork {
    RememberedNetwork {
        id: id.parse().expect("an ID"),
        label: label.to_owned(),
        last_seen: Timestamp::from_unix(1_700_000_000),
        present: false,
        transport: Some(Carrier::Udp),
        keepalive_s: Some(96),
        connect_ms: None,
        portal_seen: None,
        learned: LearnedNetwork::default(),
    }
}

fn two_networks() -> Daemon {
    let networks = vec![network("0123456789abcdef", "Cafe"), network("00000000000000aa", "Hotel")];
    Daemon::start(World { networks, ..World::default() })
}

#[tokio::test]
async fn networks_are_listed_and_shown_for_people_and_for_scripts() {
    let daemon = two_networks();
    let run = daemon.run(&["networks", "list"]).await;
    assert_eq!(run.code, Some(0), "{}", run.err);
    assert!(run.out.contains("Cafe") && run.out.contains("00000000000000aa"), "{}", run.out);
    let run = daemon.run(&["networks", "show", "0123456789abcdef"]).await;
    assert!(run.out.starts_with("Cafe\n") && run.out.contains("every 1 min 36 s"), "{}", run.out);

    let run = daemon.run(&["networks", "list", "--json"]).await;
    let listed: Vec<RememberedNetwork> = serde_json::from_str(&run.out).expect("JSON");
    assert_eq!(listed.iter().map(|network| network.label.as_str()).collect::<Vec<_>>(), ["Cafe", "Hotel"]);
    let run = daemon.run(&["networks", "show", "0123456789abcdef", "--json"]).await;
    let shown: serde_json::Value = serde_json::from_str(&run.out).expect("JSON");
    assert_eq!((&shown["transport"], &shown["last_seen"]), (&"udp".into(), &"2023-11-14T22:13:20Z".into()));
    assert!(shown["verdicts"]["udp4500"].is_null());

    let empty = Daemon::start(World::default()).run(&["networks", "list"]).await;
    assert_eq!((empty.code, empty.out.as_str()), (Some(0), ""));
    assert!(empty.err.contains("No networks yet"), "{}", empty.err);
}

#[tokio::test]
async fn networks_are_forgotten_by_id_or_all_together() {
    let daemon = two_networks();
    let run = daemon.run(&["networks", "forget", "0123456789abcdef"]).await;
    assert_eq!((run.code, run.out.as_str()), (Some(0), "Forgot 0123456789abcdef.\n"), "{}", run.err);
    let run = daemon.run(&["networks", "forget", "0123456789abcdef"]).await;
    assert_eq!((run.code, run.out.as_str()), (Some(5), ""));
    assert!(run.err.contains("No network 0123456789abcdef is remembered."), "{}", run.err);
    assert_eq!(daemon.world.lock().expect("lock").networks.len(), 1);
    let run = daemon.run(&["networks", "forget", "--all"]).await;
    assert_eq!((run.code, run.out.as_str()), (Some(0), "Forgot all networks.\n"));
    assert!(daemon.world.lock().expect("lock").networks.is_empty());
}
