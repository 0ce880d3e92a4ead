//! Two data planes back to back, between real TUN devices: what a person's TCP connections see of them.

#![cfg(target_os = "linux")]

mod icmp;
mod mtu;
mod path;
mod planes;
mod probes;
mod relay;
mod silence;

use std::{
    fs,
    net::{IpAddr, SocketAddr, UdpSocket},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use evenkeel_datapath::{PeerAddress, PlaneDrop, PlaneEvent};
use evenkeel_ipsec::wire::EspSpi;
use evenkeel_lab::{Host, allocations, sandbox, traffic, wait};
use evenkeel_platform::allocations::CountingAllocator;
use planes::{End, Kind, LEFT, RIGHT, Wire, sas};
use relay::Relay;

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

const DATA: u64 = 20 << 20;

fn carries_data_both_ways(left: &End, right: &End) -> anyhow::Result<()> {
    traffic::serve(&right.host)?;
    for server in [IpAddr::from(RIGHT.v4), RIGHT.v6.into()] {
        traffic::download(&left.host, server, DATA)?;
        traffic::upload(&left.host, server, DATA)?;
        for length in [0, 1, 1300, 30_000] {
            // A relay may keep a datagram back until the next one comes.
            let answered = (0..5)
                .find_map(|_| traffic::echo(&left.host, server, length, Duration::from_secs(2)).transpose());
            answered.context("no echo")??;
        }
    }
    Ok(())
}

#[test]
fn with_offloads_data_arrives_unchanged_and_in_large_pieces() {
    sandbox::run(|| {
        let wire = Wire::new()?;
        let (left, right) = wire.pair(Kind::Offload, Kind::Offload)?;
        carries_data_both_ways(&left, &right)?;
        for end in [&left, &right] {
            let stats = end.plane.snapshot();
            let per = |packets: u64, calls: u64| packets / calls.max(1);
            ensure!(per(stats.outbound.packets_sent, stats.outbound.sends) >= 4, "small trains: {stats:?}");
            ensure!(per(stats.inbound.datagrams, stats.inbound.receives) >= 4, "small batches: {stats:?}");
            ensure!(per(stats.inbound.packets_written, stats.inbound.writes) >= 3, "not joined: {stats:?}");
            for reason in [
                PlaneDrop::Inconsistent,
                PlaneDrop::TooBig,
                PlaneDrop::Seal,
                PlaneDrop::Open,
                PlaneDrop::Write,
            ] {
                ensure!(stats.dropped(reason) == 0, "{}: {stats:?}", reason.name());
            }
        }
        Ok(())
    });
}

#[test]
fn without_offloads_data_arrives_unchanged() {
    sandbox::run(|| {
        let wire = Wire::new()?;
        let (left, right) = wire.pair(Kind::Plain, Kind::Plain)?;
        carries_data_both_ways(&left, &right)
    });
}

#[test]
fn an_end_with_offloads_and_one_without_understand_each_other() {
    sandbox::run(|| {
        let wire = Wire::new()?;
        let (left, right) = wire.pair(Kind::Offload, Kind::Plain)?;
        carries_data_both_ways(&left, &right)
    });
}

#[test]
fn a_hostile_path_changes_nothing_but_the_counters() {
    sandbox::run(|| {
        let wire = Wire::new()?;
        let (left, right) = wire.pair_through(Relay::hostile, Kind::Offload, Kind::Offload)?;
        carries_data_both_ways(&left, &right)?;
        for end in [&left, &right] {
            let (stats, sa) = (end.plane.snapshot(), end.counters_in.snapshot());
            for reason in [PlaneDrop::UnknownSpi, PlaneDrop::Runt, PlaneDrop::Open] {
                ensure!(stats.dropped(reason) > 0, "{} was not tried: {stats:?}", reason.name());
            }
            let dropped: u64 = sa.drops.iter().sum();
            ensure!(dropped == stats.dropped(PlaneDrop::Open), "{sa:?} {stats:?}");
            ensure!(stats.inbound.control > 0 && stats.inbound.keepalives > 0, "{stats:?}");
        }
        Ok(())
    });
}

#[test]
fn an_ike_message_reaches_the_control_plane_without_its_marker() {
    sandbox::run(|| {
        let wire = Wire::new()?;
        let (left, right) = wire.pair(Kind::Offload, Kind::Offload)?;
        // Two of equal length at once, which would arrive joined.
        let message = [&[0; 4][..], b"an IKE message"].concat();
        left.socket.send(&message, Some(right.socket.local_addr()?))?;
        left.socket.send(&message, Some(right.socket.local_addr()?))?;
        for _ in 0..2 {
            let event = right.event(|event| matches!(event, PlaneEvent::Control { .. }))?;
            let PlaneEvent::Control { from, to, message } = event else { unreachable!() };
            ensure!(message == b"an IKE message");
            ensure!((from, to) == (left.socket.local_addr()?, right.socket.local_addr()?));
        }
        Ok(())
    });
}

#[test]
fn without_an_sa_nothing_leaves_in_the_clear() {
    sandbox::run(|| {
        let wire = Wire::new()?;
        let (left, right) = wire.pair(Kind::Offload, Kind::Offload)?;
        traffic::serve(&right.host)?;
        left.plane.remove(left.spi_in);
        ensure!(!traffic::reaches(&left.host, RIGHT.v4.into(), Duration::from_millis(500)));
        let stats = left.plane.snapshot();
        ensure!(stats.dropped(PlaneDrop::NoSa) > 0 && stats.outbound.sends == 0, "{stats:?}");
        Ok(())
    });
}

#[test]
fn sas_are_replaced_under_load_without_losing_a_packet() {
    sandbox::run(|| {
        let wire = Wire::new()?;
        let (left, right) = wire.pair(Kind::Offload, Kind::Offload)?;
        traffic::serve(&right.host)?;
        let (mut old_left, mut old_right) = (left.spi_in, right.spi_in);
        let rekeyed = AtomicBool::new(false);
        thread::scope(|scope| -> anyhow::Result<()> {
            let load = scope.spawn(|| -> anyhow::Result<()> {
                while !rekeyed.load(Ordering::Relaxed) {
                    traffic::download(&left.host, RIGHT.v4.into(), DATA)?;
                }
                Ok(())
            });
            let rekeying = (1..=10).try_for_each(|generation| -> anyhow::Result<()> {
                let (new_left, new_right) = (EspSpi(0x1000 + generation), EspSpi(0x0200_0000 + generation));
                // As in a rekey: both receive first, then one sends on the new SA, then the other.
                right
                    .plane
                    .install(sas(new_right, new_left, &RIGHT, &LEFT, right.peer, false, generation)?.0);
                left.plane.install(sas(new_left, new_right, &LEFT, &RIGHT, left.peer, true, generation)?.0);
                right.await_seen(new_right)?;
                right.plane.send_on(new_right);
                // What was sent on the old SA arrives before anything on the new one, and before a DELETE would.
                left.await_seen(new_left)?;
                left.plane.remove(old_left);
                right.plane.remove(old_right);
                (old_left, old_right) = (new_left, new_right);
                Ok(())
            });
            rekeyed.store(true, Ordering::Relaxed);
            load.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
            rekeying
        })?;
        for end in [&left, &right] {
            let stats = end.plane.snapshot();
            for reason in [PlaneDrop::UnknownSpi, PlaneDrop::Open, PlaneDrop::Seal] {
                ensure!(stats.dropped(reason) == 0, "{}: {stats:?}", reason.name());
            }
        }
        Ok(())
    });
}

#[test]
fn an_sa_whose_sequence_numbers_run_low_says_so_once_and_in_time() {
    sandbox::run(|| {
        let wire = Wire::new()?;
        let (left, _right) = wire.pair(Kind::Plain, Kind::Plain)?;
        let low = |generation: u32, left_over: u64| -> anyhow::Result<EspSpi> {
            let spi = EspSpi(0x3000 + generation);
            let (mut child, _) = sas(spi, EspSpi(0x0303_0303), &LEFT, &RIGHT, left.peer, true, generation)?;
            child.outbound.skip_to(u64::MAX - left_over);
            left.plane.install(child);
            Ok(spi)
        };
        // 2^28 numbers are six minutes at 7 Gbit/s: time enough for a rekey over any path.
        let (plenty, few) = (low(1, (1 << 28) + 1_000)?, low(2, 1 << 28)?);
        let sent = || left.plane.snapshot().outbound.packets_sent;
        let (before, send) =
            (sent(), || traffic::reaches(&left.host, RIGHT.v4.into(), Duration::from_millis(100)));
        ensure!(!send() && sent() > before, "nothing was sent on the SA");
        left.plane.send_on(plenty);
        let before = sent();
        ensure!(!send() && sent() > before, "nothing was sent on the other SA");
        let said = left.events(|events| !events.is_empty())?;
        ensure!(matches!(said[..], [PlaneEvent::SequenceLow { spi_in }] if spi_in == few), "{said:?}");
        Ok(())
    });
}

#[test]
fn packets_that_are_here_before_their_sa_are_not_lost() {
    sandbox::run(|| {
        let wire = Wire::new()?;
        let (left, right) = wire.pair(Kind::Offload, Kind::Offload)?;
        traffic::serve(&right.host)?;
        let (new_left, new_right) = (EspSpi(0x1001), EspSpi(0x0200_0001));
        // The right end sends on the new SA at once, as a gateway may that has answered; the left one is not ready.
        right.plane.install(sas(new_right, new_left, &RIGHT, &LEFT, right.peer, true, 1)?.0);
        let early = 20;
        let socket = right.host.run(|| UdpSocket::bind((RIGHT.v4, 0)))?;
        let inner = left.host.run(|| UdpSocket::bind((LEFT.v4, 9)))?;
        inner.set_read_timeout(Some(Duration::from_secs(2)))?;
        for number in 0..early {
            socket.send_to(&[number; 100], (LEFT.v4, 9))?;
        }
        let held = || left.plane.snapshot().dropped(PlaneDrop::UnknownSpi);
        wait::until("the early packets", Duration::from_secs(5), || {
            (held() == u64::from(early)).then_some(())
        })?;
        left.plane.install(sas(new_left, new_right, &LEFT, &RIGHT, left.peer, true, 1)?.0);
        let mut buffer = [0; 200];
        for number in 0..early {
            let length = inner.recv(&mut buffer).with_context(|| format!("packet {number}"))?;
            ensure!(buffer[..length] == [number; 100], "packet {number} is another");
        }
        ensure!(held() == 0, "{} are still counted as dropped", held());
        traffic::download(&left.host, RIGHT.v4.into(), DATA).map(drop)
    });
}

#[test]
fn one_plane_serves_two_peers_and_follows_the_one_that_moves() {
    sandbox::run(|| {
        let wire = Wire::new()?;
        let (alice, server) = wire.pair(Kind::Offload, Kind::Offload)?;
        let bob = wire.end("bob", &planes::BOB, Kind::Plain)?;
        let (spi_bob, spi_server) = (EspSpi(0xb0b), EspSpi(0x5e4));
        let peer = PeerAddress::Following(bob.socket.local_addr()?);
        server.plane.install(sas(spi_server, spi_bob, &RIGHT, &planes::BOB, peer, true, 77)?.0);
        let peer = PeerAddress::Fixed(server.socket.local_addr()?);
        bob.plane.install(sas(spi_bob, spi_server, &planes::BOB, &RIGHT, peer, true, 77)?.0);
        traffic::serve(&server.host)?;
        traffic::download(&alice.host, RIGHT.v4.into(), DATA)?;
        traffic::download(&bob.host, RIGHT.v4.into(), DATA)?;

        let moved = wire.socket(Kind::Plain)?;
        let new_address = moved.local_addr()?;
        bob.plane.set_socket(moved);
        traffic::download(&bob.host, RIGHT.v4.into(), DATA)?;
        let event = server.event(|event| matches!(event, PlaneEvent::PeerMoved { .. }))?;
        ensure!(
            matches!(event, PlaneEvent::PeerMoved { spi_in, peer } if (spi_in, peer) == (spi_server, new_address)),
            "{event:?}"
        );
        Ok(())
    });
}

#[test]
fn an_mtu_lowered_in_place_keeps_connections_going() {
    sandbox::run(|| {
        let wire = Wire::new()?;
        let (left, right) = wire.pair(Kind::Offload, Kind::Offload)?;
        traffic::serve(&right.host)?;
        thread::scope(|scope| {
            let upload = scope.spawn(|| traffic::upload(&left.host, RIGHT.v4.into(), 5 * DATA));
            thread::sleep(Duration::from_millis(100));
            left.host.run(|| left.tun.set_mtu(1280))?;
            upload.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
            ensure!(left.host.run(|| left.tun.mtu())? == 1280);
            Ok(())
        })
    });
}

#[test]
fn new_connections_agree_on_the_clamped_mss() {
    sandbox::run(|| {
        let wire = Wire::new()?;
        let (left, right) = wire.pair(Kind::Offload, Kind::Offload)?;
        left.plane.set_mss(evenkeel_datapath::MssClamp { v4: 1000, v6: 900 });
        traffic::serve(&right.host)?;
        traffic::download(&left.host, RIGHT.v4.into(), 1 << 20)?;
        let before = left.counters_in.snapshot();
        traffic::download(&left.host, RIGHT.v4.into(), 1 << 20)?;
        let after = left.counters_in.snapshot();
        let mean = (after.bytes - before.bytes) / (after.packets - before.packets);
        ensure!((900..=1040).contains(&mean), "packets of {mean} bytes on average");
        // The answer to our SYN is clamped as well, or the other end would be sent longer ones.
        traffic::upload(&left.host, RIGHT.v4.into(), 1 << 20)?;
        let before = right.counters_in.snapshot();
        traffic::upload(&left.host, RIGHT.v4.into(), 1 << 20)?;
        let after = right.counters_in.snapshot();
        let mean = (after.bytes - before.bytes) / (after.packets - before.packets);
        ensure!((700..=1040).contains(&mean), "packets of {mean} bytes on average");
        Ok(())
    });
}

#[test]
fn an_idle_plane_does_not_run() {
    sandbox::run(|| {
        let wire = Wire::new()?;
        let (left, right) = wire.pair(Kind::Offload, Kind::Plain)?;
        carries_data_both_ways(&left, &right)?;
        // What the kernel still has to say (TCP's last words, neighbour discovery) takes a moment.
        let deadline = Instant::now() + Duration::from_secs(20);
        let mut before = wakeups()?;
        loop {
            // Nothing can be awaited here: the point is that nothing happens.
            thread::sleep(Duration::from_secs(1));
            let after = wakeups()?;
            if before == after {
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "still waking up: {before:?}, a second later {after:?}");
            before = after;
        }
    });
}

/// How often each data plane thread has gone to sleep.
fn wakeups() -> anyhow::Result<Vec<(String, String)>> {
    let mut threads = Vec::new();
    for task in fs::read_dir("/proc/self/task")? {
        let status = fs::read_to_string(task?.path().join("status"))?;
        let field = |name: &str| {
            status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or("").trim().to_owned()
        };
        if field("Name:").starts_with("esp-") {
            threads.push((field("Pid:"), field("voluntary_ctxt_switches:")));
        }
    }
    ensure!(threads.len() == 4, "not the threads of two planes: {threads:?}");
    Ok(threads)
}

#[test]
fn carrying_packets_allocates_nothing() {
    sandbox::run(|| {
        for kind in [Kind::Offload, Kind::Plain] {
            let wire = Wire::new()?;
            let (left, right) = wire.pair(kind, kind)?;
            let packets_sent = || left.plane.snapshot().outbound.packets_sent;
            allocations::none_while_sending(&left.host, &right.host, RIGHT.v4.into(), packets_sent)?;
        }
        Ok(())
    });
}

#[test]
fn dropping_a_plane_ends_its_threads_and_its_device() {
    sandbox::run(|| {
        let wire = Wire::new()?;
        let host = Host::new("alone")?;
        let end = wire.end_on(host, &LEFT, Kind::Offload)?;
        let End { plane, tun, host, .. } = end;
        ensure!(host.output("ip", &["-o", "link"])?.contains("tun0"));
        drop(plane);
        drop(tun);
        ensure!(!host.output("ip", &["-o", "link"])?.contains("tun0"));
        Ok(())
    });
}

#[test]
fn a_datagram_to_nowhere_is_counted_and_the_plane_lives_on() {
    sandbox::run(|| {
        let wire = Wire::new()?;
        let (left, right) = wire.pair(Kind::Offload, Kind::Offload)?;
        traffic::serve(&right.host)?;
        left.plane.set_peer(left.spi_in, SocketAddr::from(([203, 0, 113, 9], 4500)));
        ensure!(!traffic::reaches(&left.host, RIGHT.v4.into(), Duration::from_millis(500)));
        left.event(|event| matches!(event, PlaneEvent::Trouble(_)))?;
        ensure!(left.plane.snapshot().dropped(PlaneDrop::Send) > 0);
        left.plane.set_peer(left.spi_in, right.socket.local_addr()?);
        traffic::download(&left.host, RIGHT.v4.into(), 1 << 20)?;
        Ok(())
    });
}
