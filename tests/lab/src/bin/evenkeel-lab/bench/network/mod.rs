//! How long networks that are in the way hold a person up: the real daemon in networks of namespaces.
//!
//! A case is one kind of network. Each makes its own, as often as there are rounds, and says what it measured.

mod blocked;
mod echo;
mod portal;
mod roam;
mod sizes;
mod wireguard;

use anyhow::{Context, ensure};

use super::{
    load,
    table::{self, Row},
    warn_if_unoptimised,
};

/// What to measure, and how often.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// How often each figure is measured; medians count
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Only this case; may be given several times
    #[arg(long, value_name = "CASE", value_parser = names())]
    only: Vec<String>,
}

/// One kind of network.
struct Case {
    name: &'static str,
    what: &'static str,
    /// So many rounds of it.
    measure: fn(usize) -> anyhow::Result<Vec<Row>>,
}

const CASES: [Case; 9] = [
    blocked_case("udp-4500", &blocked::UDP_4500, |rounds| blocked::run(&blocked::UDP_4500, rounds)),
    blocked_case("udp", &blocked::UDP, |rounds| blocked::run(&blocked::UDP, rounds)),
    blocked_case("tcp-443", &blocked::TCP_443, |rounds| blocked::run(&blocked::TCP_443, rounds)),
    blocked_case("tls-443", &blocked::TLS_443, |rounds| blocked::run(&blocked::TLS_443, rounds)),
    blocked_case("esp", &blocked::ESP, |rounds| blocked::run(&blocked::ESP, rounds)),
    Case {
        name: "wireguard",
        what: "No way to the gateway, WireGuard's peer reachable",
        measure: wireguard::run,
    },
    Case { name: "portal", what: "Captive portal", measure: portal::run },
    Case { name: "mtu", what: "Path MTU", measure: sizes::run },
    Case { name: "roam", what: "Change of network", measure: roam::run },
];

const fn blocked_case(
    name: &'static str,
    network: &blocked::Network,
    measure: fn(usize) -> anyhow::Result<Vec<Row>>,
) -> Case {
    Case { name, what: network.what, measure }
}

fn names() -> Vec<&'static str> {
    CASES.iter().map(|case| case.name).collect()
}

/// Runs inside a sandbox.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    ensure!(args.rounds > 0, "nothing is measured in no rounds");
    warn_if_unoptimised();
    let before = load()?;
    let (mut rows, mut failed) = (Vec::new(), Vec::new());
    for case in
        CASES.iter().filter(|case| args.only.is_empty() || args.only.iter().any(|only| only == case.name))
    {
        println!("{} ({})", case.what, case.name);
        match (case.measure)(args.rounds) {
            Ok(measured) => rows.extend(measured),
            Err(error) => {
                failed.push(case.name);
                println!("  NOT RUN: {error:#}");
                rows.push(Row::not_run(case.what));
            }
        }
    }
    table::print(&rows);
    println!(
        "\nmedians of {}; load average: {before} before, {} after",
        args.rounds,
        load().context("after")?
    );
    ensure!(failed.is_empty(), "not run to the end: {}", failed.join(", "));
    Ok(())
}
