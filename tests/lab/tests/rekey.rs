//! Rekeying by either side, deletion and death of the gateway, with data going all the while.

#![cfg(target_os = "linux")]

use std::time::Duration;

use anyhow::ensure;
use evenkeel_ipsec::ike::Failure;
use evenkeel_lab::{
    Nat, Network, Topology,
    engine::{EngineClient, psk_config},
    sandbox,
    strongswan::{Auth, Charon, Config, Connection, Pool},
    topology::SERVER_V4,
    traffic,
};

const PSK: &str = "a secret of the lab";
const LIMIT: Duration = Duration::from_secs(30);

fn gateway(connection: Connection) -> Config {
    Config {
        connections: vec![connection],
        pools: vec![Pool::v4()],
        psks: vec![(Vec::new(), PSK.to_owned())],
        ..Config::default()
    }
}

fn with_group() -> Connection {
    Connection {
        // With and without a key exchange of its own.
        esp_proposals: "aes256gcm16-x25519,aes256gcm16".to_owned(),
        ..Connection::gateway(Auth::Psk, Auth::Psk)
    }
}

fn network() -> anyhow::Result<Network> {
    let network = Topology::behind(Nat::preserving()).build()?;
    traffic::serve(&network.server)?;
    Ok(network)
}

fn connect(network: &Network) -> anyhow::Result<EngineClient> {
    let config = psk_config("alice@lab.example", PSK)?;
    EngineClient::connect(network.client(), network.gateway_address(), config, None)
}

#[test]
fn we_rekey_both_sas_under_load_and_nothing_is_lost() {
    sandbox::run(|| {
        let network = network()?;
        let _charon = Charon::start(&network.gateway, gateway(with_group()))?;
        let mut client = connect(&network)?;
        for round in 1..=2 {
            let spi = client.child()?.info.spi_in;
            client.command(|session, now| session.rekey_child(spi, now))?;
            client.load_until("our rekey of the CHILD SA", SERVER_V4.into(), LIMIT, |client| {
                client.told_of("ChildRemoved") == round
            })?;
            client.command(|session, now| session.rekey_ike(now))?;
            client.load_until("our rekey of the IKE SA", SERVER_V4.into(), LIMIT, |client| {
                client.told_of("IkeRekeyed") == round
            })?;
        }
        client.exchange(SERVER_V4.into(), &[1000])?;
        client.close()
    });
}

#[test]
fn the_gateway_rekeys_both_sas_under_load_and_nothing_is_lost() {
    sandbox::run(|| {
        let network = network()?;
        let charon = Charon::start(&network.gateway, gateway(with_group()))?;
        let mut client = connect(&network)?;
        for round in 1..=2 {
            charon.swanctl(&["--rekey", "--child", "net"])?;
            client.load_until("the gateway's rekey of the CHILD SA", SERVER_V4.into(), LIMIT, |client| {
                client.told_of("ChildRemoved") == round
            })?;
            charon.swanctl(&["--rekey", "--ike", "rw"])?;
            client.load_until("the gateway's rekey of the IKE SA", SERVER_V4.into(), LIMIT, |client| {
                client.told_of("IkeRekeyed") == round
            })?;
        }
        client.exchange(SERVER_V4.into(), &[1000])?;
        client.close()
    });
}

#[test]
fn rekeys_of_both_sides_that_cross_lose_nothing() {
    sandbox::run(|| {
        let network = network()?;
        let charon = Charon::start(&network.gateway, gateway(with_group()))?;
        let mut client = connect(&network)?;
        for round in 0..3 {
            let before = client.told_of("ChildRemoved");
            let spi = client.child()?.info.spi_in;
            // swanctl returns when charon has queued the rekey, so that ours goes out about when charon's does.
            charon.swanctl(&["--rekey", "--child", "net"])?;
            client.command(|session, now| session.rekey_child(spi, now))?;
            let limit = Duration::from_secs(10);
            client.load_until(&format!("rekey {round}"), SERVER_V4.into(), limit, |client| {
                client.told_of("ChildRemoved") > before && client.session().children().count() == 1
            })?;
            let before = client.told_of("IkeRekeyed");
            charon.swanctl(&["--rekey", "--ike", "rw"])?;
            client.command(|session, now| session.rekey_ike(now))?;
            client.load_until(&format!("IKE rekey {round}"), SERVER_V4.into(), limit, |client| {
                client.told_of("IkeRekeyed") > before
            })?;
        }
        client.close()
    });
}

#[test]
fn a_delete_from_the_gateway_ends_the_session_as_closed_by_the_peer() {
    sandbox::run(|| {
        let network = network()?;
        let charon = Charon::start(&network.gateway, gateway(with_group()))?;
        let mut client = connect(&network)?;
        // swanctl waits for our answer, which takes the session to run.
        charon.swanctl(&["--terminate", "--ike", "rw", "--timeout", "-1"])?;
        let failure = client.wait_for_end(LIMIT)?;
        ensure!(matches!(failure, Failure::PeerClosed), "{failure:?}");
        Ok(())
    });
}

#[test]
fn a_gateway_that_was_restarted_is_found_dead_and_can_be_connected_to_again() {
    sandbox::run(|| {
        let network = network()?;
        let charon = Charon::start(&network.gateway, gateway(with_group()))?;
        let mut config = psk_config("alice@lab.example", PSK)?;
        config.timers.dpd_after = Some(Duration::from_secs(1));
        config.timers.retransmits_established = 3;
        let mut client = EngineClient::connect(network.client(), network.gateway_address(), config, None)?;
        client.exchange(SERVER_V4.into(), &[10])?;
        let _charon = charon.restart()?;
        let failure = client.wait_for_end(LIMIT)?;
        ensure!(matches!(failure, Failure::PeerDead), "{failure:?}");
        let mut client = connect(&network)?;
        client.exchange(SERVER_V4.into(), &[10])
    });
}
