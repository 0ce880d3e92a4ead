//! Anything at any moment: whatever happens, a wish to be off leads to off with nothing left, and a wish to be up leads
//! to up once the world is kind again.

use std::time::Duration;

use crate::world::{Setup, World, gateway};
use evenkeel_ipsec::crypto::Rng;
use evenkeel_ipsec::ike::{Faults, Timers};
use evenkeel_tunnel::{Command, ConfigureError, PathEvent, ResolveError, TunnelState};

const SEEDS: u8 = 60;

fn disturb(world: &mut World, rng: &mut Rng) {
    let now = world.now;
    match rng.u32() % 18 {
        0 => world.command(Command::Disconnect),
        1..=3 => world.command(Command::Connect),
        4 => world.gateway_restarts(),
        5 => world.gateway_does(|session, now| session.close(now)),
        6 => world.gateway_does(|session, now| session.rekey_ike(now)),
        7 => world.gateway_does(|session, now| {
            let child = session.children().next().map(|child| child.spi_in);
            if let Some(spi) = child {
                session.delete_child(spi, now);
            }
        }),
        8 => {
            world.gateways.clear();
        }
        9 | 10 => {
            world.gateways.entry(gateway(10)).or_insert_with(|| crate::world::gateways::responder(7, now));
        }
        11 => world.resolver = Err(ResolveError::Unavailable),
        12 => world.configure = Err(ConfigureError::Dns),
        13 | 14 => world.attach((rng.u32() % 3 + 1) as u8, (rng.u32() % 3 + 1) as u8),
        15 => world.detach(),
        16 => world.path_event(PathEvent::Woke),
        _ => {
            world.resolver = Ok(vec![gateway(10)]);
            world.configure = Ok(());
        }
    }
}

#[test]
fn storms_end_in_what_was_wished() {
    for seed in 0..SEEDS {
        let timers = Timers {
            ike_rekey: Some(Duration::from_secs(300)),
            child_rekey: Some(Duration::from_secs(100)),
            ..Timers::default()
        };
        let mut world = World::new(Setup { seed, timers, ..Setup::default() });
        let mut rng = Rng::from_seed([seed; 32]);
        let lifetime = Faults { auth_lifetime: Some(Duration::from_secs(120)), ..Faults::default() };
        world.responder().set_faults(lifetime);
        world.loss = rng.u32() % 300;
        for _ in 0..200 {
            disturb(&mut world, &mut rng);
            world.run_for(Duration::from_millis(u64::from(rng.u32() % 20_000)));
        }

        // The sky clears.
        world.attach(1, 9);
        let now = world.now;
        world.loss = 0;
        world.gateways.insert(gateway(10), crate::world::gateways::responder(seed, now));
        world.resolver = Ok(vec![gateway(10)]);
        world.configure = Ok(());
        // An attempt that began in the storm may still fail; the person asks again.
        for _ in 0..2 {
            world.command(Command::Connect);
            let settled = |world: &World| world.is_up() || world.state() == TunnelState::Failed;
            assert!(world.run_until(Duration::from_secs(600), settled), "seed {seed}");
        }
        assert!(world.is_up(), "seed {seed}: {:?}", world.tunnel.status());
        assert!(world.network.is_some() && world.sending.is_some(), "seed {seed}");

        world.command(Command::Disconnect);
        let off = world.run_until(Duration::from_secs(60), |world| world.state() == TunnelState::Off);
        assert!(off, "seed {seed}: {:?}", world.tunnel.status());
        assert!(world.is_clean(), "seed {seed}: {} SAs", world.installed.len());
        assert!(world.tunnel.poll_timeout().is_none(), "seed {seed}");
    }
}
