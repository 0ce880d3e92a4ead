//! Path MTUs with the real daemon: on each path the right size, and 100 MB there and back.

#![cfg(target_os = "linux")]
#![expect(clippy::print_stdout, reason = "what was measured, for whoever reads the output")]

use anyhow::{Context, ensure};
use evenkeel_lab::{
    Nat, Network, Topology, answers,
    client::Client,
    office::{PSK, psk_gateway},
    practice::PracticeGateway,
    relay::Way,
    sandbox,
    sizes::{Outside, client, inner, measured, wait_for, wait_for_path},
    strongswan::{Charon, Config},
    topology::{IcmpErrors, SERVER_V4},
    traffic,
};
use serde_json::json;

/// What goes each way on each path.
const DATA: u64 = 100_000_000;

fn network() -> anyhow::Result<Network> {
    let network = Topology::behind(Nat::preserving()).build()?;
    traffic::serve(&network.server)?;
    Ok(network)
}

/// A gateway that names no server.
fn nobody_to_ask() -> Config {
    let mut config = psk_gateway();
    config.pools[0].attributes.clear();
    config
}

fn moves_data(network: &Network) -> anyhow::Result<()> {
    let down = traffic::download(network.client(), SERVER_V4.into(), DATA)?;
    let up = traffic::upload(network.client(), SERVER_V4.into(), DATA)?;
    println!("  down in {:.2} s, up in {:.2} s", down.as_secs_f64(), up.as_secs_f64());
    Ok(())
}

/// One row of the table: connects over a path of this MTU, waits for its size, and moves data.
fn row(
    network: &Network,
    client: &Client<'_>,
    gateway: Outside,
    mtu: u16,
    errors: IcmpErrors,
) -> anyhow::Result<()> {
    network.narrow(mtu, errors)?;
    client.connect(Some(PSK))?;
    // What the gateway has learned of the path before is its own affair.
    network.gateway.ip("route flush cache")?;
    let took = wait_for_path(client, gateway, mtu, errors)?;
    println!("path of {mtu}, ICMP errors {errors:?}: right after {:.2} s", took.as_secs_f64());
    moves_data(network)?;
    client.disconnect()
}

fn table(network: &Network, gateway: Outside, rows: &[(u16, IcmpErrors)]) -> anyhow::Result<()> {
    let client = client(network)?;
    // Each row begins as on the first visit.
    for &(mtu, errors) in rows {
        row(network, &client, gateway, mtu, errors)
            .with_context(|| format!("path of {mtu}, ICMP errors {errors:?}"))?;
        let run = client.evenkeel(&["networks", "forget", "--all"], None)?;
        ensure!(run.code == 0, "{run:?}");
    }
    Ok(())
}

/// Every path MTU that people are known to sit behind.
const PATHS: [u16; 8] = [1500, 1492, 1420, 1400, 1380, 1300, 1280, 1124];

#[test]
fn each_path_gets_its_size_from_the_practice_gateway_with_errors_sent() {
    sandbox::run(|| {
        let network = network()?;
        let _gateway = PracticeGateway::in_place(&network)?;
        table(&network, Outside::Whole, &PATHS.map(|mtu| (mtu, IcmpErrors::Sent)))
    });
}

#[test]
fn each_path_gets_its_size_from_the_practice_gateway_with_errors_lost() {
    sandbox::run(|| {
        let network = network()?;
        let _gateway = PracticeGateway::in_place(&network)?;
        table(&network, Outside::Whole, &PATHS.map(|mtu| (mtu, IcmpErrors::Lost)))
    });
}

#[test]
fn each_path_gets_its_size_from_strongswan() {
    use IcmpErrors::{Lost, Sent};
    sandbox::run(|| {
        let network = network()?;
        answers::serve_dns(&network.server)?;
        let _charon = Charon::start(&network.gateway, psk_gateway())?;
        let rows = [(1500, Lost), (1492, Sent), (1400, Lost), (1280, Sent), (1124, Lost), (1124, Sent)];
        table(&network, Outside::Cut, &rows)
    });
}

#[test]
fn a_gateway_without_tfc_is_measured_with_large_echoes() {
    sandbox::run(|| {
        let network = network()?;
        let gateway = PracticeGateway::in_place(&network)?;
        gateway.misbehave(&json!({ "no_tfc": true }))?;
        let client = client(&network)?;
        for mtu in [1500, 1380, 1124] {
            network.narrow(mtu, IcmpErrors::Lost)?;
            client.connect(Some(PSK))?;
            // An echo comes back as long as it went out.
            let (up, down) = measured(mtu);
            wait_for(&client, (up.min(down), down)).with_context(|| format!("path of {mtu}"))?;
            moves_data(&network).with_context(|| format!("path of {mtu}"))?;
            client.disconnect()?;
        }
        Ok(())
    });
}

#[test]
fn a_path_that_nobody_answers_on_gets_a_cautious_size() {
    sandbox::run(|| {
        let network = network()?;
        let _charon = Charon::start(&network.gateway, nobody_to_ask())?;
        let client = client(&network)?;
        for (mtu, errors) in [(1500, IcmpErrors::Sent), (1280, IcmpErrors::Lost), (1124, IcmpErrors::Sent)] {
            network.narrow(mtu, errors)?;
            client.connect(Some(PSK))?;
            let status = client.status()?;
            ensure!(status.mtu == Some(1280), "{status:?}");
            moves_data(&network).with_context(|| format!("path of {mtu}, ICMP errors {errors:?}"))?;
            client.disconnect()?;
        }
        Ok(())
    });
}

#[test]
fn the_two_directions_of_a_path_are_told_apart() {
    sandbox::run(|| {
        let network = network()?;
        let _gateway = PracticeGateway::in_place(&network)?;
        let client = client(&network)?;
        let relay = network.relay()?;
        for (up, down, eaten) in [
            (1400, 1300, true),
            (1300, 1400, false),
            (1124, 1420, true),
            (1492, 1280, true),
            (1280, 1124, false),
        ] {
            relay.eat_errors(eaten)?;
            relay.narrow(Way::Up, up)?;
            relay.narrow(Way::Down, down)?;
            client.connect(Some(PSK))?;
            wait_for(&client, (up, down)).with_context(|| format!("{up} up, {down} down"))?;
            let mtu = client.status()?.mtu;
            ensure!(mtu == Some(inner(up).max(1280)), "{mtu:?}");
            moves_data(&network).with_context(|| format!("{up} up, {down} down"))?;
            client.disconnect()?;
        }
        Ok(())
    });
}
