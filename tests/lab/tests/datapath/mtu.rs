//! Packets that are longer than what the path takes, and connections that go on over a path that became narrower.

use std::{
    io::{Read, Write},
    net::{IpAddr, Shutdown, TcpListener, TcpStream},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use evenkeel_datapath::{MssClamp, PlaneDrop, PlaneEvent, Telling};
use evenkeel_lab::{Host, sandbox, traffic};

use crate::path::{NarrowPath, Outer};
use crate::planes::{End, Kind, LEFT, RIGHT, Wire};

/// Longer than a connection may stand still while its path changes: its first retransmissions, after 0.2, 0.6 and 1.4
/// seconds, may still meet the old state on a busy machine. Without help it stands still for good.
const STALL: Duration = Duration::from_secs(2);

/// What the system of `host` believes the way to `address` to take.
fn route_mtu(host: &Host, address: IpAddr) -> anyhow::Result<Option<u16>> {
    let route = host.output("ip", &["route", "get", &address.to_string()])?;
    let mut words = route.split_whitespace().skip_while(|word| *word != "mtu");
    words.nth(1).map(|mtu| mtu.parse().with_context(|| route.clone())).transpose()
}

#[test]
fn a_sender_of_datagrams_is_told_the_inner_mtu() {
    sandbox::run(|| {
        let wire = Wire::new()?;
        let (left, right) = wire.pair(Kind::Offload, Kind::Offload)?;
        traffic::serve(&right.host)?;
        for (server, mtu) in [(IpAddr::from(RIGHT.v4), 1100), (RIGHT.v6.into(), 1300)] {
            left.plane.set_inner_mtu(mtu, Telling::Senders);
            ensure!(route_mtu(&left.host, server)?.is_none());
            // Lost, but not silently: after it the system sends fragments of its own.
            ensure!(traffic::echo(&left.host, server, 1340, Duration::from_millis(300))?.is_none());
            ensure!(route_mtu(&left.host, server)? == Some(mtu), "not told");
            let answered = traffic::echo(&left.host, server, 1340, Duration::from_secs(5))?;
            ensure!(answered.is_some(), "not in fragments either");
        }
        let stats = left.plane.snapshot();
        ensure!(stats.outbound.too_big_told == 2 && stats.dropped(PlaneDrop::TooBig) == 2, "{stats:?}");
        Ok(())
    });
}

#[test]
fn a_limit_that_may_be_lifted_in_a_moment_is_told_to_nobody() {
    sandbox::run(|| {
        let wire = Wire::new()?;
        let (left, right) = wire.pair(Kind::Offload, Kind::Offload)?;
        traffic::serve(&right.host)?;
        let server = RIGHT.v4.into();
        left.plane.set_inner_mtu(1400, Telling::Senders);
        left.plane.set_inner_mtu(1100, Telling::Nobody);
        // Segments are cut; nothing else gets through as it is.
        traffic::upload(&left.host, server, 5 << 20)?;
        ensure!(traffic::echo(&left.host, server, 1340, Duration::from_millis(300))?.is_none());
        ensure!(left.plane.snapshot().outbound.too_big_told == 0 && route_mtu(&left.host, server)?.is_none());
        // Lifted again, and nothing to tell.
        left.plane.set_inner_mtu(1400, Telling::Senders);
        ensure!(traffic::echo(&left.host, server, 1340, Duration::from_secs(5))?.is_some());
        ensure!(left.plane.snapshot().outbound.too_big_told == 0, "{:?}", left.plane.snapshot());
        // Now it is meant.
        left.plane.set_inner_mtu(1100, Telling::Senders);
        ensure!(traffic::echo(&left.host, server, 1340, Duration::from_millis(300))?.is_none());
        ensure!(route_mtu(&left.host, server)? == Some(1100), "not told");
        Ok(())
    });
}

#[test]
fn a_datagram_that_may_be_fragmented_is() {
    sandbox::run(|| {
        let wire = Wire::new()?;
        let (left, right) = wire.pair(Kind::Offload, Kind::Plain)?;
        traffic::serve(&right.host)?;
        // Without path MTU discovery the system clears DF.
        left.host.sysctl("ipv4/ip_no_pmtu_disc", "1")?;
        left.plane.set_inner_mtu(600, Telling::Senders);
        for length in [1340, 5000] {
            let answered = traffic::echo(&left.host, RIGHT.v4.into(), length, Duration::from_secs(5))?;
            ensure!(answered.is_some(), "{length} bytes");
        }
        let stats = left.plane.snapshot();
        ensure!(stats.outbound.too_big_told == 0 && stats.dropped(PlaneDrop::TooBig) == 0, "{stats:?}");
        // 1348 bytes behind the IP header make three fragments of up to 576. The system cuts 5008 for the device, and each
        // of its fragments is cut again: three times 1376 and one of 880.
        let received = right.counters_in.snapshot();
        ensure!(received.packets == 3 + (3 * 3 + 2), "{received:?}");
        Ok(())
    });
}

/// The longest time in which `reader` got nothing of a stream that `writer` filled, while `change` happened.
fn longest_gap(
    writer: (&Host, IpAddr),
    reader: &Host,
    change: impl FnOnce() -> anyhow::Result<()>,
) -> anyhow::Result<Duration> {
    let listener = reader.run(|| TcpListener::bind((std::net::Ipv6Addr::UNSPECIFIED, 7777)))?;
    let done = AtomicBool::new(false);
    thread::scope(|scope| -> anyhow::Result<Duration> {
        let reading = scope.spawn(move || -> anyhow::Result<(Duration, u64)> {
            let (mut stream, _) = listener.accept()?;
            stream.set_read_timeout(Some(Duration::from_secs(15)))?;
            let (mut buffer, mut last) = (vec![0; 256 << 10], Instant::now());
            let (mut longest, mut total) = (Duration::ZERO, 0);
            loop {
                let got = stream.read(&mut buffer).context("the stream stands still")?;
                longest = longest.max(last.elapsed());
                last = Instant::now();
                if got == 0 {
                    return Ok((longest, total));
                }
                total += got as u64;
            }
        });
        let done = &done;
        let writing = scope.spawn(move || -> anyhow::Result<u64> {
            let mut stream = writer.0.run(|| TcpStream::connect((writer.1, 7777)))?;
            stream.set_write_timeout(Some(Duration::from_secs(15)))?;
            let (block, mut total) = (vec![0x5a; 64 << 10], 0);
            while !done.load(Ordering::Relaxed) {
                stream.write_all(&block)?;
                total += block.len() as u64;
            }
            stream.shutdown(Shutdown::Write)?;
            Ok(total)
        });
        // The stream gets up to speed, changes, and has time to show what becomes of it.
        thread::sleep(Duration::from_millis(300));
        let changed = change();
        thread::sleep(Duration::from_millis(2500));
        done.store(true, Ordering::Relaxed);
        changed?;
        let written = writing.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        let (longest, read) = reading.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        ensure!(read == written, "{read} of {written} bytes arrived");
        Ok(longest)
    })
}

/// 1300 bytes outside, less IP, UDP and ESP headers, IV, trailer and ICV: a multiple of four with the trailer.
const INNER_OF_1300: u16 = 1300 - 28 - 16 - 2 - 16;

#[test]
fn a_stream_goes_on_over_a_path_that_became_narrower() {
    sandbox::run(|| {
        for (kind, server_writes) in [(Kind::Offload, false), (Kind::Plain, true), (Kind::Plain, false)] {
            let path = NarrowPath::new(1500)?;
            let (left, right) = path.pair(Outer::V4, kind)?;
            let (writer, to, reader): (&End, IpAddr, &End) = if server_writes {
                (&right, LEFT.v4.into(), &left)
            } else {
                (&left, RIGHT.v6.into(), &right)
            };
            let gap = longest_gap((&writer.host, to), &reader.host, || {
                path.set_mtu(1300)?;
                // The way there is narrow from here on; ICMP tells of the first packet that was lost.
                let told = |event: &PlaneEvent| {
                    matches!(event, PlaneEvent::IcmpTooBig { mtu: 1300, quoted_is_ours: true })
                };
                writer.event(told)?;
                for end in [&left, &right] {
                    end.plane.set_inner_mtu(INNER_OF_1300, Telling::Senders);
                }
                Ok(())
            })?;
            ensure!(gap < STALL, "{kind:?}: nothing arrived for {gap:?}");
            let stats = writer.plane.snapshot();
            ensure!(stats.dropped(PlaneDrop::TooBig) == 0, "{stats:?}");
            // Once a connection has learned it, there is nothing more to tell.
            ensure!((1..100).contains(&stats.outbound.too_big_told), "{stats:?}");
            if !to.is_ipv6() {
                ensure!(route_mtu(&writer.host, to)? == Some(INNER_OF_1300), "the sender was not told");
            }
        }
        Ok(())
    });
}

#[test]
fn everything_can_be_changed_in_place_under_a_stream() {
    sandbox::run(|| {
        let path = NarrowPath::new(1500)?;
        let (left, right) = path.pair(Outer::V4, Kind::Offload)?;
        let set = |inner: u16, device: u16| {
            [&left, &right].into_iter().try_for_each(|end| {
                end.plane.set_inner_mtu(inner, Telling::Senders);
                end.plane.set_mss(MssClamp::for_mtu(inner));
                end.plane.tell_far_ends(inner);
                end.host.run(|| end.tun.set_mtu(device))
            })
        };
        let gap = longest_gap((&left.host, RIGHT.v4.into()), &right.host, || {
            // Down, up again, and down to where the device must have more than the path takes.
            set(1338, 1338)?;
            path.set_mtu(1400)?;
            path.set_mtu(1500)?;
            set(1400, 1400)?;
            set(INNER_OF_1300, 1280)?;
            path.set_mtu(1300)
        })?;
        ensure!(gap < STALL, "nothing arrived for {gap:?}");
        // New connections both ways on the last of them; of those over IPv6, only the MSS is small enough.
        traffic::serve(&right.host)?;
        for server in [IpAddr::from(RIGHT.v4), RIGHT.v6.into()] {
            traffic::download(&left.host, server, 5 << 20)?;
            traffic::upload(&left.host, server, 5 << 20)?;
        }
        Ok(())
    });
}

#[test]
fn a_datagram_that_the_first_link_refuses_is_told_with_what_the_system_knows() {
    sandbox::run(|| {
        let path = NarrowPath::new(1500)?;
        let (left, _right) = path.pair(Outer::V4, Kind::Plain)?;
        path.near.ip("link set out mtu 1300")?;
        traffic::echo(&left.host, RIGHT.v4.into(), 1340, Duration::from_millis(100))?;
        let event = left.event(|event| matches!(event, PlaneEvent::TooBig { .. }))?;
        ensure!(matches!(event, PlaneEvent::TooBig { esp_len: 1404.., path_mtu: Some(1300) }), "{event:?}");
        Ok(())
    });
}
