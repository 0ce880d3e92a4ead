//! What leaves after a silence.

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
