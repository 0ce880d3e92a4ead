//! How long networks that are in the way hold a person up: the real daemon in networks of namespaces.
//!
//! A case is one kind of network. Each makes its own, as often as there are rounds, and says what it measured.

mod blocked;
mod echo;
mod portal;
mod roam;
mod sizes;

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
    measure: Measure,
}

enum Measure {
    /// So many rounds of it.
    With(fn(usize) -> anyhow::Result<Vec<Row>>),
    /// Not there yet, and why.
    Missing(&'static str),
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
        measure: Measure::Missing("no connection falls back to WireGuard yet"),
    },
    Case { name: "portal", what: "Captive portal", measure: Measure::With(portal::run) },
    Case { name: "mtu", what: "Path MTU", measure: Measure::With(sizes::run) },
    Case { name: "roam", what: "Change of network", measure: Measure::With(roam::run) },
];

const fn blocked_case(
    name: &'static str,
    network: &blocked::Network,
    measure: fn(usize) -> anyhow::Result<Vec<Row>>,
) -> Case {
    Case { name, what: network.what, measure: Measure::With(measure) }
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
        let measured = match case.measure {
            Measure::With(measure) => measure(args.rounds).inspect_err(|_| failed.push(case.name)),
            Measure::Missing(why) => Err(anyhow::anyhow!(why)),
        };
        match measured {
            Ok(measured) => rows.extend(measured),
            Err(error) => {
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
