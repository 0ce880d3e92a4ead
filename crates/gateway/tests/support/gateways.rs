//! Gateways and clients that fit each other.

use std::path::Path;

use evenkeel_gateway::config::GatewayConfig;
use evenkeel_ipsec::crypto::Secret;
use evenkeel_ipsec::ike::{ClientConfig, LocalAuth, PeerAuth};

use super::tunnel::{RunningGateway, TunnelClient, client_config};
use super::{Conversation, HttpAnswer, ip};

pub const PSK_GATEWAY: &str = r#"
    [identity]
    id = "gateway.practice"
    [clients]
    psk = [{ secret = "correct horse battery staple" }]
    [assign]
    v4 = "10.77.1.0/24"
    v6 = "fd77::1:0/112"
    dns = ["10.77.0.1"]
    subnets = ["10.77.0.0/16"]
    domains = ["practice"]
    [inner]
    addresses = ["10.77.0.1", "fd77::1"]
"#;

pub fn config(text: &str) -> GatewayConfig {
    match GatewayConfig::from_toml(text, Path::new("gateway.toml")) {
        Ok(config) => config,
        Err(error) => panic!("{error}"),
    }
}

/// A client with this pre-shared key.
pub fn client_with_psk(secret: &str) -> ClientConfig {
    client_config(LocalAuth::Psk(Secret::new(secret)), PeerAuth::Psk(Secret::new(secret)))
}

/// A client that [`PSK_GATEWAY`] lets in.
pub fn psk_client() -> ClientConfig {
    client_with_psk("correct horse battery staple")
}

pub async fn connect_with_psk(gateway: &RunningGateway) -> TunnelClient {
    let mut client = TunnelClient::connect(&gateway.ready, psk_client(), None).await;
    client.established().await;
    client
}

pub async fn ping(client: &mut TunnelClient, to: &str) {
    let handle = client.stack().ping(ip(to), b"through the tunnel");
    let answer = client.run(|client| client.stack().pong(handle)).await;
    assert_eq!(answer, b"through the tunnel");
    client.stack().sockets.remove(handle);
}

pub async fn get(client: &mut TunnelClient, to: &str, path: &str) -> HttpAnswer {
    let request = format!("GET {path} HTTP/1.1\r\nHost: gateway.practice\r\n\r\n");
    let handle = client.stack().connect(ip(to), 80);
    let mut conversation = Conversation::new(handle, request.as_bytes());
    let mut bytes = client.run(|client| conversation.drive(client.stack())).await;
    client.stack().sockets.remove(handle);
    HttpAnswer::take(&mut bytes).expect("a complete answer")
}
