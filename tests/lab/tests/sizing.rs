//! Paths that become narrower or wider under a connection of the real daemon: what goes through the tunnel goes on.

#![cfg(target_os = "linux")]
#![expect(clippy::print_stdout, reason = "what was measured, for whoever reads the output")]

use std::{net::IpAddr, time::Duration};

use anyhow::{Context, ensure};
use evenkeel_lab::{
    Nat, Network, Topology, answers,
    download::Download,
    office::{PSK, psk_gateway},
    practice::PracticeGateway,
    sandbox,
    sizes::{Outside, SOON, client, measured, wait_for, wait_for_path},
    strongswan::Charon,
    topology::{IcmpErrors, SERVER_V4},
    traffic,
};

/// No transfer may stand still for longer when its path changes.
const BLACK_HOLE: Duration = Duration::from_secs(3);

fn network() -> anyhow::Result<Network> {
    let network = Topology::behind(Nat::preserving()).build()?;
    traffic::serve(&network.server)?;
    traffic::serve(network.client())?;
    Ok(network)
}

/// Name, index and addresses of the tunnel's interface.
fn interface(network: &Network) -> anyhow::Result<(String, String)> {
    let link = network.client().output("ip", &["-o", "link", "show", "type", "tun"])?;
    let words: Vec<&str> = link.split_whitespace().take(2).collect();
    let name = words.get(1).context("no tunnel")?.trim_end_matches(':');
    let addresses = network.client().output("ip", &["-o", "address", "show", "dev", name])?;
    Ok((words.join(" "), addresses))
}

/// Narrows the path in the middle of a download and of an upload; how long each stood still.
fn narrowed_under_way(
    network: &Network,
    gateway: Outside,
    errors: IcmpErrors,
) -> anyhow::Result<[Duration; 2]> {
    let client = client(network)?;
    network.narrow(1500, errors)?;
    client.connect(Some(PSK))?;
    wait_for(&client, measured(1500))?;
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
        wait_for_path(&client, gateway, 1300, errors)?;
        ensure!(interface(network)? == before, "{:?}, before {before:?}", interface(network)?);
        network.narrow(1500, errors)?;
        // Whoever was told of a narrow path remembers it for ten minutes.
        network.server.ip("route flush cache")?;
        network.gateway.ip("route flush cache")?;
        network.client().ip("route flush cache")?;
        client.disconnect()?;
        client.connect(Some(PSK))?;
        wait_for(&client, measured(1500))?;
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
        let _gateway = PracticeGateway::in_place(&network)?;
        let stalls = narrowed_under_way(&network, Outside::Whole, IcmpErrors::Lost)?;
        ensure!(stalls.iter().all(|stall| *stall < BLACK_HOLE), "{stalls:?}");
        Ok(())
    });
}

#[test]
fn narrowing_with_errors_sent_stalls_no_stream_through_the_practice_gateway() {
    sandbox::run(|| {
        let network = network()?;
        let _gateway = PracticeGateway::in_place(&network)?;
        let stalls = narrowed_under_way(&network, Outside::Whole, IcmpErrors::Sent)?;
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
        let stalls = narrowed_under_way(&network, Outside::Cut, IcmpErrors::Lost)?;
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
        let stalls = narrowed_under_way(&network, Outside::Cut, IcmpErrors::Sent)?;
        ensure!(stalls.iter().all(|stall| *stall < BLACK_HOLE), "{stalls:?}");
        Ok(())
    });
}

/// A path's MTUs, one after the other, and whether ICMP tells of each.
const STEPS: [(u16, IcmpErrors); 6] = [
    (1420, IcmpErrors::Lost),
    (1380, IcmpErrors::Sent),
    (1280, IcmpErrors::Lost),
    // Wider again, which nobody is told of.
    (1500, IcmpErrors::Lost),
    (1124, IcmpErrors::Lost),
    (1500, IcmpErrors::Sent),
];

#[test]
fn streams_both_ways_outlive_a_path_that_changes_again_and_again() {
    sandbox::run(|| {
        let network = network()?;
        let _gateway = PracticeGateway::in_place(&network)?;
        let client = client(&network)?;
        client.connect(Some(PSK))?;
        wait_for(&client, measured(1500))?;
        let ours = client.status()?.addresses.first().context("an address")?.ip;
        let before = interface(&network)?;
        let streams = [(network.client(), SERVER_V4.into()), (&network.server, ours)];
        let streams = streams.map(|(reader, from)| Download::start(reader, from, 20_000_000, 800_000));
        let mut least = 1500;
        for (mtu, errors) in STEPS {
            network.narrow(mtu, errors)?;
            least = least.min(mtu);
            // A wider path is found out after ten minutes.
            wait_for(&client, measured(least)).with_context(|| format!("now {mtu}"))?;
            // Whatever the step has lost is over once both have got on for a while.
            for stream in streams.iter().flatten() {
                stream.wait_for(stream.arrived() + 400_000, BLACK_HOLE * 2)?;
            }
        }
        ensure!(interface(&network)? == before, "{:?}, before {before:?}", interface(&network)?);
        for (stream, what) in streams.into_iter().zip(["download", "upload"]) {
            let gap = stream?.end().context(what)?.longest_gap();
            println!("the {what} stood still for at most {gap:?}");
            ensure!(gap < BLACK_HOLE, "the {what} stood still for {gap:?}");
        }
        Ok(())
    });
}
