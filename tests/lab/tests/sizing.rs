//! Path MTUs with the real daemon: the right size on each, and transfers that survive a path that becomes narrower.

#![cfg(target_os = "linux")]
#![expect(clippy::print_stdout, reason = "what was measured, for whoever reads the output")]

use std::{
    net::IpAddr,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use evenkeel_lab::{
    Nat, Network, Topology, answers,
    client::Client,
    download::Download,
    office::{ALICE_MAIL, Office, PSK, psk_gateway},
    pki::Key,
    practice::PracticeGateway,
    profile::Profile,
    relay::Way,
    sandbox,
    strongswan::{Charon, Config},
    topology::{IcmpErrors, SERVER_V4},
    traffic, wait,
};

/// Two round trips are a few milliseconds here; what takes longer is a lost probe, or the machine.
const SOON: Duration = Duration::from_secs(5);
/// No transfer may stand still for longer when its path changes.
const BLACK_HOLE: Duration = Duration::from_secs(3);

fn network() -> anyhow::Result<Network> {
    let network = Topology::behind(Nat::preserving()).build()?;
    traffic::serve(&network.server)?;
    traffic::serve(network.client())?;
    Ok(network)
}

/// A profile for both gateways that asks for the networks that the practice gateway answers from too.
fn client(network: &Network) -> anyhow::Result<Client<'_>> {
    let profile = Profile::psk(network.gateway_address(), ALICE_MAIL);
    Client::with_profile(network.client(), &profile.remote_ts(&["10.10.0.0/16", "10.77.0.0/16"]))
}

fn practice(network: &Network) -> anyhow::Result<PracticeGateway<'_>> {
    let office = Office::new(Key::P256)?;
    PracticeGateway::of_office(&network.gateway, network.gateway_address(), &office, None)
}

/// A gateway that names no server.
fn nobody_to_ask() -> Config {
    let mut config = psk_gateway();
    config.pools[0].attributes.clear();
    config
}

/// The largest packet inside of a path MTU, with AES-GCM in UDP over IPv4.
fn inner(outer: u16) -> u16 {
    let esp = outer - 28 - 8 - 8 - 16;
    esp - esp % 4 - 2
}

/// What the daemon knows of the path: the last sizes that it has logged, towards the gateway and back.
fn sizes(client: &Client<'_>) -> Option<(u16, u16)> {
    let log = client.log();
    let line = log.lines().rev().find(|line| line.contains("path MTU wanted="))?;
    let number = |name: &str| {
        let rest = line.split_once(name)?.1;
        rest.split(|c: char| !c.is_ascii_digit()).find(|digits| !digits.is_empty())?.parse().ok()
    };
    Some((number("uplink: ")?, number("downlink: ")?))
}

/// What a gateway does with packets that ICMP says are too long outside.
#[derive(Clone, Copy)]
enum Outside {
    /// It goes on sending them whole.
    Whole,
    /// It sends fragments, as strongSwan's data path in user space does: then what comes back may be longer than the path's
    /// MTU.
    Cut,
}

/// Waits for the size towards the gateway.
fn wait_for_uplink(client: &Client<'_>, mtu: u16) -> anyhow::Result<Duration> {
    let started = Instant::now();
    let right = || sizes(client).filter(|(uplink, downlink)| *uplink == mtu && *downlink >= mtu.min(1280));
    wait::until(&format!("size {mtu}"), SOON, right)
        .with_context(|| format!("they are {:?}", sizes(client)))?;
    Ok(started.elapsed())
}

fn wait_for_sizes(client: &Client<'_>, wanted: (u16, u16)) -> anyhow::Result<Duration> {
    let started = Instant::now();
    wait::until(&format!("sizes {wanted:?}"), SOON, || (sizes(client) == Some(wanted)).then_some(()))
        .with_context(|| format!("they are {:?}", sizes(client)))?;
    // The interface's MTU is never less than what IPv6 needs; what is longer than the path is cut.
    let mtu = inner(wanted.0).max(1280);
    client.wait_for("the interface's MTU", |status| status.mtu == Some(mtu))?;
    Ok(started.elapsed())
}

/// Name, index and addresses of the tunnel's interface.
fn interface(network: &Network) -> anyhow::Result<(String, String)> {
    let link = network.client().output("ip", &["-o", "link", "show", "type", "tun"])?;
    let words: Vec<&str> = link.split_whitespace().take(2).collect();
    let name = words.get(1).context("no tunnel")?.trim_end_matches(':');
    let addresses = network.client().output("ip", &["-o", "address", "show", "dev", name])?;
    Ok((words.join(" "), addresses))
}

fn moves_data(network: &Network) -> anyhow::Result<()> {
    traffic::download(network.client(), SERVER_V4.into(), 3_000_000)?;
    traffic::upload(network.client(), SERVER_V4.into(), 3_000_000)?;
    Ok(())
}

/// What fits back, outside, through the device that both gateways hand packets out by: its MTU is 1400.
const GATEWAY_DEVICE: u16 = 1460;

fn measured(mtu: u16) -> (u16, u16) {
    (mtu, mtu.min(GATEWAY_DEVICE))
}

/// On each path, with and without ICMP errors: the right size, and data both ways.
fn each_path(network: &Network, gateway: Outside) -> anyhow::Result<()> {
    let client = client(network)?;
    for mtu in [1500, 1400, 1280, 1124] {
        for errors in [IcmpErrors::Sent, IcmpErrors::Lost] {
            network.narrow(mtu, errors)?;
            client.connect(Some(PSK))?;
            // What the gateway has learned of the path before is its own affair.
            network.gateway.ip("route flush cache")?;
            let took = match (gateway, errors) {
                (Outside::Cut, IcmpErrors::Sent) => wait_for_uplink(&client, mtu),
                (Outside::Cut | Outside::Whole, _) => wait_for_sizes(&client, measured(mtu)),
            }
            .with_context(|| format!("path of {mtu}, ICMP errors {errors:?}"))?;
            println!("path of {mtu}, ICMP errors {errors:?}: right after {:.2} s", took.as_secs_f64());
            moves_data(network).with_context(|| format!("path of {mtu}, ICMP errors {errors:?}"))?;
            client.disconnect()?;
        }
    }
    Ok(())
}

#[test]
fn each_path_gets_its_size_from_the_practice_gateway() {
    sandbox::run(|| {
        let network = network()?;
        let _gateway = practice(&network)?;
        each_path(&network, Outside::Whole)
    });
}

#[test]
fn each_path_gets_its_size_from_strongswan() {
    sandbox::run(|| {
        let network = network()?;
        answers::serve_dns(&network.server)?;
        let _charon = Charon::start(&network.gateway, psk_gateway())?;
        each_path(&network, Outside::Cut)
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
        let _gateway = practice(&network)?;
        let client = client(&network)?;
        let relay = network.relay()?;
        for (up, down) in [(1400, 1300), (1300, 1400)] {
            relay.eat_errors(true)?;
            relay.narrow(Way::Up, up)?;
            relay.narrow(Way::Down, down)?;
            client.connect(Some(PSK))?;
            wait_for_sizes(&client, (up, down))?;
            moves_data(&network)?;
            client.disconnect()?;
        }
        Ok(())
    });
}

/// Narrows the path in the middle of a download and of an upload; how long each stood still.
fn narrowed_under_way(network: &Network, errors: IcmpErrors) -> anyhow::Result<[Duration; 2]> {
    let client = client(network)?;
    network.narrow(1500, errors)?;
    client.connect(Some(PSK))?;
    wait_for_sizes(&client, measured(1500))?;
    let (server, ours): (_, IpAddr) =
        (SERVER_V4.into(), client.status()?.addresses.first().context("an address")?.ip);
    // What a server inside sends to us is a download; what it asks of us is an upload, watched where it arrives.
    let mut stalls = [Duration::ZERO; 2];
    for (stall, (reader, from)) in
        stalls.iter_mut().zip([(network.client(), server), (&network.server, ours)])
    {
        let before = interface(network)?;
        let download = Download::start(reader, from, 9_000_000, 1_500_000)?;
        download.wait_for(2_000_000, SOON)?;
        network.narrow(1300, errors)?;
        *stall = download.end().context("a stream over a path that became narrower")?.longest_gap();
        wait_for_sizes(&client, (1300, 1300))?;
        ensure!(interface(network)? == before, "{:?}, before {before:?}", interface(network)?);
        network.narrow(1500, errors)?;
        // Whoever was told of a narrow path remembers it for ten minutes.
        network.server.ip("route flush cache")?;
        network.gateway.ip("route flush cache")?;
        network.client().ip("route flush cache")?;
        client.disconnect()?;
        client.connect(Some(PSK))?;
        wait_for_sizes(&client, measured(1500))?;
    }
    println!(
        "ICMP errors {errors:?}: the download stood still for {:?}, the upload for {:?}",
        stalls[0], stalls[1]
    );
    Ok(stalls)
}

#[test]
fn narrowing_with_errors_lost_stalls_no_stream_through_the_practice_gateway() {
    sandbox::run(|| {
        let network = network()?;
        let _gateway = practice(&network)?;
        let stalls = narrowed_under_way(&network, IcmpErrors::Lost)?;
        ensure!(stalls.iter().all(|stall| *stall < BLACK_HOLE), "{stalls:?}");
        Ok(())
    });
}

#[test]
fn narrowing_with_errors_sent_stalls_no_stream_through_the_practice_gateway() {
    sandbox::run(|| {
        let network = network()?;
        let _gateway = practice(&network)?;
        let stalls = narrowed_under_way(&network, IcmpErrors::Sent)?;
        ensure!(stalls.iter().all(|stall| *stall < BLACK_HOLE), "{stalls:?}");
        Ok(())
    });
}

#[test]
fn narrowing_with_errors_lost_stalls_no_stream_through_strongswan() {
    sandbox::run(|| {
        let network = network()?;
        answers::serve_dns(&network.server)?;
        let _charon = Charon::start(&network.gateway, psk_gateway())?;
        let stalls = narrowed_under_way(&network, IcmpErrors::Lost)?;
        ensure!(stalls.iter().all(|stall| *stall < BLACK_HOLE), "{stalls:?}");
        Ok(())
    });
}

#[test]
fn narrowing_with_errors_sent_stalls_no_stream_through_strongswan() {
    sandbox::run(|| {
        let network = network()?;
        answers::serve_dns(&network.server)?;
        let _charon = Charon::start(&network.gateway, psk_gateway())?;
        let stalls = narrowed_under_way(&network, IcmpErrors::Sent)?;
        ensure!(stalls.iter().all(|stall| *stall < BLACK_HOLE), "{stalls:?}");
        Ok(())
    });
}
