//! Whole searches for a translator's lifetime, with the real daemon and in real time: an idle hour each. Too long for every
//! run of the tests: `cargo xtask test --layer hours` runs them, all at once, since they do nothing but wait.

#![cfg(target_os = "linux")]
#![expect(clippy::print_stderr, reason = "what was learned, for whoever reads the output")]

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use evenkeel_lab::{
    Nat, Topology,
    client::Client,
    office::{ALICE_MAIL, PSK, psk_gateway},
    practice::PracticeGateway,
    profile::Profile,
    sandbox,
    strongswan::Charon,
    traffic,
};

/// docs/network-learning.md: no search takes longer, of idle time.
const LEARNING: Duration = Duration::from_secs(75 * 60);
/// With the silences at the end.
const WHOLE: Duration = Duration::from_secs(90 * 60);
/// Between two looks at what was learned.
const LOOK: Duration = Duration::from_secs(1);
const MOMENT: Duration = Duration::from_millis(500);

/// Who is at the other end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Gateway {
    /// Hashes alone tell of the mapping.
    StrongSwan,
    /// It sends a request after a silence (docs/delayed-check.md).
    Practice,
}

/// Waits, idle, until the interval is at least 70 % of the lifetime, of which it must never become longer; then the office
/// must get in after a silence of nearly as long as the mapping lives.
fn learns(lifetime: u64, topology: &Topology, gateway: Gateway) -> anyhow::Result<()> {
    let network = topology.build()?;
    network.client().without_ipv6()?;
    traffic::serve(network.client())?;
    let _charon = (gateway == Gateway::StrongSwan)
        .then(|| {
            let mut config = psk_gateway();
            // Nobody inside is to be asked for the path MTU: the tunnel is to be silent.
            config.pools[0].attributes.clear();
            Charon::start(&network.gateway, config)
        })
        .transpose()?;
    let _practice =
        (gateway == Gateway::Practice).then(|| PracticeGateway::in_place(&network)).transpose()?;
    let profile = Profile::psk(network.gateway_address(), ALICE_MAIL);
    let client = Client::with_profile(network.client(), &profile)?;
    client.connect(Some(PSK))?;
    let inner = client.status()?.addresses.first().context("an address")?.ip;

    let (started, mut former) = (Instant::now(), None);
    let interval = loop {
        // In whole seconds, rounded down.
        let interval = client.status()?.keepalive_s.context("an interval")?;
        if former != Some(interval) {
            eprintln!(
                "{lifetime} s, {gateway:?}: {interval} s after {:.0} s",
                started.elapsed().as_secs_f64()
            );
        }
        // The first interval is what every NAT is taken to bear: a shorter one is found from what that costs.
        let first = former.is_none_or(|former| former == 20) && interval == 20;
        ensure!(u64::from(interval) < lifetime || first, "{interval} s, of {lifetime} s");
        former = Some(interval);
        if u64::from(interval) < lifetime && u64::from(interval + 1) * 10 > lifetime * 7 {
            break interval;
        }
        ensure!(started.elapsed() < LEARNING, "{interval} s, of {lifetime} s, after {LEARNING:?}");
        thread::sleep(LOOK);
    };
    eprintln!(
        "{lifetime} s, {gateway:?}: learned {interval} s ({} %) in {:.1} min",
        u64::from(interval) * 100 / lifetime,
        started.elapsed().as_secs_f64() / 60.0
    );
    for _ in 0..2 {
        // Without keepalives the mapping would not survive the two of them.
        thread::sleep(Duration::from_secs(lifetime * 9 / 10));
        ensure!(traffic::echo(&network.server, inner, 100, MOMENT)?.is_some(), "the office does not get in");
    }
    client.disconnect()
}

/// A translator that forgets after `lifetime`, of a flow that is used both ways.
fn forgetting(nat: Nat, lifetime: u64) -> Nat {
    let lifetime = Duration::from_secs(lifetime);
    nat.forgetting_after(lifetime.min(Duration::from_secs(30)), lifetime)
}

macro_rules! lifetimes {
    ($($name:ident: $lifetime:literal,)*) => {
        mod a_translator_that_changes_ports_before_strongswan {
            use super::*;
            $(
                #[test]
                #[ignore = "takes up to an hour: cargo xtask test --layer hours"]
                fn $name() {
                    sandbox::run_within(WHOLE, || {
                        let nat = forgetting(Nat::random(), $lifetime);
                        learns($lifetime, &Topology::behind(nat), Gateway::StrongSwan)
                    });
                }
            )*
        }

        mod a_translator_that_keeps_ports_before_the_practice_gateway {
            use super::*;
            $(
                #[test]
                #[ignore = "takes up to an hour: cargo xtask test --layer hours"]
                fn $name() {
                    sandbox::run_within(WHOLE, || {
                        let nat = forgetting(Nat::preserving(), $lifetime);
                        learns($lifetime, &Topology::behind(nat), Gateway::Practice)
                    });
                }
            )*
        }
    };
}

lifetimes! {
    of_10_seconds: 10,
    of_20_seconds: 20,
    of_30_seconds: 30,
    of_45_seconds: 45,
    of_60_seconds: 60,
    of_120_seconds: 120,
    of_300_seconds: 300,
}

#[test]
#[ignore = "takes up to an hour: cargo xtask test --layer hours"]
fn two_translators_of_which_the_inner_one_keeps_ports_and_forgets_sooner() {
    sandbox::run_within(WHOLE, || {
        let topology =
            Topology::behind(forgetting(Nat::preserving(), 45)).and_carrier(forgetting(Nat::random(), 120));
        learns(45, &topology, Gateway::Practice)
    });
}

#[test]
#[ignore = "takes up to an hour: cargo xtask test --layer hours"]
fn two_translators_of_which_the_outer_one_forgets_sooner() {
    sandbox::run_within(WHOLE, || {
        let topology =
            Topology::behind(forgetting(Nat::preserving(), 120)).and_carrier(forgetting(Nat::random(), 45));
        learns(45, &topology, Gateway::StrongSwan)
    });
}

#[test]
#[ignore = "takes up to an hour: cargo xtask test --layer hours"]
fn a_translator_that_only_outbound_packets_refresh() {
    sandbox::run_within(WHOLE, || {
        let nat = Nat::preserving().refreshed_from_inside_only(Duration::from_secs(45));
        learns(45, &Topology::behind(nat), Gateway::Practice)
    });
}
