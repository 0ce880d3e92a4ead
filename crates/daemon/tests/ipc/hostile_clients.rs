//! What a hostile client can cost: never more than its own connection, for a bounded time.

use std::time::Duration;

use evenkeel_ipc::{Client, PROTOCOL_VERSION, Request};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use crate::straw::{BOB, Daemon};

/// Whether a well-behaved client is served at once.
async fn is_well(daemon: &Daemon) {
    let mut client = daemon.client(BOB).await;
    client.status(false).await.unwrap();
    assert_eq!(client.profiles().await.unwrap().len(), 1);
}

fn frame(body: &[u8]) -> Vec<u8> {
    [&u32::try_from(body.len()).unwrap().to_be_bytes()[..], body].concat()
}

fn hello() -> Vec<u8> {
    frame(format!(r#"{{"protocol":{PROTOCOL_VERSION},"client":"test"}}"#).as_bytes())
}

async fn ended(server: JoinHandle<()>, within: Duration) {
    let started = Instant::now();
    timeout(within, server).await.expect("the connection goes on").unwrap();
    assert!(started.elapsed() <= within);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_says_nothing_is_closed_after_five_seconds() {
    let daemon = Daemon::start();
    let (_silent, server) = daemon.raw_client();
    ended(server, Duration::from_secs(6)).await;
    is_well(&daemon).await;
}

#[tokio::test(start_paused = true)]
async fn a_slow_loris_is_closed_after_five_seconds_however_busy_it_looks() {
    let daemon = Daemon::start();
    let (mut client, server) = daemon.raw_client();
    let dripping = tokio::spawn(async move {
        for byte in hello() {
            if client.write_all(&[byte]).await.is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(900)).await;
        }
    });
    ended(server, Duration::from_secs(6)).await;
    is_well(&daemon).await;
    dripping.abort();
}

#[tokio::test(start_paused = true)]
async fn a_client_that_never_reads_is_closed_after_ten_seconds() {
    let daemon = Daemon::start();
    let (mut client, server) = daemon.raw_client();
    client.write_all(&hello()).await.unwrap();
    let asking = tokio::spawn(async move {
        let request = frame(br#"{"id":1,"request":"status"}"#);
        while client.write_all(&request).await.is_ok() {}
    });
    ended(server, Duration::from_secs(12)).await;
    is_well(&daemon).await;
    asking.abort();
}

#[tokio::test]
async fn a_frame_said_to_be_huge_ends_the_connection_before_it_is_awaited() {
    let daemon = Daemon::start();
    for before in [vec![], hello()] {
        let (mut client, server) = daemon.raw_client();
        client.write_all(&before).await.unwrap();
        client.write_all(&[0xff; 4]).await.unwrap();
        ended(server, Duration::from_secs(2)).await;
        let mut rest = Vec::new();
        client.read_to_end(&mut rest).await.unwrap();
    }
    is_well(&daemon).await;
}

#[tokio::test]
async fn a_name_of_megabytes_is_not_kept() {
    let daemon = Daemon::start();
    let name = "x".repeat(1 << 20);
    let (mut client, server) = daemon.raw_client();
    let hello = frame(format!(r#"{{"protocol":{PROTOCOL_VERSION},"client":"{name}"}}"#).as_bytes());
    // The daemon does not wait for all of it.
    let _ = client.write_all(&hello).await;
    ended(server, Duration::from_secs(2)).await;
    is_well(&daemon).await;
}

#[tokio::test]
async fn garbage_ends_the_connection() {
    let daemon = Daemon::start();
    let bodies: [&[u8]; 9] = [
        b"",
        b"null",
        b"[[[[[[[[[[",
        b"{\"id\":1}",
        b"{\"id\":-1,\"request\":\"status\"}",
        b"{\"id\":1,\"request\":\"reboot\"}",
        b"{\"id\":1,\"request\":{\"connect\":{\"name\":\"../../etc/shadow\",\"secret\":null}}}",
        b"{\"id\":1,\"request\":{\"import_profile\":{}}}",
        &[0xff, 0xfe, 0x00],
    ];
    for body in bodies {
        let (mut client, server) = daemon.raw_client();
        client.write_all(&hello()).await.unwrap();
        client.write_all(&frame(body)).await.unwrap();
        ended(server, Duration::from_secs(2)).await;
    }
    is_well(&daemon).await;
}

#[tokio::test]
async fn another_protocol_version_is_told_ours_and_closed() {
    let daemon = Daemon::start();
    let (mut client, server) = daemon.raw_client();
    client.write_all(&frame(br#"{"protocol":999,"client":"from the future"}"#)).await.unwrap();
    ended(server, Duration::from_secs(2)).await;
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).await.unwrap();
    assert!(String::from_utf8_lossy(&answer).contains(r#""protocol":1"#));
}

#[tokio::test]
async fn a_flood_of_requests_is_answered_in_order_by_one_connection_while_others_are_served() {
    let daemon = Daemon::start();
    let (stream, _server) = daemon.raw_client();
    let mut flood = Client::connect(stream, "flood").await.unwrap();
    for _ in 0..500 {
        flood.request(Request::Log { lines: u32::MAX }).await.unwrap();
    }
    is_well(&daemon).await;
}
