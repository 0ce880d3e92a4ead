//! Paths that are long, lossy, slow or narrow.

use std::{thread, time::Duration};

use anyhow::{Context, ensure};
use evenkeel_lab::{
    Network,
    relay::{Conditions, Way},
    sandbox,
    topology::{GATEWAY_V4, IcmpErrors},
    traffic,
};

use crate::{Flow, MOMENT, SOON, network};

fn echo(network: &Network, length: usize) -> anyhow::Result<Option<Duration>> {
    traffic::echo(network.client(), GATEWAY_V4.into(), length, SOON)
}

#[test]
fn a_relayed_path_is_as_long_as_it_is_told_to_be() {
    sandbox::run(|| {
        let network = network()?;
        let relay = network.relay()?;
        let delay = Duration::from_millis(60);
        relay.set(Way::Up, Conditions::delayed(delay));
        let one_way = echo(&network, 100)?.context("no echo")?;
        relay.set(Way::Down, Conditions::delayed(delay));
        let both_ways = echo(&network, 100)?.context("no echo")?;
        println!("{one_way:?} with one way of {delay:?}, {both_ways:?} with both");
        ensure!((delay..2 * delay).contains(&one_way), "{one_way:?}");
        ensure!((2 * delay..4 * delay).contains(&both_ways), "{both_ways:?}");
        // A path with jitter carries TCP whole.
        relay.set_both(Conditions { jitter: Duration::from_millis(5), ..Conditions::default() });
        traffic::download(network.client(), GATEWAY_V4.into(), 1_000_000)?;
        drop(relay);
        let short = echo(&network, 100)?.context("no echo without the relay")?;
        ensure!(short < delay, "{short:?}");
        Ok(())
    });
}

#[test]
fn a_relayed_path_loses_doubles_and_reorders_its_share() {
    sandbox::run(|| {
        let network = network()?;
        let relay = network.relay()?;
        let flow = Flow::open(network.client(), &network.gateway, 9000)?;
        relay.set(
            Way::Up,
            Conditions {
                lost_per_mille: 100,
                doubled_per_mille: 100,
                late_per_mille: 100,
                ..Conditions::default()
            },
        );
        let sent = 2000_u32;
        flow.gateway.set_read_timeout(Some(SOON))?;
        let arrived = thread::scope(|scope| -> anyhow::Result<Vec<u32>> {
            let receiver = scope.spawn(|| {
                let (mut arrived, mut buffer) = (Vec::new(), [0; 4]);
                while flow.gateway.recv(&mut buffer).is_ok() {
                    arrived.push(u32::from_be_bytes(buffer));
                }
                arrived
            });
            for number in 0..sent {
                flow.client.send(&number.to_be_bytes())?;
                if number.is_multiple_of(20) {
                    thread::sleep(Duration::from_millis(1));
                }
            }
            receiver.join().ok().context("a panic")
        })?;
        let counts = relay.counts(Way::Up);
        let overtaken = arrived.windows(2).filter(|pair| pair[0] > pair[1]).count();
        println!("{counts:?}, {} arrived, {overtaken} out of order", arrived.len());
        ensure!(counts.arrived == u64::from(sent), "{counts:?}");
        ensure!((100..300).contains(&counts.lost) && (100..300).contains(&counts.held_back), "{counts:?}");
        ensure!(counts.forwarded > counts.arrived - counts.lost + 100, "nothing was doubled: {counts:?}");
        ensure!(arrived.len() as u64 == counts.forwarded, "{} arrived: {counts:?}", arrived.len());
        ensure!(overtaken > 50, "{overtaken} out of order");
        Ok(())
    });
}

#[test]
fn a_relayed_path_carries_no_more_than_its_rate() {
    sandbox::run(|| {
        let network = network()?;
        let relay = network.relay()?;
        relay.set(Way::Down, Conditions { rate: Some(500_000), ..Conditions::default() });
        let took = traffic::download(network.client(), GATEWAY_V4.into(), 1_000_000)?;
        let counts = relay.counts(Way::Down);
        println!("1 MB at 500 kB/s took {took:?}: {counts:?}");
        // What stands in the queue at the end has not had to wait for its turn.
        ensure!((Duration::from_millis(1500)..Duration::from_secs(10)).contains(&took), "{took:?}");
        Ok(())
    });
}

#[test]
fn a_relayed_path_is_narrow_in_one_direction_alone_and_says_so_or_not() {
    sandbox::run(|| {
        let network = network()?;
        let relay = network.relay()?;
        ensure!(echo(&network, 1400)?.is_some());
        let flow = Flow::open(network.client(), &network.gateway, 9000)?;
        flow.client.send(b"first")?;
        let (_, client) = flow.gateway.recv_from(&mut [0; 16])?;
        let (small, large) = ([0; 64], [7; 1400]);
        flow.client.set_read_timeout(Some(MOMENT))?;
        // Linux sets DF on UDP, until it is told that the path is narrow; then it cuts.
        for eaten in [true, false] {
            relay.eat_errors(eaten)?;
            relay.narrow(Way::Down, 1300)?;
            flow.gateway.send_to(&large, client)?;
            ensure!(flow.client.recv(&mut [0; 1500]).is_err(), "a long packet got through");
            let route = network.gateway.output("ip", &["route", "get", &client.ip().to_string()])?;
            ensure!(route.contains("mtu 1300") != eaten, "errors eaten: {eaten}, the sender knows {route}");
            flow.gateway.send_to(&small, client)?;
            ensure!(flow.client.recv(&mut [0; 1500])? == 64);
            // The other way is as wide as before.
            ensure!(flow.client.send(&large)? == 1400);
            ensure!(flow.gateway.recv(&mut [0; 1500])? == 1400);
            relay.widen(Way::Down)?;
        }
        Ok(())
    });
}

#[test]
fn the_link_in_the_middle_becomes_narrow_and_wide_again_while_it_is_in_use() {
    sandbox::run(|| {
        let network = network()?;
        let flow = Flow::open(network.client(), &network.gateway, 9000)?;
        let arrives = |length: usize| -> anyhow::Result<bool> {
            flow.gateway.set_read_timeout(Some(MOMENT))?;
            // What ICMP has told about an earlier packet comes as the error of the next, which is then not sent.
            if flow.client.send(&vec![0; length]).is_err() {
                flow.client.send(&vec![0; length])?;
            }
            Ok(flow.gateway.recv(&mut [0; 1500]).is_ok())
        };
        ensure!(arrives(1400)?);
        network.narrow(1300, IcmpErrors::Lost)?;
        ensure!(!arrives(1400)? && !arrives(1400)? && arrives(1200)?);
        network.narrow(1500, IcmpErrors::Lost)?;
        ensure!(arrives(1400)?, "the client has learned what nobody told");
        network.narrow(1300, IcmpErrors::Sent)?;
        ensure!(!arrives(1400)? && arrives(1200)?);
        let learned = network.client().output("ip", &["route", "get", &GATEWAY_V4.to_string()])?;
        ensure!(learned.contains("mtu 1300"), "{learned}");
        Ok(())
    });
}
