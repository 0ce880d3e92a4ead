//! The tables of docs/network-learning.md, made from simulated networks.

use std::fmt::Write;
use std::time::Duration;

use evenkeel_netprofile::defaults;
use evenkeel_netprofile::keepalive::Config;
use evenkeel_netprofile::mtu::{Direction, ProbeStyle};
use evenkeel_netprofile::overhead::{Encapsulation, EspShape, Family};

use crate::idle::{Idle, Surroundings};
use crate::nat::{Behaviour, Ports};
use crate::path::{self, Tunnel};

pub(crate) const BEGIN: &str =
    "<!-- results: made by `cargo run -p evenkeel-netprofile --example learning` -->\n";
pub(crate) const END: &str = "<!-- end of results -->\n";

pub(crate) const LIFETIMES: [u64; 7] = [10, 20, 30, 45, 60, 120, 300];
const PATHS: [u16; 10] = [1500, 1492, 1420, 1411, 1400, 1380, 1300, 1280, 1124, 1063];

pub(crate) const BOTH_METHODS: Config =
    Config { second_socket: true, inbound_probe: true, trust_hash_alone: false, remembered: None };
pub(crate) const INBOUND_ALONE: Config =
    Config { second_socket: false, inbound_probe: true, trust_hash_alone: false, remembered: None };
pub(crate) const HASH_ALONE: Config =
    Config { second_socket: true, inbound_probe: false, trust_hash_alone: true, remembered: None };

/// All tables, as they stand between the markers.
pub(crate) fn tables() -> String {
    let mut text = String::new();
    let nats = [
        ("changes ports", Ports::Random, INBOUND_ALONE),
        ("changes ports, hash alone", Ports::Random, HASH_ALONE),
        ("keeps ports", Ports::Preserving, INBOUND_ALONE),
    ];
    text.push_str(
        "\n### Lifetimes\n\n| true | NAT | interval | of the true | learned after | checks | inbound probes |\n\
         |---:|---|---:|---:|---:|---:|---:|\n",
    );
    for seconds in LIFETIMES {
        for (name, ports, config) in nats {
            lifetime_row(&mut text, seconds, name, &[Behaviour::plain(seconds, ports)], config);
        }
    }
    for (inner, outer) in [(30, 120), (120, 45)] {
        let nats = [Behaviour::plain(inner, Ports::Preserving), Behaviour::plain(outer, Ports::Random)];
        let name = format!("{inner} s keeping ports behind {outer} s changing them");
        lifetime_row(&mut text, inner.min(outer), &name, &nats, INBOUND_ALONE);
    }
    sizes(&mut text);
    text
}

fn learned(nats: &[Behaviour], config: Config) -> (Idle, Duration) {
    // The gateway's side says something every minute, as the inner network of an office does.
    let around = Surroundings { inbound_every: Duration::from_secs(60), ..Surroundings::default() };
    let mut idle = Idle::new(nats, around, config, 7);
    let mut settled = None;
    idle.run_until(defaults::LEARNING_TIME, |idle| {
        if settled.is_none() && idle.search.learned().settled {
            settled = Some((idle.elapsed(), idle.search.spent()));
        }
    });
    let after = settled.map_or(defaults::LEARNING_TIME, |(after, _)| after);
    (idle, after)
}

fn lifetime_row(text: &mut String, seconds: u64, name: &str, nats: &[Behaviour], config: Config) {
    let (idle, after) = learned(nats, config);
    let (interval, spent) = (idle.search.interval(), idle.search.spent());
    writeln!(
        text,
        "| {seconds} s | {name} | {:.1} s | {} % | {}:{:02} min | {} | {} |",
        interval.as_secs_f64(),
        interval.as_millis() * 100 / (u128::from(seconds) * 1000),
        after.as_secs() / 60,
        after.as_secs() % 60,
        spent.checks,
        spent.inbound_probes
    )
    .unwrap();
}

fn sizes(text: &mut String) {
    text.push_str(
        "\n### Path MTU\n\n| path | found | round trips until in use | probes | bytes | steps of 20: found | round trips |\n\
         |---:|---:|---:|---:|---:|---:|---:|\n",
    );
    for mtu in PATHS {
        let rtt = Duration::from_millis(100);
        let mut tunnel = Tunnel::new(
            path::Behaviour {
                uplink: mtu,
                downlink: mtu,
                icmp: false,
                loss: 0,
                rtt,
                jitter: Duration::ZERO,
                answers: true,
                style: ProbeStyle::Padded,
                encapsulation: Encapsulation { family: Family::V4, esp: EspShape::AEAD },
                link_mtu: 1500,
                remembered: None,
            },
            1,
        );
        let (start, expected) = (tunnel.now, tunnel.path.expected(Direction::Uplink));
        let mut in_use = (tunnel.uplink.size() == expected).then_some(Duration::ZERO);
        tunnel.run_for(Duration::from_secs(10), |tunnel| {
            if in_use.is_none() && tunnel.uplink.size() == expected {
                in_use = Some(tunnel.now - start);
            }
        });
        let (spent, found) = (tunnel.uplink.spent(), tunnel.uplink.size());
        let trips = in_use
            .map_or_else(|| "never".to_owned(), |at| at.as_millis().div_ceil(rtt.as_millis()).to_string());
        // From Ethernet downwards; each size that is too large costs at least a round trip of waiting.
        let steps = (1500 - mtu).div_ceil(20);
        writeln!(
            text,
            "| {mtu} | {found} | {trips} | {} | {} | {} | {} |",
            spent.probes,
            spent.bytes,
            1500 - steps * 20,
            steps + 1
        )
        .unwrap();
    }
}

/// The page with the part between the markers replaced.
pub(crate) fn replace(page: &str, results: &str) -> Option<String> {
    let (before, rest) = page.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}{results}\n{END}{after}"))
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_tables_in_the_documentation_are_what_the_simulation_gives() {
        let page = include_str!("../../../../docs/network-learning.md").replace("\r\n", "\n");
        let made = super::replace(&page, &super::tables()).expect("the page has its markers");
        assert!(made == page, "run `cargo run -p evenkeel-netprofile --example learning`");
    }
}
