//! A laptop that is carried from network to network, with the real daemon: what goes through the tunnel goes on.

#![cfg(target_os = "linux")]
#![expect(clippy::print_stdout, reason = "what was measured, for whoever reads the output")]

use std::{
    fs,
    net::IpAddr,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use evenkeel_ipc::{Cause, State, Status};
use evenkeel_lab::{
    Host, Nat, answers,
    calls::{Calls, Record},
    client::Client,
    download::Download,
    office::{ALICE_MAIL, PSK, psk_gateway},
    profile::Profile,
    roaming::{Families, Roaming},
    sandbox,
    sizes::{measured, wait_for},
    strongswan::{Charon, Config},
    topology::{GATEWAY_V4, GATEWAY_V6, SERVER_V4},
    traffic, wait,
};

/// A second, a round trip of less than a millisecond, and what a machine may need on which four tests and their gateways
/// share two cores.
const RESUMES: Duration = Duration::from_millis(2500);
/// Something that the daemon does by itself takes no longer.
const SOON: Duration = Duration::from_secs(15);
/// Between two calls of the office.
const OFTEN: Duration = Duration::from_millis(20);

/// A gateway that sends what comes from the tunnel to a server that talks.
fn uplinks(uplinks: &[(&str, Nat, Families)]) -> anyhow::Result<Roaming> {
    let roaming = Roaming::build(uplinks)?;
    traffic::serve(&roaming.server)?;
    Ok(roaming)
}

/// A gateway that does not move SAs.
fn without_mobike() -> Config {
    let mut config = psk_gateway();
    config.connections[0].extra.push(("mobike".to_owned(), "no".to_owned()));
    config
}

fn profile(gateway: impl ToString) -> Profile {
    Profile::psk(gateway, ALICE_MAIL)
}

/// Waits until the connection goes along this uplink.
fn goes_by(client: &Client<'_>, address: Option<impl Into<IpAddr>>) -> anyhow::Result<Status> {
    let address = address.context("no such address")?.into();
    client.wait_longer_for(&format!("the connection to leave from {address}"), SOON, |status| {
        status.state == State::Connected
            && status.ike_sa.as_ref().is_some_and(|ike| ike.local.ip() == address)
    })
}

/// A connection with a download under way and an office that calls all the time.
struct Busy {
    spi: evenkeel_ipc::IkeSpi,
    download: Download,
    calls: Calls,
    /// What happened when: what the way was usable for from then on.
    usable: Vec<(&'static str, Instant)>,
}

impl Busy {
    fn start(client: &Client<'_>, roaming: &Roaming, seconds: u32) -> anyhow::Result<Self> {
        let status = client.status()?;
        let ours = status.addresses.first().context("an address")?.ip;
        let rate = 500_000;
        Ok(Self {
            spi: status.ike_sa.context("an IKE SA")?.spi_i,
            download: Download::start(
                &roaming.client,
                SERVER_V4.into(),
                u64::from(rate) * u64::from(seconds),
                rate,
            )?,
            calls: Calls::start(&roaming.server, &roaming.client, ours, OFTEN)?,
            usable: Vec::new(),
        })
    }

    /// A new way can be used from here on.
    fn usable(&mut self, way: &'static str) {
        self.usable.push((way, Instant::now()));
    }

    /// Ends all of it: the download has to be whole, and each way in use in time.
    fn end(self) -> anyhow::Result<Record> {
        let arrivals = self.download.end().context("the download did not survive")?;
        let record = self.calls.end()?;
        for (way, usable) in &self.usable {
            let resumed = record.resumed(*usable).with_context(|| format!("{way}: no call arrived"))?;
            println!("{way}: resumed {:.0} ms after it was usable", resumed.as_secs_f64() * 1e3);
            ensure!(resumed < RESUMES, "{way}: resumed only after {resumed:?}");
        }
        println!(
            "{} of {} calls missing, longest gap {:?}; the download's {:?}",
            record.missing(),
            record.sent,
            record.longest_gap(),
            arrivals.longest_gap()
        );
        Ok(record)
    }
}

#[test]
fn a_download_survives_wifi_ethernet_hotspot_and_another_lease_with_mobike() {
    sandbox::run(|| {
        let roaming = uplinks(&[
            ("wifi", Nat::preserving(), Families::V4),
            ("ethernet", Nat::random(), Families::V4),
            ("hotspot", Nat::random(), Families::V4),
        ])?;
        let _charon = Charon::start(&roaming.gateway, psk_gateway())?;
        roaming.plug("wifi")?;
        let client = Client::with_profile(&roaming.client, &profile(GATEWAY_V4))?;
        client.connect(Some(PSK))?;
        let mut busy = Busy::start(&client, &roaming, 12)?;
        // The cable is put in, and is preferred.
        roaming.plug("ethernet")?;
        roaming.prefer("ethernet")?;
        busy.usable("from Wi-Fi to Ethernet");
        goes_by(&client, roaming.uplink("ethernet")?.address_v4())?;
        roaming.unplug("wifi")?;
        // The cable is pulled: for a moment there is no way at all.
        roaming.prefer_none("ethernet")?;
        roaming.unplug("ethernet")?;
        roaming.plug("hotspot")?;
        busy.usable("from Ethernet to the hotspot");
        goes_by(&client, roaming.uplink("hotspot")?.address_v4())?;
        roaming.readdress("hotspot")?;
        busy.usable("from one address of the hotspot's to another");
        let status = goes_by(&client, roaming.uplink("hotspot")?.address_v4())?;
        ensure!(status.ike_sa.context("an IKE SA")?.spi_i == busy.spi, "another IKE SA");
        busy.end()?;
        client.disconnect()
    });
}

#[test]
fn a_download_survives_ipv4_to_ipv6_and_back() {
    sandbox::run(|| {
        let roaming = uplinks(&[
            ("wifi", Nat::preserving(), Families::V4),
            ("mobile", Nat::preserving(), Families::V6),
        ])?;
        let _charon = Charon::start(&roaming.gateway, psk_gateway())?;
        let hosts = roaming.client.folder().join("hosts");
        fs::write(&hosts, format!("{GATEWAY_V4} vpn.lab.example\n{GATEWAY_V6} vpn.lab.example\n"))?;
        roaming.client.link_etc("hosts", &hosts)?;
        roaming.plug("wifi")?;
        let client = Client::with_profile(&roaming.client, &profile("vpn.lab.example"))?;
        client.connect(Some(PSK))?;
        let mut busy = Busy::start(&client, &roaming, 12)?;
        roaming.unplug("wifi")?;
        roaming.plug("mobile")?;
        busy.usable("from IPv4 to IPv6");
        goes_by(&client, roaming.uplink("mobile")?.address_v6())?;
        roaming.unplug("mobile")?;
        roaming.plug("wifi")?;
        busy.usable("from IPv6 to IPv4");
        let status = goes_by(&client, roaming.uplink("wifi")?.address_v4())?;
        ensure!(status.ike_sa.context("an IKE SA")?.spi_i == busy.spi, "another IKE SA");
        busy.end()?;
        client.disconnect()
    });
}

#[test]
fn a_gateway_that_a_profile_names_by_its_ipv4_address_is_followed_to_its_ipv6_address() {
    sandbox::run(|| {
        let roaming = uplinks(&[
            ("wifi", Nat::preserving(), Families::V4),
            ("mobile", Nat::preserving(), Families::V6),
        ])?;
        // It says in IKE_AUTH that it has others (RFC 4555 §3.4).
        let _charon = Charon::start(&roaming.gateway, psk_gateway())?;
        roaming.plug("wifi")?;
        let client = Client::with_profile(&roaming.client, &profile(GATEWAY_V4))?;
        client.connect(Some(PSK))?;
        let spi = client.status()?.ike_sa.context("an IKE SA")?.spi_i;
        let download = Download::start(&roaming.client, SERVER_V4.into(), 4_000_000, 500_000)?;
        download.wait_for(500_000, SOON)?;
        roaming.unplug("wifi")?;
        roaming.plug("mobile")?;
        let status = goes_by(&client, roaming.uplink("mobile")?.address_v6())?;
        ensure!(status.ike_sa.context("an IKE SA")?.spi_i == spi, "another IKE SA");
        println!("the download's longest gap: {:?}", download.end()?.longest_gap());
        client.disconnect()
    });
}

#[test]
fn a_gateway_whose_ipv6_address_is_dead_on_the_next_network_is_reached_over_ipv4() {
    sandbox::run(|| {
        let roaming = uplinks(&[
            ("wifi", Nat::preserving(), Families::Both),
            ("hotspot", Nat::random(), Families::Both),
        ])?;
        let _charon = Charon::start(&roaming.gateway, psk_gateway())?;
        let hosts = roaming.client.folder().join("hosts");
        fs::write(&hosts, format!("{GATEWAY_V4} vpn.lab.example\n{GATEWAY_V6} vpn.lab.example\n"))?;
        roaming.client.link_etc("hosts", &hosts)?;
        roaming.plug("wifi")?;
        let client = Client::with_profile(&roaming.client, &profile("vpn.lab.example"))?;
        client.connect(Some(PSK))?;
        goes_by(&client, roaming.uplink("wifi")?.address_v6())?;
        let mut busy = Busy::start(&client, &roaming, 8)?;
        // It has a route, and whatever goes along it is lost (RFC 8305 §1).
        roaming.uplink("hotspot")?.router.nft(
            "table ip6 dead {
               chain through {
                 type filter hook forward priority 0
                 meta l4proto udp drop
               }
             }",
        )?;
        roaming.unplug("wifi")?;
        roaming.plug("hotspot")?;
        busy.usable("from IPv6 to a network where IPv6 leads nowhere");
        let status = goes_by(&client, roaming.uplink("hotspot")?.address_v4())?;
        ensure!(status.ike_sa.context("an IKE SA")?.spi_i == busy.spi, "another IKE SA");
        busy.end()?;
        client.disconnect()
    });
}

#[test]
fn without_mobike_a_second_session_takes_over() {
    sandbox::run(|| {
        let roaming =
            uplinks(&[("wifi", Nat::preserving(), Families::V4), ("ethernet", Nat::random(), Families::V4)])?;
        let _charon = Charon::start(&roaming.gateway, without_mobike())?;
        roaming.plug("wifi")?;
        let client = Client::with_profile(&roaming.client, &profile(GATEWAY_V4))?;
        client.connect(Some(PSK))?;
        let spi = client.status()?.ike_sa.context("an IKE SA")?.spi_i;
        traffic::download(&roaming.client, SERVER_V4.into(), 500_000)?;
        roaming.unplug("wifi")?;
        roaming.plug("ethernet")?;
        let usable = Instant::now();
        // strongSwan gives out another address as long as it takes the first session to be alive, so that what went through
        // the tunnel before ends.
        wait::until("a new connection", SOON, || {
            traffic::reaches(&roaming.client, SERVER_V4.into(), Duration::from_millis(200)).then_some(())
        })?;
        let resumed = usable.elapsed();
        println!("a new connection after {:.0} ms", resumed.as_secs_f64() * 1e3);
        ensure!(resumed < RESUMES, "{resumed:?}");
        let status = goes_by(&client, roaming.uplink("ethernet")?.address_v4())?;
        ensure!(status.ike_sa.context("an IKE SA")?.spi_i != spi, "the same IKE SA");
        traffic::download(&roaming.client, SERVER_V4.into(), 500_000)?;
        client.disconnect()
    });
}

#[test]
fn a_gateway_that_restarts_meanwhile_is_connected_to_again_without_a_prompt() {
    sandbox::run(|| {
        let roaming =
            uplinks(&[("wifi", Nat::preserving(), Families::V4), ("ethernet", Nat::random(), Families::V4)])?;
        let charon = Charon::start(&roaming.gateway, psk_gateway())?;
        roaming.plug("wifi")?;
        let client = Client::with_profile(&roaming.client, &profile(GATEWAY_V4))?;
        client.connect(Some(PSK))?;
        let spi = client.status()?.ike_sa.context("an IKE SA")?.spi_i;
        roaming.unplug("wifi")?;
        let _charon = charon.restart()?;
        roaming.plug("ethernet")?;
        let usable = Instant::now();
        let status = client.wait_for("another IKE SA", |status| {
            status.state == State::Connected && status.ike_sa.as_ref().is_some_and(|ike| ike.spi_i != spi)
        })?;
        println!("connected again {:.0} ms after the way was usable", usable.elapsed().as_secs_f64() * 1e3);
        ensure!(status.cause.is_none(), "{status:?}");
        traffic::download(&roaming.client, SERVER_V4.into(), 500_000)?;
        client.disconnect()
    });
}

#[test]
fn a_link_that_is_gone_for_twenty_seconds_costs_nothing_but_that() {
    const AWAY: Duration = Duration::from_secs(20);
    sandbox::run(|| {
        let roaming = uplinks(&[("wifi", Nat::preserving(), Families::V4)])?;
        let _charon = Charon::start(&roaming.gateway, psk_gateway())?;
        roaming.plug("wifi")?;
        let client = Client::with_profile(&roaming.client, &profile(GATEWAY_V4))?;
        client.connect(Some(PSK))?;
        let mut busy = Busy::start(&client, &roaming, 4)?;
        roaming.unplug("wifi")?;
        thread::sleep(AWAY);
        let away = client.status()?;
        ensure!(away.ike_sa.as_ref().is_some_and(|ike| ike.spi_i == busy.spi), "{away:?}");
        ensure!(matches!(away.cause, Some(Cause::NetworkUnreachable { .. })), "nobody is told: {away:?}");
        roaming.plug("wifi")?;
        busy.usable("after twenty seconds");
        let spi = busy.spi;
        busy.end()?;
        let status = client.status()?;
        ensure!(status.state == State::Connected && status.cause.is_none(), "{status:?}");
        ensure!(status.ike_sa.context("an IKE SA")?.spi_i == spi, "another IKE SA");
        client.disconnect()
    });
}

/// What a host believes that packets to `address` may be as long as, if it has been told so.
fn told(host: &Host, address: IpAddr) -> anyhow::Result<Option<String>> {
    let route = host.output("ip", &["route", "get", &address.to_string()])?;
    Ok(route.split_whitespace().skip_while(|word| *word != "mtu").nth(1).map(str::to_owned))
}

#[test]
fn a_move_between_equal_paths_tells_no_far_end_of_smaller_packets() {
    sandbox::run(|| {
        let roaming =
            uplinks(&[("wifi", Nat::preserving(), Families::V4), ("ethernet", Nat::random(), Families::V4)])?;
        // Whoever is asked for the sizes is one of the far ends.
        answers::serve_dns(&roaming.server)?;
        let _charon = Charon::start(&roaming.gateway, psk_gateway())?;
        roaming.plug("wifi")?;
        let client = Client::with_profile(&roaming.client, &profile(GATEWAY_V4))?;
        client.connect(Some(PSK))?;
        wait_for(&client, measured(1500))?;
        let ours = client.status()?.addresses.first().context("an address")?.ip;
        let busy = Busy::start(&client, &roaming, 6)?;
        roaming.plug("ethernet")?;
        roaming.prefer("ethernet")?;
        goes_by(&client, roaming.uplink("ethernet")?.address_v4())?;
        wait_for(&client, measured(1500))?;
        let (there, here) = (told(&roaming.server, ours)?, told(&roaming.client, SERVER_V4.into())?);
        ensure!((&there, &here) == (&None, &None), "the server was told {there:?}, this machine {here:?}");
        busy.end()?;
        client.disconnect()
    });
}
