//! Probes over real paths, answered by a real system.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use anyhow::{Context, ensure};
use evenkeel_datapath::probe::{Cookie, EchoRequest, Probe, ProbeId, Reply, Watch, WatchSet, dns_query};
use evenkeel_datapath::{PlaneDrop, PlaneEvent};
use evenkeel_lab::sandbox;

use crate::path::{NarrowPath, Outer};
use crate::planes::{End, Kind, LEFT, RIGHT};

const COOKIE: Cookie = Cookie(*b"biscuits");
const IDENTIFIER: u16 = 0x4b45;

fn echo(inner: Outer, sequence: u16) -> EchoRequest {
    let (source, destination) = inner_addresses(inner);
    EchoRequest { source, destination, identifier: IDENTIFIER, sequence, cookie: COOKIE }
}

fn inner_addresses(inner: Outer) -> (IpAddr, IpAddr) {
    match inner {
        Outer::V4 => (LEFT.v4.into(), RIGHT.v4.into()),
        Outer::V6 => (LEFT.v6.into(), RIGHT.v6.into()),
    }
}

/// Watches for the echo replies, and sends an echo request padded to each of these outer lengths.
fn send_padded(left: &End, inner: Outer, sizes: &[u16]) -> anyhow::Result<()> {
    left.plane.watch(WatchSet::new([Watch::Echo {
        from: inner_addresses(inner).1,
        identifier: IDENTIFIER,
        cookie: COOKIE,
    }])?);
    for (sequence, size) in (0..).zip(sizes) {
        let packet = echo(inner, sequence).packet()?;
        left.plane.probe(Probe { id: ProbeId(sequence.into()), packet, outer_len: Some(*size) });
    }
    Ok(())
}

/// Sequence numbers and outer lengths of the answers.
fn answers(events: &[PlaneEvent]) -> Vec<(u16, u16)> {
    let answer = |event: &PlaneEvent| {
        let PlaneEvent::ProbeReply { packet, outer_len } = event else { return None };
        let Some(Reply::Echo { sequence, cookie, identifier, .. }) = Reply::parse(packet) else {
            return None;
        };
        ((identifier, cookie) == (IDENTIFIER, COOKIE)).then_some((sequence, *outer_len))
    };
    events.iter().filter_map(answer).collect()
}

#[test]
fn probes_tell_what_the_path_takes_and_what_the_first_link_refuses() {
    sandbox::run(|| {
        for outer in [Outer::V4, Outer::V6] {
            let path = NarrowPath::new(1400)?;
            let (left, _right) = path.pair(outer, Kind::Offload)?;
            // The last but one fits no link of ours, the last is the smallest again: its answer comes last.
            let sizes = [1280, 1396, 1400, 1403, 1404, 1500, 1504, 1284];
            send_padded(&left, outer, &sizes)?;
            let events = left.events(|events| {
                let told = events.iter().any(|event| matches!(event, PlaneEvent::IcmpTooBig { .. }));
                told && answers(events).iter().any(|(sequence, _)| *sequence == 7)
            })?;
            let answered: BTreeSet<u16> = answers(&events).iter().map(|(sequence, _)| *sequence).collect();
            ensure!(answered == BTreeSet::from([0, 1, 2, 3, 7]), "{outer:?} answered: {events:?}");
            // Whatever the size of the probe, TFC padding does not come back.
            ensure!(answers(&events).iter().all(|(_, outer_len)| *outer_len < 150), "{events:?}");

            let sent: Vec<(u64, u16)> = events
                .iter()
                .filter_map(|event| {
                    let PlaneEvent::ProbeSent { id, outer_len } = event else { return None };
                    Some((id.0, *outer_len))
                })
                .collect();
            // 1403 is no length that ESP can have.
            let expected = [(0, 1280), (1, 1396), (2, 1400), (3, 1400), (4, 1404), (5, 1500), (7, 1284)];
            ensure!(sent == expected, "{outer:?} sent: {sent:?}");
            let refused = events
                .iter()
                .filter(|event| matches!(event, PlaneEvent::ProbeTooBig { id: ProbeId(6), outer_len: 1504 }));
            ensure!(refused.count() == 1, "{outer:?}: {events:?}");
            let wrongly_told = events.iter().any(|event| {
                matches!(event, PlaneEvent::IcmpTooBig { mtu, quoted_is_ours } if (*mtu, *quoted_is_ours) != (1400, true))
            });
            ensure!(!wrongly_told, "{outer:?}: {events:?}");
            let stats = left.plane.snapshot();
            let counted = (
                stats.outbound.probes_sent,
                stats.outbound.probes_too_big,
                stats.inbound.probe_replies,
                stats.dropped(PlaneDrop::TooBig),
            );
            ensure!(counted == (7, 1, 5, 0), "{stats:?}");
        }
        Ok(())
    });
}

#[test]
fn large_echoes_show_a_downlink_narrower_than_the_uplink() {
    sandbox::run(|| {
        let path = NarrowPath::new(1400)?;
        // Without trains, in which the router between would lose the small together with the large.
        let (left, right) = path.pair(Outer::V4, Kind::Plain)?;
        path.two.ip("route replace 192.0.2.0/24 via 203.0.113.1 mtu lock 1300")?;
        send_padded(&left, Outer::V4, &[1400])?;
        // Unpadded, 1336 bytes of them make an ESP packet of 1372 bytes: 1400 outside, there and back.
        for (sequence, len) in [(1, 1236), (2, 1336), (3, 1232)] {
            let packet = echo(Outer::V4, sequence).packet_of(len)?;
            left.plane.probe(Probe { id: ProbeId(sequence.into()), packet, outer_len: None });
        }
        let events = left.events(|events| answers(events).iter().any(|(sequence, _)| *sequence == 3))?;
        // The padded one got there, so the uplink takes 1400; the long answer did not come back.
        ensure!(answers(&events) == [(0, 100), (1, 1300), (3, 1296)], "{events:?}");
        let event = right.event(|event| matches!(event, PlaneEvent::IcmpTooBig { .. }))?;
        ensure!(
            matches!(event, PlaneEvent::IcmpTooBig { mtu: 1300, quoted_is_ours: true }),
            "the other end hears that its answer was too long: {event:?}"
        );
        Ok(())
    });
}

#[test]
fn a_udp_probe_is_answered_even_by_a_host_that_does_not_serve() {
    sandbox::run(|| {
        let path = NarrowPath::new(1400)?;
        let (left, _right) = path.pair(Outer::V4, Kind::Plain)?;
        for inner in [Outer::V4, Outer::V6] {
            let (ours, theirs) = inner_addresses(inner);
            let (source, server) = (SocketAddr::new(ours, 1053), SocketAddr::new(theirs, 53));
            left.plane.watch(WatchSet::new([Watch::Udp { from: server, port: 1053 }])?);
            let packet = dns_query(source, server, 0xbeef, "vpn.example.com")?;
            left.plane.probe(Probe { id: ProbeId(1), packet, outer_len: Some(1400) });
            let event = left
                .event(|event| matches!(event, PlaneEvent::ProbeReply { .. }))
                .with_context(|| format!("{inner:?}: {:?}", left.plane.snapshot()))?;
            let PlaneEvent::ProbeReply { packet, .. } = event else { unreachable!() };
            let reply = Reply::parse(&packet).context("not read")?;
            ensure!(
                reply == Reply::Unreachable { of: server, port: 1053, dns_id: Some(0xbeef) },
                "{reply:?}"
            );
        }
        Ok(())
    });
}

#[test]
fn without_an_sa_a_probe_is_reported_as_not_sent() {
    sandbox::run(|| {
        let path = NarrowPath::new(1400)?;
        let (left, _right) = path.pair(Outer::V4, Kind::Plain)?;
        // Too small for its packet; then nobody to carry it.
        send_padded(&left, Outer::V4, &[80, 20])?;
        left.plane.remove(left.spi_in);
        send_padded(&left, Outer::V4, &[1400])?;
        let failed = |events: &[PlaneEvent]| -> Vec<String> {
            let failure = |event: &PlaneEvent| {
                let PlaneEvent::ProbeFailed { error, .. } = event else { return None };
                Some(error.to_string())
            };
            events.iter().filter_map(failure).collect()
        };
        let events = left.events(|events| failed(events).len() == 3)?;
        let too_small = "the probe's packet is longer than what it was to be sent in";
        ensure!(
            failed(&events) == [too_small, too_small, "no CHILD SA carries the probe"],
            "{:?}",
            failed(&events)
        );
        Ok(())
    });
}
