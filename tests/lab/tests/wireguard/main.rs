//! The WireGuard fallback against wireguard-go, through a NAT.

#![cfg(target_os = "linux")]

mod daemon;
mod fallback;

use std::{
    net::{Ipv4Addr, UdpSocket},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use evenkeel_daemon::wireguard::HandshakeError;
use evenkeel_datapath::{PlaneDrop, wireguard::WireGuardEvent};
use evenkeel_lab::{
    allocations, sandbox,
    topology::SERVER_V4,
    traffic, wait,
    wireguard_go::{CLIENT, INSIDE, Keys, WireGuardGo, preshared_key},
};
use evenkeel_platform::allocations::CountingAllocator;
use fallback::{Client, Peer, connect, network, peer_of, socket};

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

const DATA: u64 = 20 << 20;

/// The gateway in the office network.
const GATEWAY_OFFICE: Ipv4Addr = Ipv4Addr::new(10, 10, 0, 1);

#[test]
fn data_arrives_unchanged_both_ways_and_is_counted() {
    sandbox::run(|| {
        let network = network()?;
        let (client_keys, peer_keys, _peer) = peer_of(&network)?;
        for offload in [true, false] {
            let client = Client::of(&network, &client_keys, &peer_keys, offload)?;
            traffic::download(client.host, SERVER_V4.into(), DATA)?;
            traffic::upload(client.host, SERVER_V4.into(), DATA)?;
            for length in [0, 1, 1300, 30_000] {
                let answered = traffic::echo(client.host, SERVER_V4.into(), length, Duration::from_secs(5))?;
                ensure!(answered.is_some(), "no echo of {length} bytes");
            }
            let stats = client.plane.snapshot();
            ensure!(stats.bytes_sent > DATA && stats.bytes_received > DATA, "{stats:?}");
            ensure!(stats.plane.outbound.packets_sent > DATA / 1440, "{stats:?}");
            ensure!(stats.plane.inbound.packets_written > DATA / 1440, "{stats:?}");
            ensure!(stats.handshakes == 1, "{stats:?}");
            for last in [stats.plane.outbound.last_sent, stats.plane.inbound.last_received] {
                ensure!(last.is_some_and(|at| at.elapsed() < Duration::from_secs(5)), "{stats:?}");
            }
            let lost = [PlaneDrop::Inconsistent, PlaneDrop::TooBig, PlaneDrop::Open, PlaneDrop::Write];
            for reason in lost.into_iter().chain([PlaneDrop::Send, PlaneDrop::UnknownSpi, PlaneDrop::Source])
            {
                ensure!(stats.plane.dropped(reason) == 0, "{}: {stats:?}", reason.name());
            }
            if offload {
                let (sent, sends) = (stats.plane.outbound.packets_sent, stats.plane.outbound.sends);
                ensure!(sent / sends.max(1) >= 3, "small trains: {stats:?}");
            }
        }
        Ok(())
    });
}

#[test]
fn a_preshared_key_and_an_mtu_that_becomes_narrower_are_borne() {
    sandbox::run(|| {
        let network = network()?;
        let (client_keys, peer_keys, key) = (Keys::generate()?, Keys::generate()?, preshared_key()?);
        let _peer = WireGuardGo::start(&network.gateway, &peer_keys, &client_keys.public, Some(&key))?;
        let peer = Peer {
            private_key: &client_keys.private,
            public_key: &peer_keys.public,
            preshared_key: Some(&key),
            allowed_ips: "\"10.10.0.0/16\"",
        };
        let established = connect(network.client(), &peer, Duration::from_secs(4))??;
        let client = Client::start(network.client(), established, true)?;
        client.host.run(|| client.plane.set_mtu(1200))?;
        ensure!(client.host.output("ip", &["link", "show", "tun0"])?.contains("mtu 1200"));
        // With a device that says otherwise, what the office sends is held within it by the MSS alone.
        client.host.ip("link set tun0 mtu 1420")?;
        traffic::download(client.host, SERVER_V4.into(), 2 << 20)?;
        let stats = client.plane.snapshot();
        let mean = stats.bytes_received / stats.plane.inbound.packets_written.max(1);
        ensure!((1000..=1200).contains(&mean), "{mean}: {stats:?}");
        traffic::upload(client.host, SERVER_V4.into(), 2 << 20)?;
        Ok(())
    });
}

#[test]
fn a_peer_that_has_lost_its_memory_is_seen_silent_and_asked_again() {
    sandbox::run(|| {
        let network = network()?;
        let (client_keys, peer_keys, peer) = peer_of(&network)?;
        let client = Client::of(&network, &client_keys, &peer_keys, true)?;
        traffic::download(client.host, SERVER_V4.into(), 1 << 20)?;
        let peer = peer.restart()?;
        // It is silent towards a session that it doesn't know, so nothing but time tells.
        ensure!(!traffic::reaches(client.host, SERVER_V4.into(), Duration::from_millis(500)));
        client.event(Duration::from_secs(20), |event| matches!(event, WireGuardEvent::Handshake))?;
        traffic::download(client.host, SERVER_V4.into(), 1 << 20)?;
        ensure!(client.plane.snapshot().handshakes == 2);

        // Who suspects it need not wait.
        drop(peer.restart()?);
        let peer = WireGuardGo::start(&network.gateway, &peer_keys, &client_keys.public, None)?;
        client.plane.renew()?;
        client.event(Duration::from_secs(3), |event| matches!(event, WireGuardEvent::Handshake))?;
        traffic::download(client.host, SERVER_V4.into(), 1 << 20)?;

        // And one that stays away is told of.
        drop(peer);
        ensure!(!traffic::reaches(client.host, SERVER_V4.into(), Duration::from_millis(500)));
        client.event(Duration::from_secs(20), |event| matches!(event, WireGuardEvent::PeerSilent))?;
        let _peer = WireGuardGo::start(&network.gateway, &peer_keys, &client_keys.public, None)?;
        client.event(Duration::from_secs(10), |event| matches!(event, WireGuardEvent::PeerAnswers))?;
        traffic::download(client.host, SERVER_V4.into(), 1 << 20)?;
        Ok(())
    });
}

#[test]
fn a_wrong_key_is_a_typed_failure_within_the_bound() {
    sandbox::run(|| {
        let network = network()?;
        let (client_keys, peer_keys, stranger) = (Keys::generate()?, Keys::generate()?, Keys::generate()?);
        let (key, other_key) = (preshared_key()?, preshared_key()?);
        let _peer = WireGuardGo::start(&network.gateway, &peer_keys, &client_keys.public, Some(&key))?;
        let within = Duration::from_millis(1500);
        let attempt = |own: &Keys, peer: &Keys, preshared: &str| -> anyhow::Result<_> {
            let started = Instant::now();
            let peer = Peer {
                private_key: &own.private,
                public_key: &peer.public,
                preshared_key: Some(preshared),
                allowed_ips: "\"10.10.0.0/16\"",
            };
            let result = connect(network.client(), &peer, within)?;
            ensure!(started.elapsed() < within + Duration::from_secs(1), "took {:?}", started.elapsed());
            Ok(result.err())
        };
        for (own, peer) in [(&stranger, &peer_keys), (&client_keys, &stranger)] {
            let error = attempt(own, peer, &key)?;
            ensure!(matches!(error, Some(HandshakeError::NoAnswer { .. })), "{error:?}");
        }
        let error = attempt(&client_keys, &peer_keys, &other_key)?;
        ensure!(matches!(error, Some(HandshakeError::PresharedKey)), "{error:?}");
        ensure!(attempt(&client_keys, &peer_keys, &key)?.is_none(), "the right keys");
        Ok(())
    });
}

#[test]
fn what_is_not_allowed_goes_neither_way_and_is_counted() {
    sandbox::run(|| {
        let network = network()?;
        let (client_keys, peer_keys, _peer) = peer_of(&network)?;
        network.client().without_ipv6()?;
        let client = Client::of(&network, &client_keys, &peer_keys, true)?;
        let dropped = |reason| client.plane.snapshot().plane.dropped(reason);

        for _ in 0..3 {
            // The peer's own address is not in the office.
            ensure!(traffic::echo(client.host, INSIDE.into(), 100, Duration::from_millis(200))?.is_none());
        }
        ensure!(dropped(PlaneDrop::NoSa) == 3, "{:?}", client.plane.snapshot());
        ensure!(client.plane.snapshot().plane.outbound.packets_sent == 0);

        let receiver = client.host.run(|| UdpSocket::bind((CLIENT, 9)))?;
        receiver.set_read_timeout(Some(Duration::from_secs(5)))?;
        // The gateway's office address is.
        for from in [INSIDE, GATEWAY_OFFICE] {
            let sender = network.gateway.run(|| UdpSocket::bind((from, 9)))?;
            network.gateway.run(|| sender.send_to(&[0; 100], (CLIENT, 9)))?;
        }
        let (_, from) = receiver.recv_from(&mut [0; 200]).context("what is allowed")?;
        ensure!(from.ip() == GATEWAY_OFFICE, "from {from}");
        // The packet is there a moment before it is counted.
        let expected = || {
            let stats = client.plane.snapshot();
            let counted =
                stats.plane.dropped(PlaneDrop::Source) == 1 && stats.plane.inbound.packets_written == 1;
            (counted && stats.bytes_received == 128).then_some(())
        };
        wait::until("one packet is counted as written and one as dropped", Duration::from_secs(2), expected)?;
        Ok(())
    });
}

#[test]
fn a_connection_goes_on_over_another_socket() {
    sandbox::run(|| {
        let network = network()?;
        let (client_keys, peer_keys, peer) = peer_of(&network)?;
        let client = Client::of(&network, &client_keys, &peer_keys, true)?;
        let before = peer.client_endpoint()?;
        thread::scope(|scope| -> anyhow::Result<()> {
            let download =
                scope.spawn(|| traffic::download_slowly(client.host, SERVER_V4.into(), 8 << 20, 4 << 20));
            let moving = || (client.plane.snapshot().bytes_received > 1 << 20).then_some(());
            wait::until("the download runs", Duration::from_secs(10), moving)?;
            client.plane.set_socket(socket(client.host)?)?;
            download.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
            Ok(())
        })?;
        ensure!(peer.client_endpoint()? != before, "the peer still sends to {before}");
        ensure!(client.plane.snapshot().handshakes == 2);
        Ok(())
    });
}

#[test]
fn packets_cost_no_allocation() {
    sandbox::run(|| {
        let network = network()?;
        let (client_keys, peer_keys, _peer) = peer_of(&network)?;
        for offload in [true, false] {
            let client = Client::of(&network, &client_keys, &peer_keys, offload)?;
            let packets_sent = || client.plane.snapshot().plane.outbound.packets_sent;
            let server = &network.server;
            allocations::none_while_sending(client.host, server, SERVER_V4.into(), packets_sent)?;
        }
        Ok(())
    });
}

#[test]
fn stopping_ends_the_threads_and_frees_the_device() {
    sandbox::run(|| {
        let network = network()?;
        let (client_keys, peer_keys, _peer) = peer_of(&network)?;
        let client = Client::of(&network, &client_keys, &peer_keys, true)?;
        let host = client.host;
        ensure!(host.output("ip", &["-o", "link"])?.contains("tun0"));
        let started = Instant::now();
        client.plane.stop();
        ensure!(started.elapsed() < Duration::from_secs(1), "took {:?}", started.elapsed());
        ensure!(!host.output("ip", &["-o", "link"])?.contains("tun0"));
        Ok(())
    });
}
