//! Every way to prove who one is, against strongSwan.

#![cfg(target_os = "linux")]

use std::time::Duration;

use anyhow::{Context, ensure};
use evenkeel_lab::{
    Nat, Network, Topology,
    engine::{EngineClient, psk_config},
    office::{ALICE_MAIL, Office, PASSWORD, PSK, psk_gateway, trust},
    pki::{Authority, Key, Leaf},
    sandbox,
    strongswan::{Auth, Charon},
    topology::SERVER_V4,
    traffic,
};

const KINDS: [Key; 5] = [Key::Rsa, Key::P256, Key::P384, Key::P521, Key::Ed25519];

fn network() -> anyhow::Result<Network> {
    let network = Topology::behind(Nat::preserving()).build()?;
    traffic::serve(&network.server)?;
    Ok(network)
}

#[test]
fn certificates_of_every_kind_prove_both_ends_by_rfc_7427() {
    sandbox::run(|| {
        let network = network()?;
        let mut charon: Option<Charon> = None;
        for kind in KINDS {
            let office = Office::new(kind)?;
            let config = office.certificate_gateway(office.gateway(kind)?);
            start_or_reconfigure(&mut charon, &network, config, "")?;
            connect_by_certificate(&network, &office, kind)?;
        }
        // Our CERTREQ names the authority by the hash of its key, and charon knows which one that is.
        let log = charon.context("no charon was started")?.log();
        ensure!(
            log.matches("received cert request for \"").count() >= KINDS.len(),
            "no CERTREQ that charon knows"
        );
        ensure!(!log.contains("cert requests for an unknown ca"), "a CERTREQ that charon does not know");
        Ok(())
    });
}

#[test]
fn gateways_without_rfc_7427_get_the_older_methods() {
    sandbox::run(|| {
        let network = network()?;
        let mut charon: Option<Charon> = None;
        // Ed25519 has no older method.
        for kind in [Key::Rsa, Key::P256, Key::P384, Key::P521] {
            let office = Office::new(kind)?;
            let config = office.certificate_gateway(office.gateway(kind)?);
            start_or_reconfigure(&mut charon, &network, config, "signature_authentication = no")?;
            connect_by_certificate(&network, &office, kind)?;
        }
        Ok(())
    });
}

#[test]
fn rsa_proves_both_ends_by_pss_where_the_gateway_wants_it() {
    sandbox::run(|| {
        let network = network()?;
        let office = Office::new(Key::Rsa)?;
        let mut config = office.certificate_gateway(office.gateway(Key::Rsa)?);
        config.connections[0].remote = Auth::Certificate(None, "ike:rsa/pss-sha256-sha384-sha512");
        let charon = Charon::start_with(&network.gateway, config, "rsa_pss = yes")?;
        connect_by_certificate(&network, &office, Key::Rsa)?;
        let log = charon.log();
        ensure!(log.matches("RSA_EMSA_PSS").count() >= 2, "PSS was not used by both ends");
        Ok(())
    });
}

#[test]
fn a_password_is_proven_by_eap_mschapv2_in_six_round_trips() {
    sandbox::run(|| {
        let network = network()?;
        let office = Office::new(Key::P256)?;
        let _charon = Charon::start(&network.gateway, office.eap_gateway(office.gateway(Key::P256)?))?;
        let config = office.eap_client(PASSWORD)?;
        let mut client = EngineClient::connect(network.client(), network.gateway_address(), config, None)?;
        client.exchange(SERVER_V4.into(), &[100])?;
        let trips = client.session().info().map(|info| info.round_trips);
        ensure!(trips == Some(6), "{trips:?} round trips");
        client.close()
    });
}

#[test]
fn a_gateway_under_siege_asks_for_a_cookie_and_gets_it() {
    sandbox::run(|| {
        let network = network()?;
        let office = Office::new(Key::P256)?;
        let charon = Charon::start(&network.gateway, office.eap_gateway(office.gateway(Key::P256)?))?;
        // Whoever does not trust the gateway goes away without a word; from three such half-open SAs on, charon wants cookies.
        for _ in 0..4 {
            let mut stranger = office.eap_client(PASSWORD)?;
            stranger.peer_auth = trust(&Authority::root("Somebody Else's Root", Key::P256)?)?;
            EngineClient::refused(network.client(), network.gateway_address(), stranger, None)?;
        }
        let config = office.eap_client(PASSWORD)?;
        let mut client = EngineClient::connect(network.client(), network.gateway_address(), config, None)?;
        client.exchange(SERVER_V4.into(), &[100])?;
        ensure!(charon.log().contains("N(COOKIE)"), "charon asked for no cookie");
        client.close()
    });
}

#[test]
fn a_group_that_the_gateway_declines_is_replaced_by_the_one_it_asks_for() {
    sandbox::run(|| {
        let network = network()?;
        let mut gateway = psk_gateway();
        gateway.connections[0].proposals = "aes256gcm16-prfsha256-ecp384".to_owned();
        let charon = Charon::start(&network.gateway, gateway)?;
        // The default proposals guess another group first.
        let config = psk_config(ALICE_MAIL, PSK)?;
        let mut client = EngineClient::connect(network.client(), network.gateway_address(), config, None)?;
        client.exchange(SERVER_V4.into(), &[100])?;
        ensure!(charon.log().contains("N(INVAL_KE)"), "the first guess was right");
        client.close()
    });
}

#[test]
fn a_long_chain_is_carried_in_fragments_both_ways() {
    sandbox::run(|| {
        // No fragment may depend on IP fragments, which this path drops.
        let network = Topology::behind(Nat::preserving()).build()?;
        for host in [&network.isp, &network.core] {
            host.nft(
                "table inet fragments {
                   chain through {
                     type filter hook prerouting priority -450
                     ip frag-off & 0x3fff != 0 drop
                   }
                 }",
            )?;
        }
        traffic::serve(&network.server)?;
        let office = Office::new(Key::Rsa)?;
        let deep = deep_chain(&office.root)?;
        let gateway = deep.issue(&Leaf::gateway("vpn.lab.example")?.key(Key::Rsa).and_other_names(60)?)?;
        let alice = deep.issue(&Leaf::client("alice@lab.example")?.key(Key::Rsa))?;
        let charon = Charon::start(&network.gateway, office.certificate_gateway(gateway))?;
        let (config, key) = office.certificate_client(&alice)?;
        let mut client =
            EngineClient::connect(network.client(), network.gateway_address(), config, Some(key))?;
        client.exchange(SERVER_V4.into(), &[100])?;
        let log = charon.log();
        ensure!(log.contains("received fragment #"), "our IKE_AUTH came in one piece");
        ensure!(log.contains("splitting IKE message"), "charon's IKE_AUTH came in one piece");
        client.close()
    });
}

/// Four authorities below the root.
fn deep_chain(root: &Authority) -> anyhow::Result<Authority> {
    let mut authority = root.intermediate("Evenkeel Lab Intermediate 1", Key::Rsa)?;
    for level in 2..=4 {
        authority = authority.intermediate(&format!("Evenkeel Lab Intermediate {level}"), Key::Rsa)?;
    }
    Ok(authority)
}

fn start_or_reconfigure<'n>(
    charon: &mut Option<Charon<'n>>,
    network: &'n Network,
    config: evenkeel_lab::strongswan::Config,
    settings: &str,
) -> anyhow::Result<()> {
    match charon {
        Some(charon) => charon.reconfigure(config),
        None => {
            *charon = Some(Charon::start_with(&network.gateway, config, settings)?);
            Ok(())
        }
    }
}

/// Connects with a certificate of this kind in two round trips and moves data.
fn connect_by_certificate(network: &Network, office: &Office, kind: Key) -> anyhow::Result<()> {
    let (config, key) = office.certificate_client(&office.alice(kind)?)?;
    let mut client = EngineClient::connect(network.client(), network.gateway_address(), config, Some(key))?;
    client.exchange(SERVER_V4.into(), &[100])?;
    let trips = client.session().info().map(|info| info.round_trips);
    ensure!(trips == Some(2), "{kind:?}: {trips:?} round trips");
    client.command(|session, now| session.close(now))?;
    client.wait_for_end(Duration::from_secs(5))?;
    Ok(())
}
