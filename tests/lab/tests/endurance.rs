//! The real daemon over time: a long stream across many rekeys, silence behind an impatient translator, a gateway that dies.

#![cfg(target_os = "linux")]

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, UdpSocket},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use evenkeel_ipc::{Cause, State, Status};
use evenkeel_lab::{
    Nat, Network, Topology,
    client::Client,
    counters, http,
    office::{ALICE_MAIL, PSK, psk_gateway},
    practice::{INNER, PracticeGateway},
    profile::Profile,
    sandbox,
    strongswan::{Charon, Connection},
    topology::SERVER_V4,
    traffic,
};

/// How often the status is looked at while data flows.
const LOOK: Duration = Duration::from_millis(200);

/// What was seen of a connection while data flowed.
#[derive(Debug, Default)]
struct Seen {
    ike_sas: BTreeSet<String>,
    inbound: BTreeSet<String>,
    outbound: BTreeSet<String>,
    drops: BTreeMap<String, u64>,
    statuses: u32,
}

impl Seen {
    fn note(&mut self, status: &Status) -> anyhow::Result<()> {
        ensure!(status.state == State::Connected, "not connected in between: {status:?}");
        self.statuses += 1;
        self.ike_sas.extend(status.ike_sa.iter().map(|ike| format!("{:?}", ike.spi_i)));
        for child in &status.child_sas {
            self.inbound.insert(format!("{:?}", child.spi_in));
            self.outbound.insert(format!("{:?}", child.spi_out));
            for (reason, &count) in &child.drops {
                let most = self.drops.entry(reason.clone()).or_default();
                *most = count.max(*most);
            }
        }
        Ok(())
    }
}

#[test]
fn one_stream_of_two_hundred_megabytes_survives_rekeys_of_both_sas_without_a_drop() {
    sandbox::run(|| {
        let network = Topology::behind(Nat::preserving()).build()?;
        traffic::serve(&network.server)?;
        network.client().without_ipv6()?;
        let mut gateway = psk_gateway();
        gateway.connections[0] = Connection {
            rekey_child: 10,
            rekey_ike: 10,
            esp_proposals: "aes256gcm16-x25519,aes256gcm16".to_owned(),
            ..gateway.connections[0].clone()
        };
        let _charon = Charon::start(&network.gateway, gateway)?;
        let profile = Profile::psk(network.gateway_address(), ALICE_MAIL)
            .section("timers", "ike_rekey_s = 10\nchild_rekey_s = 10");
        let client = Client::with_profile(network.client(), &profile)?;
        client.connect(Some(PSK))?;
        let mut seen = Seen::default();
        let took = thread::scope(|scope| -> anyhow::Result<_> {
            let stream = scope.spawn(|| {
                traffic::download_slowly(network.client(), SERVER_V4.into(), 200_000_000, 8_000_000)
            });
            while !stream.is_finished() {
                seen.note(&client.status()?)?;
                thread::sleep(LOOK);
            }
            stream.join().ok().context("a panic")?
        })?;
        // The data plane's own counts are of the whole connection: no SA's drops are missed with the SA.
        seen.note(&client.status()?)?;
        let datagrams = counters::every_datagram_arrived(&network)?;
        // TCP asks again early on for its path's MTU, and where a pause of the server's delays an acknowledgement.
        let again = counters::counter(&network.server, "Tcp", "RetransSegs")?;
        println!("{:.1} s, {datagrams} datagrams, {again} segments sent again; {seen:?}", took.as_secs_f64());
        ensure!(seen.ike_sas.len() >= 3, "the IKE SA was not rekeyed twice: {seen:?}");
        ensure!(
            seen.inbound.len() >= 3 && seen.outbound.len() >= 3,
            "the CHILD SA was not rekeyed twice: {seen:?}"
        );
        ensure!(seen.drops.is_empty(), "packets were dropped: {seen:?}");
        client.disconnect()
    });
}

#[test]
fn keepalives_keep_a_mapping_that_would_be_forgotten_in_the_silence() {
    const FORGET: Duration = Duration::from_secs(25);
    const SILENCE: Duration = Duration::from_secs(30);
    const MOMENT: Duration = Duration::from_secs(1);
    sandbox::run(|| {
        let network = Topology::behind(Nat::preserving().forgetting_after(FORGET, FORGET)).build()?;
        network.client().without_ipv6()?;
        traffic::serve(network.client())?;
        // Whatever else could keep the mapping is far away: DPD, and probes of the path MTU, for which there is nobody to ask
        // where the gateway names no server.
        let mut gateway = psk_gateway();
        gateway.pools[0].attributes.clear();
        let _charon = Charon::start(&network.gateway, gateway)?;
        let profile = Profile::psk(network.gateway_address(), ALICE_MAIL).section("timers", "dpd_s = 3600");
        let client = Client::with_profile(network.client(), &profile)?;
        client.connect(Some(PSK))?;
        let status = client.status()?;
        ensure!(status.keepalive_s == Some(20), "{status:?}");
        let inner = status.addresses.first().context("an address")?.ip;
        let answer = traffic::echo(&network.server, inner, 100, MOMENT)?;
        ensure!(answer.is_some(), "the office does not reach the client at all");

        // Another flow through the same translator, which nobody keeps alive.
        let neglected = Flow::open(&network)?;
        ensure!(neglected.reaches_client()?, "the other flow does not work at all");
        let before = packets(&client)?;
        let started = Instant::now();
        thread::sleep(SILENCE);
        ensure!(packets(&client)? == before, "it was not silent");
        let answer = traffic::echo(&network.server, inner, 100, MOMENT)?;
        println!(
            "after {:.1} s of silence the office's packet took {answer:?}",
            started.elapsed().as_secs_f64()
        );
        ensure!(answer.is_some(), "the translator has forgotten the tunnel in {SILENCE:?}");
        ensure!(!neglected.reaches_client()?, "the translator forgets nothing: this test proves nothing");
        client.disconnect()
    });
}

/// A UDP flow from the client to the gateway, outside the tunnel.
struct Flow {
    client: UdpSocket,
    gateway: UdpSocket,
}

impl Flow {
    fn open(network: &Network) -> anyhow::Result<Self> {
        let at = network.gateway_address();
        let gateway = network.gateway.run(|| UdpSocket::bind((at, 9000)))?;
        let client = network.client().run(|| UdpSocket::bind("0.0.0.0:0"))?;
        client.connect((at, 9000))?;
        for socket in [&client, &gateway] {
            socket.set_read_timeout(Some(Duration::from_secs(1)))?;
        }
        client.send(b"hello")?;
        let (_, seen_as) = gateway.recv_from(&mut [0; 16]).context("the client's first packet")?;
        gateway.connect(seen_as)?;
        Ok(Self { client, gateway })
    }

    /// Whether a packet of the gateway's gets in.
    fn reaches_client(&self) -> anyhow::Result<bool> {
        self.gateway.send(b"still there?")?;
        Ok(self.client.recv(&mut [0; 16]).is_ok())
    }
}

fn packets(client: &Client<'_>) -> anyhow::Result<Vec<(u64, u64)>> {
    Ok(client.status()?.child_sas.iter().map(|child| (child.packets_in, child.packets_out)).collect())
}

#[test]
fn a_gateway_that_dies_is_noticed_by_asking_and_connected_to_when_it_is_back() {
    sandbox::run(|| {
        let network = Topology::behind(Nat::preserving()).build()?;
        let gateway = PracticeGateway::demo(&network.gateway, network.gateway_address())?;
        let profile = gateway.client_profile(|text| text + "\n[timers]\ndpd_s = 1\n")?;
        let client = Client::start(network.client())?;
        client.import_file(&profile)?;
        client.connect(None)?;
        let page = |server: IpAddr| http::fetch(network.client(), server, "/");
        page(INNER)?;
        let before = client.status()?.ike_sa.context("an IKE SA")?.spi_i;

        let killed = Instant::now();
        let host = gateway.kill()?;
        // One question after a second, six repetitions of it: 31.5 s without an answer.
        let lost = client.wait_longer_for("the loss of the gateway", Duration::from_secs(45), |status| {
            status.state == State::Reconnecting
        })?;
        let noticed = killed.elapsed();
        ensure!(matches!(lost.cause, Some(Cause::GatewayLost)), "{lost:?}");
        let _gateway = PracticeGateway::start_again(host)?;
        let again = client.wait_longer_for("the connection", Duration::from_secs(40), |status| {
            status.state == State::Connected
        })?;
        println!(
            "noticed after {:.1} s, back after {:.1} s",
            noticed.as_secs_f64(),
            killed.elapsed().as_secs_f64()
        );
        ensure!(again.ike_sa.context("an IKE SA")?.spi_i != before, "the same IKE SA");
        page(INNER)?;
        client.disconnect()
    });
}
