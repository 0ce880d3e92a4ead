//! The real daemon, by its command line: falls back to wireguard-go where strongSwan is out of reach, and comes back.

use std::{
    net::IpAddr,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use evenkeel_ipc::{Carrier, Cause, State, Status};
use evenkeel_lab::{
    Block, Nat, Network, Topology,
    client::Client,
    office::{ALICE_MAIL, PSK, psk_gateway},
    profile::Profile,
    sandbox, snapshot,
    strongswan::Charon,
    topology::{GATEWAY_V4, SERVER_V4},
    traffic, wait,
    wireguard_go::{CLIENT, Keys, PORT, WireGuardGo, preshared_key},
};

/// All that IKE and ESP could come through by.
const NO_GATEWAY: [Block; 4] = [Block::Udp(500), Block::Udp(4500), Block::Tcp(4500), Block::Tcp(443)];

/// UDP has three seconds for itself and for TCP.
const FALLS_BACK: Duration = Duration::from_secs(8);
/// The first attempt to go back comes after half a minute.
const GOES_BACK: Duration = Duration::from_secs(60);

/// A DNS server of the office's; nobody needs to be there.
const DNS: &str = "10.10.0.53";

struct Keyring {
    client: Keys,
    peer: Keys,
    shared: String,
}

impl Keyring {
    fn new() -> anyhow::Result<Self> {
        Ok(Self { client: Keys::generate()?, peer: Keys::generate()?, shared: preshared_key()? })
    }

    fn peer<'n>(&self, network: &'n Network) -> anyhow::Result<WireGuardGo<'n>> {
        WireGuardGo::start(&network.gateway, &self.peer, &self.client.public, Some(&self.shared))
    }

    /// For strongSwan first, with the peer to fall back to.
    fn profile(&self, network: &Network) -> Profile {
        let Self { client, peer, shared } = self;
        Profile::psk(network.gateway_address(), ALICE_MAIL).section(
            "wireguard",
            &format!(
                "endpoint = \"{GATEWAY_V4}:{PORT}\"\npublic_key = \"{}\"\nprivate_key = \"{}\"\n\
                 preshared_key = \"{shared}\"\naddresses = [\"{CLIENT}/32\"]\ndns = [\"{DNS}\"]",
                peer.public, client.private
            ),
        )
    }

    /// That none of the secrets is in this text.
    fn is_kept_out_of(&self, text: &str) -> anyhow::Result<()> {
        for secret in [&self.client.private, &self.shared] {
            ensure!(!text.contains(secret.as_str()), "a key is told");
        }
        Ok(())
    }
}

fn network(blocks: &[Block]) -> anyhow::Result<Network> {
    let network = Topology::behind(Nat::preserving()).build()?;
    network.block(blocks)?;
    traffic::serve(&network.server)?;
    Ok(network)
}

fn carrier(status: &Status) -> Option<Carrier> {
    status.network.as_ref().and_then(|network| network.transport)
}

/// Data passes both ways and is counted, and the office sees our address.
fn works(client: &Client<'_>, network: &Network, from: IpAddr) -> anyhow::Result<()> {
    let seen = traffic::seen_as(network.client(), SERVER_V4.into())?;
    ensure!(seen == from, "the office sees {seen}");
    let (in_before, out_before) = client.status()?.bytes();
    traffic::download(network.client(), SERVER_V4.into(), 2_000_000)?;
    traffic::upload(network.client(), SERVER_V4.into(), 2_000_000)?;
    let (received, sent) = client.status()?.bytes();
    ensure!(received > in_before + 2_000_000 && sent > out_before + 2_000_000, "{received} in, {sent} out");
    Ok(())
}

fn same(before: &str, network: &Network) -> anyhow::Result<()> {
    let after = snapshot::take(network.client())?;
    ensure!(before == after, "{}", snapshot::difference(before, &after));
    Ok(())
}

#[test]
fn where_the_gateway_is_reached_in_no_form_the_peer_carries_the_tunnel() {
    sandbox::run(|| {
        for everything in [false, true] {
            let network = network(&NO_GATEWAY)?;
            let keys = Keyring::new()?;
            let _charon = Charon::start(&network.gateway, psk_gateway())?;
            let _peer = keys.peer(&network)?;
            let before = snapshot::take(network.client())?;
            let profile = keys.profile(&network);
            let profile = if everything { profile.remote_ts(&[]) } else { profile };
            let client = Client::with_profile(network.client(), &profile)?;
            let start = Instant::now();
            let run = client.try_connect(Some(PSK))?;
            let first = start.elapsed();
            println!("connected after {first:?}: {}{}", run.stdout, run.stderr);
            ensure!(run.code == 0 && first < FALLS_BACK, "{run:?}");
            ensure!(run.stderr.contains("this is a WireGuard peer"), "{run:?}");

            let status = client.status()?;
            let told = status.wireguard.as_deref().with_context(|| format!("{status:?}"))?;
            ensure!(carrier(&status) == Some(Carrier::Wireguard), "{status:?}");
            ensure!(status.network.as_ref().is_some_and(|network| network.fallback), "{status:?}");
            ensure!(told.remote == (GATEWAY_V4, PORT).into() && told.handshakes == 1, "{told:?}");
            ensure!(status.ike_sa.is_none() && status.child_sas.is_empty(), "{status:?}");
            ensure!(status.dns == [DNS.parse::<IpAddr>()?] && status.cause.is_none(), "{status:?}");
            works(&client, &network, CLIENT.into())?;
            let route = |to: &str| network.client().output("ip", &["route", "get", to, "mark", "0"]);
            let (office, elsewhere) = (route("10.10.0.80")?, route("192.0.2.200")?);
            ensure!(office.contains("dev evenkeel0"), "{office}");
            ensure!(elsewhere.contains("dev evenkeel0") == everything, "{elsewhere}");
            ensure!(route("198.51.100.10")?.contains("dev eth0"), "the peer's own address is in the tunnel");
            let during = snapshot::take(network.client())?;
            ensure!(during.contains(DNS), "{during}");
            let text = client.evenkeel(&["status"], None)?.stdout;
            ensure!(text.contains("by a fallback") && text.contains("over WireGuard"), "{text}");

            client.disconnect()?;
            same(&before, &network)?;

            // A known network: the peer is asked at once.
            let start = Instant::now();
            client.connect(Some(PSK))?;
            println!("again after {:?}", start.elapsed());
            ensure!(start.elapsed() + Duration::from_millis(500) < first, "{:?}", start.elapsed());
            ensure!(client.status()?.wireguard.is_some());
            client.disconnect()?;
            same(&before, &network)?;
            keys.is_kept_out_of(&client.log())?;
        }
        Ok(())
    });
}

#[test]
fn it_goes_back_to_ike_when_udp_works_without_a_moment_down() {
    sandbox::run(|| {
        let network = network(&NO_GATEWAY)?;
        let keys = Keyring::new()?;
        let charon = Charon::start(&network.gateway, psk_gateway())?;
        let _peer = keys.peer(&network)?;
        let before = snapshot::take(network.client())?;
        let client = Client::with_profile(network.client(), &keys.profile(&network))?;
        client.connect(Some(PSK))?;
        ensure!(client.status()?.wireguard.is_some());
        let watch = client.watch()?;
        network.block(&[])?;
        let status = client
            .wait_longer_for("to be back at the gateway", GOES_BACK, |status| status.ike_sa.is_some())?;
        ensure!(status.wireguard.is_none() && carrier(&status) == Some(Carrier::Udp), "{status:?}");
        let address = status.addresses.first().context("an address of the gateway's")?.ip;
        ensure!(address != IpAddr::from(CLIENT), "the peer's address is left");
        let uses = || {
            let route = network.client().output("ip", &["route", "get", "10.10.0.80", "mark", "0"]).ok()?;
            route.contains(&format!("src {address}")).then_some(())
        };
        wait::until("the gateway's address to be in use", Duration::from_secs(5), uses)?;
        works(&client, &network, address)?;
        let told = watch.end()?;
        ensure!(told.iter().all(|status| status.state == State::Connected), "{told:?}");
        ensure!(charon.sas()?.contains("ESTABLISHED"));
        let rules = network.client().output("ip", &["address", "show", "dev", "evenkeel0"])?;
        ensure!(!rules.contains(&CLIENT.to_string()), "{rules}");
        client.disconnect()?;
        same(&before, &network)
    });
}

#[test]
fn whom_the_gateway_refuses_the_peer_is_not_asked_for() {
    sandbox::run(|| {
        let network = network(&[])?;
        let keys = Keyring::new()?;
        let _charon = Charon::start(&network.gateway, psk_gateway())?;
        let peer = keys.peer(&network)?;
        let client = Client::with_profile(network.client(), &keys.profile(&network))?;
        let (_, cause) = client.refused(Some("another secret"))?;
        ensure!(matches!(cause, Cause::AuthenticationRejected), "{cause:?}");
        ensure!(peer.client_endpoint()? == "(none)", "the peer has heard from {}", peer.client_endpoint()?);
        Ok(())
    });
}

#[test]
fn a_peer_with_another_key_is_named_as_the_cause() {
    sandbox::run(|| {
        let network = network(&NO_GATEWAY)?;
        let keys = Keyring::new()?;
        let other = Keyring { shared: preshared_key()?, ..Keyring::new()? };
        let peer = Keyring { client: keys.client.clone(), peer: keys.peer.clone(), shared: other.shared };
        let _peer = peer.peer(&network)?;
        let before = snapshot::take(network.client())?;
        let client = Client::with_profile(network.client(), &keys.profile(&network))?;
        let args = ["connect", "lab", "--wait", "60", "--password-stdin"];
        let run = client.evenkeel(&args, Some(PSK))?;
        let status = client.status()?;
        ensure!(run.code == 5 && status.cause == Some(Cause::WireguardPresharedKey), "{run:?} {status:?}");
        keys.is_kept_out_of(&format!("{}{}{}", client.log(), run.stdout, run.stderr))?;
        same(&before, &network)
    });
}

#[test]
fn a_peer_that_goes_away_is_told_and_found_again() {
    sandbox::run(|| {
        let network = network(&NO_GATEWAY)?;
        let keys = Keyring::new()?;
        let peer = keys.peer(&network)?;
        let before = snapshot::take(network.client())?;
        let client = Client::with_profile(network.client(), &keys.profile(&network))?;
        client.connect(Some(PSK))?;
        drop(peer);
        // Somebody wants something, or nobody notices for minutes.
        ensure!(!traffic::reaches(network.client(), SERVER_V4.into(), Duration::from_millis(500)));
        let lost = client.wait_longer_for("to miss the peer", Duration::from_secs(45), |status| {
            status.state == State::Reconnecting
        })?;
        ensure!(lost.cause == Some(Cause::WireguardPeerLost) && lost.wireguard.is_none(), "{lost:?}");
        // Nothing leaves outside the tunnel meanwhile.
        let route = network.client().output("ip", &["route", "get", "10.10.0.80", "mark", "0"])?;
        ensure!(route.contains("dev evenkeel0"), "{route}");
        let _peer = keys.peer(&network)?;
        client.wait_longer_for("the peer again", Duration::from_secs(90), |status| {
            status.state == State::Connected
        })?;
        works(&client, &network, CLIENT.into())?;
        client.disconnect()?;
        same(&before, &network)
    });
}

#[test]
fn inner_connections_survive_another_address_of_ours() {
    sandbox::run(|| {
        let network = network(&NO_GATEWAY)?;
        let keys = Keyring::new()?;
        let peer = keys.peer(&network)?;
        let host = network.client();
        let client = Client::with_profile(host, &keys.profile(&network))?;
        client.connect(Some(PSK))?;
        let local = |status: &Status| status.wireguard.as_ref().map(|peer| peer.local);
        let before = local(&client.status()?).context("a socket")?;
        let heard = peer.client_endpoint()?;
        thread::scope(|scope| -> anyhow::Result<()> {
            let download = scope.spawn(|| traffic::download_slowly(host, SERVER_V4.into(), 8 << 20, 2 << 20));
            let moving = || client.status().ok().filter(|status| status.bytes().0 > 1 << 20);
            wait::until("the download runs", Duration::from_secs(15), moving)?;
            host.ip("address del 192.168.1.11/24 dev eth0\naddress add 192.168.1.77/24 dev eth0\n\
                 route add default via 192.168.1.1")?;
            client.wait_for("another socket", |status| {
                local(status)
                    .is_some_and(|local| local.ip() != before.ip() && status.state == State::Connected)
            })?;
            download.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
            Ok(())
        })?;
        ensure!(peer.client_endpoint()? != heard, "the peer still sends to {heard}");
        ensure!(client.status()?.wireguard.is_some());
        client.disconnect()
    });
}
