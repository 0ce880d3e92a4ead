//! One TCP stream each way: client - NAT - gateway - office.

use std::{fs, net::IpAddr, path::Path, time::Duration};

use anyhow::Context;

use evenkeel_lab::{
    Host, Nat, Network, Topology,
    client::Client,
    gotatun,
    office::{ALICE_MAIL, Office, PSK, psk_gateway},
    pki::Key,
    practice::PracticeGateway,
    profile::Profile,
    strongswan::{Auth, Charon, Config, Connection},
    topology::{GATEWAY_V4, SERVER_V4},
    traffic,
};

use super::{
    Args,
    table::{Row, median},
};

/// Mbit/s of streams, one each way a round.
#[derive(Default)]
struct Rates {
    up: Vec<f64>,
    down: Vec<f64>,
}

pub(super) fn run(args: &Args) -> anyhow::Result<Vec<Row>> {
    let time = Duration::from_secs(args.seconds);
    let [mut bare, mut ours, mut libipsec, mut wireguard]: [Rates; 4] = Default::default();
    for round in 1..=args.rounds {
        println!("one TCP stream, {time:?} each way, round {round} of {}", args.rounds);
        no_tunnel(&mut bare, time)?;
        evenkeel(&mut ours, time)?;
        strongswan(&mut libipsec, time)?;
        match &args.gotatun {
            Some(program) => gotatun(program, &mut wireguard, time)?,
            None => println!("  gotatun: NOT MEASURED: its program was not named"),
        }
    }
    let mut rows = Vec::new();
    rows.extend(compare("strongSwan libipsec", &ours, &libipsec, Some(("10 times", 10.0))));
    if args.gotatun.is_some() {
        rows.extend(compare("gotatun", &ours, &wireguard, Some(("4 times", 4.0))));
    }
    rows.extend(compare("no tunnel", &ours, &bare, None));
    Ok(rows)
}

/// Our medians beside a peer's.
fn compare(peer: &str, ours: &Rates, theirs: &Rates, goal: Option<(&'static str, f64)>) -> [Row; 2] {
    [("up", &ours.up, &theirs.up), ("down", &ours.down, &theirs.down)].map(|(way, ours, theirs)| {
        let (ours, theirs) = (median(ours.clone()), median(theirs.clone()));
        let ratio = ours / theirs;
        let row = Row::new(format!("TCP {way} beside {peer}"), format!("{ours:.0} Mbit/s"))
            .beside(format!("{theirs:.0} Mbit/s"))
            .ratio(ratio);
        match goal {
            Some((words, least)) => row.goal(words, ratio >= least),
            None => row,
        }
    })
}

fn no_tunnel(rates: &mut Rates, time: Duration) -> anyhow::Result<()> {
    let network = Topology::behind(Nat::preserving()).build()?;
    traffic::serve(&network.server)?;
    // The way that a tunnel takes, which nobody outside knows otherwise.
    network.isp.ip("route add 10.10.0.0/16 via 192.0.2.2")?;
    network.core.ip(&format!("route add 10.10.0.0/16 via {GATEWAY_V4}"))?;
    measure("no tunnel", rates, &network, SERVER_V4.into(), time)
}

fn evenkeel(rates: &mut Rates, time: Duration) -> anyhow::Result<()> {
    let network = Topology::behind(Nat::preserving()).build()?;
    traffic::serve(&network.server)?;
    let (office, address) = (Office::new(Key::P256)?, network.gateway_address());
    let _gateway = PracticeGateway::of_office(&network.gateway, address, &office, None)?;
    let client = Client::with_profile(network.client(), &Profile::psk(address, ALICE_MAIL))?;
    client.connect(Some(PSK))?;
    let suites: Vec<String> = client.status()?.child_sas.into_iter().map(|child| child.suite).collect();
    let name = format!("Evenkeel and its practice gateway, {}", suites.join(", "));
    measure(&name, rates, &network, SERVER_V4.into(), time)?;
    // Nothing else leads to the server; this shows it.
    let (received, sent) = client.status()?.bytes();
    let giga = |bytes: u64| bytes as f64 / 1e9;
    println!("    its CHILD SA counts {:.2} GB sent, {:.2} GB received", giga(sent), giga(received));
    Ok(())
}

fn strongswan(rates: &mut Rates, time: Duration) -> anyhow::Result<()> {
    let network = Topology::behind(Nat::preserving()).build()?;
    traffic::serve(&network.server)?;
    let gateway = psk_gateway();
    let psks = vec![(Vec::new(), PSK.to_owned())];
    let _gateway = Charon::start(&network.gateway, gateway)?;
    let address = network.gateway_address().to_string();
    let connection = Connection::client(Auth::Psk, Auth::Psk, &address, ALICE_MAIL);
    let client =
        Charon::start(network.client(), Config { connections: vec![connection], psks, ..Config::default() })?;
    client.swanctl(&["--initiate", "--child", "net", "--timeout", "10"])?;
    measure("strongSwan, kernel-libipsec at both ends", rates, &network, SERVER_V4.into(), time)
}

fn gotatun(program: &Path, rates: &mut Rates, time: Duration) -> anyhow::Result<()> {
    let network = Topology::behind(Nat::preserving()).build()?;
    traffic::serve(&network.server)?;
    let at = (GATEWAY_V4, 0).into();
    let _tunnel = gotatun::Tunnel::build(program, network.client(), &network.gateway, at)?;
    measure("gotatun at both ends", rates, &network, SERVER_V4.into(), time)
}

/// Adds a stream each way, and says what was lost on the way.
fn measure(
    name: &str,
    rates: &mut Rates,
    network: &Network,
    server: IpAddr,
    time: Duration,
) -> anyhow::Result<()> {
    let before = losses(network)?;
    let up = traffic::upload_rate(network.client(), server, time)? / 1e6;
    let between = losses(network)?;
    let down = traffic::download_rate(network.client(), server, time)? / 1e6;
    let after = losses(network)?;
    println!(
        "  {name}: up {up:.0} Mbit/s ({} segments sent again, {} datagrams lost in full sockets), down {down:.0} ({}, {})",
        between.0 - before.0,
        between.1 - before.1,
        after.0 - between.0,
        after.1 - between.1,
    );
    rates.up.push(up);
    rates.down.push(down);
    Ok(())
}

/// TCP segments that were sent again, and datagrams that found their socket's buffer full, at all ends so far.
fn losses(network: &Network) -> anyhow::Result<(u64, u64)> {
    [network.client(), &network.gateway, &network.server].into_iter().try_fold(
        (0, 0),
        |(segments, datagrams), host| {
            let snmp = host.run(|| fs::read_to_string("/proc/thread-self/net/snmp"));
            let snmp = snmp.context("the kernel's counters")?;
            Ok((
                segments + counter(&snmp, "Tcp:", "RetransSegs").with_context(|| missing(host))?,
                datagrams + counter(&snmp, "Udp:", "RcvbufErrors").with_context(|| missing(host))?,
            ))
        },
    )
}

fn missing(host: &Host) -> String {
    format!("a counter in /proc/net/snmp of {}", host.name())
}

/// A counter of `/proc/net/snmp`, which has a line of names above each line of values.
fn counter(snmp: &str, protocol: &str, name: &str) -> Option<u64> {
    let mut lines = snmp.lines().filter_map(|line| line.strip_prefix(protocol));
    let at = lines.next()?.split_whitespace().position(|word| word == name)?;
    lines.next()?.split_whitespace().nth(at)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::counter;

    #[test]
    fn a_counter_is_found_by_its_protocol_and_name() {
        let snmp = "Tcp: A RetransSegs\nTcp: 1 2\nUdp: RcvbufErrors B\nUdp: 3 4\nUdpLite: RcvbufErrors\nUdpLite: 5\n";
        assert_eq!(counter(snmp, "Tcp:", "RetransSegs"), Some(2));
        assert_eq!(counter(snmp, "Udp:", "RcvbufErrors"), Some(3));
        assert_eq!(counter(snmp, "Udp:", "Missing"), None);
    }
}
