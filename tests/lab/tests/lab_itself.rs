//! The lab proves itself: if these fail, no other lab test means anything.

#![cfg(target_os = "linux")]

use std::{net::IpAddr, time::Duration};

use anyhow::ensure;
use evenkeel_lab::{
    Nat, Topology, sandbox,
    strongswan::{Auth, Charon, Config, Connection, Pool},
    topology::{SERVER_V4, SERVER_V6},
    traffic,
};

const MOMENT: Duration = Duration::from_millis(300);
/// For what has to arrive, on a busy machine too.
const SOON: Duration = Duration::from_secs(5);

#[test]
fn the_office_is_out_of_reach_without_a_tunnel() {
    sandbox::run(|| {
        let network = Topology::behind(Nat::preserving()).build()?;
        traffic::serve(&network.server)?;
        ensure!(!traffic::reaches(network.client(), SERVER_V4.into(), MOMENT));
        ensure!(traffic::reaches(&network.gateway, SERVER_V4.into(), SOON));
        Ok(())
    });
}

#[test]
fn the_gateway_sees_the_translators_address_and_not_the_clients() {
    sandbox::run(|| {
        let network = Topology::behind(Nat::preserving()).clients(2).build()?;
        traffic::serve(&network.gateway)?;
        for client in &network.clients {
            let seen = traffic::seen_as(client, network.gateway_address())?;
            ensure!(seen == IpAddr::from([203, 0, 113, 2]), "{} is seen as {seen}", client.name());
        }
        Ok(())
    });
}

#[test]
fn behind_two_translators_the_outer_ones_address_is_seen() {
    sandbox::run(|| {
        let network = Topology::behind(Nat::preserving()).and_carrier(Nat::random()).build()?;
        traffic::serve(&network.gateway)?;
        let seen = traffic::seen_as(network.client(), network.gateway_address())?;
        ensure!(seen == IpAddr::from([203, 0, 113, 3]), "seen as {seen}");
        Ok(())
    });
}

#[test]
fn large_packets_vanish_without_a_word_in_a_narrow_path() {
    sandbox::run(|| {
        let network = Topology::plain().with_ipv6().narrowed_to(1300).build()?;
        traffic::serve(&network.gateway)?;
        // IPv6 routers never fragment, so the size decides.
        let gateway = evenkeel_lab::topology::GATEWAY_V6.into();
        ensure!(traffic::echo(network.client(), gateway, 1200, SOON)?.is_some());
        ensure!(traffic::echo(network.client(), gateway, 1400, MOMENT)?.is_none());
        Ok(())
    });
}

#[test]
fn a_blocked_port_is_blocked_and_others_are_not() {
    sandbox::run(|| {
        let network = Topology::behind(Nat::preserving()).blocking_udp(traffic::PORT).build()?;
        traffic::serve(&network.gateway)?;
        ensure!(traffic::echo(network.client(), network.gateway_address(), 10, MOMENT)?.is_none());
        ensure!(traffic::reaches(network.client(), network.gateway_address(), SOON));
        Ok(())
    });
}

#[test]
fn strongswan_at_both_ends_carries_data_through_a_nat() {
    sandbox::run(|| {
        let network = Topology::behind(Nat::random()).build()?;
        traffic::serve(&network.server)?;
        let psks = vec![(Vec::new(), "a secret of the lab".to_owned())];
        let mut gateway = Charon::start(
            &network.gateway,
            Config {
                connections: vec![Connection::gateway(Auth::Psk, Auth::Psk)],
                pools: vec![Pool::v4()],
                psks: psks.clone(),
                ..Config::default()
            },
        )?;
        let client = Charon::start(
            network.client(),
            Config {
                connections: vec![Connection::client(
                    Auth::Psk,
                    Auth::Psk,
                    &network.gateway_address().to_string(),
                    "alice@lab.example",
                )],
                psks,
                ..Config::default()
            },
        )?;
        client.swanctl(&["--initiate", "--child", "net", "--timeout", "10"])?;
        gateway
            .wait_for_sas("an installed CHILD SA", Duration::from_secs(5), |sas| sas.contains("INSTALLED"))?;

        let seen = traffic::seen_as(network.client(), SERVER_V4.into())?;
        ensure!(seen == IpAddr::from([10, 20, 0, 1]), "the server sees {seen}");
        traffic::download(network.client(), SERVER_V4.into(), 3_000_000)?;
        traffic::upload(network.client(), SERVER_V4.into(), 3_000_000)?;
        Ok(())
    });
}

#[test]
fn the_office_has_ipv6() {
    sandbox::run(|| {
        let network = Topology::plain().with_ipv6().build()?;
        traffic::serve(&network.server)?;
        ensure!(traffic::reaches(&network.gateway, SERVER_V6.into(), SOON));
        Ok(())
    });
}
