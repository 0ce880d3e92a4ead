//! One connection through its life: up, kept up, replaced, lost and found, and down.

use std::time::Duration;

use crate::world::{Setup, World, gateway};
use evenkeel_ipsec::ike::{Failure, Faults, Timers};
use evenkeel_tunnel::{Activity, Cause, Command, ConfigureError, PathError, ResolveError, TunnelState};

const MINUTE: Duration = Duration::from_secs(60);

#[test]
fn routes_and_dns_follow_the_child_sa_and_up_follows_them() {
    let mut world = World::new(Setup::default());
    world.connect();
    assert_eq!(
        world.trace,
        [
            "resolve",
            "state resolving",
            "open 198.51.100.10",
            "state connecting",
            "use",
            "state authenticating",
            "install",
            "configure",
            "state configuring",
            "state up"
        ]
    );
    let inner = world.network.clone().unwrap();
    assert_eq!(inner.remote, [("10.10.0.0".parse().unwrap(), 16)]);
    assert_eq!(inner.addresses.len(), 1);
    assert_eq!(inner.domains, ["office.example"]);
    // Cautious: nothing has been measured yet.
    assert_eq!((inner.mtu, inner.whole, inner.mss_v4), (1280, 1218, 1178));
    assert_eq!(inner.gateways, [gateway(10)]);
    assert!(!inner.is_full_tunnel());
    assert_eq!(world.tunnel.ike_sa().unwrap().round_trips, 2);
}

#[test]
fn off_is_reported_only_when_the_network_is_restored_and_the_gateway_told() {
    let mut world = World::new(Setup::default());
    world.connect();
    world.trace.clear();
    world.command(Command::Disconnect);
    assert!(world.run_until(MINUTE, |world| world.state() == TunnelState::Off));
    assert_eq!(world.trace, ["unconfigure", "state closing", "remove", "state off"]);
    assert!(world.is_clean());
    assert!(world.session_ids().is_empty(), "the gateway has not been told");
    assert!(world.tunnel.poll_timeout().is_none(), "an idle tunnel wants to be woken");
}

#[test]
fn a_gateway_that_is_gone_does_not_hold_up_a_disconnect() {
    let mut world = World::new(Setup::default());
    world.connect();
    world.gateways.clear();
    let asked = world.now;
    world.command(Command::Disconnect);
    assert!(world.run_until(MINUTE, |world| world.state() == TunnelState::Off));
    assert!(world.now - asked <= Duration::from_secs(1));
    assert!(world.is_clean());
}

#[test]
fn every_address_is_tried_in_order_and_the_one_that_works_comes_first_next_time() {
    let mut world = World::new(Setup {
        addresses: vec![(gateway(1), false), (gateway(2), false), (gateway(3), true)],
        ..Setup::default()
    });
    world.unroutable.insert(gateway(1));
    world.command(Command::Connect);
    assert!(world.run_until(MINUTE, World::is_up));
    let opened = |world: &World| {
        world.trace.iter().filter(|line| line.starts_with("open")).cloned().collect::<Vec<_>>()
    };
    assert_eq!(opened(&world), ["open 198.51.100.1", "open 198.51.100.2", "open 198.51.100.3"]);
    world.run_for(2 * MINUTE);
    world.trace.clear();
    world.gateway_restarts();
    assert!(world.run_until(5 * MINUTE, |world| world.trace.iter().any(|line| line == "state up")));
    assert_eq!(opened(&world), ["open 198.51.100.3"]);
}

#[test]
fn behind_a_nat_a_keepalive_goes_out_after_twenty_seconds_without_any_packet() {
    let timers = Timers { dpd_after: None, ..Setup::default().timers };
    let mut world = World::new(Setup { timers, ..Setup::default() });
    world.responder().set_faults(Faults { no_mobike: true, ..Faults::default() });
    world.connect();
    let quiet_since = world.now;
    world.run_for(5 * MINUTE);
    let gaps: Vec<Duration> = world.keepalives.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(world.keepalives[0] - quiet_since <= Duration::from_secs(20));
    assert!(gaps.iter().all(|gap| *gap == Duration::from_secs(20)), "{gaps:?}");
    assert!(world.keepalives.len() >= 14);
    assert_eq!(world.tunnel.keepalive_interval(), Some(Duration::from_secs(20)));
}

#[test]
fn traffic_makes_keepalives_and_dpd_needless() {
    let mut world = World::new(Setup::default());
    world.responder().set_faults(Faults { no_mobike: true, ..Faults::default() });
    world.connect();
    // Past the look at the NAT's mapping that each IKE SA begins with.
    world.run_for(Duration::from_secs(6));
    world.datagrams_sent = 0;
    for _ in 0..300 {
        let carried = world.activity.carried + 1;
        world.activity = Activity { sent: Some(world.now), received: Some(world.now), carried };
        world.run_for(Duration::from_secs(1));
    }
    assert_eq!((world.keepalives.len(), world.datagrams_sent), (0, 0));
    // Silence: the next keepalive counts from the last packet.
    let last = world.activity.sent.unwrap();
    assert!(world.run_until(MINUTE, |world| !world.keepalives.is_empty()));
    assert_eq!(world.now - last, Duration::from_secs(20));
}

#[test]
fn without_a_nat_there_are_no_keepalives() {
    let mut world = World::new(Setup { behind_nat: false, ..Setup::default() });
    world.connect();
    world.run_for(10 * MINUTE);
    assert!(world.keepalives.is_empty());
    assert_eq!(world.tunnel.keepalive_interval(), None);
    assert!(world.is_up());
}

#[test]
fn a_gateway_that_forgot_us_is_noticed_and_reconnected_to_with_the_network_left_alone() {
    let mut world = World::new(Setup::default());
    world.connect();
    world.run_for(2 * MINUTE);
    world.gateway_restarts();
    world.trace.clear();
    world.statuses.clear();
    assert!(world.run_until(3 * MINUTE, |world| world.trace.iter().any(|line| line == "state up")));
    assert!(!world.trace.iter().any(|line| line == "unconfigure" || line == "resolve"), "{:?}", world.trace);
    let down = world.statuses.first().unwrap();
    assert!(matches!(down.cause.as_deref(), Some(Cause::Session(Failure::PeerDead))), "{down:?}");
    assert!(world.tunnel.status().cause.is_none(), "the cause outlives the trouble");
    assert_eq!(world.installed.len(), 1);
}

#[test]
fn a_gateway_that_hangs_up_is_called_again_at_once() {
    let mut world = World::new(Setup::default());
    world.connect();
    world.run_for(2 * MINUTE);
    let before = world.now;
    world.gateway_does(|session, now| session.close(now));
    assert!(world.run_until(MINUTE, |world| !world.is_up()));
    assert!(matches!(world.tunnel.status().cause.as_deref(), Some(Cause::Session(Failure::PeerClosed))));
    assert!(world.run_until(MINUTE, World::is_up));
    assert!(world.now - before < Duration::from_secs(1));
}

#[test]
fn a_gateway_that_keeps_hanging_up_is_called_less_and_less_often() {
    let mut world = World::new(Setup::default());
    world.connect();
    let mut waits = Vec::new();
    for _ in 0..6 {
        let lost = world.now;
        world.gateway_does(|session, now| session.close(now));
        assert!(world.run_until(MINUTE, |world| !world.is_up()));
        assert!(world.run_until(3 * MINUTE, World::is_up));
        waits.push(world.now - lost);
    }
    assert!(waits.windows(2).all(|pair| pair[1] > pair[0]), "{waits:?}");
}

#[test]
fn a_deleted_child_sa_is_replaced_within_the_same_session() {
    let mut world = World::new(Setup::default());
    world.connect();
    world.run_for(MINUTE);
    let ike_sa = world.tunnel.ike_sa().unwrap();
    world.trace.clear();
    world.gateway_does(|session, now| {
        let spi = session.children().next().unwrap().spi_in;
        session.delete_child(spi, now);
    });
    assert!(world.run_until(MINUTE, |world| world.trace.iter().any(|line| line == "state up")));
    assert_eq!(world.tunnel.ike_sa().unwrap().spi_i, ike_sa.spi_i);
    assert!(!world.trace.iter().any(|line| line.starts_with("open")), "{:?}", world.trace);
    assert_eq!(world.installed.len(), 1);
}

#[test]
fn a_child_sa_whose_sequence_numbers_run_low_is_replaced_at_once_and_without_a_gap() {
    let mut world = World::new(Setup::default());
    world.connect();
    world.run_for(MINUTE);
    let (ike_sa, spi_in) = (world.tunnel.ike_sa().unwrap(), *world.installed.keys().next().unwrap());
    world.trace.clear();
    world.command(Command::SequenceLow { spi_in });
    // Said again by a thread that sends on meanwhile: once is enough.
    world.command(Command::SequenceLow { spi_in });
    assert!(world.run_until(Duration::from_secs(1), |world| world.installed.len() == 2));
    // The old one receives what is still on its way until it is deleted.
    world.run_for(MINUTE);
    assert!(world.installed.len() == 1 && !world.installed.contains_key(&spi_in));
    assert_eq!(world.trace, ["install", "remove"]);
    assert_eq!(world.tunnel.ike_sa().unwrap().spi_i, ike_sa.spi_i);
}

#[test]
fn reauthentication_makes_before_it_breaks() {
    let mut world = World::new(Setup::default());
    world.responder().set_faults(Faults { auth_lifetime: Some(10 * MINUTE), ..Faults::default() });
    world.connect();
    let first = world.tunnel.ike_sa().unwrap().spi_i;
    world.statuses.clear();
    let mut gap = false;
    let deadline = world.now + 60 * MINUTE;
    while world.now < deadline {
        world.run_for(Duration::from_millis(10));
        gap |= world.sending.is_none() || !world.is_up();
    }
    assert!(!gap, "there was a moment without a CHILD SA to send on");
    assert!(world.statuses.iter().all(|status| status.state == TunnelState::Up), "{:?}", world.statuses);
    assert_ne!(world.tunnel.ike_sa().unwrap().spi_i, first);
    assert_eq!(world.installed.len(), 1, "old SAs pile up");
    assert_eq!(world.session_ids().len(), 1, "the gateway keeps old sessions");
}

#[test]
fn a_failing_reauthentication_is_tried_again_while_the_old_session_lives() {
    let mut world = World::new(Setup::default());
    world.responder().set_faults(Faults { auth_lifetime: Some(10 * MINUTE), ..Faults::default() });
    world.connect();
    world.responder().set_faults(Faults {
        bad_auth: true,
        auth_lifetime: Some(10 * MINUTE),
        ..Faults::default()
    });
    world.run_for(9 * MINUTE);
    assert!(world.is_up());
    world.responder().set_faults(Faults { auth_lifetime: Some(10 * MINUTE), ..Faults::default() });
    world.run_for(10 * MINUTE);
    assert!(world.is_up());
    assert_eq!(world.installed.len(), 1);
}

#[test]
fn a_successor_takes_over_from_a_session_that_has_just_lost_its_child_sa() {
    for wait in 0..60 {
        let mut world = World::new(Setup::default());
        world.responder().set_faults(Faults { auth_lifetime: Some(10 * MINUTE), ..Faults::default() });
        world.connect();
        let first = world.tunnel.ike_sa().unwrap().spi_i;
        assert!(world.run_until(10 * MINUTE, |world| world.half_open() == 1), "no successor");
        world.run_for(Duration::from_millis(wait));
        // The CHILD SA that is in use is deleted, and its successor is on its way.
        world.gateway_does(|session, now| {
            let spi = session.children().next().map(|child| child.spi_in);
            if let Some(spi) = spi {
                session.delete_child(spi, now);
            }
        });
        world.run_for(MINUTE);
        assert!(world.is_up() && world.sending.is_some(), "after {wait} ms");
        assert_ne!(
            world.tunnel.ike_sa().unwrap().spi_i,
            first,
            "after {wait} ms: the successor was sent away"
        );
        assert_eq!((world.installed.len(), world.session_ids().len()), (1, 1), "after {wait} ms");
    }
}

#[test]
fn a_wrong_psk_is_given_up_at_once_and_leaves_nothing() {
    let mut world = World::new(Setup { psk: "another psk", ..Setup::default() });
    world.command(Command::Connect);
    assert!(world.run_until(MINUTE, |world| world.state() == TunnelState::Failed));
    assert!(
        matches!(
            world.tunnel.status().cause.as_deref(),
            Some(Cause::Session(Failure::AuthenticationRejected))
        ),
        "{}",
        world.cause()
    );
    assert!(world.is_clean());
    let sent = world.datagrams_sent;
    world.run_for(60 * MINUTE);
    assert_eq!(world.datagrams_sent, sent, "wrong credentials are sent again");
}

#[test]
fn a_person_can_try_again_after_a_failure() {
    let mut world = World::new(Setup::default());
    world.configure = Err(ConfigureError::Routes);
    world.command(Command::Connect);
    assert!(world.run_until(MINUTE, |world| world.state() == TunnelState::Failed));
    assert!(matches!(world.tunnel.status().cause.as_deref(), Some(Cause::Configure(ConfigureError::Routes))));
    assert!(world.is_clean());
    world.configure = Ok(());
    world.connect();
}

#[test]
fn a_gateway_that_never_answered_is_given_up_after_one_round() {
    let mut world =
        World::new(Setup { addresses: vec![(gateway(1), false), (gateway(2), false)], ..Setup::default() });
    let asked = world.now;
    world.command(Command::Connect);
    assert!(world.run_until(5 * MINUTE, |world| world.state() == TunnelState::Failed));
    assert!(world.now - asked < Duration::from_secs(35), "a person waits for this");
    assert!(matches!(
        world.tunnel.status().cause.as_deref(),
        Some(Cause::Session(Failure::NoResponse { port: 500, .. }))
    ));
    assert!(world.is_clean());
    assert!(world.tunnel.poll_timeout().is_none());
}

#[test]
fn after_a_loss_the_cause_is_visible_while_pauses_grow() {
    let mut world = World::new(Setup::default());
    world.connect();
    world.gateways.clear();
    let mut pauses = Vec::new();
    for _ in 0..9 {
        assert!(world.run_until(5 * MINUTE, World::is_waiting));
        assert!(world.tunnel.status().cause.is_some() && world.tunnel.status().has_been_up);
        let paused = world.now;
        assert!(world.run_until(5 * MINUTE, |world| !world.is_waiting()));
        pauses.push(world.now - paused);
    }
    assert!(pauses.windows(2).all(|pair| pair[1] > pair[0] || pair[1] >= MINUTE), "{pauses:?}");
    assert!(world.run_until(5 * MINUTE, World::is_waiting));
    assert!(world.is_clean());
}

#[test]
fn a_wish_renewed_during_a_pause_is_followed_at_once() {
    let mut world = World::new(Setup::default());
    world.connect();
    world.unroutable.insert(gateway(10));
    world.gateway_does(|session, now| session.close(now));
    assert!(world.run_until(5 * MINUTE, |world| {
        matches!(world.tunnel.status().cause.as_deref(), Some(Cause::Path(PathError::NoRoute)))
    }));
    assert!(world.run_until(MINUTE, World::is_waiting));
    world.unroutable.clear();
    let asked = world.now;
    world.connect();
    assert!(world.now - asked < Duration::from_secs(1));
}

#[test]
fn a_gateway_that_stays_away_gives_the_network_back_and_is_looked_up_again() {
    let mut world = World::new(Setup::default());
    world.connect();
    world.run_for(2 * MINUTE);
    world.gateways.clear();
    world.trace.clear();
    assert!(world.run_until(30 * MINUTE, |world| world.trace.iter().any(|line| line == "resolve")));
    assert!(world.network.is_none());
    let position = |what: &str| world.trace.iter().position(|line| line == what).unwrap();
    assert!(position("unconfigure") < position("resolve"));
    // It has moved.
    let now = world.now;
    world.gateways.insert(gateway(20), crate::world::gateways::responder(9, now));
    world.resolver = Ok(vec![gateway(20)]);
    assert!(world.run_until(30 * MINUTE, World::is_up));
    assert_eq!(world.network.clone().unwrap().gateways, [gateway(20)]);
}

#[test]
fn a_name_without_an_address_is_given_up_with_the_reason() {
    for error in [ResolveError::NotFound, ResolveError::Unavailable] {
        let mut world = World::new(Setup::default());
        world.resolver = Err(error);
        world.command(Command::Connect);
        assert!(world.run_until(MINUTE, |world| world.state() == TunnelState::Failed));
        assert!(matches!(world.tunnel.status().cause.as_deref(), Some(Cause::Resolve(got)) if *got == error));
        world.resolver = Ok(vec![gateway(10)]);
        world.connect();
    }
}

#[test]
fn a_disconnect_at_any_moment_of_connecting_leaves_nothing() {
    for milliseconds in 0..150 {
        let mut world = World::new(Setup::default());
        world.command(Command::Connect);
        world.run_for(Duration::from_millis(milliseconds));
        world.command(Command::Disconnect);
        assert!(
            world.run_until(MINUTE, |world| world.state() == TunnelState::Off),
            "after {milliseconds} ms"
        );
        assert!(world.is_clean(), "after {milliseconds} ms");
    }
}

#[test]
fn a_wish_renewed_while_going_down_is_followed_once_down() {
    let mut world = World::new(Setup::default());
    world.connect();
    world.command(Command::Disconnect);
    world.trace.clear();
    world.command(Command::Connect);
    assert!(world.run_until(MINUTE, World::is_up));
    assert!(world.trace.iter().any(|line| line == "resolve"));
    assert_eq!(world.installed.len(), 1);
}
