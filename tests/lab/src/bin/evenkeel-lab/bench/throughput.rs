//! One TCP stream each way: client - NAT - gateway - office.

use std::{net::IpAddr, time::Duration};

use anyhow::ensure;

use evenkeel_lab::{
    Nat, Network, Topology,
    client::Client,
    gotatun,
    practice::{INNER, PracticeGateway},
    strongswan::{Auth, Charon, Config, Connection, Pool},
    topology::{GATEWAY_V4, SERVER_V4},
    traffic,
};

use super::{Args, table};

const OURS: &str = "Evenkeel and its practice gateway";

/// Mbit/s of a stream.
struct Rates {
    up: f64,
    down: f64,
}

pub(super) fn run(args: &Args) -> anyhow::Result<()> {
    let time = Duration::from_secs(args.seconds);
    let mut measured: Vec<(&str, Rates)> = Vec::new();
    measured.push(("no tunnel", plain(time)?));
    measured.push((OURS, evenkeel(time)?));
    measured.push(("strongSwan, kernel-libipsec at both ends", strongswan(time)?));
    match &args.gotatun {
        Some(program) => measured.push(("gotatun at both ends", wireguard(program, time)?)),
        None => println!("gotatun: NOT MEASURED: its program was not named"),
    }
    let ours = measured.iter().find(|(name, _)| *name == OURS).map(|(_, rates)| (rates.up, rates.down));
    let (up, down) = ours.unwrap_or_default();
    let rows: Vec<Vec<String>> = measured
        .iter()
        .map(|(name, rates)| {
            let times = [up / rates.up, down / rates.down].map(|ratio| format!("{ratio:.1}"));
            let rates = [rates.up, rates.down].map(|rate| format!("{rate:.0}"));
            std::iter::once((*name).to_owned()).chain(rates).chain(times).collect()
        })
        .collect();
    table::print(
        "One TCP stream, Mbit/s, and how many times as fast Evenkeel is; only the ratios mean anything",
        &["", "up", "down", "times up", "times down"],
        &rows,
    );
    Ok(())
}

fn plain(time: Duration) -> anyhow::Result<Rates> {
    let network = Topology::behind(Nat::preserving()).build()?;
    traffic::serve(&network.gateway)?;
    rates(&network, GATEWAY_V4.into(), time)
}

fn evenkeel(time: Duration) -> anyhow::Result<Rates> {
    let network = Topology::behind(Nat::preserving()).build()?;
    traffic::serve(&network.gateway)?;
    let gateway = PracticeGateway::demo_with_tun(&network.gateway, network.gateway_address())?;
    let client = Client::start(network.client())?;
    client.import_file(&gateway.profile())?;
    let run = client.evenkeel(&["connect", "practice", "--wait", "20"], None)?;
    ensure!(run.code == 0, "connecting failed: {run:?}");
    rates(&network, INNER, time)
}

fn strongswan(time: Duration) -> anyhow::Result<Rates> {
    let network = Topology::behind(Nat::preserving()).build()?;
    traffic::serve(&network.server)?;
    let psks = vec![(Vec::new(), "benchmark".to_owned())];
    let _gateway = Charon::start(
        &network.gateway,
        Config {
            connections: vec![Connection::gateway(Auth::Psk, Auth::Psk)],
            pools: vec![Pool::v4()],
            psks: psks.clone(),
            ..Config::default()
        },
    )?;
    let gateway = network.gateway_address().to_string();
    let client = Charon::start(
        network.client(),
        Config {
            connections: vec![Connection::client(Auth::Psk, Auth::Psk, &gateway, "bench@lab.example")],
            psks,
            ..Config::default()
        },
    )?;
    client.swanctl(&["--initiate", "--child", "net", "--timeout", "10"])?;
    rates(&network, SERVER_V4.into(), time)
}

fn wireguard(program: &std::path::Path, time: Duration) -> anyhow::Result<Rates> {
    let network = Topology::behind(Nat::preserving()).build()?;
    traffic::serve(&network.server)?;
    let at = (GATEWAY_V4, 0).into();
    let _tunnel = gotatun::Tunnel::build(program, network.client(), &network.gateway, at)?;
    rates(&network, SERVER_V4.into(), time)
}

fn rates(network: &Network, server: IpAddr, time: Duration) -> anyhow::Result<Rates> {
    let mega = |rate: f64| rate / 1e6;
    Ok(Rates {
        up: mega(traffic::upload_rate(network.client(), server, time)?),
        down: mega(traffic::download_rate(network.client(), server, time)?),
    })
}
