//! RFC 4478 with the real daemon: the gateway says for how long an authentication counts, and the daemon makes a new IKE SA
//! before that time is over, make before break. Whoever uses the tunnel must not notice.

#![cfg(target_os = "linux")]

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use anyhow::ensure;
use evenkeel_ipc::{State, Status};
use evenkeel_lab::{
    Nat, Topology,
    client::Client,
    counters, http,
    office::{ALICE, ALICE_MAIL, Office, PASSWORD, PSK, psk_gateway},
    pki::Key,
    practice::{INNER, PracticeGateway},
    profile::Profile,
    sandbox, snapshot,
    strongswan::{Charon, Config},
    topology::SERVER_V4,
    traffic, wait,
};

/// For how long the gateway lets an authentication count, in seconds: it says so by AUTH_LIFETIME. The client heeds no less
/// than ten.
const LIFETIME: u32 = 12;
/// How much later it closes the IKE SA of a client that has not authenticated anew.
const GRACE: u32 = 3;
/// How long a stream lasts: two lifetimes, and more than one IKE SA can live.
const SECONDS: u32 = 28;
/// Bytes a second at which the gateway's packets never stand in a queue, and at which they always do, so that some are here
/// before their SA is.
const SLOW: u32 = 1_000_000;
const FAST: u32 = 12_000_000;

/// What the statuses of a connection have in common, and in what they differ.
#[derive(Debug, Default)]
struct Seen {
    states: Vec<State>,
    ike_sas: BTreeSet<String>,
    addresses: BTreeSet<String>,
    drops: BTreeMap<String, u64>,
}

impl Seen {
    fn of(statuses: &[Status]) -> Self {
        let mut seen = Self::default();
        for status in statuses {
            seen.states.push(status.state);
            seen.ike_sas.extend(status.ike_sa.iter().map(|ike| format!("{:?}", ike.spi_i)));
            seen.addresses.insert(format!("{:?}", status.addresses));
            // Each packet that is here before its SA counts as dropped until the SA is: only the last word is true.
            seen.drops.remove("unknown_spi");
            for (reason, &count) in status.child_sas.iter().flat_map(|child| &child.drops) {
                let most = seen.drops.entry(reason.clone()).or_default();
                *most = count.max(*most);
            }
        }
        seen
    }
}

/// One download runs across at least two re-authentications.
fn stays_connected(
    mut gateway: Config,
    profile: impl Fn(&str) -> Profile,
    secret: &str,
    rate: u32,
) -> anyhow::Result<String> {
    let network = Topology::behind(Nat::preserving()).build()?;
    let host = network.client();
    traffic::serve(&network.server)?;
    host.without_ipv6()?;
    gateway.connections[0].reauth = LIFETIME;
    gateway.connections[0].over = GRACE;
    let mut charon = Charon::start(&network.gateway, gateway)?;
    let before = snapshot::take(host)?;
    let client = Client::with_profile(host, &profile(&network.gateway_address().to_string()))?;
    client.connect(Some(secret))?;

    let watch = client.watch()?;
    let took = traffic::download_slowly(host, SERVER_V4.into(), u64::from(SECONDS) * u64::from(rate), rate)?;
    let mut statuses = watch.end()?;
    statuses.push(client.status()?);
    let seen = Seen::of(&statuses);
    ensure!(seen.ike_sas.len() >= 3, "not authenticated anew twice: {seen:?}");
    ensure!(seen.states.iter().all(|state| *state == State::Connected), "{seen:?}");
    ensure!(seen.addresses.len() == 1, "another inner address: {seen:?}");
    ensure!(seen.drops.is_empty(), "packets were dropped: {seen:?}");
    let datagrams = counters::every_datagram_arrived(&network)?;

    let asked = charon.log().matches("peer requested virtual IP 10.20.0.1").count();
    ensure!(asked + 1 >= seen.ike_sas.len(), "asked for the same address {asked} times");
    charon.wait_for_sas("the old IKE SAs to be gone", Duration::from_secs(5), |sas| {
        sas.matches("list-sa event").count() == 1
    })?;
    ensure!(!charon.log().contains("did not reauthenticate"), "the gateway had to end an IKE SA");
    client.disconnect()?;
    wait::until("the host to be as it was", Duration::from_secs(5), || {
        (snapshot::take(host).ok()? == before).then_some(())
    })?;
    Ok(format!(
        "{} s, {} statuses, {} IKE SAs, {datagrams} datagrams of the gateway's, all of them read",
        took.as_secs(),
        seen.states.len(),
        seen.ike_sas.len()
    ))
}

#[test]
fn a_stream_survives_re_authentications_with_a_password() {
    sandbox::run(|| {
        let office = Office::new(Key::P256)?;
        let root = office.root.certificate();
        let gateway = office.eap_gateway(office.gateway(Key::P256)?);
        println!("{}", stays_connected(gateway, |at| Profile::eap(at, ALICE, &root), PASSWORD, SLOW)?);
        Ok(())
    });
}

#[test]
fn a_stream_survives_re_authentications_with_a_pre_shared_key() {
    sandbox::run(|| {
        println!("{}", stays_connected(psk_gateway(), |at| Profile::psk(at, ALICE_MAIL), PSK, FAST)?);
        Ok(())
    });
}

#[test]
fn another_address_after_a_re_authentication_takes_the_place_of_the_first() {
    sandbox::run(|| {
        let network = Topology::behind(Nat::preserving()).build()?;
        let host = network.client();
        let gateway = PracticeGateway::demo(&network.gateway, network.gateway_address())?;
        let gateway =
            gateway.restart(|config| format!("{config}\n[timers]\nauth_lifetime_s = {LIFETIME}\n"))?;
        let before = snapshot::take(host)?;
        let client = Client::start(host)?;
        client.import_file(&gateway.client_profile(|text| text)?)?;
        client.connect(None)?;
        let watch = client.watch()?;
        let mut had = client.status()?.addresses;
        for _ in 0..2 {
            http::fetch(host, INNER, "/")?;
            let lifetime = Duration::from_secs(u64::from(LIFETIME + GRACE));
            let status = client.wait_longer_for("another address", lifetime, |status| {
                !status.addresses.is_empty() && status.addresses != had
            })?;
            had = status.addresses;
            let device =
                host.output("ip", &["-brief", "address", "show", "dev", "evenkeel0", "scope", "global"])?;
            let addresses = device.split_whitespace().skip(2).collect::<Vec<_>>();
            ensure!(
                addresses == had.iter().map(ToString::to_string).collect::<Vec<_>>(),
                "{device}: {had:?}"
            );
        }
        http::fetch(host, INNER, "/")?;
        let seen = Seen::of(&watch.end()?);
        ensure!(seen.states.iter().all(|state| *state == State::Connected), "{seen:?}");
        client.disconnect()?;
        wait::until("the host to be as it was", Duration::from_secs(5), || {
            (snapshot::take(host).ok()? == before).then_some(())
        })
    });
}
