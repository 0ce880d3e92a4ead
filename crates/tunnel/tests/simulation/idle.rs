//! What an idle connection sends in an hour, as a table for docs/network-learning.md.

use std::fmt::Write;
use std::time::Duration;

use crate::world::{Carried, Setup, World};

pub(crate) const BEGIN: &str = "<!-- idle hours: made by `cargo run -p evenkeel-tunnel --example idle` -->\n";
pub(crate) const END: &str = "<!-- end of idle hours -->\n";

const LIFETIMES: [u64; 7] = [10, 20, 30, 45, 60, 120, 300];
const HOUR: Duration = Duration::from_secs(3600);
/// Hours until everything that can be learned is: a search takes 75 minutes at most.
const LEARNING: u32 = 2;
/// Runs of each, with other chances; medians count.
const SEEDS: [u8; 5] = [1, 2, 3, 4, 5];
/// Per mille of datagrams that are lost.
const LOSS: u32 = 5;

/// What others send: an interval, and the bytes of a keepalive with the headers of IPv4 and UDP.
const FIXED: [Fixed; 2] = [
    // RFC 3948 §2.3: one byte.
    Fixed { interval: 20, bytes: 29 },
    // A transport message without data.
    Fixed { interval: 25, bytes: 60 },
];

struct Fixed {
    interval: u64,
    bytes: u64,
}

/// One run behind one NAT.
struct Run {
    first_hour: Carried,
    later_hour: Carried,
    interval: Duration,
}

/// The table, as it stands between the markers.
pub(crate) fn table() -> String {
    let mut text = String::from(
        "\n| true lifetime | NAT | interval | datagrams an hour | while learning | fixed 20 s | fixed 25 s |\n\
         |---:|---|---:|---:|---:|---:|---:|\n",
    );
    for (nat, keeps_ports) in [("changes ports", false), ("keeps ports", true)] {
        for lifetime in LIFETIMES {
            let runs: Vec<Run> = SEEDS.iter().map(|seed| idle(*seed, lifetime, keeps_ports)).collect();
            let interval = middle(runs.iter().map(|run| run.interval));
            let later = amount(runs.iter().map(|run| run.later_hour));
            let first = amount(runs.iter().map(|run| run.first_hour));
            let [slow, slower] = FIXED.map(|fixed| fixed.hour(lifetime));
            let lost = lost(interval, lifetime);
            writeln!(
                text,
                "| {lifetime} s | {nat} | {:.1} s | {later}{lost} | {first} | {slow} | {slower} |",
                interval.as_secs_f64()
            )
            .unwrap();
        }
    }
    text
}

fn idle(seed: u8, lifetime: u64, keeps_ports: bool) -> Run {
    let mut world = World::new(Setup { seed, ..Setup::default() });
    world.nat.lifetime = Some(Duration::from_secs(lifetime));
    world.nat.keeps_ports = keeps_ports;
    world.connect();
    world.loss = LOSS;
    let first_hour = hour(&mut world);
    world.run_for(HOUR * (LEARNING - 1));
    let later_hour = hour(&mut world);
    assert!(world.is_up());
    Run { first_hour, later_hour, interval: world.tunnel.keepalive_interval().unwrap() }
}

fn hour(world: &mut World) -> Carried {
    let before = world.carried;
    world.run_for(HOUR);
    Carried {
        datagrams: world.carried.datagrams - before.datagrams,
        bytes: world.carried.bytes - before.bytes,
    }
}

impl Fixed {
    fn hour(&self, lifetime: u64) -> String {
        let count = HOUR.as_secs() / self.interval;
        let lost = lost(Duration::from_secs(self.interval), lifetime);
        format!("{count}, {:.1} kB{lost}", (count * self.bytes) as f64 / 1e3)
    }
}

/// What comes of a mapping that is kept so often and lives so many seconds.
fn lost(interval: Duration, lifetime: u64) -> &'static str {
    if interval < Duration::from_secs(lifetime) { "" } else { ", lost each time" }
}

/// The medians of datagrams and of bytes.
fn amount(runs: impl Iterator<Item = Carried> + Clone) -> String {
    let datagrams = middle(runs.clone().map(|run| run.datagrams));
    format!("{datagrams}, {:.1} kB", middle(runs.map(|run| run.bytes)) as f64 / 1e3)
}

fn middle<T: Ord + Copy>(values: impl Iterator<Item = T>) -> T {
    let mut values: Vec<T> = values.collect();
    values.sort_unstable();
    values[values.len() / 2]
}

/// The page with the part between the markers replaced.
pub(crate) fn replace(page: &str, table: &str) -> Option<String> {
    let (before, rest) = page.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}{table}\n{END}{after}"))
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_idle_hours_in_the_documentation_are_what_the_simulation_gives() {
        let page = include_str!("../../../../docs/network-learning.md").replace("\r\n", "\n");
        let made = super::replace(&page, &super::table()).expect("the page has its markers");
        assert!(made == page, "run `cargo run -p evenkeel-tunnel --example idle`");
    }
}
