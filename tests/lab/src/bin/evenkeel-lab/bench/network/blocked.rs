//! Networks that block UDP, in part or whole: until somebody knows what is wrong, and until the first byte through the tunnel.

use std::{
    net::SocketAddr,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use evenkeel_ipc::{Blockage, Carrier};
use evenkeel_lab::{
    Block, Host, Nat, Topology,
    client::Client,
    practice::{INNER, PracticeGateway},
};

use super::super::table::{Row, duration};
use super::echo;

/// The port of the practice gateway's inner echo.
const ECHO: u16 = 7;
/// Nothing here takes longer.
const LIMIT: Duration = Duration::from_secs(30);
/// Long enough for an echo that needs no tunnel.
const ABSENCE: Duration = Duration::from_millis(100);
pub(super) const FIRST_VISIT: (&str, Duration) = ("< 5 s", Duration::from_secs(5));
pub(super) const SECOND_VISIT: (&str, Duration) = ("< 1 s", Duration::from_secs(1));

/// A network, and what is to come of it.
pub(super) struct Network {
    pub(super) what: &'static str,
    block: Block,
    /// Whether the profile asks for TLS.
    tls: bool,
    verdict: Blockage,
    carrier: Carrier,
}

pub(super) const UDP_4500: Network = Network {
    what: "UDP/4500 blocked",
    block: Block::Udp(4500),
    tls: false,
    verdict: Blockage::Udp4500Blocked,
    carrier: Carrier::Tcp4500,
};

pub(super) const UDP: Network = Network {
    what: "All UDP blocked, TCP/4500 open",
    block: Block::AllUdp,
    verdict: Blockage::UdpBlocked,
    ..UDP_4500
};

pub(super) const TCP_443: Network =
    Network { what: "Only TCP/443 open", block: Block::AllButTcp443, carrier: Carrier::Tcp443, ..UDP };

pub(super) const TLS_443: Network =
    Network { what: "Only TCP/443 open, TLS", tls: true, carrier: Carrier::Tls443, ..TCP_443 };

pub(super) const ESP: Network = Network {
    what: "ESP dropped, IKE answered",
    block: Block::EspInUdp,
    verdict: Blockage::EspBlocked,
    ..UDP_4500
};

/// Times from `evenkeel connect` on.
#[derive(Default)]
struct Times {
    /// Until the status said what is in the way. On the next visit it does not: the way round has worked by then.
    verdict: Vec<Duration>,
    first: Vec<Duration>,
    second: Vec<Duration>,
}

pub(super) fn run(case: &Network, rounds: usize) -> anyhow::Result<Vec<Row>> {
    let mut times = Times::default();
    for _ in 0..rounds {
        let network = Topology::behind(Nat::preserving()).blocking(case.block).build()?;
        let gateway = PracticeGateway::demo(&network.gateway, network.gateway_address())?;
        // Nothing is known of networks by a daemon whose folders are empty.
        let client = Client::start(network.client())?;
        let tls = if case.tls { "\n[fallback]\ntls = true\n" } else { "" };
        client.import_file(&gateway.client_profile(|text| text + tls)?)?;
        let mut watch = client.watch()?;
        let asked = Instant::now();
        let visit = || visit(&client, network.client(), (INNER, ECHO).into(), None, case.carrier);
        let first = visit()?;
        let (told, _) = watch.wait_for("the verdict", LIMIT, |status| {
            status.network.as_ref().is_some_and(|network| network.blockage == Some(case.verdict))
        })?;
        drop(watch);
        let verdict = told.saturating_duration_since(asked);
        client.disconnect()?;
        let second = visit()?;
        client.disconnect()?;
        println!(
            "  verdict {}, first byte {}, on the second visit {}",
            duration(verdict),
            duration(first),
            duration(second)
        );
        times.verdict.push(verdict);
        times.first.push(first);
        times.second.push(second);
    }
    let what = |end: &str| format!("{}: {end}", case.what);
    let (first, second) = (FIRST_VISIT, SECOND_VISIT);
    Ok(vec![
        Row::time(what("verdict"), &times.verdict),
        Row::time_within(what("first byte, first visit"), &times.first, first.0, first.1),
        Row::time_within(what("first byte, second visit"), &times.second, second.0, second.1),
    ])
}

/// Connects, by the way round that this network leaves; how long that took until the first byte from `server`, which is
/// reached through the tunnel alone.
pub(super) fn visit(
    client: &Client<'_>,
    host: &Host,
    server: SocketAddr,
    secret: Option<&str>,
    carrier: Carrier,
) -> anyhow::Result<Duration> {
    ensure!(echo::first(host, server, ABSENCE).is_err(), "there is another way than the tunnel");
    let asked = Instant::now();
    let first_byte = thread::scope(|scope| {
        let connecting = scope.spawn(|| client.connect(secret));
        let first = echo::first(host, server, LIMIT);
        connecting.join().ok().context("evenkeel connect")??;
        first
    })?;
    client.wait_for("the way round", |status| {
        status.network.as_ref().is_some_and(|network| network.transport == Some(carrier))
    })?;
    Ok(first_byte.saturating_duration_since(asked))
}
