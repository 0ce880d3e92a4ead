//! Clients against the running gateway: over loopback, through its real event loop.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::unwrap_in_result, reason = "a test may panic")]

mod support;

use evenkeel_gateway::inner::content;
use evenkeel_ipsec::ike::Failure;

use self::support::gateways::{PSK_GATEWAY, client_with_psk, config, connect_with_psk, get, ping};
use self::support::tunnel::{RunningGateway, TunnelClient};
use self::support::{GATEWAY_V4, GATEWAY_V6, ip};

#[tokio::test]
async fn a_client_with_the_right_key_reaches_the_inner_network() {
    let gateway = RunningGateway::start(config(PSK_GATEWAY));
    let mut client = connect_with_psk(&gateway).await;
    assert_eq!(client.session.info().unwrap().round_trips, 2);
    assert_eq!(client.assigned.dns, [ip("10.77.0.1")]);
    assert_eq!(client.assigned.domains, ["practice"]);
    assert_eq!(client.assigned.addresses.len(), 2);

    ping(&mut client, GATEWAY_V4).await;
    ping(&mut client, GATEWAY_V6).await;
    let answer = get(&mut client, GATEWAY_V4, "/bytes/2000000").await;
    assert_eq!(answer.header("x-content-sha256"), Some(content::hex(&content::sha256(2_000_000)).as_str()));
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &answer.body);
    assert_eq!(digest.as_ref(), content::sha256(2_000_000));
}

#[tokio::test]
async fn a_client_with_the_wrong_key_is_rejected() {
    let gateway = RunningGateway::start(config(PSK_GATEWAY));
    let mut client = TunnelClient::connect(&gateway.ready, client_with_psk("guess"), None).await;
    let failure = client.ended().await;
    assert!(matches!(failure, Failure::AuthenticationRejected), "{failure:?}");
}
