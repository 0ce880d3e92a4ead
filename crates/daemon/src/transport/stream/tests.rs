//! Streams to peers on loopback that behave and that do not.

use evenkeel_ipsec::wire::{NON_ESP_MARKER, StreamError};
use rcgen::{CertificateParams, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::*;

const PATIENCE: Duration = Duration::from_secs(20);

async fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// A stream and the gateway's end of it, behind the prefix.
async fn connected() -> (StreamTransport, TcpStream) {
    let (listener, address) = listener().await;
    let transport = StreamTransport::connect(address, StreamOptions::default()).await.unwrap();
    let (mut gateway, from) = listener.accept().await.unwrap();
    assert_eq!(transport.path(), Path { local: from, remote: address, framing: Framing::Stream });
    let mut prefix = [0; 6];
    gateway.read_exact(&mut prefix).await.unwrap();
    assert_eq!(&prefix, b"IKETCP");
    (transport, gateway)
}

async fn receive(transport: &StreamTransport) -> Vec<u8> {
    let socket = transport.datagram_socket().try_clone_std().unwrap();
    let socket = tokio::net::UdpSocket::from_std(socket).unwrap();
    let mut buffer = [0; 2048];
    let length = timeout(PATIENCE, socket.recv(&mut buffer)).await.unwrap().unwrap();
    buffer[..length].to_vec()
}

async fn ended(transport: &mut StreamTransport) -> StreamFailure {
    timeout(PATIENCE, transport.ended()).await.unwrap()
}

async fn refusal(remote: SocketAddr, options: StreamOptions) -> StreamFailure {
    match StreamTransport::connect(remote, options).await {
        Ok(_) => panic!("a stream was opened"),
        Err(failure) => failure,
    }
}

#[tokio::test]
async fn the_socket_speaks_as_one_towards_the_gateway() {
    let (transport, mut gateway) = connected().await;
    let ike = [&NON_ESP_MARKER[..], b"IKE"].concat();
    transport.datagram_socket().send(&ike, None).unwrap();
    transport.datagram_socket().send(b"ESP packet", None).unwrap();
    let mut frames = [0; 2 + 7 + 2 + 10];
    gateway.read_exact(&mut frames).await.unwrap();
    assert_eq!(&frames, b"\0\x09\0\0\0\0IKE\0\x0cESP packet");
    gateway.write_all(b"\0\x09\0\0\0\0ike\0\x0cesp packet").await.unwrap();
    assert_eq!(receive(&transport).await, b"\0\0\0\0ike");
    assert_eq!(receive(&transport).await, b"esp packet");
    assert_eq!((transport.stats().sent, transport.stats().congested), (2, 0));
}

#[tokio::test]
async fn closing_lets_the_goodbye_out_first() {
    for dropped in [false, true] {
        let (transport, mut gateway) = connected().await;
        transport.datagram_socket().send(b"goodbye", None).unwrap();
        if dropped {
            drop(transport);
        } else {
            transport.close().await;
        }
        let mut rest = Vec::new();
        timeout(PATIENCE, gateway.read_to_end(&mut rest)).await.unwrap().unwrap();
        assert_eq!(rest, b"\0\x09goodbye");
    }
}

#[tokio::test]
async fn every_end_of_a_stream_has_its_reason() {
    let (mut transport, gateway) = connected().await;
    drop(gateway);
    assert!(matches!(ended(&mut transport).await, StreamFailure::PeerClosed));

    let (mut transport, gateway) = connected().await;
    gateway.set_zero_linger().unwrap();
    drop(gateway);
    assert!(matches!(ended(&mut transport).await, StreamFailure::Reset));

    let (mut transport, mut gateway) = connected().await;
    gateway.write_all(b"\0\0").await.unwrap();
    let failure = ended(&mut transport).await;
    assert!(matches!(failure, StreamFailure::BadFrame(StreamError::BadLength(0))), "{failure}");

    let (mut transport, mut gateway) = connected().await;
    gateway.write_all(b"\0\x09half").await.unwrap();
    drop(gateway);
    let failure = ended(&mut transport).await;
    assert!(matches!(failure, StreamFailure::BadFrame(StreamError::Truncated { received: 6 })), "{failure}");
    // The socket stays, and leads nowhere.
    let _ = transport.datagram_socket().send(b"too late", None);
}

#[tokio::test]
async fn a_port_that_nobody_listens_on_is_refused() {
    let (listener, address) = listener().await;
    drop(listener);
    assert!(matches!(refusal(address, StreamOptions::default()).await, StreamFailure::Refused));
}

// Time stands still but for timers, so the three seconds take none.
#[tokio::test(start_paused = true)]
async fn a_peer_that_never_answers_tls_is_given_up_too() {
    let (listener, address) = listener().await;
    let (tls, _) = tls("gateway.practice");
    let options = StreamOptions { tls: Some(tls), ..StreamOptions::default() };
    // Not for TCP, which the kernel makes while we seem idle: timers wait for a thread that is at work.
    let (release, work) = std::sync::mpsc::channel::<()>();
    let work = tokio::task::spawn_blocking(move || work.recv_timeout(PATIENCE));
    let gateway = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        // A handshake record (RFC 8446 §5.1).
        assert_eq!(stream.read_u8().await.unwrap(), 22, "TLS has not begun");
        drop(release);
        assert_eq!(work.await.unwrap(), Err(std::sync::mpsc::RecvTimeoutError::Disconnected));
        stream
    };
    let (_stream, failure) = tokio::join!(gateway, refusal(address, options));
    assert!(matches!(failure, StreamFailure::TimedOut), "{failure}");
}

#[tokio::test]
async fn a_stalled_gateway_costs_datagrams_and_nothing_else() {
    let (mut transport, gateway) = connected().await;
    let datagram = [7; 1400];
    while transport.stats().congested < 100 {
        transport.datagram_socket().send(&datagram, None).unwrap();
        tokio::task::yield_now().await;
    }
    let carried = usize::try_from(transport.stats().sent).unwrap() * (datagram.len() + 2);
    // What the kernel holds at both ends is its own business; the rest is the relay's, and bounded there.
    assert!(carried < 64 << 20, "{carried} bytes were taken for a peer that takes none");
    drop(gateway);
    let failure = ended(&mut transport).await;
    assert!(matches!(failure, StreamFailure::Reset | StreamFailure::PeerClosed), "{failure}");
}

/// A client that trusts a fresh certificate for `name`, and the server that has it.
fn tls(name: &str) -> (TlsClient, Arc<ServerConfig>) {
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new([name.to_owned()]).unwrap().self_signed(&key).unwrap();
    let client = TlsClient::new([certificate.der().to_vec()], "gateway.practice").unwrap();
    let server = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
        )
        .unwrap();
    (client, Arc::new(server))
}

#[tokio::test]
async fn within_tls_the_stream_is_the_same() {
    let (client, server) = tls("gateway.practice");
    let (listener, address) = listener().await;
    let gateway = async {
        let (stream, _) = listener.accept().await.unwrap();
        let mut stream = TlsAcceptor::from(server).accept(stream).await.unwrap();
        let mut received = [0; 6 + 7];
        stream.read_exact(&mut received).await.unwrap();
        assert_eq!(&received, b"IKETCP\0\x07hello");
        stream.write_all(b"\0\x06back").await.unwrap();
        stream.flush().await.unwrap();
        let mut rest = Vec::new();
        // A proper end of TLS: else this is an error.
        stream.read_to_end(&mut rest).await.unwrap();
        assert_eq!(rest, b"\0\x05bye");
    };
    let client = async {
        let options = StreamOptions { tls: Some(client), ..StreamOptions::default() };
        let transport = StreamTransport::connect(address, options).await.unwrap();
        transport.datagram_socket().send(b"hello", None).unwrap();
        assert_eq!(receive(&transport).await, b"back");
        transport.datagram_socket().send(b"bye", None).unwrap();
        transport.close().await;
    };
    timeout(PATIENCE, async { tokio::join!(gateway, client) }).await.unwrap();
}

#[tokio::test]
async fn a_certificate_that_is_not_for_the_gateway_or_not_trusted_ends_it() {
    let (trusting, _) = tls("gateway.practice");
    let (misnamed, misnamed_server) = tls("another.practice");
    let (_, unknown_server) = tls("gateway.practice");
    for (client, server) in [(misnamed, misnamed_server), (trusting, unknown_server)] {
        let (listener, address) = listener().await;
        let gateway = async {
            let (stream, _) = listener.accept().await.unwrap();
            TlsAcceptor::from(server).accept(stream).await.is_err()
        };
        let options = StreamOptions { tls: Some(client), ..StreamOptions::default() };
        let (failed, failure) = tokio::join!(gateway, refusal(address, options));
        assert!(failed);
        assert!(matches!(failure, StreamFailure::Tls(rustls::Error::InvalidCertificate(_))), "{failure}");
    }
}

#[tokio::test]
async fn a_peer_that_speaks_no_tls_is_told_apart() {
    let (client, _) = tls("gateway.practice");
    let (listener, address) = listener().await;
    let gateway = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
        stream
    };
    let options = StreamOptions { tls: Some(client), ..StreamOptions::default() };
    let (_stream, failure) = tokio::join!(gateway, refusal(address, options));
    assert!(matches!(failure, StreamFailure::Tls(_)), "{failure}");
}
