//! A laptop that is carried about, and an office that calls, answers or keeps silent.

use std::{net::IpAddr, thread, time::Duration};

use anyhow::{Context, ensure};
use evenkeel_lab::{
    Nat, Topology, answers,
    calls::Calls,
    roaming::{Families, Roaming},
    sandbox,
    topology::{GATEWAY_V4, GATEWAY_V6, SERVER_V4},
    traffic,
};

use crate::{MOMENT, SOON};

#[test]
fn a_laptop_goes_from_uplink_to_uplink() {
    sandbox::run(|| {
        let roaming = Roaming::build(&[
            ("wifi", Nat::preserving(), Families::Both),
            ("ethernet", Nat::random(), Families::V4),
            ("hotspot", Nat::random(), Families::V6),
        ])?;
        traffic::serve(&roaming.gateway)?;
        let seen_as = |roaming: &Roaming, at: IpAddr| traffic::seen_as(&roaming.client, at);
        let (v4, v6) = (IpAddr::from(GATEWAY_V4), IpAddr::from(GATEWAY_V6));
        let reaches = |roaming: &Roaming| {
            [v4, v6].map(|at| traffic::reaches(&roaming.client, at, Duration::from_millis(500)))
        };
        ensure!(reaches(&roaming) == [false, false], "reached before anything was plugged in");

        roaming.plug("wifi")?;
        ensure!(seen_as(&roaming, v4)? == roaming.uplink("wifi")?.public_v4());
        let first = roaming.uplink("wifi")?.address_v6().context("an address")?;
        ensure!(seen_as(&roaming, v6)? == first);
        roaming.readdress("wifi")?;
        ensure!(seen_as(&roaming, v4)? == roaming.uplink("wifi")?.public_v4());
        ensure!(seen_as(&roaming, v6)? != first, "the same address");

        // Both at once: the preferred one counts, wifi before.
        roaming.plug("ethernet")?;
        ensure!(seen_as(&roaming, v4)? == roaming.uplink("wifi")?.public_v4());
        roaming.prefer("ethernet")?;
        ensure!(seen_as(&roaming, v4)? == roaming.uplink("ethernet")?.public_v4());
        roaming.prefer_none("ethernet")?;
        ensure!(seen_as(&roaming, v4)? == roaming.uplink("wifi")?.public_v4());
        roaming.unplug("wifi")?;
        ensure!(reaches(&roaming) == [true, false], "{:?}", reaches(&roaming));

        roaming.unplug("ethernet")?;
        roaming.plug("hotspot")?;
        ensure!(reaches(&roaming) == [false, true], "{:?}", reaches(&roaming));
        roaming.unplug("hotspot")?;
        roaming.plug("wifi")?;
        ensure!(reaches(&roaming) == [true, true], "{:?}", reaches(&roaming));
        Ok(())
    });
}

#[test]
fn the_office_answers_probes_or_keeps_silent() {
    sandbox::run(|| {
        let network = Topology::plain().build()?;
        answers::serve_dns(&network.server)?;
        let asks = || -> anyhow::Result<[bool; 3]> {
            Ok([
                answers::resolves(&network.gateway, 1200, MOMENT)?,
                answers::pings(&network.gateway, SERVER_V4, 1200, MOMENT)?,
                network.gateway.run(|| {
                    let dns = (answers::DNS_SERVER, 53).into();
                    std::net::TcpStream::connect_timeout(&dns, MOMENT).is_ok()
                }),
            ])
        };
        ensure!(asks()? == [true; 3], "{:?}", asks());
        answers::silence(&network.server)?;
        ensure!(asks()? == [false; 3], "{:?}", asks());
        traffic::serve(&network.server)?;
        ensure!(traffic::reaches(&network.gateway, SERVER_V4.into(), SOON), "everything is silent");
        answers::speak(&network.server)?;
        ensure!(asks()? == [true; 3], "{:?}", asks());
        Ok(())
    });
}

#[test]
fn calls_from_the_office_are_counted_and_so_is_what_is_missing() {
    sandbox::run(|| {
        let network = Topology::plain().build()?;
        let (from, to, at) = (&network.server, &network.gateway, IpAddr::from([10, 10, 0, 1]));
        let every = Duration::from_millis(5);
        let calls = Calls::start(from, to, at, every)?;
        let gap = Duration::from_millis(400);
        thread::sleep(gap);
        to.nft("table inet deaf {\n chain in {\n type filter hook input priority 0\n udp dport 7070 drop\n }\n }")?;
        thread::sleep(gap);
        to.nft("delete table inet deaf")?;
        thread::sleep(gap);
        let record = calls.end()?;
        println!("{} sent, {} missing, gap {:?}", record.sent, record.missing(), record.longest_gap());
        ensure!(record.arrived.first().is_some_and(|(number, _)| *number == 0), "the first is missing");
        ensure!(record.missing() > 10 && !record.arrived.is_empty());
        ensure!(record.longest_gap() > gap / 2, "{:?}", record.longest_gap());
        Ok(())
    });
}
