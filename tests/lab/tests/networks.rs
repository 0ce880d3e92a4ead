//! The real daemon recognises the network that it is on, and knows it again after a restart.

#![cfg(target_os = "linux")]

use anyhow::{Context, ensure};
use evenkeel_ipc::RememberedNetwork;
use evenkeel_lab::{
    Nat, Topology,
    client::Client,
    office::{ALICE_MAIL, PSK, psk_gateway},
    profile::Profile,
    sandbox,
    strongswan::Charon,
};
use nix::sys::signal::Signal;

fn remembered(client: &Client<'_>) -> anyhow::Result<Vec<RememberedNetwork>> {
    let run = client.evenkeel(&["networks", "list", "--json"], None)?;
    serde_json::from_str(&run.stdout).with_context(|| format!("{run:?}"))
}

#[test]
fn a_network_is_known_again_after_a_restart_until_it_is_forgotten() {
    sandbox::run(|| {
        let network = Topology::behind(Nat::preserving()).build()?;
        let _charon = Charon::start(&network.gateway, psk_gateway())?;
        let host = network.client();
        let client = Client::with_profile(host, &Profile::psk(network.gateway_address(), ALICE_MAIL))?;
        client.connect(Some(PSK))?;
        let recognised = |status: &evenkeel_ipc::Status| {
            status
                .network
                .as_ref()
                .is_some_and(|network| network.id.is_some() && network.learned.nat.is_some())
        };
        let status = client.wait_for("to recognise the network", recognised)?;
        let here = status.network.context("on a network")?;
        ensure!(here.learned.nat == Some(true) && !here.fallback, "{here:?}");
        client.disconnect()?;
        client.end(Signal::SIGTERM)?;

        let client = Client::start(host)?;
        let known = remembered(&client)?;
        let again =
            known.iter().find(|network| Some(network.id) == here.id).context("it is not known again")?;
        ensure!(Some(&again.label) == here.label.as_ref() && again.learned.nat == Some(true), "{again:?}");
        ensure!(again.connect_ms.is_some_and(|took| took < 15_000), "{again:?}");
        let shown = client.evenkeel(&["networks", "show", &again.id.to_string()], None)?;
        ensure!(shown.stdout.contains("Connects   in "), "{shown:?}");
        client.connect(Some(PSK))?;
        client.wait_for("to recognise the network", |status| {
            status.network.as_ref().is_some_and(|network| network.id == here.id)
        })?;
        client.disconnect()?;
        let run = client.evenkeel(&["networks", "forget", "--all"], None)?;
        ensure!(run.code == 0 && remembered(&client)?.is_empty(), "{run:?}");
        Ok(())
    });
}
