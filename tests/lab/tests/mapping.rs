//! Translators that forget, with the real daemon: how seldom they have to be reminded, and what is when they forgot.

#![cfg(target_os = "linux")]

use std::{
    net::IpAddr,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use evenkeel_lab::{
    Nat, Network, Topology,
    client::Client,
    office::{ALICE_MAIL, PSK, psk_gateway},
    profile::Profile,
    sandbox,
    strongswan::{Charon, Config},
    traffic, wait,
};

/// What is known of every NAT.
const FIRST_INTERVAL: Duration = Duration::from_secs(20);
/// Beyond an interval, for an exchange, a repetition of it, and a machine that is busy.
const GRACE: Duration = Duration::from_secs(5);
const MOMENT: Duration = Duration::from_millis(300);

fn network(nat: Nat) -> anyhow::Result<Network> {
    let network = Topology::behind(nat).build()?;
    network.client().without_ipv6()?;
    traffic::serve(network.client())?;
    Ok(network)
}

/// A gateway that names nobody who could be asked for the path MTU: the tunnel is to be silent.
fn silent_gateway() -> Config {
    let mut config = psk_gateway();
    config.pools[0].attributes.clear();
    config
}

fn connect<'n>(network: &'n Network) -> anyhow::Result<(Client<'n>, IpAddr)> {
    let client =
        Client::with_profile(network.client(), &Profile::psk(network.gateway_address(), ALICE_MAIL))?;
    client.connect(Some(PSK))?;
    let inner = client.status()?.addresses.first().context("an address")?.ip;
    Ok((client, inner))
}

/// Whether a packet that the office begins with gets in.
fn gets_in(network: &Network, inner: IpAddr) -> anyhow::Result<bool> {
    Ok(traffic::echo(&network.server, inner, 100, MOMENT)?.is_some())
}

/// The first step of the search alone, in real time: a silence of 30 s on a second socket, which its mapping survives, and
/// one of 45 s, which it does not. The interval grows beyond 20 s only once both have been seen again, four minutes after the
/// start; simulations go through that.
#[test]
fn the_search_for_the_lifetime_leaves_the_mapping_in_use_alone() {
    const LIFETIME: Duration = Duration::from_secs(38);
    const BOUND: Duration = Duration::from_secs(120);
    sandbox::run(|| {
        let network = network(Nat::random().forgetting_after(LIFETIME, LIFETIME))?;
        let mut charon = Charon::start(&network.gateway, silent_gateway())?;
        let (client, inner) = connect(&network)?;
        let ports = charon.remote_ports()?;
        let started = Instant::now();
        let mut interval = client.status()?.keepalive_s;
        ensure!(interval == Some(20), "{interval:?}");
        while interval == Some(20) {
            ensure!(started.elapsed() < BOUND, "nothing was learned in {BOUND:?}");
            // In between the tunnel is idle, and the machine too.
            thread::sleep(Duration::from_secs(1));
            interval = client.status()?.keepalive_s;
        }
        println!("{interval:?} s after {:.0} s", started.elapsed().as_secs_f64());
        let interval = Duration::from_secs(interval.context("an interval")?.into());
        // Two fifths of what was too long, until more is known.
        ensure!(interval < FIRST_INTERVAL && interval > FIRST_INTERVAL / 2, "{interval:?}");
        // Four checks: before and after a warm-up, after 30 s, and after 45 s more, then with another port.
        let log = charon.log();
        let from = |line: &str| {
            let port = line.split_once("received packet: from ")?.1.split_once('[')?.1.split_once(']')?.0;
            port.parse::<u16>().ok()
        };
        let second: Vec<u16> = log.lines().filter_map(from).filter(|port| !ports.contains(port)).collect();
        let [base, warm, survived, lost, ..] = second.as_slice() else {
            anyhow::bail!("checked from {second:?}, in use {ports:?}");
        };
        ensure!(base == warm && warm == survived && survived != lost, "checked from {second:?}");
        let after = charon.wait_for_sas("one IKE SA", GRACE, |sas| sas.matches("rw {").count() == 1)?;
        ensure!(charon.remote_ports()? == ports, "the mapping in use was lost: {after}");
        ensure!(gets_in(&network, inner)?, "the office does not get in");
        client.disconnect()
    });
}

#[test]
fn a_mapping_that_is_forgotten_lets_the_office_in_again_after_an_interval() {
    sandbox::run(|| {
        let network = network(Nat::random())?;
        let mut charon = Charon::start(&network.gateway, silent_gateway())?;
        let (client, inner) = connect(&network)?;
        ensure!(gets_in(&network, inner)?, "the office does not reach the client at all");
        let before = charon.remote_ports()?;
        // The client asks five seconds after the start what the gateway sees of it: what later answers are compared with.
        wait::until("something to compare with", GRACE * 3, || {
            charon.log().contains("parsed INFORMATIONAL request").then_some(())
        })?;
        let spi = client.status()?.ike_sa.context("an IKE SA")?.spi_i;
        Nat::random().forget_all(network.nat.as_ref().context("a translator")?)?;
        let forgotten = Instant::now();
        ensure!(!gets_in(&network, inner)?, "the translator has forgotten nothing");
        wait::until("the office to get in again", FIRST_INTERVAL + GRACE, || {
            gets_in(&network, inner).ok().filter(|reached| *reached)
        })?;
        println!("in again after {:.1} s", forgotten.elapsed().as_secs_f64());
        let after = charon.wait_for_sas("one IKE SA", GRACE, |sas| sas.matches("rw {").count() == 1)?;
        ensure!(charon.remote_ports()? != before, "the same mapping: {after}");
        ensure!(client.status()?.ike_sa.context("an IKE SA")?.spi_i == spi, "another IKE SA");
        client.disconnect()
    });
}
