//! MOBIKE against strongSwan: roaming, tests of another path, and mappings that a translator forgets.

#![cfg(target_os = "linux")]

use std::{
    net::IpAddr,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use evenkeel_ipsec::ike::{Mapping, Path};
use evenkeel_lab::{
    Nat, Topology,
    engine::{EngineClient, psk_config},
    sandbox,
    strongswan::{Auth, Charon, Config, Connection, Pool},
    topology::{Network, SERVER_V4},
    traffic,
};

const PSK: &str = "a secret of the lab";
/// A second address of the client's, in the network behind the translator.
const SECOND_ADDRESS: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 168, 1, 211));

fn gateway() -> Config {
    Config {
        connections: vec![Connection::gateway(Auth::Psk, Auth::Psk)],
        pools: vec![Pool::v4()],
        psks: vec![(Vec::new(), PSK.to_owned())],
        ..Config::default()
    }
}

fn connect(network: &Network) -> anyhow::Result<EngineClient> {
    let mut config = psk_config("alice@lab.example", PSK)?;
    config.request_ipv6 = false;
    let client = EngineClient::connect(network.client(), network.gateway_address(), config, None)?;
    let info = client.session().info().context("an IKE SA")?;
    ensure!(info.mobike, "charon does not agree on MOBIKE");
    ensure!(info.nat_local, "the NAT was not seen");
    // The office address of the gateway is one of them.
    ensure!(info.additional_addresses.contains(&IpAddr::from([10, 10, 0, 1])), "{info:?}");
    Ok(client)
}

/// Migrates and waits for charon's answer; how long that took.
fn roam(client: &mut EngineClient, path: Path) -> anyhow::Result<Duration> {
    let (started, before) = (Instant::now(), client.told_of("Migrated"));
    client.command(|session, now| session.migrate(path, now).unwrap_or_else(|error| panic!("{error}")))?;
    client.wait("the gateway to follow", Duration::from_secs(5), |client| {
        (client.told_of("Migrated") > before).then_some(())
    })?;
    Ok(started.elapsed())
}

/// strongSwan's data path in user space can't move a CHILD SA; charon replaces it.
fn wait_for_new_child(client: &mut EngineClient, removed: usize) -> anyhow::Result<()> {
    client.wait("a new CHILD SA", Duration::from_secs(10), |client| {
        (client.told_of("ChildRemoved") > removed).then_some(())
    })
}

/// Tests a path: what charon saw there.
fn check(client: &mut EngineClient, path: Path) -> anyhow::Result<Mapping> {
    let before = client.path_checks().len();
    let mut queued = false;
    client.command(|session, now| queued = session.check_path(path, now))?;
    ensure!(queued, "the test was not queued");
    let (tested, mapping) = client.wait("the answer to the test", Duration::from_secs(5), |client| {
        client.path_checks().get(before).copied()
    })?;
    ensure!(tested == path, "{tested:?} was tested");
    mapping.context("charon did not say what it saw")
}

#[test]
fn a_roam_between_ports_and_addresses_takes_a_round_trip_and_esp_goes_on() {
    sandbox::run(|| {
        let network = Topology::behind(Nat::preserving()).build()?;
        traffic::serve(&network.server)?;
        let charon = Charon::start(&network.gateway, gateway())?;
        let mut client = connect(&network)?;
        client.exchange(SERVER_V4.into(), &[64, 1200])?;
        network.client().ip(&format!("address add {SECOND_ADDRESS}/24 dev eth0"))?;
        let own = client.session().info().context("an IKE SA")?.path.local.ip();
        for local in [own, SECOND_ADDRESS, own] {
            let removed = client.told_of("ChildRemoved");
            let path = client.open_path(network.client(), local, network.gateway_address())?;
            let took = roam(&mut client, path)?;
            ensure!(took < Duration::from_secs(1), "charon followed after {took:?}");
            ensure!(charon.remote_ports()?.contains(&path.local.port()), "{}", charon.sas()?);
            wait_for_new_child(&mut client, removed)?;
            client.exchange(SERVER_V4.into(), &[64, 1200])?;
        }
        client.close()
    });
}

#[test]
fn a_path_test_is_answered_along_its_path_moves_nothing_and_sees_a_mapping_expire() {
    sandbox::run(|| {
        let expiry = Duration::from_secs(2);
        let network = Topology::behind(Nat::random().forgetting_after(expiry, expiry)).build()?;
        traffic::serve(&network.server)?;
        let charon = Charon::start(&network.gateway, gateway())?;
        let mut client = connect(&network)?;
        client.exchange(SERVER_V4.into(), &[64])?;
        let (main, ports) = (client.session().info().context("an IKE SA")?.path, charon.remote_ports()?);
        let second = client.open_path(network.client(), main.local.ip(), network.gateway_address())?;

        let first = check(&mut client, second)?;
        let again = check(&mut client, second)?;
        ensure!(first.is_same_as(&again) == Some(true), "{first:?}, at once {again:?}");
        // The second port stays silent for longer than the translator remembers; the first does not.
        let silent = Instant::now();
        client.load_until(
            "the end of the silence",
            SERVER_V4.into(),
            Duration::from_secs(20),
            |_client| silent.elapsed() > expiry * 2,
        )?;
        let later = check(&mut client, second)?;
        ensure!(first.is_same_as(&later) == Some(false), "{first:?}, after the silence {later:?}");

        ensure!(charon.remote_ports()? == ports, "charon moved: {}", charon.sas()?);
        ensure!(client.told_of("Migrated") + client.told_of("MappingChanged") == 0, "something moved");
        client.exchange(SERVER_V4.into(), &[64])?;
        client.close()
    });
}

#[test]
fn liveness_checks_notice_another_mapping_and_charon_is_told() {
    sandbox::run(|| {
        let network = Topology::behind(Nat::random()).build()?;
        traffic::serve(&network.server)?;
        let charon = Charon::start(&network.gateway, gateway())?;
        let mut client = connect(&network)?;
        client.exchange(SERVER_V4.into(), &[64])?;
        let before = charon.remote_ports()?;
        // Something to compare with.
        client.command(|session, now| session.probe(now))?;
        client.exchange(SERVER_V4.into(), &[64])?;
        ensure!(client.told_of("MappingChanged") == 0, "nothing has changed yet");

        let nat = network.nat.as_ref().context("the topology has a translator")?;
        Nat::random().forget_all(nat)?;
        let removed = client.told_of("ChildRemoved");
        client.command(|session, now| session.probe(now))?;
        client.wait("the gateway to follow", Duration::from_secs(5), |client| {
            (client.told_of("Migrated") == 1).then_some(())
        })?;
        ensure!(client.told_of("MappingChanged") == 1, "the change was noticed once");
        let after = charon.remote_ports()?;
        ensure!(!after.is_empty() && after != before, "charon still sends to {before:?}: {after:?}");
        wait_for_new_child(&mut client, removed)?;
        client.exchange(SERVER_V4.into(), &[64])?;
        client.close()
    });
}

#[test]
fn charon_looks_again_after_a_rekey_of_the_ike_sa_and_keeps_what_has_not_moved() {
    sandbox::run(|| {
        let network = Topology::behind(Nat::random()).build()?;
        traffic::serve(&network.server)?;
        let charon = Charon::start(&network.gateway, gateway())?;
        let mut client = connect(&network)?;
        client.exchange(SERVER_V4.into(), &[64])?;
        // What it takes down first, to compare with.
        client.command(|session, now| session.probe(now))?;
        client.exchange(SERVER_V4.into(), &[64])?;
        let nat = network.nat.as_ref().context("the topology has a translator")?;
        let before = charon.remote_ports()?;
        for (round, is_lost) in [(1, false), (2, true)] {
            let removed = client.told_of("ChildRemoved");
            if is_lost {
                Nat::random().forget_all(nat)?;
            }
            client.command(|session, now| session.rekey_ike(now))?;
            client.wait("the rekey", Duration::from_secs(5), |client| {
                (client.told_of("IkeRekeyed") == round).then_some(())
            })?;
            client.command(|session, now| session.probe(now))?;
            // One update in ten seconds.
            client.wait("charon to look again", Duration::from_secs(20), |client| {
                (client.told_of("Migrated") == round).then_some(())
            })?;
            let ports = charon.remote_ports()?;
            ensure!(!ports.is_empty() && (ports != before) == is_lost, "{before:?}, then {ports:?}");
            if is_lost {
                wait_for_new_child(&mut client, removed)?;
            }
            client.exchange(SERVER_V4.into(), &[64])?;
            ensure!(
                is_lost || client.told_of("ChildRemoved") == removed,
                "a CHILD SA was replaced for nothing"
            );
        }
        ensure!(client.told_of("MappingChanged") == 0, "hashes of two IKE SAs were compared");
        client.close()
    });
}
