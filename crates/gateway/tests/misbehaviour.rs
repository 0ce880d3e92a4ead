//! What the gateway does of its own accord, and what it does wrong when it is told to: seen from a client.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::unwrap_in_result, reason = "a test may panic")]

mod support;

use std::time::Duration;

use evenkeel_gateway::control;
use evenkeel_ipsec::ike::{Failure, MigrationRefusal, PeerAuthFailure, Timers};
use evenkeel_platform::ipc_transport::endpoint_in;
use serde_json::{Value, json};

use self::support::gateways::{PSK_GATEWAY, config, connect_with_psk, get, ping, psk_client};
use self::support::tunnel::{RunningGateway, TunnelClient};
use self::support::{Conversation, GATEWAY_V4, HttpAnswer, ip};

/// A gateway with a control socket.
struct Controlled {
    gateway: RunningGateway,
    _dir: tempfile::TempDir,
}

impl Controlled {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut config = config(PSK_GATEWAY);
        config.listen.control = Some(endpoint_in(dir.path(), "control.sock"));
        Self { gateway: RunningGateway::start(config), _dir: dir }
    }

    async fn ask(&self, request: Value) -> Value {
        let endpoint = self.gateway.ready.control.as_deref().unwrap();
        let answer = control::send(endpoint, &request.to_string()).await.unwrap();
        let answer: Value = serde_json::from_str(&answer).unwrap();
        assert_eq!(answer.get("error"), None);
        answer["ok"].clone()
    }

    async fn act(&self, action: &str) {
        let answer = self.ask(json!({ "command": "act", "action": action })).await;
        assert_eq!(answer, json!({ "sessions": 1 }));
    }

    async fn set_faults(&self, faults: Value) {
        self.ask(json!({ "command": "set_faults", "faults": faults })).await;
    }
}

async fn failure_of_connecting(controlled: &Controlled) -> Failure {
    let mut client = TunnelClient::connect(&controlled.gateway.ready, psk_client(), None).await;
    client.ended().await
}

#[tokio::test]
async fn the_status_shows_sessions_with_their_counters() {
    let controlled = Controlled::start();
    let status = controlled.ask(json!({ "command": "status" })).await;
    assert_eq!(status["sessions"], json!([]));

    let mut client = connect_with_psk(&controlled.gateway).await;
    ping(&mut client, GATEWAY_V4).await;
    let status = controlled.ask(json!({ "command": "status" })).await;
    let session = &status["sessions"][0];
    assert_eq!(session["peer"], "client.practice");
    assert_eq!(session["round_trips"], 2);
    let child = &session["children"][0];
    assert_eq!(child["received"]["packets"], 1);
    assert_eq!(child["sent"]["packets"], 1);
    let spi_of_client = client.spis()[0].to_string();
    assert_eq!(child["spi_out"], spi_of_client, "what the gateway sends on, the client receives on");
}

#[tokio::test]
async fn a_request_that_makes_no_sense_is_refused_and_the_next_one_is_answered() {
    let controlled = Controlled::start();
    let endpoint = controlled.gateway.ready.control.clone().unwrap();
    let answer = control::send(&endpoint, r#"{"command":"dance"}"#).await.unwrap();
    assert!(answer.starts_with(r#"{"error":"#) && answer.contains("set_faults"), "{answer}");
    controlled.ask(json!({ "command": "status" })).await;
}

#[tokio::test]
async fn a_download_loses_nothing_while_the_gateway_rekeys_both_sas() {
    let controlled = Controlled::start();
    let mut client = connect_with_psk(&controlled.gateway).await;
    let handle = client.stack().connect(ip(GATEWAY_V4), 80);
    let request = b"GET /bytes/30000000 HTTP/1.1\r\nHost: gateway.practice\r\n\r\n";
    let mut download = Conversation::new(handle, request);
    for round in 1..=3 {
        for action in ["rekey_children", "rekey_ike"] {
            controlled.act(action).await;
            client
                .run(|client| {
                    assert!(download.drive(client.stack()).is_none(), "the download ended before the rekeys");
                    let rekeyed =
                        if action == "rekey_ike" { client.ike_rekeys } else { client.installed - 1 };
                    (rekeyed == round).then_some(())
                })
                .await;
        }
    }
    let mut bytes = client.run(|client| download.drive(client.stack())).await;
    let answer = HttpAnswer::take(&mut bytes).unwrap();
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &answer.body);
    let expected = evenkeel_gateway::inner::content::sha256(30_000_000);
    assert_eq!(digest.as_ref(), expected);
}

#[tokio::test]
async fn a_client_that_loses_its_mapping_is_answered_at_its_new_port() {
    let controlled = Controlled::start();
    let mut client = connect_with_psk(&controlled.gateway).await;
    ping(&mut client, GATEWAY_V4).await;
    client.lose_mapping().await;
    ping(&mut client, GATEWAY_V4).await;
}

#[tokio::test]
async fn a_client_that_migrates_is_answered_at_its_new_port_unless_the_fault_forbids_it() {
    let controlled = Controlled::start();
    let mut client = connect_with_psk(&controlled.gateway).await;
    ping(&mut client, GATEWAY_V4).await;
    assert_eq!(client.migrate().await, Ok(()));
    let moved = client.nat_path.local.to_string();
    let status = controlled.ask(json!({ "command": "status" })).await;
    assert_eq!(status["sessions"][0]["remote"], json!(moved));
    ping(&mut client, GATEWAY_V4).await;

    controlled.set_faults(json!({ "ike": { "reject_update": "UNACCEPTABLE_ADDRESSES" } })).await;
    assert_eq!(client.migrate().await, Err(MigrationRefusal::UnacceptableAddresses));
    let status = controlled.ask(json!({ "command": "status" })).await;
    assert_eq!(status["sessions"][0]["remote"], json!(moved));

    controlled.set_faults(json!({ "ike": { "no_mobike": true } })).await;
    let older = connect_with_psk(&controlled.gateway).await;
    assert!(!older.session.info().unwrap().mobike);
}

#[tokio::test]
async fn two_clients_have_addresses_and_answers_of_their_own() {
    let controlled = Controlled::start();
    let mut one = connect_with_psk(&controlled.gateway).await;
    let mut other = connect_with_psk(&controlled.gateway).await;
    assert_ne!(one.assigned.addresses, other.assigned.addresses);
    ping(&mut one, GATEWAY_V4).await;
    ping(&mut other, GATEWAY_V4).await;
    assert_eq!(get(&mut one, GATEWAY_V4, "/").await.status, 200);
}

#[tokio::test]
async fn a_gateway_that_ends_says_goodbye() {
    let controlled = Controlled::start();
    let mut client = connect_with_psk(&controlled.gateway).await;
    controlled.ask(json!({ "command": "stop" })).await;
    assert!(matches!(client.ended().await, Failure::PeerClosed));
}

#[tokio::test]
async fn a_deleted_ike_sa_ends_the_session() {
    let controlled = Controlled::start();
    let mut client = connect_with_psk(&controlled.gateway).await;
    controlled.act("delete_ike").await;
    assert!(matches!(client.ended().await, Failure::PeerClosed));
}

#[tokio::test]
async fn deleted_child_sas_are_gone_at_the_client_too() {
    let controlled = Controlled::start();
    let mut client = connect_with_psk(&controlled.gateway).await;
    let before = client.spis();
    controlled.act("delete_children").await;
    client.run(|client| (!client.spis().contains(&before[0])).then_some(())).await;
    assert!(client.closed.is_none());
}

#[tokio::test]
async fn a_gateway_that_forgot_the_session_is_found_dead() {
    let controlled = Controlled::start();
    let timers = Timers {
        retransmit_first: Duration::from_millis(50),
        retransmits_established: 2,
        dpd_after: Some(Duration::from_millis(200)),
        ..Timers::default()
    };
    let mut config = psk_client();
    config.timers = timers;
    let mut client = TunnelClient::connect(&controlled.gateway.ready, config, None).await;
    client.established().await;
    controlled.act("forget").await;
    let failure = client.ended().await;
    assert!(matches!(failure, Failure::PeerDead), "{failure:?}");
}

#[tokio::test]
async fn a_gateway_that_ignores_dpd_is_found_dead() {
    let controlled = Controlled::start();
    controlled.set_faults(json!({ "ike": { "ignore_dpd": true } })).await;
    let timers = Timers {
        retransmit_first: Duration::from_millis(50),
        retransmits_established: 2,
        dpd_after: Some(Duration::from_millis(200)),
        ..Timers::default()
    };
    let mut config = psk_client();
    config.timers = timers;
    let mut client = TunnelClient::connect(&controlled.gateway.ready, config, None).await;
    client.established().await;
    assert!(matches!(client.ended().await, Failure::PeerDead));
}

#[tokio::test]
async fn the_gateway_keeps_to_its_timers() {
    let timers = "[timers]\nchild_rekey_s = 1\nike_rekey_s = 1\nauth_lifetime_s = 2\n";
    let gateway = RunningGateway::start(config(&format!("{PSK_GATEWAY}\n{timers}")));
    let mut client = connect_with_psk(&gateway).await;
    client
        .run(|client| {
            let rekeyed = client.installed >= 2 && client.ike_rekeys >= 1;
            (rekeyed && client.reauthentication_due).then_some(())
        })
        .await;
    ping(&mut client, GATEWAY_V4).await;
}

#[tokio::test]
async fn a_gateway_without_tfc_says_so() {
    let controlled = Controlled::start();
    let supports_tfc = |client: &TunnelClient| client.session.children().next().unwrap().tfc_supported;
    assert!(supports_tfc(&connect_with_psk(&controlled.gateway).await));
    controlled.set_faults(json!({ "ike": { "no_tfc": true } })).await;
    assert!(!supports_tfc(&connect_with_psk(&controlled.gateway).await));
}

#[tokio::test]
async fn a_rejected_first_child_sa_is_reported_as_such() {
    let controlled = Controlled::start();
    controlled.set_faults(json!({ "ike": { "reject_child": "TS_UNACCEPTABLE" } })).await;
    let failure = failure_of_connecting(&controlled).await;
    assert!(matches!(failure, Failure::TsUnacceptable), "{failure:?}");
}

#[tokio::test]
async fn a_spoilt_auth_payload_is_not_believed() {
    let controlled = Controlled::start();
    controlled.set_faults(json!({ "ike": { "bad_auth": true } })).await;
    let failure = failure_of_connecting(&controlled).await;
    assert!(matches!(failure, Failure::PeerAuth(PeerAuthFailure::PskMismatch)), "{failure:?}");
}

#[tokio::test]
async fn selectors_that_were_not_offered_are_not_installed() {
    let controlled = Controlled::start();
    controlled.set_faults(json!({ "ike": { "wrong_ts": true } })).await;
    let mut config = psk_client();
    // Only a narrower offer than everything can be exceeded.
    let office = evenkeel_ipsec::wire::TrafficSelector::from_cidr(ip("10.77.0.0"), 16).unwrap();
    config.ts_remote = vec![office];
    let mut client = TunnelClient::connect(&controlled.gateway.ready, config, None).await;
    client.run(|client| (client.closed.is_some() || !client.refused.is_empty()).then_some(())).await;
    assert_eq!(client.installed, 0);
}

#[tokio::test]
async fn rekeys_that_are_rejected_leave_the_sas_in_place() {
    let controlled = Controlled::start();
    let rejecting = json!({ "ike": {
        "reject_child_rekey": "NO_PROPOSAL_CHOSEN",
        "reject_ike_rekey": "TEMPORARY_FAILURE",
    } });
    controlled.set_faults(rejecting).await;
    let mut client = connect_with_psk(&controlled.gateway).await;
    let spi = client.spis()[0];
    client.session.rekey_child(spi, std::time::Instant::now());
    client.run(|client| (client.refused == ["NO_PROPOSAL_CHOSEN"]).then_some(())).await;
    ping(&mut client, GATEWAY_V4).await;
    assert_eq!(client.spis(), [spi]);
}

#[tokio::test]
async fn chosen_ike_messages_are_lost_and_retransmitted() {
    let controlled = Controlled::start();
    controlled.set_faults(json!({ "link": { "drop_ike_received": [1], "drop_ike_sent": [2] } })).await;
    let mut client = connect_with_psk(&controlled.gateway).await;
    ping(&mut client, GATEWAY_V4).await;
    let status = controlled.ask(json!({ "command": "status" })).await;
    assert_eq!(status["link"]["dropped"], 2);
}

#[tokio::test]
async fn loss_and_delay_slow_a_download_and_do_not_spoil_it() {
    let controlled = Controlled::start();
    let mut client = connect_with_psk(&controlled.gateway).await;
    controlled.set_faults(json!({ "link": { "drop_percent": 3, "delay_ms": 3, "jitter_ms": 2 } })).await;
    let answer = get(&mut client, GATEWAY_V4, "/bytes/60000").await;
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &answer.body);
    assert_eq!(digest.as_ref(), evenkeel_gateway::inner::content::sha256(60_000));
}

#[tokio::test]
async fn a_small_mtu_swallows_large_packets_only() {
    let controlled = Controlled::start();
    let mut client = connect_with_psk(&controlled.gateway).await;
    controlled.set_faults(json!({ "link": { "mtu": 1000 } })).await;
    let large = client.stack().ping(ip(GATEWAY_V4), &[7; 1100]);
    client.run(|_| Some(())).await;
    client.stack().sockets.remove(large);
    ping(&mut client, GATEWAY_V4).await;
    let status = controlled.ask(json!({ "command": "status" })).await;
    assert_eq!(status["link"]["oversized"], 1);
}

#[tokio::test]
async fn esp_can_vanish_while_ike_is_answered() {
    let controlled = Controlled::start();
    let mut client = connect_with_psk(&controlled.gateway).await;
    controlled.set_faults(json!({ "link": { "drop_esp": true } })).await;
    let handle = client.stack().ping(ip(GATEWAY_V4), b"hello?");
    client.run(|_| Some(())).await;
    client.session.rekey_ike(std::time::Instant::now());
    client.run(|client| (client.ike_rekeys == 1).then_some(())).await;
    assert_eq!(client.stack().pong(handle), None);
}
