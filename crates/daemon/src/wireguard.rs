//! The WireGuard peer to fall back to: from the profile to a session that carries packets.
//!
//! [`peer_config`] takes the keys out of a profile, [`connect`] does the handshake within a bound, and
//! [`Established::start`] carries packets from there on; see [`evenkeel_datapath::wireguard`]. Resolving the endpoint's name,
//! the choice of interface, routes and DNS are the caller's, as for every other transport.

use std::io;
use std::time::Duration;

use evenkeel_datapath::wireguard::{AllowedIps, Answer, Established, Handshake, PeerConfig, PrefixError};
use evenkeel_platform::socket::UdpSocket;
use evenkeel_profile::{SecretKind, Secrets, WireGuard, wireguard_secret};
use thiserror::Error;
use tokio::net::UdpSocket as AsyncSocket;
use tokio::time::{Instant, sleep_until, timeout_at};

/// How long a handshake may take: some round trips over a poor network, and two lost packets.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(4);

/// When to send an initiation again. WireGuard's own 5 s (§6.4) are for a tunnel that exists; here a person waits, and a
/// peer takes many more initiations than this (§5.3 counts them by the second).
const RESEND: Duration = Duration::from_secs(1);

/// Longest message of a handshake, and more.
const ROOM: usize = 2048;

/// Why a profile's peer can't be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum PeerConfigError {
    /// The private key was not given, or this is no key.
    #[error("the profile's secrets hold no usable {0:?}")]
    Secret(SecretKind),
    /// A network that is none.
    #[error(transparent)]
    Prefix(#[from] PrefixError),
}

/// Why there is no session.
#[derive(Debug, Error)]
pub enum HandshakeError {
    /// No answer. WireGuard is silent towards keys that it doesn't know: a blocked port, a dead peer and a wrong key (ours,
    /// or the peer's) look the same.
    #[error("the WireGuard peer did not answer within {within:?}")]
    NoAnswer {
        /// How long it had.
        within: Duration,
    },
    /// No answer, and ICMP says that nothing listens there. Anyone may have sent that.
    #[error("nothing listens at the WireGuard peer's port")]
    Refused,
    /// The peer answers, and the answer doesn't fit our keys: the pre-shared key differs.
    #[error("the WireGuard peer has another pre-shared key")]
    PresharedKey,
    /// The system does not send or receive.
    #[error("the WireGuard socket: {0}")]
    Io(#[from] io::Error),
}

/// The peer and our keys for it.
///
/// # Errors
/// When the secrets lack the private key, or hold what is no key.
pub fn peer_config(peer: &WireGuard, secrets: &Secrets) -> Result<PeerConfig, PeerConfigError> {
    let kind = SecretKind::WireguardPrivateKey;
    let private_key = secrets.of(kind).and_then(|key| wireguard_secret(key).ok());
    let private_key = private_key.ok_or(PeerConfigError::Secret(kind))?;
    let kind = SecretKind::WireguardPresharedKey;
    let preshared_key = secrets.of(kind).map(wireguard_secret).transpose();
    let preshared_key = preshared_key.map_err(|_| PeerConfigError::Secret(kind))?;
    let networks = peer.allowed_ips().iter().map(|network| (network.network(), network.prefix()));
    let mut index = [0; 4];
    // Peers name our sessions by it: unique is enough, unpredictable is better.
    let _ = aws_lc_rs::rand::fill(&mut index);
    Ok(PeerConfig {
        private_key,
        public_key: *peer.public_key().as_bytes(),
        preshared_key,
        allowed_ips: AllowedIps::new(networks)?,
        keepalive: Some(peer.keepalive_s()).filter(|seconds| *seconds > 0),
        index: u32::from_ne_bytes(index),
    })
}

/// Does the handshake with the peer that `socket` is connected to, within a bound. Dropping the future gives up and leaves
/// nothing behind.
///
/// # Errors
/// When there is no session by then; or at once, when the system can't even try.
pub async fn connect(
    config: PeerConfig,
    socket: UdpSocket,
    within: Duration,
) -> Result<Established, HandshakeError> {
    let deadline = Instant::now() + within;
    let receiver = AsyncSocket::from_std(socket.try_clone_std()?)?;
    let mut handshake = Handshake::new(config, socket);
    let mut failure = HandshakeError::NoAnswer { within };
    let mut room = [0; ROOM];
    loop {
        let resend = (Instant::now() + RESEND).min(deadline);
        if let Err(error) = handshake.initiate() {
            note(&mut failure, error);
        }
        while let Ok(received) = timeout_at(resend, receiver.recv(&mut room)).await {
            match received.map(|len| handshake.handle_datagram(room.get(..len).unwrap_or_default())) {
                Ok(Answer::Established) => {
                    // Unreachable otherwise: it has just been established.
                    return handshake.establish().ok_or(HandshakeError::NoAnswer { within });
                }
                Ok(Answer::Unfit) => failure = HandshakeError::PresharedKey,
                Ok(Answer::Ignored) => {}
                Err(error) => {
                    note(&mut failure, error);
                    // Not to spin on an error that stays.
                    sleep_until(resend).await;
                }
            }
        }
        if Instant::now() >= deadline {
            return Err(failure);
        }
    }
}

/// Remembers what went wrong, unless something that says more is known. Nothing ends the attempt early: a route may come,
/// and ICMP may lie.
fn note(failure: &mut HandshakeError, error: io::Error) {
    match (&failure, error.kind()) {
        (HandshakeError::PresharedKey, _) => {}
        (_, io::ErrorKind::ConnectionRefused) => *failure = HandshakeError::Refused,
        (_, io::ErrorKind::WouldBlock) => {}
        _ => *failure = HandshakeError::Io(error),
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr, UdpSocket as StdSocket};
    use std::path::Path;

    use evenkeel_datapath::wireguard::inner_mtu;
    use evenkeel_netprofile::overhead::{Family, wireguard_inner_mtu};
    use evenkeel_platform::socket::UdpOptions;
    use evenkeel_profile::{FileProblem, Secret, parse_toml};

    use super::*;

    const PROFILE: &str = r#"name = "Lab"
gateway = "198.51.100.10"
[auth]
method = "psk"
[wireguard]
endpoint = "198.51.100.10:51820"
public_key = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg="
private_key = "yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk="
addresses = ["10.9.0.2"]
allowed_ips = ["10.10.0.0/16"]
"#;

    fn profile() -> (WireGuard, Secrets) {
        let missing = |_: &str| ("x".into(), Err(FileProblem::NotAFile));
        let loaded = parse_toml(Path::new("lab.toml"), PROFILE.as_bytes(), None, &mut { missing });
        let loaded = loaded.unwrap_or_else(|error| panic!("{error}"));
        (*loaded.profile.wireguard.unwrap(), loaded.secrets)
    }

    fn socket_to(peer: &StdSocket) -> UdpSocket {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0).into(), &UdpOptions::default()).unwrap();
        socket.connect(peer.local_addr().unwrap()).unwrap();
        socket
    }

    #[test]
    fn a_profile_and_its_secrets_make_a_peer() {
        let (peer, mut secrets) = profile();
        let config = peer_config(&peer, &secrets).unwrap();
        assert_eq!((config.public_key[0], config.private_key[0], config.keepalive), (0xc5, 0xc8, Some(25)));
        assert!(config.preshared_key.is_none());
        assert!(config.allowed_ips.contains("10.10.3.4".parse().unwrap()));
        assert!(!config.allowed_ips.contains("10.11.0.0".parse().unwrap()));
        for kind in [SecretKind::WireguardPresharedKey, SecretKind::WireguardPrivateKey] {
            secrets.set(kind, Secret::new("no key"));
            assert_eq!(peer_config(&peer, &secrets).err(), Some(PeerConfigError::Secret(kind)));
            secrets.wireguard_preshared_key = None;
        }
        let nothing = peer_config(&peer, &Secrets::default()).err();
        assert_eq!(nothing, Some(PeerConfigError::Secret(SecretKind::WireguardPrivateKey)));
    }

    #[test]
    fn the_tunnel_and_the_plane_reckon_the_inner_mtu_alike() {
        for path_mtu in [0, 60, 80, 576, 1280, 1500, u16::MAX] {
            for peer in ["198.51.100.10", "2001:db8::1"].map(|peer| peer.parse::<IpAddr>().unwrap()) {
                assert_eq!(inner_mtu(path_mtu, peer), wireguard_inner_mtu(Family::from(peer), path_mtu));
            }
        }
    }

    #[tokio::test]
    async fn a_silent_peer_is_asked_again_and_given_up_in_time() {
        let (peer, secrets) = profile();
        let silent = StdSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let within = RESEND + Duration::from_millis(500);
        let started = Instant::now();
        let result = connect(peer_config(&peer, &secrets).unwrap(), socket_to(&silent), within).await;
        assert!(matches!(result.err(), Some(HandshakeError::NoAnswer { .. })));
        assert!((within..within + Duration::from_secs(2)).contains(&started.elapsed()));
        silent.set_nonblocking(true).unwrap();
        let lengths: Vec<usize> = std::iter::from_fn(|| silent.recv(&mut [0; 200]).ok()).collect();
        assert_eq!(lengths, [148, 148]);
    }

    #[tokio::test]
    async fn a_closed_port_is_told_from_silence() {
        let (peer, secrets) = profile();
        let closed = StdSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let socket = socket_to(&closed);
        drop(closed);
        let result = connect(peer_config(&peer, &secrets).unwrap(), socket, Duration::from_millis(200)).await;
        assert!(matches!(result.err(), Some(HandshakeError::Refused)));
    }
}
