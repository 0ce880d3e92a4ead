//! What lies between `evenkeel connect` and the first byte.

use std::time::{Duration, Instant};

use anyhow::Context;
use evenkeel_lab::{
    Host, Nat, Topology,
    client::Client,
    office::{ALICE, ALICE_MAIL, Office, PASSWORD, PSK},
    pki::Key,
    practice::{INNER, PracticeGateway},
    profile::Profile,
    traffic,
};

use super::{
    process,
    table::{Row, median},
};

/// Connects of each kind.
const TIMES: usize = 9;
const PATIENCE: Duration = Duration::from_secs(1);

/// A way to prove who one is.
struct Method {
    name: &'static str,
    profile: Profile,
    secret: Option<&'static str>,
    /// Whether the gateway has a certificate.
    by_certificate: bool,
    round_trips: u32,
    goal: &'static str,
}

pub(super) fn run() -> anyhow::Result<Vec<Row>> {
    println!("connecting {TIMES} times by each method");
    let network = Topology::behind(Nat::preserving()).build()?;
    traffic::serve(&network.gateway)?;
    let office = Office::new(Key::P256)?;
    let address = network.gateway_address();
    let identity = office.gateway(Key::P256)?;
    let (authority, alice) = (office.root.certificate(), office.alice(Key::P256)?);
    let methods = [
        Method {
            name: "PSK",
            profile: Profile::psk(address, ALICE_MAIL),
            secret: Some(PSK),
            by_certificate: false,
            round_trips: 2,
            goal: "2",
        },
        Method {
            name: "certificates",
            profile: Profile::certificate(address, ALICE_MAIL, alice, &authority),
            secret: None,
            by_certificate: true,
            round_trips: 2,
            goal: "2",
        },
        Method {
            name: "EAP-MSCHAPv2",
            profile: Profile::eap(address, ALICE, &authority),
            secret: Some(PASSWORD),
            by_certificate: true,
            round_trips: 6,
            goal: "6",
        },
    ];
    let client = Client::start(network.client())?;
    let mut rows = Vec::new();
    for method in methods {
        let identity = method.by_certificate.then_some(&identity);
        let _gateway = PracticeGateway::of_office(&network.gateway, address, &office, identity)?;
        rows.extend(measure(&method, &client, network.client(), address)?);
    }
    // Since it was started, which holds every connect.
    let spawned = process::has_spawned(client.pid())?;
    let said = if spawned { "some" } else { "0" };
    rows.push(Row::new("Processes that the daemon started in all connects", said).goal("0", !spawned));
    Ok(rows)
}

fn measure(
    method: &Method,
    client: &Client<'_>,
    host: &Host,
    gateway: std::net::IpAddr,
) -> anyhow::Result<[Row; 2]> {
    client.import(&method.profile.clone().remote_ts(&["10.77.0.0/16"]))?;
    let (mut totals, mut paths, mut round_trips) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..TIMES {
        let path = traffic::echo(host, gateway, 64, PATIENCE)?.context("the gateway's host is silent")?;
        let started = Instant::now();
        client.connect(method.secret)?;
        traffic::echo(host, INNER, 64, PATIENCE)?.context("no echo through the tunnel")?;
        totals.push(started.elapsed().as_secs_f64() * 1e3);
        paths.push(path.as_secs_f64() * 1e3);
        round_trips.push(client.status()?.round_trips.context("a number of round trips")?);
        client.disconnect()?;
    }
    client.remove()?;
    let exact = round_trips.iter().all(|&trips| trips == method.round_trips);
    let (least, most) = (round_trips.iter().min(), round_trips.iter().max());
    let trips = match (least, most) {
        (Some(least), Some(most)) if least != most => format!("{least} to {most}"),
        _ => least.map_or_else(String::new, u32::to_string),
    };
    // One more for the echo itself.
    let waited = f64::from(method.round_trips + 1) * median(paths);
    let own = median(totals) - waited;
    Ok([
        Row::new(format!("Round trips of a connect, {}", method.name), trips).goal(method.goal, exact),
        Row::new(
            format!("Connect to first byte beyond the round trips, {}", method.name),
            format!("{own:.1} ms"),
        )
        .beside(format!("{waited:.1} ms waited"))
        .goal("< 50 ms", own < 50.0),
    ])
}
