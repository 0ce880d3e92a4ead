//! A laptop that goes from Wi-Fi to Ethernet and back with something running inside: for how long nothing gets through.

use std::{
    net::IpAddr,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use evenkeel_ipc::{State, Status};
use evenkeel_lab::{
    Nat,
    calls::Calls,
    client::Client,
    download::Download,
    office::{ALICE_MAIL, Office, PSK, psk_gateway},
    pki::Key,
    practice::PracticeGateway,
    profile::Profile,
    relay::{Conditions, Relay},
    roaming::{Families, Roaming},
    strongswan::Charon,
    topology::{GATEWAY_V4, SERVER_V4},
    traffic,
};

use super::super::table::{Row, duration, middle};
use super::echo;

/// Nothing here takes longer.
const LIMIT: Duration = Duration::from_secs(20);
/// Between the laptop's providers and the gateway, one way.
const DELAY: Duration = Duration::from_millis(25);
/// A second, and a round trip.
const GOAL: (&str, Duration) = ("< 1.05 s", Duration::from_millis(1050));
/// Between two calls of the office.
const OFTEN: Duration = Duration::from_millis(5);
/// Bytes a second of the stream inside, and its bytes: it runs for as long as a change takes, and longer.
const RATE: u32 = 500_000;
const STREAM: u64 = 2_000_000;
const UPLINKS: [&str; 2] = ["wifi", "ethernet"];

/// What a gateway is told of a change.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mobility {
    /// MOBIKE: addresses change, the SAs stay, and what runs inside goes on.
    Mobike,
    /// Nothing: a second session takes over, mostly with another inner address.
    None,
}

pub(super) fn run(rounds: usize) -> anyhow::Result<Vec<Row>> {
    let practice = with_practice(rounds).context("practice gateway")?;
    let strongswan = with_strongswan(Mobility::Mobike, rounds).context("strongSwan")?;
    let without = with_strongswan(Mobility::None, rounds).context("strongSwan without MOBIKE")?;
    let beside = || format!("{} without MOBIKE", duration(middle(&without.replugged)));
    let mut rows = Vec::new();
    for (gateway, gaps) in [("practice gateway", practice), ("strongSwan", strongswan)] {
        let (words, limit) = GOAL;
        let ratio = middle(&gaps.replugged).as_secs_f64() / middle(&without.replugged).as_secs_f64();
        rows.push(
            Row::time_within(
                format!("Roam, {gateway}: link usable to first byte"),
                &gaps.replugged,
                words,
                limit,
            )
            .beside(beside())
            .ratio(ratio),
        );
        let what = format!("Roam to a better link, {gateway}: longest gap");
        rows.push(Row::time_within(what, &gaps.preferred, words, limit));
    }
    Ok(rows)
}

/// For how long nothing got through.
#[derive(Default)]
struct Gaps {
    /// From the moment when the new link carried something at all.
    replugged: Vec<Duration>,
    /// The longest while a second link came up and was preferred.
    preferred: Vec<Duration>,
}

fn with_practice(rounds: usize) -> anyhow::Result<Gaps> {
    let roaming = laptop()?;
    let office = Office::new(Key::P256)?;
    let _gateway = PracticeGateway::of_office(&roaming.gateway, GATEWAY_V4.into(), &office, None)?;
    measure("practice gateway", &roaming, Mobility::Mobike, rounds)
}

fn with_strongswan(mobility: Mobility, rounds: usize) -> anyhow::Result<Gaps> {
    let roaming = laptop()?;
    let mut config = psk_gateway();
    if mobility == Mobility::None {
        for connection in &mut config.connections {
            connection.extra.push(("mobike".to_owned(), "no".to_owned()));
        }
    }
    let _gateway = Charon::start(&roaming.gateway, config)?;
    measure(
        if mobility == Mobility::Mobike { "strongSwan" } else { "without MOBIKE" },
        &roaming,
        mobility,
        rounds,
    )
}

fn laptop() -> anyhow::Result<Roaming> {
    let uplinks = UPLINKS.map(|uplink| (uplink, Nat::random(), Families::V4));
    let roaming = Roaming::build(&uplinks)?;
    traffic::serve(&roaming.server)?;
    // Outside the tunnel: what says when a link can be used.
    traffic::serve(&roaming.gateway)?;
    Ok(roaming)
}

fn measure(gateway: &str, roaming: &Roaming, mobility: Mobility, rounds: usize) -> anyhow::Result<Gaps> {
    let [mut from, mut to] = UPLINKS;
    let relay = Relay::between(&roaming.core, "isp", "gateway")?;
    relay.set_both(Conditions::delayed(DELAY));
    roaming.plug(from)?;
    let client = Client::with_profile(&roaming.client, &Profile::psk(GATEWAY_V4, ALICE_MAIL))?;
    client.connect(Some(PSK))?;
    let mut gaps = Gaps::default();
    for _ in 0..rounds {
        let gap = replug(roaming, &client, mobility, from, to)?;
        println!("  {gateway}, {to} in place of {from}: {}", duration(gap));
        gaps.replugged.push(gap);
        if mobility == Mobility::Mobike {
            let gap = prefer(roaming, &client, to, from)?;
            println!("  {gateway}, {from} beside {to}: {}", duration(gap));
            gaps.preferred.push(gap);
            roaming.unplug(to)?;
        } else {
            std::mem::swap(&mut from, &mut to);
        }
    }
    client.disconnect()?;
    Ok(gaps)
}

/// The link in use goes, and then another comes. From the first packet that it carried to the first through the tunnel.
fn replug(
    roaming: &Roaming,
    client: &Client<'_>,
    mobility: Mobility,
    from: &str,
    to: &str,
) -> anyhow::Result<Duration> {
    let spi = client.status()?.ike_sa.context("an IKE SA")?.spi_i;
    let stream = match mobility {
        Mobility::Mobike => Some(Download::start(&roaming.client, SERVER_V4.into(), STREAM, RATE)?),
        Mobility::None => None,
    };
    roaming.unplug(from)?;
    let first = |host: IpAddr| move || echo::first(&roaming.client, (host, traffic::PORT).into(), LIMIT);
    let (usable, through) = thread::scope(|scope| {
        let link = scope.spawn(first(GATEWAY_V4.into()));
        let tunnel = scope.spawn(first(SERVER_V4.into()));
        roaming.plug(to)?;
        let usable = link.join().ok().context("a panic")?.context("outside the tunnel")?;
        let through = tunnel.join().ok().context("a panic")?.context("through the tunnel")?;
        anyhow::Ok((usable, through))
    })?;
    if let Some(stream) = stream {
        stream.end().context("the stream inside did not survive")?;
    }
    let status = goes_by(roaming, client, to)?;
    let stays = status.ike_sa.context("an IKE SA")?.spi_i == spi;
    ensure!(stays == (mobility == Mobility::Mobike), "the IKE SA stays: {stays}");
    Ok(through.saturating_duration_since(usable))
}

/// A better link comes up beside the one in use. The longest time without a call of the office's, with a stream running.
fn prefer(roaming: &Roaming, client: &Client<'_>, from: &str, to: &str) -> anyhow::Result<Duration> {
    let ours = client.status()?.addresses.first().context("an address")?.ip;
    let stream = Download::start(&roaming.client, SERVER_V4.into(), STREAM, RATE)?;
    let calls = Calls::start(&roaming.server, &roaming.client, ours, OFTEN)?;
    roaming.plug(to)?;
    roaming.prefer(to)?;
    goes_by(roaming, client, to)?;
    let moved = Instant::now();
    echo::first(&roaming.client, (SERVER_V4, traffic::PORT).into(), LIMIT)?;
    stream.end().context("the stream inside did not survive")?;
    let record = calls.end()?;
    ensure!(record.resumed(moved).is_some(), "no call after the move from {from} to {to}");
    Ok(record.longest_gap())
}

/// Waits until the connection leaves by this uplink.
fn goes_by(roaming: &Roaming, client: &Client<'_>, uplink: &str) -> anyhow::Result<Status> {
    let address: IpAddr = roaming.uplink(uplink)?.address_v4().context("an address")?.into();
    client.wait_longer_for(&format!("the connection to leave by {uplink}"), LIMIT, |status| {
        status.state == State::Connected
            && status.ike_sa.as_ref().is_some_and(|ike| ike.local.ip() == address)
    })
}
