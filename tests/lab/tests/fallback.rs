//! Networks that block UDP, and the ways round that, by the real daemon.

#![cfg(target_os = "linux")]

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use evenkeel_daemon::transport::{CONNECT_TIMEOUT, StreamFailure, StreamOptions, StreamTransport};
use evenkeel_ipc::{Blockage, How, Measured, Status, Transport, Verdict, Verdicts};
use evenkeel_lab::{
    Host, Nat, Topology,
    blocks::Block,
    client::Client,
    download::Download,
    http,
    practice::{INNER, PracticeGateway},
    sandbox, traffic,
};

/// A person waits for no longer on the first visit.
const FIRST_VISIT: Duration = Duration::from_secs(5);
/// And no longer where the network is known.
const SECOND_VISIT: Duration = Duration::from_secs(1);
/// The first attempt to go back to UDP comes after half a minute.
const BACK_TO_UDP: Duration = Duration::from_secs(50);

fn transport(status: &Status) -> Option<Transport> {
    status.ike_sa.as_ref().map(|ike| ike.transport)
}

/// Connects, and says how long that took the command.
fn connect(client: &Client<'_>) -> anyhow::Result<Duration> {
    let start = Instant::now();
    client.connect(None)?;
    Ok(start.elapsed())
}

/// A TCP connection inside the tunnel that whoever answers repeats everything on.
struct Conversation(TcpStream);

impl Conversation {
    fn begin(host: &Host) -> anyhow::Result<Self> {
        let stream =
            host.run(|| TcpStream::connect_timeout(&SocketAddr::new(INNER, 7), Duration::from_secs(5)))?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        Ok(Self(stream))
    }

    fn say(&mut self, what: &[u8]) -> anyhow::Result<()> {
        self.0.write_all(what)?;
        let mut answer = vec![0; what.len()];
        self.0.read_exact(&mut answer).context("the inner connection broke")?;
        ensure!(answer == what, "another answer than what was said");
        Ok(())
    }
}

/// Connects, until something came through the tunnel, and says how long that took.
fn connect_and_fetch(client: &Client<'_>, host: &Host) -> anyhow::Result<Duration> {
    let start = Instant::now();
    client.connect(None)?;
    traffic::download(host, INNER, 1_000)?;
    Ok(start.elapsed())
}

/// The network's blockage by name, and of what it follows.
fn told(status: &Status) -> anyhow::Result<(Option<Blockage>, Verdicts)> {
    let network = status.network.as_ref().context("a status without a network")?;
    Ok((network.blockage, network.learned.verdicts))
}

fn is(measured: Option<Measured>, verdict: Verdict, how: How) -> bool {
    measured.is_some_and(|measured| measured.verdict == verdict && measured.how == how)
}

#[test]
fn where_udp_4500_is_blocked_traffic_flows_in_a_stream_and_moves_back_when_the_block_lifts() {
    sandbox::run(|| {
        let network = Topology::behind(Nat::preserving()).blocking(Block::Udp(4500)).build()?;
        let gateway = PracticeGateway::demo_with_tun(&network.gateway, network.gateway_address())?;
        traffic::serve(&network.gateway)?;
        let (host, client) = (network.client(), Client::start(network.client())?);
        client.import_file(&gateway.client_profile(|text| text)?)?;
        let first = connect_and_fetch(&client, host)?;
        ensure!(first < FIRST_VISIT, "{first:?}");
        let status =
            client.wait_for("a verdict", |status| told(status).is_ok_and(|told| told.0.is_some()))?;
        let (blockage, verdicts) = told(&status)?;
        ensure!(blockage == Some(Blockage::Udp4500Blocked), "{status:?}");
        ensure!(is(verdicts.udp500, Verdict::Open, How::Answered), "{verdicts:?}");
        ensure!(is(verdicts.udp4500, Verdict::Blocked, How::SilentWhileOthersAnswered), "{verdicts:?}");
        ensure!(is(verdicts.tcp4500, Verdict::Open, How::Answered), "{verdicts:?}");
        ensure!(status.network.is_some_and(|network| network.fallback));

        client.disconnect()?;
        let second = connect_and_fetch(&client, host)?;
        println!("traffic after {first:?} on the first visit, {second:?} on the second");
        ensure!(second < SECOND_VISIT, "{second:?}");
        let status = client.status()?;
        ensure!(transport(&status) == Some(Transport::Tcp), "{status:?}");
        let spi = status.ike_sa.map(|ike| ike.spi_i);

        // Long enough to span the move.
        let download = Download::start(host, INNER, 50_000_000, 1_000_000)?;
        download.wait_for(1_000_000, Duration::from_secs(10))?;
        network.block(&[])?;
        let status = client.wait_longer_for("to be back on UDP", BACK_TO_UDP, |status| {
            transport(status) == Some(Transport::Udp)
        })?;
        ensure!(status.ike_sa.map(|ike| ike.spi_i) == spi, "another IKE SA than before");
        let at_move = download.arrived();
        ensure!(at_move < 50_000_000, "the download was over before the move");
        let arrivals = download.end()?;
        println!("{at_move} of 50000000 bytes before the move, longest gap {:?}", arrivals.longest_gap());
        ensure!(arrivals.longest_gap() < Duration::from_secs(3), "{:?}", arrivals.longest_gap());
        client.wait_for("no blockage any more", |status| told(status).is_ok_and(|told| told.0.is_none()))?;
        client.disconnect()
    });
}

#[test]
fn where_only_tcp_443_gets_out_the_tunnel_goes_there() {
    sandbox::run(|| {
        for tls in [false, true] {
            let network = Topology::behind(Nat::preserving()).blocking(Block::AllButTcp443).build()?;
            let gateway = PracticeGateway::demo(&network.gateway, network.gateway_address())?;
            let client = Client::start(network.client())?;
            let fallback = if tls { "\n[fallback]\ntls = true\n" } else { "" };
            client.import_file(&gateway.client_profile(|text| {
                // The demo's profile has no such table while its ports are the usual ones.
                text + fallback
            })?)?;
            let took = connect(&client)?;
            println!("connected in {took:?}, TLS: {tls}");
            ensure!(took < FIRST_VISIT, "{took:?}");
            let status = client.status()?;
            let remote = status.ike_sa.as_ref().context("an IKE SA")?.remote;
            ensure!(transport(&status) == Some(Transport::Tcp) && remote.port() == 443, "{status:?}");
            http::fetch(network.client(), INNER, "/bytes/3000000")?;
            ensure!(status.keepalive_s.is_none(), "NAT keepalives in a stream");
            client.disconnect()?;
        }
        Ok(())
    });
}

#[test]
fn a_stream_that_breaks_is_mended_under_the_inner_connections() {
    sandbox::run(|| {
        let network = Topology::behind(Nat::preserving()).blocking(Block::AllUdp).build()?;
        let gateway = PracticeGateway::demo(&network.gateway, network.gateway_address())?;
        let client = Client::start(network.client())?;
        client.import_file(&gateway.client_profile(|text| text)?)?;
        client.connect(None)?;
        let before = client.status()?.ike_sa.context("an IKE SA")?;
        let mut inner = Conversation::begin(network.client())?;
        inner.say(b"before")?;
        // The gateway's end resets what it is sent next.
        let local = before.local;
        network
            .gateway
            .run(|| std::process::Command::new("ss").args(["-K", "sport", "=", "4500"]).output())?;
        let after = client.wait_for("another stream", |status| {
            status.ike_sa.as_ref().is_some_and(|ike| ike.local != local)
        })?;
        ensure!(after.ike_sa.map(|ike| ike.spi_i) == Some(before.spi_i), "another IKE SA than before");
        inner.say(b"after")?;
        client.disconnect()
    });
}

#[test]
fn where_esp_is_dropped_and_ike_passes_the_tunnel_moves_to_a_stream() {
    sandbox::run(|| {
        let network = Topology::behind(Nat::preserving()).blocking(Block::EspInUdp).build()?;
        let gateway = PracticeGateway::demo(&network.gateway, network.gateway_address())?;
        let client = Client::start(network.client())?;
        client.import_file(&gateway.client_profile(|text| text)?)?;
        client.connect(None)?;
        let connected = Instant::now();
        client.wait_for("a stream", |status| transport(status) == Some(Transport::Tcp))?;
        println!("in a stream after {:?}", connected.elapsed());
        let status = client.status()?;
        let (blockage, verdicts) = told(&status)?;
        ensure!(blockage == Some(Blockage::EspBlocked), "{status:?}");
        ensure!(is(verdicts.udp4500, Verdict::Open, How::Answered), "{verdicts:?}");
        ensure!(is(verdicts.esp_in_udp, Verdict::Blocked, How::SilentWhileOthersAnswered), "{verdicts:?}");
        http::fetch(network.client(), INNER, "/bytes/3000000")?;
        client.disconnect()
    });
}

#[test]
fn a_gateway_in_front_of_a_real_network_serves_streams_as_well() {
    sandbox::run(|| {
        let network = Topology::behind(Nat::preserving()).blocking(Block::AllUdp).build()?;
        let gateway = PracticeGateway::demo_with_tun(&network.gateway, network.gateway_address())?;
        traffic::serve(&network.gateway)?;
        let client = Client::start(network.client())?;
        client.import_file(&gateway.client_profile(|text| text)?)?;
        client.connect(None)?;
        ensure!(transport(&client.status()?) == Some(Transport::Tcp));
        traffic::download(network.client(), INNER, 3_000_000)?;
        traffic::upload(network.client(), INNER, 3_000_000)?;
        client.disconnect()
    });
}

#[test]
fn a_network_that_blocks_is_remembered_by_the_next_visit() {
    sandbox::run(|| {
        let network = Topology::behind(Nat::preserving()).blocking(Block::AllUdp).build()?;
        let gateway = PracticeGateway::demo(&network.gateway, network.gateway_address())?;
        let client = Client::start(network.client())?;
        client.import_file(&gateway.client_profile(|text| text)?)?;
        let first = connect(&client)?;
        let known = client.wait_for("a verdict", |status| told(status).is_ok_and(|told| told.0.is_some()))?;
        let (blockage, verdicts) = told(&known)?;
        ensure!(blockage == Some(Blockage::UdpBlocked), "{known:?}");
        ensure!(is(verdicts.udp500, Verdict::Blocked, How::SilentWhileOthersAnswered), "{verdicts:?}");
        ensure!(is(verdicts.udp4500, Verdict::Blocked, How::SilentWhileOthersAnswered), "{verdicts:?}");
        client.disconnect()?;
        let second = connect(&client)?;
        println!("first visit {first:?}, second {second:?}");
        let status = client.status()?;
        ensure!(transport(&status) == Some(Transport::Tcp), "{status:?}");
        ensure!(told(&status)?.0 == Some(Blockage::UdpBlocked), "{status:?}");
        // UDP has a second before streams are tried where nothing is known.
        ensure!(
            second < SECOND_VISIT && second + Duration::from_millis(300) < first,
            "{first:?}, {second:?}"
        );
        client.disconnect()
    });
}

#[test]
fn a_stream_to_where_nobody_answers_is_given_up_after_three_seconds() {
    sandbox::run(|| {
        let network = Topology::plain().build()?;
        let gateway = SocketAddr::new(network.gateway_address(), 443);
        let open = || {
            network.client().run(|| {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
                let start = Instant::now();
                let opened = runtime.block_on(StreamTransport::connect(gateway, StreamOptions::default()));
                anyhow::Ok((opened.err(), start.elapsed()))
            })
        };
        let (failure, took) = open()?;
        ensure!(matches!(failure, Some(StreamFailure::Refused)), "nobody listens there: {failure:?}");
        ensure!(took < CONNECT_TIMEOUT, "{took:?}");
        network.block(&[Block::Tcp(443)])?;
        let (failure, took) = open()?;
        ensure!(matches!(failure, Some(StreamFailure::TimedOut)), "{failure:?}");
        // Linux itself asks for two minutes.
        ensure!((CONNECT_TIMEOUT..2 * CONNECT_TIMEOUT).contains(&took), "{took:?}");
        Ok(())
    });
}
