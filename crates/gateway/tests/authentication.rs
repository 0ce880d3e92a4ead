//! EAP and certificates between the engine's two roles, through the running gateway.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::unwrap_in_result, reason = "a test may panic")]

mod support;

use std::sync::Arc;

use evenkeel_ipsec::crypto::{Secret, SigningKey, TrustAnchors};
use evenkeel_ipsec::ike::{ClientConfig, Failure, LocalAuth, PeerAuth, PeerAuthFailure};
use evenkeel_ipsec::wire::Id;
use rcgen::{
    PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519, PKCS_RSA_SHA256, SignatureAlgorithm,
};

use self::support::GATEWAY_V4;
use self::support::gateways::{get, ping};
use self::support::pki::{Authority, Credential, gateway_config};
use self::support::tunnel::{RunningGateway, TunnelClient, client_config};

const GATEWAY: &str = "gateway.practice";

fn trusting(authority: &Authority) -> PeerAuth {
    PeerAuth::Certificate { anchors: Arc::new(TrustAnchors::from_der([authority.der()]).unwrap()) }
}

fn eap_client(password: &str, trust: &Authority) -> ClientConfig {
    let auth =
        LocalAuth::EapMschapv2 { identity: "alice".to_owned(), password: Secret::new(password.to_owned()) };
    client_config(auth, trusting(trust))
}

fn certificate_client(own: &Credential, trust: &Authority) -> (ClientConfig, SigningKey) {
    let key = SigningKey::from_pem(own.key_pem.as_bytes()).unwrap();
    let auth = LocalAuth::Certificate { chain: vec![own.certificate_der.clone()], key: key.kind() };
    let mut config = client_config(auth, trusting(trust));
    config.local_id = Id::Email("alice@practice".to_owned());
    (config, key)
}

fn gateway(authority: &Authority, algorithm: &'static SignatureAlgorithm) -> RunningGateway {
    RunningGateway::start(gateway_config(&authority.issue(GATEWAY, algorithm), authority))
}

#[tokio::test]
async fn a_user_with_the_right_password_gets_in_within_six_round_trips() {
    let authority = Authority::new();
    let gateway = gateway(&authority, &PKCS_ECDSA_P256_SHA256);
    let mut client = TunnelClient::connect(&gateway.ready, eap_client("open sesame", &authority), None).await;
    client.established().await;
    assert_eq!(client.session.info().unwrap().round_trips, 6);
    ping(&mut client, GATEWAY_V4).await;
    assert_eq!(get(&mut client, GATEWAY_V4, "/").await.status, 200);
}

#[tokio::test]
async fn a_user_with_the_wrong_password_does_not() {
    let authority = Authority::new();
    let gateway = gateway(&authority, &PKCS_ECDSA_P256_SHA256);
    let mut client = TunnelClient::connect(&gateway.ready, eap_client("guess", &authority), None).await;
    let failure = client.ended().await;
    assert!(matches!(failure, Failure::Eap(_)), "{failure:?}");
}

#[tokio::test]
async fn every_kind_of_key_proves_the_gateway_and_the_client() {
    let authority = Authority::new();
    for algorithm in [&PKCS_ECDSA_P256_SHA256, &PKCS_ECDSA_P384_SHA384, &PKCS_ED25519, &PKCS_RSA_SHA256] {
        let gateway = gateway(&authority, algorithm);
        let own = authority.issue("alice@practice", algorithm);
        let (config, key) = certificate_client(&own, &authority);
        let mut client = TunnelClient::connect(&gateway.ready, config, Some(key)).await;
        client.established().await;
        assert_eq!(client.session.info().unwrap().round_trips, 2, "{algorithm:?}");
        ping(&mut client, GATEWAY_V4).await;
    }
}

#[tokio::test]
async fn a_gateway_of_an_unknown_authority_is_refused_before_any_password_is_sent() {
    let (trusted, other) = (Authority::new(), Authority::new());
    let gateway = gateway(&other, &PKCS_ECDSA_P256_SHA256);
    let mut client = TunnelClient::connect(&gateway.ready, eap_client("open sesame", &trusted), None).await;
    let failure = client.ended().await;
    assert!(matches!(failure, Failure::PeerAuth(PeerAuthFailure::Certificate(_))), "{failure:?}");
}

#[tokio::test]
async fn a_client_of_an_unknown_authority_is_rejected() {
    let (trusted, other) = (Authority::new(), Authority::new());
    let gateway = gateway(&trusted, &PKCS_ECDSA_P256_SHA256);
    let (config, key) = certificate_client(&other.issue("alice@practice", &PKCS_ED25519), &trusted);
    let mut client = TunnelClient::connect(&gateway.ready, config, Some(key)).await;
    let failure = client.ended().await;
    assert!(matches!(failure, Failure::AuthenticationRejected), "{failure:?}");
}

#[tokio::test]
async fn a_client_that_says_to_be_someone_else_is_rejected() {
    let authority = Authority::new();
    let gateway = gateway(&authority, &PKCS_ECDSA_P256_SHA256);
    let (mut config, key) = certificate_client(&authority.issue("alice@practice", &PKCS_ED25519), &authority);
    config.local_id = Id::Email("bob@practice".to_owned());
    let mut client = TunnelClient::connect(&gateway.ready, config, Some(key)).await;
    let failure = client.ended().await;
    assert!(matches!(failure, Failure::AuthenticationRejected), "{failure:?}");
}
