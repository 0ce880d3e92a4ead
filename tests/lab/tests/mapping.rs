//! Translators that forget, with the real daemon: how seldom they have to be reminded, and what is when they forgot.

#![cfg(target_os = "linux")]
#![expect(clippy::print_stdout, reason = "what was measured, for whoever reads the output")]

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
    practice::PracticeGateway,
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
    serving(&Topology::behind(nat))
}

fn serving(topology: &Topology) -> anyhow::Result<Network> {
    let network = topology.build()?;
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

/// Where the gateway sends to the only client that it has.
fn remote(gateway: &PracticeGateway<'_>) -> anyhow::Result<String> {
    let answer = gateway.control(r#"{"command":"status"}"#)?;
    let status = &answer["ok"];
    ensure!(status["sessions"].as_array().is_some_and(|sessions| sessions.len() == 1), "{status}");
    status["sessions"][0]["remote"].as_str().map(str::to_owned).with_context(|| status.to_string())
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

/// What the translators of the tests below forget a mapping after: a silence of 30 s is survived, one of 45 s is not.
const BETWEEN: Duration = Duration::from_secs(33);
/// The same, of a flow that was not used twice yet.
const YOUNG: Duration = Duration::from_secs(15);
/// Ten idle seconds, three for the flow to get its long timer, the silence of 30 s, and the machine's other work.
const FIRST_PROOF: Duration = Duration::from_secs(75);

/// A silence of 45 s more.
const PROOF_AND_DEATH: Duration = Duration::from_secs(135);

/// The first two steps of a search by what comes in: one silence that its mapping survives, and one that it does not, which
/// no port shows. The interval in use must be right after the first of them and stay right.
fn learns_by_what_comes_in(topology: &Topology) -> anyhow::Result<()> {
    let network = serving(topology)?;
    let gateway = PracticeGateway::in_place(&network)?;
    let (client, inner) = connect(&network)?;
    let (before, started) = (remote(&gateway)?, Instant::now());
    let mut learned_after = None;
    while !client.log().contains("outcome=Elsewhere") {
        ensure!(started.elapsed() < PROOF_AND_DEATH, "{learned_after:?}, no mapping was found dead");
        // In between the tunnel is idle, and the machine too.
        thread::sleep(Duration::from_secs(1));
        let interval = Duration::from_secs(client.status()?.keepalive_s.context("an interval")?.into());
        ensure!(interval < BETWEEN, "{interval:?}");
        let learned = interval >= BETWEEN * 7 / 10;
        ensure!(learned || learned_after.is_none(), "{interval:?} after more");
        if learned && learned_after.is_none() {
            learned_after = Some(started.elapsed());
        }
    }
    println!("learned after {learned_after:?}, a dead mapping seen after {:?}", started.elapsed());
    ensure!(learned_after.is_some_and(|after| after < FIRST_PROOF), "{learned_after:?}");
    ensure!(gets_in(&network, inner)?, "the office does not get in");
    ensure!(remote(&gateway)? == before, "the gateway followed to another flow");
    client.disconnect()
}

#[test]
fn a_lifetime_is_learned_behind_a_translator_that_keeps_ports() {
    sandbox::run(|| {
        learns_by_what_comes_in(&Topology::behind(Nat::preserving().forgetting_after(YOUNG, BETWEEN)))
    });
}

#[test]
fn a_lifetime_is_learned_behind_two_translators_of_which_the_inner_one_keeps_ports() {
    sandbox::run(|| {
        let inner = Nat::preserving().forgetting_after(YOUNG, BETWEEN);
        learns_by_what_comes_in(&Topology::behind(inner).and_carrier(Nat::random()))
    });
}

#[test]
fn a_lifetime_that_shrinks_under_what_was_learned_costs_one_interval() {
    const SHRUNK: Duration = Duration::from_secs(12);
    sandbox::run(|| {
        let network = network(Nat::random().forgetting_after(YOUNG, BETWEEN))?;
        let gateway = PracticeGateway::in_place(&network)?;
        let (client, inner) = connect(&network)?;
        let is_learned =
            |status: &evenkeel_ipc::Status| status.keepalive_s.is_some_and(|interval| interval > 20);
        let learned = client.wait_longer_for("a longer interval", FIRST_PROOF, is_learned)?.keepalive_s;
        let interval = Duration::from_secs(learned.context("an interval")?.into());
        let nat = network.nat.as_ref().context("a translator")?;
        Nat::random().forgetting_after(SHRUNK, SHRUNK).reconfigure(nat)?;
        // From this packet on the mapping has the new timer.
        ensure!(gets_in(&network, inner)?, "the office does not reach the client at all");
        let (silent, before) = (Instant::now(), remote(&gateway)?);
        // The silence that the mapping does not survive any more.
        thread::sleep(SHRUNK + Duration::from_secs(2));
        ensure!(!gets_in(&network, inner)?, "the translator has not forgotten");
        wait::until("the office to get in again", interval + GRACE, || {
            gets_in(&network, inner).ok().filter(|reached| *reached)
        })?;
        let recovered = silent.elapsed();
        println!("in again {recovered:?} after the last packet, the interval was {interval:?}");
        ensure!(recovered < interval + GRACE, "{recovered:?}");
        ensure!(remote(&gateway)? != before, "the same mapping");
        // Not again: the silence is one that keepalives end in time.
        let shorter = client.status()?.keepalive_s;
        ensure!(shorter.is_some_and(|interval| u64::from(interval) < SHRUNK.as_secs()), "{shorter:?}");
        thread::sleep(SHRUNK + Duration::from_secs(2));
        ensure!(gets_in(&network, inner)?, "the mapping was lost again");
        client.disconnect()
    });
}

#[test]
fn a_lifetime_of_ten_seconds_is_found_from_the_first_mapping_that_it_costs() {
    const LIFETIME: Duration = Duration::from_secs(10);
    sandbox::run(|| {
        let network = network(Nat::random().forgetting_after(LIFETIME, LIFETIME))?;
        let charon = Charon::start(&network.gateway, silent_gateway())?;
        let (client, inner) = connect(&network)?;
        let spi = client.status()?.ike_sa.context("an IKE SA")?.spi_i;
        // The first silence of 20 s begins five seconds after the start, with what later answers are compared with.
        let is_shorter =
            |status: &evenkeel_ipc::Status| status.keepalive_s.is_some_and(|interval| interval < 10);
        client.wait_longer_for("a shorter interval", FIRST_INTERVAL + GRACE * 3, is_shorter)?;
        for _ in 0..2 {
            // Silences that would be too long without keepalives.
            thread::sleep(LIFETIME + Duration::from_secs(2));
            ensure!(gets_in(&network, inner)?, "the office does not get in: {}", charon.log());
        }
        ensure!(client.status()?.ike_sa.context("an IKE SA")?.spi_i == spi, "another IKE SA");
        client.disconnect()
    });
}

#[test]
fn a_gateway_that_does_not_know_delayed_checks_ignores_the_offer() {
    sandbox::run(|| {
        let network = network(Nat::preserving())?;
        let charon = Charon::start(&network.gateway, silent_gateway())?;
        let (client, inner) = connect(&network)?;
        ensure!(gets_in(&network, inner)?, "the office does not get in");
        let log = charon.log();
        let offered = |line: &str| line.contains("parsed IKE_AUTH request 1") && line.contains("60931");
        ensure!(log.lines().any(offered), "nothing was offered: {log}");
        ensure!(!log.lines().any(|line| line.contains("generating") && line.contains("60931")), "{log}");
        client.disconnect()
    });
}
