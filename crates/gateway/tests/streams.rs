//! Clients that can't send UDP, and what else connects to a TCP port.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::unwrap_in_result, reason = "a test may panic")]

mod support;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use evenkeel_gateway::inner::content;
use evenkeel_ipsec::crypto::{Secret, TrustAnchors};
use evenkeel_ipsec::ike::{LocalAuth, PeerAuth};
use rcgen::PKCS_ECDSA_P256_SHA256;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use self::support::gateways::{PSK_GATEWAY, config, connect_with_psk, get, ping, psk_client};
use self::support::pki::{Authority, gateway_config};
use self::support::streams::ClientStream;
use self::support::tunnel::{RunningGateway, TunnelClient, client_config};
use self::support::{GATEWAY_V4, GATEWAY_V6};

const PATIENCE: Duration = Duration::from_secs(20);

fn gateway() -> RunningGateway {
    let mut config = config(PSK_GATEWAY);
    config.listen.tcp_ports = vec![0];
    RunningGateway::start(config)
}

async fn client_over_tcp(gateway: &RunningGateway) -> TunnelClient {
    let stream = ClientStream::open(gateway.ready.tcp[0], None).await;
    let mut client = TunnelClient::connect_along(stream, psk_client(), None);
    client.established().await;
    client
}

/// What a raw connection hears before it is closed.
async fn answer(to: SocketAddr, octets: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(to).await.unwrap();
    // It may be closed before everything is sent.
    let _ = stream.write_all(octets).await;
    closing(&mut stream).await
}

async fn closing(stream: &mut TcpStream) -> Vec<u8> {
    let mut heard = Vec::new();
    match timeout(PATIENCE, stream.read_to_end(&mut heard)).await.expect("the gateway closes") {
        Ok(_) => {}
        Err(error) => assert_eq!(error.kind(), io::ErrorKind::ConnectionReset, "{error}"),
    }
    heard
}

#[tokio::test]
async fn a_client_along_a_stream_reaches_the_inner_network() {
    let gateway = gateway();
    let mut client = client_over_tcp(&gateway).await;
    let info = client.session.info().unwrap();
    assert_eq!(info.round_trips, 2);
    assert!(!info.nat_local, "NAT detection sees the addresses of the TCP connection");
    ping(&mut client, GATEWAY_V4).await;
    ping(&mut client, GATEWAY_V6).await;
    let answer = get(&mut client, GATEWAY_V4, "/bytes/2000000").await;
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &answer.body);
    assert_eq!(digest.as_ref(), content::sha256(2_000_000));
}

#[tokio::test]
async fn streams_and_datagrams_are_served_side_by_side() {
    let gateway = gateway();
    let mut over_tcp = client_over_tcp(&gateway).await;
    let mut over_udp = connect_with_psk(&gateway).await;
    for _ in 0..3 {
        ping(&mut over_tcp, GATEWAY_V4).await;
        ping(&mut over_udp, GATEWAY_V4).await;
    }
}

#[tokio::test]
async fn a_stream_within_tls_carries_the_same() {
    let authority = Authority::new();
    let credential = authority.issue("gateway.practice", &PKCS_ECDSA_P256_SHA256);
    let mut config = gateway_config(&credential, &authority);
    config.listen.tcp_ports = vec![0];
    config.listen.tcp_tls = true;
    let gateway = RunningGateway::start(config);
    let anchors = Arc::new(TrustAnchors::from_der([authority.der()]).unwrap());
    let client = || {
        let auth = LocalAuth::EapMschapv2 {
            identity: "alice".to_owned(),
            password: Secret::new("open sesame".to_owned()),
        };
        client_config(auth, PeerAuth::Certificate { anchors: Arc::clone(&anchors) })
    };
    // The same port takes both.
    for within in [Some(authority.der()), None] {
        let stream = ClientStream::open(gateway.ready.tcp[0], within).await;
        let mut client = TunnelClient::connect_along(stream, client(), None);
        client.established().await;
        ping(&mut client, GATEWAY_V4).await;
        let answer = get(&mut client, GATEWAY_V4, "/bytes/300000").await;
        assert_eq!(answer.body.len(), 300_000);
    }
}

#[tokio::test]
async fn a_new_stream_carries_on_where_the_old_one_ended() {
    let gateway = gateway();
    let mut client = client_over_tcp(&gateway).await;
    ping(&mut client, GATEWAY_V4).await;
    let spis = client.spis();
    for _ in 0..3 {
        client.move_to(ClientStream::open(gateway.ready.tcp[0], None).await);
        // The client's own ESP shows where it is.
        ping(&mut client, GATEWAY_V4).await;
        // And so does IKE: the gateway answers along the stream that a request came on.
        let before = client.ike_rekeys;
        client.session.rekey_ike(Instant::now());
        client.run(|client| (client.ike_rekeys > before).then_some(())).await;
    }
    assert_eq!(client.spis(), spis, "the SAs are the same");
    assert!(client.closed.is_none());
}

#[tokio::test]
async fn a_client_moves_between_udp_and_a_stream() {
    let gateway = gateway();
    let mut client = connect_with_psk(&gateway).await;
    ping(&mut client, GATEWAY_V4).await;
    client.move_to(ClientStream::open(gateway.ready.tcp[0], None).await);
    ping(&mut client, GATEWAY_V4).await;
    client.lose_mapping_to(gateway.ready.nat[0]).await;
    ping(&mut client, GATEWAY_V4).await;
}

#[tokio::test]
async fn what_is_no_stream_is_closed() {
    let gateway = gateway();
    let tcp = gateway.ready.tcp[0];
    for (what, octets) in [
        ("another protocol", &b"GET / HTTP/1.1\r\n\r\n"[..]),
        ("TLS where there is none", b"\x16\x03\x01\x02\0\x01"),
        ("a frame of length zero", b"IKETCP\0\0"),
        ("a frame of length one", b"IKETCP\0\x06abcd\0\x01"),
    ] {
        assert_eq!(answer(tcp, octets).await, b"", "{what}");
    }
    let mut client = client_over_tcp(&gateway).await;
    ping(&mut client, GATEWAY_V4).await;
}

#[tokio::test]
async fn garbage_in_good_frames_disturbs_nobody_and_moves_nothing() {
    let gateway = gateway();
    let mut client = client_over_tcp(&gateway).await;
    ping(&mut client, GATEWAY_V4).await;
    let info = client.session.info().unwrap();
    let mut hostile = TcpStream::connect(gateway.ready.tcp[0]).await.unwrap();
    let longest = [&[0xff, 0xff][..], &[0x5a; 65_533]].concat();
    // A forged INFORMATIONAL request of the client's IKE SA, and forged ESP.
    let mut ike = vec![0; 4];
    ike.extend_from_slice(&info.spi_i.0.to_be_bytes());
    ike.extend_from_slice(&info.spi_r.0.to_be_bytes());
    ike.extend_from_slice(&[46, 0x20, 37, 0x08, 0, 0, 0, 2, 0, 0, 0, 60]);
    ike.resize(4 + 60, 0x5a);
    let mut stream = b"IKETCP".to_vec();
    for message in [&ike[..], &[0x5a; 120], &[0xff], &[1]] {
        stream.extend_from_slice(&u16::try_from(message.len() + 2).unwrap().to_be_bytes());
        stream.extend_from_slice(message);
    }
    stream.extend_from_slice(&longest);
    stream.extend_from_slice(&[0, 2, 0, 2]);
    hostile.write_all(&stream).await.unwrap();
    for _ in 0..3 {
        ping(&mut client, GATEWAY_V4).await;
    }
    // Nothing was ever sent there, and the first bad length is still the end.
    hostile.write_all(&[0, 0]).await.unwrap();
    assert_eq!(closing(&mut hostile).await, b"");
}

#[tokio::test]
async fn thousands_of_silent_connections_take_a_bounded_number_of_places_for_five_seconds() {
    let gateway = gateway();
    let tcp = gateway.ready.tcp[0];
    let mut client = client_over_tcp(&gateway).await;
    let started = Instant::now();
    let mut held = Vec::new();
    for _ in 0..31 {
        let mut slow = TcpStream::connect(tcp).await.unwrap();
        slow.write_all(b"IKE").await.unwrap();
        held.push(slow);
    }
    // One address has 32 places, of which the client has one. The others are closed without waiting.
    let mut refused = 0;
    while refused < 2000 && started.elapsed() < Duration::from_secs(4) {
        assert_eq!(answer(tcp, b"").await, b"");
        refused += 1;
    }
    assert!(refused > 100, "only {refused} in four seconds");
    ping(&mut client, GATEWAY_V4).await;
    for slow in &mut held {
        assert_eq!(closing(slow).await, b"");
    }
    let waited = started.elapsed();
    assert!((5..15).contains(&waited.as_secs()), "{waited:?}");
    let mut another = client_over_tcp(&gateway).await;
    ping(&mut another, GATEWAY_V4).await;
}

#[tokio::test]
async fn a_stream_is_closed_when_the_gateway_ends() {
    let gateway = gateway();
    let mut stream = ClientStream::open(gateway.ready.tcp[0], None).await;
    // It has begun once it carries something: an IKE_SA_INIT that is none is simply ignored.
    stream.socket.send(&[0; 40]).await.unwrap();
    drop(gateway);
    let ended = timeout(PATIENCE, stream.ended()).await.unwrap();
    assert!(
        matches!(ended, evenkeel_reframer::Ended::PeerClosed | evenkeel_reframer::Ended::Failed(_)),
        "{ended}"
    );
}
