//! The path MTU on a path of some length, beside a search that goes down from 1500 in steps of 20 bytes.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};
use evenkeel_lab::{
    Host, Nat, Topology,
    client::Client,
    practice::PracticeGateway,
    relay::{Conditions, Way},
    topology::GATEWAY_V4,
    traffic,
};

use super::super::table::{Row, duration, middle};

/// Ethernet, PPPoE, tunnels in tunnels, and a hotel's. A path of 1280 is right from the start.
const PATHS: [u16; 7] = [1500, 1492, 1420, 1400, 1380, 1300, 1124];
/// One way.
const DELAY: Duration = Duration::from_millis(25);
const STEP: u16 = 20;
/// Round trips.
const GOAL: f64 = 2.0;
/// Between two looks at the log.
const OFTEN: Duration = Duration::from_millis(1);
const LIMIT: Duration = Duration::from_secs(10);

pub(super) fn run(rounds: usize) -> anyhow::Result<Vec<Row>> {
    let network = Topology::behind(Nat::preserving()).build()?;
    traffic::serve(&network.gateway)?;
    let gateway = PracticeGateway::demo(&network.gateway, network.gateway_address())?;
    let client = Client::start(network.client())?;
    client.import_file(&gateway.client_profile(|text| text)?)?;
    let relay = network.relay()?;
    relay.set_both(Conditions::delayed(DELAY));
    relay.eat_errors(true)?;
    let mut rows = Vec::new();
    for mtu in PATHS {
        relay.narrow(Way::Up, mtu)?;
        relay.narrow(Way::Down, mtu)?;
        let (mut ours, mut trips) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            ours.push(searched(&client, mtu).with_context(|| format!("a path of {mtu}"))?);
            trips.push(round_trip(network.client())?);
        }
        // What a busy machine adds to a round trip is none of the path's.
        let (took, trip) = (middle(&ours), trips.into_iter().min().unwrap_or(DELAY * 2));
        let ours = took.as_secs_f64() / trip.as_secs_f64();
        println!("  path of {mtu}: {}, a round trip takes {}", duration(took), duration(trip));
        let said = |time: Duration, trips: f64| format!("{}, {trips:.1} RTT", duration(time));
        let stepped = steps(mtu);
        rows.push(
            Row::new(format!("Path MTU {mtu}: found, beside steps of {STEP}"), said(took, ours))
                .beside(said(trip * stepped, stepped.into()))
                .ratio(ours / f64::from(stepped))
                // What was answered after two is told a little later.
                .goal("2 RTT", ours.round() <= GOAL),
        );
    }
    Ok(rows)
}

/// From the CHILD SA until the right size was in use, both ways, on a network that is not known.
fn searched(client: &Client<'_>, mtu: u16) -> anyhow::Result<Duration> {
    let run = client.evenkeel(&["networks", "forget", "--all"], None)?;
    ensure!(run.code == 0, "{run:?}");
    let before = client.log().len();
    thread::scope(|scope| {
        let connecting = scope.spawn(|| client.connect(None));
        // What the status shows is what will be remembered, which takes longer to prove.
        let (child, size) = ("tunnel state=Configuring", format!("uplink: {mtu}, downlink: {mtu},"));
        let said = |what: &str| {
            let started = Instant::now();
            while started.elapsed() < LIMIT {
                if client.log().get(before..).is_some_and(|log| log.contains(what)) {
                    return Ok(Instant::now());
                }
                thread::sleep(OFTEN);
            }
            bail!("the daemon did not log {what:?}")
        };
        let (there, found) = (said(child), said(&size));
        connecting.join().ok().context("evenkeel connect")??;
        client.disconnect()?;
        Ok(found?.saturating_duration_since(there?))
    })
}

/// Round trips that a search takes which asks for one size after the other, at its best: each that is too large costs one
/// round trip of waiting. One that does not know the path waits for a second (RFC 8899 §5.1.1).
fn steps(mtu: u16) -> u32 {
    u32::from((1500 - mtu).div_ceil(STEP)) + 1
}

/// A round trip outside the tunnel.
fn round_trip(host: &Host) -> anyhow::Result<Duration> {
    traffic::echo(host, GATEWAY_V4.into(), 64, LIMIT)?.context("the gateway's host is silent")
}

#[cfg(test)]
mod tests {
    use super::steps;

    #[test]
    fn a_size_between_two_steps_is_reached_by_the_next_smaller_one() {
        assert_eq!([1500, 1492, 1480, 1420, 1124].map(steps), [1, 2, 2, 5, 20]);
    }
}
