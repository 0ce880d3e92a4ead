//! What arrives after a silence, and when something last did.

use std::{
    net::UdpSocket,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use evenkeel_datapath::PlaneEvent;
use evenkeel_lab::sandbox;

use crate::planes::{End, Kind, LEFT, RIGHT, Wire};

const SILENCE: Duration = Duration::from_millis(400);

/// A socket on the end's own host, which says nothing by itself.
fn socket(end: &End, port: u16) -> anyhow::Result<UdpSocket> {
    end.host.run(|| UdpSocket::bind(("0.0.0.0", port))).context("a socket")
}

#[test]
fn a_packet_after_a_silence_is_told_with_how_long_it_was() {
    sandbox::run(|| {
        let wire = Wire::new()?;
        let (left, right) = wire.pair(Kind::Offload, Kind::Plain)?;
        let (ours, theirs) = (socket(&left, 9)?, socket(&right, 9)?);
        left.plane.report_after_silence(SILENCE);
        let started = Instant::now();
        ours.send_to(b"the last thing we say", (RIGHT.v4, 9))?;
        right.await_seen(right.spi_in)?;
        let sent = left.plane.snapshot().outbound.last_sent.context("never sent")?;
        ensure!(sent >= started && sent <= Instant::now());

        // Silence is what is tested, so there is nothing to wait for. Two answers: after it, and soon after the first.
        theirs.send_to(b"at once", (LEFT.v4, 9))?;
        left.await_seen(left.spi_in)?;
        thread::sleep(SILENCE * 2);
        theirs.send_to(b"late", (LEFT.v4, 9))?;
        let event = left.event(|event| matches!(event, PlaneEvent::InboundAfterSilence { .. }))?;
        let PlaneEvent::InboundAfterSilence { spi_in, silent_for, quiet_for } = event else { unreachable!() };
        let most = started.elapsed();
        ensure!(spi_in == left.spi_in);
        ensure!(silent_for >= SILENCE * 2 && silent_for <= most, "silent for {silent_for:?} of {most:?}");
        ensure!(quiet_for >= SILENCE * 2 && quiet_for <= silent_for, "quiet for {quiet_for:?}");
        let received = left.plane.snapshot().inbound.last_received.context("never received")?;
        ensure!(received > sent);
        Ok(())
    });
}

#[test]
fn a_packet_that_leaves_after_a_silence_is_told_and_none_that_follows_it() {
    sandbox::run(|| {
        let wire = Wire::new()?;
        let (left, right) = wire.pair(Kind::Offload, Kind::Plain)?;
        let (ours, theirs) = (socket(&left, 9)?, socket(&right, 9)?);
        left.plane.report_sent_after(SILENCE);
        let started = Instant::now();
        let told = |event: &PlaneEvent| matches!(event, PlaneEvent::SentAfterSilence { .. });
        for payload in [&b"the first thing we say"[..], b"at once"] {
            ours.send_to(payload, (RIGHT.v4, 9))?;
        }
        right.await_seen(right.spi_in)?;
        // Silence is what is tested, so there is nothing to wait for.
        thread::sleep(SILENCE * 2);
        ours.send_to(b"late", (RIGHT.v4, 9))?;
        let PlaneEvent::SentAfterSilence { silent_for } = left.event(told)? else { unreachable!() };
        let most = started.elapsed();
        ensure!(silent_for >= SILENCE * 2 && silent_for <= most, "silent for {silent_for:?} of {most:?}");
        // What others send on the socket ends a silence too.
        thread::sleep(SILENCE * 2);
        left.plane.note_sent();
        ours.send_to(b"not late", (RIGHT.v4, 9))?;
        theirs.send_to(b"an answer", (LEFT.v4, 9))?;
        let events =
            left.events(|events| events.iter().any(|event| matches!(event, PlaneEvent::EspSeen { .. })))?;
        ensure!(!events.iter().any(told), "{events:?}");
        Ok(())
    });
}

#[test]
fn what_others_send_on_the_socket_or_a_new_socket_ends_a_silence() {
    sandbox::run(|| {
        for new_socket in [false, true] {
            let wire = Wire::new()?;
            let (left, right) = wire.pair(Kind::Plain, Kind::Plain)?;
            let (ours, theirs) = (socket(&left, 9)?, socket(&right, 9)?);
            left.plane.report_after_silence(SILENCE);
            ours.send_to(b"the last thing we say", (RIGHT.v4, 9))?;
            right.await_seen(right.spi_in)?;
            thread::sleep(SILENCE * 2);
            if new_socket {
                let socket = wire.socket(Kind::Plain)?;
                right.plane.set_peer(right.spi_in, socket.local_addr()?);
                left.plane.set_socket(socket);
            } else {
                left.plane.note_sent();
            }
            theirs.send_to(b"not late", (LEFT.v4, 9))?;
            let events =
                left.events(|events| events.iter().any(|event| matches!(event, PlaneEvent::EspSeen { .. })))?;
            let told = events.iter().any(|event| matches!(event, PlaneEvent::InboundAfterSilence { .. }));
            ensure!(!told, "new socket {new_socket}: {events:?}");
        }
        Ok(())
    });
}
