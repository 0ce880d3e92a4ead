//! The real daemon and the real command line against strongSwan: data, typed failures, and a machine left as it was.

#![cfg(target_os = "linux")]

use std::{fs, time::Duration};

use anyhow::{Context, ensure};
use evenkeel_ipc::{Cause, State};
use evenkeel_lab::{
    Host, Nat, Network, Topology,
    client::Client,
    office::{ALICE, ALICE_MAIL, Office, PASSWORD, PSK, psk_gateway},
    pki::{Authority, Key, Leaf, Validity},
    profile::Profile,
    sandbox, snapshot,
    strongswan::{Auth, Charon, Config, Connection},
    topology::{SERVER_V4, SERVER_V6},
    traffic, wait,
};
use nix::sys::signal::Signal;

fn network() -> anyhow::Result<Network> {
    let network = Topology::behind(Nat::preserving()).build()?;
    traffic::serve(&network.server)?;
    Ok(network)
}

fn psk_profile(network: &Network) -> Profile {
    Profile::psk(network.gateway_address(), ALICE_MAIL)
}

/// Connects, moves data both ways, and checks that the office sees the virtual address.
fn works(client: &Client<'_>, host: &Host, secret: Option<&str>) -> anyhow::Result<()> {
    client.connect(secret)?;
    let seen = traffic::seen_as(host, SERVER_V4.into())?;
    let status = client.status()?;
    ensure!(status.addresses.iter().any(|address| address.ip == seen), "the office sees {seen}: {status:?}");
    traffic::download(host, SERVER_V4.into(), 2_000_000)?;
    traffic::upload(host, SERVER_V4.into(), 2_000_000)?;
    let (received, sent) = client.status()?.bytes();
    ensure!(received > 2_000_000 && sent > 2_000_000, "counted {received} in and {sent} out");
    Ok(())
}

#[test]
fn every_authentication_method_connects_and_moves_data() {
    sandbox::run(|| {
        let network = network()?;
        let host = network.client();
        let office = Office::new(Key::P256)?;
        let mut charon = Charon::start(&network.gateway, psk_gateway())?;
        let client = Client::start(host)?;

        client.import(&psk_profile(&network))?;
        works(&client, host, Some(PSK))?;
        client.disconnect()?;
        client.remove()?;

        charon.reconfigure(office.eap_gateway(office.gateway(Key::Rsa)?))?;
        client.import(&Profile::eap(network.gateway_address(), ALICE, &office.root.certificate()))?;
        works(&client, host, Some(PASSWORD))?;
        client.disconnect()?;
        client.remove()?;

        charon.reconfigure(office.certificate_gateway(office.gateway(Key::P256)?))?;
        let alice = office.alice(Key::P384)?;
        let root = office.root.certificate();
        client.import(&Profile::certificate(network.gateway_address(), ALICE_MAIL, alice, &root))?;
        works(&client, host, None)?;
        client.disconnect()
    });
}

#[test]
fn a_profile_may_trust_the_authorities_of_the_system() {
    sandbox::run(|| {
        let network = network()?;
        let host = network.client();
        let office = Office::new(Key::P256)?;
        let _charon = Charon::start(&network.gateway, office.eap_gateway(office.gateway(Key::P256)?))?;
        let ssl = host.folder().join("ssl");
        let bundle = ssl.join("certs/ca-certificates.crt");
        fs::create_dir_all(ssl.join("certs"))?;
        host.link_etc("ssl", &ssl)?;
        let client = Client::start(host)?;
        client.import(&Profile::eap_by_system(network.gateway_address(), ALICE))?;

        fs::write(&bundle, Authority::root("Somebody Else's Root", Key::P256)?.certificate())?;
        let (_, cause) = client.refused(Some(PASSWORD))?;
        ensure!(matches!(cause, Cause::GatewayCertificateUntrusted), "{cause:?}");
        client.disconnect()?;

        // An administrator adds the authority; the daemon need not be restarted.
        fs::write(&bundle, office.root.certificate())?;
        works(&client, host, Some(PASSWORD))?;
        client.disconnect()
    });
}

#[test]
fn failures_have_typed_causes_and_exit_codes_of_their_own() {
    sandbox::run(|| {
        let network = network()?;
        let at = network.gateway_address();
        let office = Office::new(Key::P256)?;
        let root = office.root.certificate();
        let mut charon = Charon::start(&network.gateway, office.eap_gateway(office.gateway(Key::P256)?))?;
        let client = Client::start(network.client())?;
        let mut codes = Vec::new();
        let mut fails = |profile: Profile, secret, expected: fn(&Cause) -> bool| -> anyhow::Result<()> {
            client.import(&profile)?;
            let (code, cause) = client.refused(secret)?;
            ensure!(expected(&cause), "{cause:?}");
            codes.push(code);
            client.disconnect()?;
            client.remove()
        };
        let eap = || Profile::eap(at, ALICE, &root);
        fails(eap(), Some("wrong"), |cause| matches!(cause, Cause::WrongPassword))?;
        let stranger = Authority::root("Somebody Else's Root", Key::P256)?.certificate();
        fails(Profile::eap(at, ALICE, &stranger), Some(PASSWORD), |cause| {
            matches!(cause, Cause::GatewayCertificateUntrusted)
        })?;
        let expired = office.root.issue(&Leaf::gateway("vpn.lab.example")?.validity(Validity::Expired))?;
        charon.reconfigure(office.eap_gateway(expired))?;
        fails(eap(), Some(PASSWORD), |cause| matches!(cause, Cause::GatewayCertificateExpired { .. }))?;
        charon.reconfigure(psk_gateway())?;
        fails(psk_profile(&network), Some("wrong"), |cause| matches!(cause, Cause::AuthenticationRejected))?;
        fails(psk_profile(&network).remote_ts(&["172.16.0.0/12"]), Some(PSK), |cause| {
            matches!(cause, Cause::TrafficSelectorsRefused)
        })?;
        let mut other = psk_gateway();
        other.connections[0].proposals = "aes128-sha1-modp2048".to_owned();
        charon.reconfigure(other)?;
        fails(psk_profile(&network), Some(PSK), |cause| matches!(cause, Cause::NoCommonIkeProposal))?;
        fails(Profile::psk("198.51.100.99", ALICE_MAIL), Some(PSK), |cause| {
            matches!(cause, Cause::NoResponse { .. })
        })?;
        let (authentication, others) = codes.split_at(4);
        let [refused, configuration, unreachable] = others else { anyhow::bail!("{codes:?}") };
        ensure!(authentication.iter().all(|code| code == &authentication[0]), "{codes:?}");
        let mut different = vec![authentication[0], *refused, *configuration, *unreachable];
        different.sort_unstable();
        different.dedup();
        ensure!(different.len() == 4 && !different.contains(&0), "{codes:?}");
        Ok(())
    });
}

#[test]
fn disconnecting_leaves_routes_rules_and_dns_as_they_were() {
    sandbox::run(|| {
        let network = network()?;
        let _charon = Charon::start(&network.gateway, full_tunnel_gateway())?;
        for remote_ts in [&["10.10.0.0/16"][..], &[]] {
            let before = snapshot::take(network.client())?;
            let client = Client::with_profile(network.client(), &psk_profile(&network).remote_ts(remote_ts))?;
            client.connect(Some(PSK))?;
            let during = snapshot::take(network.client())?;
            ensure!(during != before, "connecting changed nothing");
            client.disconnect()?;
            same(&before, network.client())?;
            client.remove()?;
            client.end(Signal::SIGTERM)?;
            same(&before, network.client())?;
        }
        Ok(())
    });
}

#[test]
fn a_killed_daemon_s_changes_are_undone_by_the_next() {
    sandbox::run(|| {
        let network = network()?;
        let _charon = Charon::start(&network.gateway, full_tunnel_gateway())?;
        let before = snapshot::take(network.client())?;
        let client = Client::with_profile(network.client(), &psk_profile(&network).remote_ts(&[]))?;
        client.connect(Some(PSK))?;
        client.end(Signal::SIGKILL)?;
        let client = Client::start(network.client())?;
        same(&before, network.client())?;
        // And it works again.
        works(&client, network.client(), Some(PSK))?;
        client.end(Signal::SIGTERM)?;
        same(&before, network.client())
    });
}

#[test]
fn a_full_tunnel_takes_everything_in_both_families() {
    sandbox::run(|| {
        let network = network()?;
        let _charon = Charon::start(&network.gateway, full_tunnel_gateway())?;
        let client = Client::with_profile(network.client(), &psk_profile(&network).remote_ts(&[]))?;
        works(&client, network.client(), Some(PSK))?;
        traffic::download(network.client(), SERVER_V6.into(), 500_000)?;
        // The gateway's own address stays outside the tunnel, or the tunnel would run through itself.
        let route = |to: &str| network.client().output("ip", &["route", "get", to, "mark", "0"]);
        let (gateway, other) = (route("198.51.100.10")?, route("192.0.2.200")?);
        ensure!(gateway.contains("dev eth0"), "{gateway}");
        ensure!(other.contains("dev ") && !other.contains("dev eth0"), "{other}");
        client.disconnect()
    });
}

#[test]
fn two_clients_behind_one_translator_work_at_the_same_time() {
    sandbox::run(|| {
        let network = Topology::behind(Nat::preserving()).clients(2).build()?;
        traffic::serve(&network.server)?;
        let _charon = Charon::start(&network.gateway, psk_gateway())?;
        let profile =
            |number: usize| Profile::psk(network.gateway_address(), &format!("c{number}@lab.example"));
        let one = Client::with_profile(&network.clients[0], &profile(0))?;
        let other = Client::with_profile(&network.clients[1], &profile(1))?;
        one.connect(Some(PSK))?;
        other.connect(Some(PSK))?;
        std::thread::scope(|scope| {
            let downloads = network
                .clients
                .iter()
                .map(|client| scope.spawn(move || traffic::download(client, SERVER_V4.into(), 10_000_000)));
            let downloads: Vec<_> = downloads.collect();
            downloads.into_iter().try_for_each(|download| download.join().ok().context("a panic")?.map(drop))
        })?;
        one.disconnect()?;
        traffic::download(&network.clients[1], SERVER_V4.into(), 100_000)?;
        Ok(())
    });
}

#[test]
fn a_restarted_gateway_is_connected_to_again() {
    sandbox::run(|| {
        let network = network()?;
        let charon = Charon::start(&network.gateway, psk_gateway())?;
        let client = Client::with_profile(network.client(), &psk_profile(&network))?;
        works(&client, network.client(), Some(PSK))?;
        let before = client.status()?.ike_sa.map(|ike| ike.spi_i);
        charon.swanctl(&["--terminate", "--ike", "rw"])?;
        client.wait_longer_for("another IKE SA", Duration::from_secs(40), |status| {
            status.state == State::Connected && status.ike_sa.as_ref().map(|ike| ike.spi_i) != before
        })?;
        traffic::download(network.client(), SERVER_V4.into(), 100_000)?;
        client.disconnect()
    });
}

/// A gateway that takes everything, in both families.
fn full_tunnel_gateway() -> Config {
    let mut config = psk_gateway();
    config.pools.push(evenkeel_lab::strongswan::Pool::v6());
    config.connections[0] = Connection {
        pools: vec!["v4".to_owned(), "v6".to_owned()],
        local_ts: "0.0.0.0/0,::/0".to_owned(),
        ..Connection::gateway(Auth::Psk, Auth::Psk)
    };
    config
}

/// Waits until `host` is again as it was: the kernel takes a device away a moment after its last file is closed.
fn same(before: &str, host: &Host) -> anyhow::Result<()> {
    let mut after = String::new();
    wait::until("the host to be as it was", Duration::from_secs(5), || {
        after = snapshot::take(host).ok()?;
        (after == before).then_some(())
    })
    .with_context(|| snapshot::difference(before, &after))
}
