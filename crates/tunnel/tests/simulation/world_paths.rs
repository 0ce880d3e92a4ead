//! Paths as the world's owner opens them.

use std::net::{IpAddr, SocketAddr};

use super::WALL;
use evenkeel_ipsec::ike::{Framing, Path};
use evenkeel_ipsec::wire::NON_ESP_MARKER;
use evenkeel_netprofile::ladder::Transport;
use evenkeel_tunnel::OpenedPath;

/// The client's port on a stream to the gateway's port 1 would be the next.
pub(super) const STREAM_PORTS: u16 = 30_000;

pub(super) fn inside_port(port: u16, framing: Framing) -> u16 {
    match framing {
        Framing::Bare => 40_500,
        Framing::NonEspMarker => 44_500,
        Framing::Stream => STREAM_PORTS + port,
    }
}

pub(super) fn opened(client: IpAddr, gateway: IpAddr, number: u16) -> OpenedPath {
    let path = |port, framing| Path {
        local: SocketAddr::new(client, inside_port(port, framing) + number),
        remote: SocketAddr::new(gateway, port),
        framing,
    };
    OpenedPath {
        init: path(500, Framing::Bare),
        nat: path(4500, Framing::NonEspMarker),
        path_mtu: 1500,
        wall: WALL,
    }
}

pub(super) fn stream(client: IpAddr, gateway: IpAddr, port: u16, number: u16) -> OpenedPath {
    let path = Path {
        local: SocketAddr::new(client, STREAM_PORTS + port + number),
        remote: SocketAddr::new(gateway, port),
        framing: Framing::Stream,
    };
    OpenedPath { init: path, nat: path, path_mtu: 1500, wall: WALL }
}

pub(super) fn port_of(transport: Transport) -> u16 {
    match transport {
        Transport::Tcp4500 => 4500,
        Transport::Tcp443 | Transport::Tls443 => 443,
        Transport::Udp4500 | Transport::Udp500 | Transport::WireGuard => panic!("not a stream"),
    }
}

pub(super) fn strip(framing: Framing, payload: Vec<u8>) -> Vec<u8> {
    match framing {
        Framing::Bare => payload,
        Framing::NonEspMarker | Framing::Stream => {
            payload.strip_prefix(&NON_ESP_MARKER[..]).unwrap().to_vec()
        }
    }
}
