//! A captive portal in the way of the real daemon and command line: seen, told, and outlasted.

#![cfg(target_os = "linux")]

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use evenkeel_ipc::{Category, State, Status};
use evenkeel_lab::{
    Nat, Network, Topology,
    client::{Client, Run},
    office::{ALICE_MAIL, Office, PSK, psk_gateway},
    pki::Key,
    portal::{self, LOGIN_PAGE, Mode, SECURE_LOGIN_PAGE, VPN},
    practice::PracticeGateway,
    profile::Profile,
    sandbox,
    strongswan::Charon,
    topology::SERVER_V4,
    traffic,
};

/// From `evenkeel connect` to a status that shows the portal.
const SEEN: Duration = Duration::from_secs(2);
/// From the login to a status that says connected.
const CONTINUED: Duration = Duration::from_secs(3);
/// Longer than an attempt to connect takes to fail.
const ATTEMPT: Duration = Duration::from_secs(90);

fn behind(mode: Mode) -> anyhow::Result<Network> {
    let network = Topology::behind(Nat::preserving()).build()?;
    portal::install(&network, mode)?;
    traffic::serve(&network.server)?;
    Ok(network)
}

/// A daemon on the client, with a profile that names the gateway.
fn client(network: &Network) -> anyhow::Result<Client<'_>> {
    Client::with_profile(network.client(), &Profile::psk(VPN, ALICE_MAIL))
}

fn connect(client: &Client<'_>) -> anyhow::Result<Run> {
    client.evenkeel(&["connect", "lab", "--password-stdin"], Some(PSK))
}

fn shows_portal(status: &Status) -> bool {
    status.portal.is_some()
}

fn page(status: &Status) -> Option<&str> {
    status.portal.as_ref()?.url.as_ref().map(evenkeel_profile::WebUrl::as_str)
}

/// The portal is shown in time with its page; `meanwhile` somebody waits; after the login the connection is made in time.
#[expect(clippy::print_stderr, reason = "the times are what is measured here")]
fn is_shown_and_outlasted(
    network: &Network,
    expected: &str,
    meanwhile: impl FnOnce(&Client<'_>) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let client = client(network)?;
    let run = thread::scope(|scope| {
        let asked = Instant::now();
        let connecting = scope.spawn(|| connect(&client));
        let status = client.wait_for("the portal", shows_portal)?;
        let seen = asked.elapsed();
        ensure!(seen < SEEN, "shown after {seen:?}");
        ensure!(page(&status) == Some(expected), "another page: {status:?}");
        ensure!(status.state != State::Failed, "{status:?}");
        meanwhile(&client)?;

        network.client().run(portal::log_in_here)?;
        let login = Instant::now();
        let status = client.wait_for("connected", |status| status.state == State::Connected)?;
        let continued = login.elapsed();
        eprintln!("shown after {seen:?}, connected {continued:?} after the login");
        ensure!(continued < CONTINUED, "connected {continued:?} after the login\n{}", client.log());
        ensure!(status.portal.is_none(), "{status:?}");
        connecting.join().ok().context("evenkeel connect")?
    })?;
    let sentence = format!("This network wants you to sign in first: {expected}; ");
    ensure!(run.code == 0 && run.stderr.matches(&sentence).count() == 1, "{run:?}");
    traffic::download(network.client(), SERVER_V4.into(), 100_000)?;
    ensure!(!client.log().contains(expected), "the page is in the log");
    client.disconnect()
}

/// The connection fails, and nobody ever speaks of a portal.
fn fails_without_a_portal(network: &Network) -> anyhow::Result<()> {
    let client = client(network)?;
    let watch = client.watch()?;
    let run = connect(&client)?;
    ensure!(run.code == 4 && !run.stderr.contains("sign in"), "{run:?}");
    let status = client.status()?;
    ensure!(status.state == State::Failed, "{status:?}");
    ensure!(
        status.cause.as_ref().is_some_and(|cause| cause.category() == Category::Unreachable),
        "{status:?}"
    );
    let told = watch.end()?;
    ensure!(!told.is_empty() && !told.iter().any(shows_portal), "{told:?}");
    ensure!(client.log().contains("no captive portal"), "nobody looked:\n{}", client.log());
    Ok(())
}

#[test]
fn a_portal_that_redirects_is_shown_and_outlasted_for_as_long_as_it_takes() {
    sandbox::run(|| {
        let network = behind(Mode::Redirect)?;
        let _charon = Charon::start(&network.gateway, psk_gateway())?;
        is_shown_and_outlasted(&network, LOGIN_PAGE, |client| {
            // The attempt fails, the wish does not.
            let failed = |status: &Status| status.cause.is_some();
            let status = client.wait_longer_for("a failed attempt", ATTEMPT, failed)?;
            ensure!(status.state == State::Connecting && page(&status) == Some(LOGIN_PAGE), "{status:?}");
            Ok(())
        })
    });
}

#[test]
fn a_portal_whose_name_server_lies_is_outlasted_with_the_gateways_true_address() {
    sandbox::run(|| {
        let network = behind(Mode::NamesAndRedirect)?;
        let _charon = Charon::start(&network.gateway, psk_gateway())?;
        is_shown_and_outlasted(&network, LOGIN_PAGE, |_| Ok(()))
    });
}

#[test]
fn a_portal_that_answers_with_its_own_page_is_shown_and_outlasted() {
    sandbox::run(|| {
        let network = behind(Mode::Page)?;
        let _charon = Charon::start(&network.gateway, psk_gateway())?;
        is_shown_and_outlasted(&network, &format!("http://{VPN}/connectivity-check"), |_| Ok(()))
    });
}

#[test]
fn a_portal_that_only_its_api_tells_of_is_shown_and_outlasted() {
    sandbox::run(|| {
        let network = behind(Mode::Api)?;
        let _charon = Charon::start(&network.gateway, psk_gateway())?;
        is_shown_and_outlasted(&network, SECURE_LOGIN_PAGE, |_| Ok(()))
    });
}

#[test]
fn a_portal_that_answers_511_is_shown_and_outlasted_before_the_practice_gateway_too() {
    sandbox::run(|| {
        let network = behind(Mode::Status511)?;
        let office = Office::new(Key::P256)?;
        let _gateway =
            PracticeGateway::of_office(&network.gateway, network.gateway_address(), &office, None)?;
        is_shown_and_outlasted(&network, &format!("http://{VPN}/connectivity-check"), |_| Ok(()))
    });
}

#[test]
fn a_gateway_that_is_down_behind_a_transparent_proxy_is_no_portal() {
    sandbox::run(|| fails_without_a_portal(&behind(Mode::Proxy)?));
}

#[test]
fn a_gateway_that_is_down_and_answers_not_found_is_no_portal() {
    sandbox::run(|| {
        let network = behind(Mode::Open)?;
        portal::answer_not_found(&network.gateway)?;
        fails_without_a_portal(&network)
    });
}
