//! Captive portals of every kind, seen by the product's own probe from a client behind them; and what is none.

#![cfg(target_os = "linux")]

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};
use evenkeel_daemon::portal::{PortalConfig, PortalEvent, PortalProbe, PortalWatch, SystemConnector};
use evenkeel_ipc::{PortalEvidence, PortalReport, PortalVerdict};
use evenkeel_lab::{
    Nat, Network, Topology,
    portal::{self, ANSWER, LOGIN_PAGE, Mode, PAGE, SECURE_LOGIN_PAGE, VPN},
    sandbox,
};

/// The firewall mark of the product's own connections.
const MARK: u32 = 0x454b;

/// A client behind a router in this mode.
fn behind(mode: Mode) -> anyhow::Result<Network> {
    let network = Topology::behind(Nat::preserving()).build()?;
    portal::install(&network, mode)?;
    Ok(network)
}

/// What a profile makes of it: one that names a page of a known answer, or one that names nobody but the gateway.
fn probe(named: bool) -> anyhow::Result<Arc<PortalProbe<SystemConnector>>> {
    let page = if named { format!("url = \"{PAGE}\"\nexpect_body = \"{ANSWER}\"\n") } else { String::new() };
    let profile = format!(
        "name = \"lab\"\ngateway = \"{VPN}\"\n[auth]\nmethod = \"psk\"\nlocal_id = \"alice@lab.example\"\n[portal]\n{page}"
    );
    let loaded = evenkeel_profile::parse_toml("lab.toml".as_ref(), profile.as_bytes(), None, &mut |_| {
        unreachable!("the profile names no file")
    })?;
    let config = PortalConfig::new(&loaded.profile).context("detection is on")?;
    Ok(Arc::new(PortalProbe::new(config, SystemConnector::new(MARK))))
}

/// Runs `work` on the first client.
fn on_client<T: Send>(
    network: &Network,
    work: impl AsyncFnOnce() -> anyhow::Result<T> + Send,
) -> anyhow::Result<T> {
    network.client().run(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        // Not awaited: a look-up that nobody waits for any more may take its time.
        let done = runtime.block_on(work());
        runtime.shutdown_background();
        done
    })
}

fn in_time(report: &PortalReport) -> anyhow::Result<()> {
    ensure!(report.took_ms <= 2000, "it took {} ms: {report:?}", report.took_ms);
    Ok(())
}

/// The portal is found in time with its page, and is gone within three seconds of a login.
fn is_found_and_goes(mode: Mode, named: bool, page: &str) -> anyhow::Result<PortalReport> {
    let network = behind(mode)?;
    on_client(&network, async || {
        let probe = probe(named)?;
        let found = probe.probe().await;
        in_time(&found)?;
        ensure!(found.verdict == PortalVerdict::Portal, "{found:?}");
        ensure!(found.url.as_ref().is_some_and(|url| url.as_str() == page), "another page: {found:?}");

        let mut watch = PortalWatch::start(Arc::clone(&probe), &found);
        // While nobody logs in, it stays.
        let early = tokio::time::timeout(Duration::from_secs(2), watch.next()).await;
        ensure!(early.is_err(), "{early:?}");
        tokio::task::spawn_blocking(portal::log_in_here).await??;
        let login = Instant::now();
        let gone = tokio::time::timeout(Duration::from_secs(10), watch.next()).await?;
        let Some(PortalEvent::Gone(gone)) = gone else { bail!("{gone:?}") };
        ensure!(login.elapsed() < Duration::from_secs(3), "gone after {:?}", login.elapsed());
        ensure!(gone.verdict == PortalVerdict::NoPortal, "{gone:?}");
        Ok(found)
    })
}

fn is_no_portal(network: &Network, named: bool) -> anyhow::Result<PortalReport> {
    let report = on_client(network, async || Ok(probe(named)?.probe().await))?;
    in_time(&report)?;
    ensure!(report.verdict == PortalVerdict::NoPortal && report.url.is_none(), "{report:?}");
    Ok(report)
}

#[test]
fn a_portal_that_redirects_is_found_and_goes_with_the_login() {
    sandbox::run(|| is_found_and_goes(Mode::Redirect, true, LOGIN_PAGE).map(drop));
}

#[test]
fn a_portal_that_redirects_is_found_by_the_gateways_name_alone() {
    sandbox::run(|| is_found_and_goes(Mode::Redirect, false, LOGIN_PAGE).map(drop));
}

#[test]
fn a_portal_whose_name_server_lies_is_found_and_the_lie_is_seen() {
    sandbox::run(|| {
        let report = is_found_and_goes(Mode::NamesAndRedirect, true, LOGIN_PAGE)?;
        let lie = PortalEvidence::DnsHijack { address: portal::ROUTER.into() };
        ensure!(report.evidence.contains(&lie), "{report:?}");
        Ok(())
    });
}

#[test]
fn a_portal_that_answers_with_its_own_page_is_found_and_goes_with_the_login() {
    sandbox::run(|| is_found_and_goes(Mode::Page, true, PAGE).map(drop));
}

#[test]
fn a_portal_that_answers_with_its_own_page_is_found_by_the_gateways_name_alone() {
    sandbox::run(|| {
        is_found_and_goes(Mode::Page, false, &format!("http://{VPN}/connectivity-check")).map(drop)
    });
}

#[test]
fn a_portal_that_answers_511_is_found_and_goes_with_the_login() {
    sandbox::run(|| is_found_and_goes(Mode::Status511, true, PAGE).map(drop));
}

#[test]
fn a_portal_that_only_its_api_tells_of_is_found_and_goes_with_the_login() {
    sandbox::run(|| is_found_and_goes(Mode::Api, true, SECURE_LOGIN_PAGE).map(drop));
}

#[test]
fn a_transparent_proxy_is_no_portal() {
    sandbox::run(|| {
        let network = behind(Mode::Proxy)?;
        let report = is_no_portal(&network, true)?;
        let proxied = |one: &PortalEvidence| matches!(one, PortalEvidence::Http { proxied: true, .. });
        ensure!(report.evidence.iter().any(proxied), "the proxy was not met: {report:?}");
        // To the gateway's name it answers with an error page of its own, nobody being there.
        is_no_portal(&network, false)?;
        Ok(())
    });
}

#[test]
fn a_gateway_that_answers_not_found_is_no_portal() {
    sandbox::run(|| {
        let network = behind(Mode::Open)?;
        portal::answer_not_found(&network.gateway)?;
        is_no_portal(&network, false)?;
        Ok(())
    });
}

#[test]
fn a_gateway_whose_port_80_refuses_is_no_portal_and_one_whose_drops_is_inconclusive() {
    sandbox::run(|| {
        let network = behind(Mode::Open)?;
        is_no_portal(&network, false)?;
        network.gateway.nft(
            "table ip deaf {
               chain in {
                 type filter hook input priority 0
                 tcp dport 80 drop
               }
             }",
        )?;
        let report = on_client(&network, async || Ok(probe(false)?.probe().await))?;
        in_time(&report)?;
        ensure!(report.verdict == PortalVerdict::Inconclusive, "{report:?}");
        Ok(())
    });
}
