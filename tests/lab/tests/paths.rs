//! The ways between a client and a gateway: addresses of both families, translators, several clients behind one.

#![cfg(target_os = "linux")]

use std::{net::IpAddr, time::Duration};

use anyhow::{Context, ensure};
use evenkeel_ipsec::ike::Failure;
use evenkeel_lab::{
    Nat, Topology,
    engine::{EngineClient, psk_config},
    sandbox,
    strongswan::{Auth, Charon, Config, Connection, Pool},
    topology::{GATEWAY_V6, SERVER_V4, SERVER_V6},
    traffic,
};

const PSK: &str = "a secret of the lab";

/// A gateway that gives out and leads to both families.
fn dual_stack() -> Config {
    let connection = Connection {
        pools: vec!["v4".to_owned(), "v6".to_owned()],
        local_ts: "10.10.0.0/16,fd10:10::/64".to_owned(),
        ..Connection::gateway(Auth::Psk, Auth::Psk)
    };
    Config {
        connections: vec![connection],
        pools: vec![Pool::v4(), Pool::v6()],
        psks: vec![(Vec::new(), PSK.to_owned())],
        ..Config::default()
    }
}

#[test]
fn both_families_run_inside_an_ipv4_path() {
    sandbox::run(|| {
        let network = Topology::behind(Nat::preserving()).with_ipv6().build()?;
        traffic::serve(&network.server)?;
        let _charon = Charon::start(&network.gateway, dual_stack())?;
        let config = psk_config("alice@lab.example", PSK)?;
        let mut client = EngineClient::connect(network.client(), network.gateway_address(), config, None)?;
        client.exchange(SERVER_V4.into(), &[100, 1200])?;
        client.exchange(SERVER_V6.into(), &[100, 1200])?;
        let info = client.session().info().context("an IKE SA")?;
        ensure!(info.nat_local, "the NAT was not seen: {info:?}");
        client.close()
    });
}

#[test]
fn both_families_run_inside_an_ipv6_path() {
    sandbox::run(|| {
        let network = Topology::plain().with_ipv6().build()?;
        traffic::serve(&network.server)?;
        let _charon = Charon::start(&network.gateway, dual_stack())?;
        let config = psk_config("alice@lab.example", PSK)?;
        let mut client = EngineClient::connect(network.client(), GATEWAY_V6.into(), config, None)?;
        client.exchange(SERVER_V4.into(), &[100, 1200])?;
        client.exchange(SERVER_V6.into(), &[100, 1200])?;
        let info = client.session().info().context("an IKE SA")?;
        ensure!(!info.nat_local, "a NAT was seen where there is none: {info:?}");
        client.close()
    });
}

#[test]
fn two_translators_in_a_row_are_one_to_us() {
    sandbox::run(|| {
        let network = Topology::behind(Nat::preserving()).and_carrier(Nat::random()).build()?;
        traffic::serve(&network.server)?;
        let _charon = Charon::start(&network.gateway, dual_stack())?;
        let config = psk_config("alice@lab.example", PSK)?;
        let mut client = EngineClient::connect(network.client(), network.gateway_address(), config, None)?;
        client.exchange(SERVER_V4.into(), &[100, 1200])?;
        client.close()
    });
}

#[test]
fn two_clients_behind_one_translator_are_told_apart() {
    sandbox::run(|| {
        let network = Topology::behind(Nat::preserving()).clients(2).build()?;
        traffic::serve(&network.server)?;
        let _charon = Charon::start(&network.gateway, dual_stack())?;
        let connect = |number: usize| {
            let config = psk_config(&format!("client{number}@lab.example"), PSK)?;
            EngineClient::connect(&network.clients[number], network.gateway_address(), config, None)
        };
        let (mut one, mut other) = (connect(0)?, connect(1)?);
        for _ in 0..20 {
            one.exchange(SERVER_V4.into(), &[64, 500])?;
            other.exchange(SERVER_V4.into(), &[64, 500])?;
        }
        let addresses = |client: &EngineClient| client.configuration().addresses.clone();
        ensure!(addresses(&one) != addresses(&other), "both have {:?}", addresses(&one));
        one.close()?;
        // The one that stays must not notice.
        other.exchange(SERVER_V4.into(), &[64])?;
        other.close()
    });
}

#[test]
fn a_translator_that_forgets_us_does_not_end_the_session() {
    sandbox::run(|| {
        let network = Topology::behind(Nat::random()).build()?;
        traffic::serve(&network.server)?;
        let mut gateway = dual_stack();
        // Without MOBIKE, charon follows an authenticated packet from a new port by itself.
        gateway.connections[0].extra.push(("mobike".to_owned(), "no".to_owned()));
        let charon = Charon::start(&network.gateway, gateway)?;
        let config = psk_config("alice@lab.example", PSK)?;
        let mut client = EngineClient::connect(network.client(), network.gateway_address(), config, None)?;
        client.exchange(SERVER_V4.into(), &[64])?;
        let before = charon.remote_ports()?;
        let nat = network.nat.as_ref().context("the topology has a translator")?;
        Nat::random().forget_all(nat)?;
        client.command(|session, now| session.probe(now))?;
        client.wait("the gateway to follow us", Duration::from_secs(10), |_client| {
            charon.remote_ports().ok().filter(|ports| !ports.is_empty() && *ports != before)
        })?;
        // strongSwan's data path in user space can't move a CHILD SA; charon replaces it.
        client.wait("a new CHILD SA", Duration::from_secs(10), |client| {
            (client.told_of("ChildRemoved") == 1).then_some(())
        })?;
        client.exchange(SERVER_V4.into(), &[64])
    });
}

#[test]
fn a_gateway_that_is_not_there_is_reported_as_no_answer() {
    sandbox::run(|| {
        let network = Topology::behind(Nat::preserving()).build()?;
        let mut config = psk_config("alice@lab.example", PSK)?;
        config.timers.retransmits_connecting = 2;
        let nobody = IpAddr::from([198, 51, 100, 99]);
        let failure = EngineClient::refused(network.client(), nobody, config, None)?;
        ensure!(matches!(failure, Failure::NoResponse { port: 500, .. }), "{failure:?}");
        Ok(())
    });
}

#[test]
fn a_blocked_port_4500_is_reported_as_no_answer_on_that_port() {
    sandbox::run(|| {
        let network = Topology::behind(Nat::preserving()).blocking_udp(4500).build()?;
        let _charon = Charon::start(&network.gateway, dual_stack())?;
        let mut config = psk_config("alice@lab.example", PSK)?;
        config.timers.retransmits_connecting = 2;
        let failure = EngineClient::refused(network.client(), network.gateway_address(), config, None)?;
        ensure!(matches!(failure, Failure::NoResponse { port: 4500, .. }), "{failure:?}");
        Ok(())
    });
}
