//! Translators with their habits, and networks that do not let everything through.

use std::{
    net::IpAddr,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use evenkeel_lab::{Block, Nat, Topology, sandbox, topology::GATEWAY_V4, traffic, wait};

use crate::{Flow, MOMENT, network};

#[test]
fn blocks_can_be_switched_while_traffic_flows() {
    sandbox::run(|| {
        let network = network()?;
        let at = IpAddr::from(GATEWAY_V4);
        let https = network.gateway.run(|| std::net::TcpListener::bind((GATEWAY_V4, 443)))?;
        let reaches_443 = || {
            network.client().run(|| std::net::TcpStream::connect_timeout(&(at, 443).into(), MOMENT).is_ok())
        };
        let (ike, esp) = (&[0, 0, 0, 0, 1, 2, 3, 4][..], &[0xc0, 0xff, 0xee, 1, 0, 0, 0, 1][..]);
        let keepalive = &[0xff][..];
        let on_500 = Flow::open(network.client(), &network.gateway, 500)?;
        let on_4500 = Flow::open(network.client(), &network.gateway, 4500)?;
        // What gets through: anything on 500, IKE, ESP and a keepalive on 4500, TCP to another port, TCP to 443.
        let passes = || -> anyhow::Result<[bool; 6]> {
            Ok([
                on_500.carries(ike)?,
                on_4500.carries(ike)?,
                on_4500.carries(esp)?,
                on_4500.carries(keepalive)?,
                traffic::reaches(network.client(), at, MOMENT),
                reaches_443(),
            ])
        };
        for (blocks, expected) in [
            (&[][..], [true; 6]),
            (&[Block::Udp(4500)], [true, false, false, false, true, true]),
            (&[Block::Udp(500)], [false, true, true, true, true, true]),
            (&[Block::EspInUdp], [true, true, false, true, true, true]),
            (&[Block::AllUdp], [false, false, false, false, true, true]),
            (&[Block::AllButTcp443], [false, false, false, false, false, true]),
            (&[Block::Tcp(443), Block::Udp(500)], [false, true, true, true, true, false]),
            (&[], [true; 6]),
        ] {
            network.block(blocks)?;
            let passed = passes()?;
            ensure!(passed == expected, "{blocks:?}: {passed:?}");
        }
        drop(https);
        Ok(())
    });
}

#[test]
fn a_translator_forgets_and_gives_ports_as_it_is_told_to() {
    sandbox::run(|| {
        let network = network()?;
        let nat = network.nat.as_ref().context("a translator")?;
        let flow = |port| Flow::open(network.client(), &network.gateway, port);
        let one = flow(9000)?;
        let inside = one.client.local_addr()?.port();
        ensure!(one.out()?.port() == inside, "the port was not kept");
        Nat::random().reconfigure(nat)?;
        let ports = (9001..9005).map(|port| {
            let flow = flow(port)?;
            Ok(flow.out()?.port() == flow.client.local_addr()?.port())
        });
        let kept = ports.collect::<anyhow::Result<Vec<_>>>()?;
        ensure!(kept.contains(&false), "every port was kept");
        // The flow of before keeps its mapping, until it is lost.
        ensure!(one.out()?.port() == inside);
        Nat::random().forget_all(nat)?;
        let seen = one.out()?;
        ensure!(seen.port() != inside, "the mapping was not lost");
        ensure!(one.gets_in(seen)?);
        Ok(())
    });
}

#[test]
fn a_translator_with_short_timers_forgets_in_silence_and_can_be_told_otherwise() {
    sandbox::run(|| {
        let network = network()?;
        let nat = network.nat.as_ref().context("a translator")?;
        let seconds = Duration::from_secs;
        Nat::preserving().forgetting_after(seconds(2), seconds(2)).reconfigure(nat)?;
        let flow = Flow::open(network.client(), &network.gateway, 9000)?;
        let seen = flow.out()?;
        ensure!(flow.gets_in(seen)?);
        // Both directions refresh: three seconds with a packet in each second keep it.
        for _ in 0..3 {
            thread::sleep(seconds(1));
            ensure!(flow.gets_in(seen)?, "a packet from outside did not refresh the mapping");
        }
        thread::sleep(seconds(4));
        ensure!(!flow.gets_in(seen)?, "nothing was forgotten");
        Nat::preserving().forgetting_after(seconds(60), seconds(60)).reconfigure(nat)?;
        let seen = flow.out()?;
        thread::sleep(seconds(4));
        ensure!(flow.gets_in(seen)?, "forgotten all the same");
        Ok(())
    });
}

#[test]
fn a_translator_refreshed_from_inside_only_lets_nothing_in_after_that_long() {
    sandbox::run(|| {
        let lifetime = Duration::from_secs(2);
        let network = Topology::behind(Nat::preserving().refreshed_from_inside_only(lifetime)).build()?;
        let flow = Flow::open(network.client(), &network.gateway, 9000)?;
        let (opened, seen) = (Instant::now(), flow.out()?);
        ensure!(flow.gets_in(seen)?);
        // However much comes in, it is over when the inside has been silent for so long.
        let last = wait::until("the way in to close", 3 * lifetime, || match flow.gets_in(seen) {
            Ok(false) => Some(opened.elapsed()),
            Ok(true) | Err(_) => None,
        })?;
        println!("closed after {last:?}");
        ensure!(last > lifetime, "closed after {last:?} already");
        let seen = flow.out()?;
        ensure!(flow.gets_in(seen)?, "the inside can not open it again");
        Ok(())
    });
}
