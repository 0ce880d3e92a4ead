//! A network that lets nothing through to the gateway: until the first byte through the WireGuard peer.

use std::time::Duration;

use evenkeel_ipc::Carrier;
use evenkeel_lab::{
    Block, Nat, Topology,
    client::Client,
    office::{ALICE_MAIL, PSK},
    profile::Profile,
    topology::{GATEWAY_V4, SERVER_V4},
    traffic,
    wireguard_go::{CLIENT, Keys, PORT, WireGuardGo},
};

use super::super::table::{Row, duration};
use super::blocked::{FIRST_VISIT, SECOND_VISIT, visit};

/// All that IKE and ESP come through by.
const BLOCKS: [Block; 4] = [Block::Udp(500), Block::Udp(4500), Block::Tcp(4500), Block::Tcp(443)];

pub(super) fn run(rounds: usize) -> anyhow::Result<Vec<Row>> {
    let (mut firsts, mut seconds): (Vec<Duration>, Vec<Duration>) = Default::default();
    for _ in 0..rounds {
        let network =
            BLOCKS.into_iter().fold(Topology::behind(Nat::preserving()), Topology::blocking).build()?;
        traffic::serve(&network.server)?;
        let (ours, keys) = (Keys::generate()?, Keys::generate()?);
        let _peer = WireGuardGo::start(&network.gateway, &keys, &ours.public, None)?;
        let section = format!(
            "endpoint = \"{GATEWAY_V4}:{PORT}\"\npublic_key = \"{}\"\nprivate_key = \"{}\"\naddresses = [\"{CLIENT}\"]",
            keys.public, ours.private
        );
        let profile = Profile::psk(network.gateway_address(), ALICE_MAIL).section("wireguard", &section);
        // Nothing is known of networks by a daemon whose folders are empty.
        let client = Client::with_profile(network.client(), &profile)?;
        let server = (SERVER_V4, traffic::PORT).into();
        let visit = || visit(&client, network.client(), server, Some(PSK), Carrier::Wireguard);
        let first = visit()?;
        client.disconnect()?;
        let second = visit()?;
        client.disconnect()?;
        println!("  first byte {}, on the second visit {}", duration(first), duration(second));
        firsts.push(first);
        seconds.push(second);
    }
    let what = |end: &str| format!("No way to the gateway, WireGuard's peer reachable: {end}");
    Ok(vec![
        Row::time_within(what("first byte, first visit"), &firsts, FIRST_VISIT.0, FIRST_VISIT.1),
        Row::time_within(what("first byte, second visit"), &seconds, SECOND_VISIT.0, SECOND_VISIT.1),
    ])
}
