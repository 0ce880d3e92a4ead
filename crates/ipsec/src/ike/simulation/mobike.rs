//! MOBIKE: the client changes its address, and everything that can go wrong meanwhile.

use super::collisions::{ACTS, Act, check_settled, perform};
use super::*;
use crate::ike::established::Established;
use crate::ike::mobike::Update;
use crate::ike::payloads::{Payloads, status};
use crate::ike::sa::Task;
use crate::ike::session::{Common, Phase};
use crate::ike::{Failure, Faults, Framing, MigrateError, Path, Session};
use crate::wire::{Exchange, NotifyType, Payload};
use std::time::Duration;

const HOME: &str = "192.168.1.5:40002";
const CAFE: &str = "192.168.2.5:40010";
const PHONE: &str = "192.168.3.5:40020";

fn path_from(local: &str) -> Path {
    Path {
        local: local.parse().unwrap(),
        remote: "198.51.100.10:4500".parse().unwrap(),
        framing: Framing::NonEspMarker,
    }
}

fn connected(options: Options) -> Pair {
    let mut pair = Pair::new(options);
    pair.connect();
    pair.run_for(Duration::from_secs(1));
    pair
}

/// The link at `from` is gone, and the client moves to `to`.
fn roam(pair: &mut Pair, from: &str, to: &str) {
    pair.nat.dead.insert(from.parse().unwrap());
    pair.nat.dead.remove(&to.parse().unwrap());
    let now = pair.now;
    pair.client.migrate(path_from(to), now).expect("MOBIKE was agreed on");
}

fn told(pair: &Pair, event: &str) -> usize {
    pair.client_events.iter().filter(|told| told.starts_with(event)).count()
}

fn migrated_to(local: &str) -> String {
    format!("Migrated {{ path: {:?} }}", path_from(local))
}

/// IKE and ESP run between the responder and `local`, both ways.
fn check_at(pair: &mut Pair, local: &str, what: &str) {
    let inside = local.parse().unwrap();
    assert_eq!(pair.client.info().expect("established").path, path_from(local), "{what}");
    let outside = pair.nat.outward(inside).expect("the link is there");
    assert_eq!(pair.responder_info().expect("established").path.remote, outside, "{what}");
    pair.esp_came_to = None;
    let before = received(pair);
    pair.exchange_packets();
    pair.run_for(Duration::from_secs(1));
    assert_eq!(pair.esp_came_to, Some(inside), "{what}: the responder's ESP");
    assert!(received(pair) > before, "{what}: the client's ESP");
}

fn received(pair: &Pair) -> u64 {
    pair.responder_plane.inbound.values().map(|sa| sa.counters().snapshot().packets).sum()
}

fn state(session: &mut Session) -> (&mut Established, &mut Common) {
    let Phase::Established(state) = &mut session.phase else { panic!("not established") };
    (state, &mut session.common)
}

#[test]
fn a_roam_moves_ike_and_esp_in_one_round_trip() {
    let mut pair = connected(Options::psk(1));
    assert!(pair.client.info().is_some_and(|info| info.mobike));
    assert!(pair.responder_info().is_some_and(|info| info.mobike));
    let (before, sent) = (pair.now, pair.sent);
    roam(&mut pair, HOME, CAFE);
    assert!(pair.run_until(Duration::from_secs(1), |pair| told(pair, &migrated_to(CAFE)) == 1));
    assert!(pair.now - before <= Duration::from_millis(30), "{:?}", pair.now - before);
    assert_eq!(pair.sent, sent + 2, "one exchange");
    assert!(pair.responder_events.iter().any(|event| event.starts_with("PathChanged")));
    check_at(&mut pair, CAFE, "roam");
}

#[test]
fn the_nat_verdict_is_that_of_the_new_path() {
    let mut pair = connected(Options::psk(2));
    assert!(pair.client.info().is_some_and(|info| info.nat_local));
    // Another network, without a NAT.
    let public = "203.0.113.77:41003";
    roam(&mut pair, HOME, public);
    pair.run_for(Duration::from_secs(1));
    assert_eq!(told(&pair, &migrated_to(public)), 1, "{:?}", pair.client_events);
    let info = pair.client.info().expect("established");
    assert!(!info.nat_local, "the responder sees the address that we have");
    assert!(pair.responder_info().is_some_and(|info| info.nat_remote), "no raw ESP all the same");
}

#[test]
fn roams_on_lossy_networks_end_soon() {
    let (mut roams, mut soon) = ([0_u32; 4], [0_u32; 4]);
    for seed in 0..800 {
        let class = usize::try_from(seed % 4).unwrap();
        let mut pair = connected(Options::psk(10_000 + seed));
        let loss = u32::try_from(class).unwrap() * 100;
        pair.network = Network { loss, duplicates: 50, jitter_ms: 40, ..Network::default() };
        for (from, to) in [(HOME, CAFE), (CAFE, PHONE), (PHONE, HOME)] {
            let (started, before) = (pair.now, told(&pair, "Migrated"));
            roam(&mut pair, from, to);
            let done = pair.run_until(Duration::from_secs(30), |pair| told(pair, "Migrated") > before);
            assert!(done, "seed {seed}: {:?}", pair.client_events);
            roams[class] += 1;
            soon[class] += u32::from(pair.now - started <= Duration::from_millis(1100));
        }
        pair.network = Network { jitter_ms: 5, ..Network::default() };
        pair.run_for(Duration::from_secs(5));
        check_at(&mut pair, HOME, &format!("seed {seed}"));
    }
    // Each attempt needs two datagrams; the fourth leaves within the first second.
    let percent: Vec<u32> = roams.iter().zip(soon).map(|(all, soon)| soon * 100 / all).collect();
    assert_eq!(percent[0], 100);
    assert!(percent[1] >= 99 && percent[2] >= 96 && percent[3] >= 88, "within a second: {percent:?} %");
}

#[test]
fn a_roam_during_any_exchange_settles_at_the_new_address() {
    for act in ACTS {
        for ours in [true, false] {
            // Lost with the old link: nothing, or the answer, or the request.
            for lost in [None, Some(false), Some(true)] {
                let what = format!("{act:?}, ours {ours}, lost {lost:?}");
                let mut pair = connected(Options::psk(77));
                pair.held = lost.map_or([false; 2], |request| [request != ours, request == ours]);
                perform(&mut pair, ours, act);
                pair.run_for(Duration::from_millis(12));
                pair.waiting.clear();
                pair.held = [false; 2];
                if pair.client_failure.is_some() {
                    continue;
                }
                let before = pair.now;
                roam(&mut pair, HOME, CAFE);
                let ended = pair.run_until(Duration::from_secs(100), |pair| {
                    told(pair, "Migrated") == 1 || pair.client_failure.is_some()
                });
                assert!(ended, "{what}: {:?}", pair.client_events);
                assert!(pair.now - before <= Duration::from_millis(800), "{what}: {:?}", pair.now - before);
                pair.run_for(Duration::from_secs(100));
                if act == Act::Close {
                    assert!(pair.client_failure.is_some() && pair.responder_failure.is_some(), "{what}");
                    continue;
                }
                if pair.client.children().count() > 0 {
                    check_at(&mut pair, CAFE, &what);
                }
                check_settled(&mut pair, &what);
            }
        }
    }
}

#[test]
fn a_roam_amid_crossing_exchanges_settles() {
    let mut seed = 20_000;
    for ours in ACTS {
        for theirs in ACTS {
            for late in [None, Some(true), Some(false)] {
                seed += 1;
                let what = format!("{ours:?} against {theirs:?}, late {late:?}, seed {seed}");
                let mut pair = connected(Options::psk(seed));
                pair.held = [true; 2];
                perform(&mut pair, true, ours);
                perform(&mut pair, false, theirs);
                pair.run_for(Duration::from_millis(20));
                if let Some(to_responder) = late {
                    pair.release_direction(!to_responder);
                    pair.run_for(Duration::from_millis(50));
                }
                let now = pair.now;
                // The link stays: what is under way arrives, from the old address.
                let asked = pair.client.migrate(path_from(CAFE), now);
                assert_eq!(asked.is_err(), pair.client_failure.is_some(), "{what}");
                pair.release();
                pair.run_for(Duration::from_secs(200));
                check_settled(&mut pair, &what);
                if pair.client_failure.is_none() {
                    assert_eq!(told(&pair, &migrated_to(CAFE)), 1, "{what}");
                    if pair.client.children().count() > 0 {
                        check_at(&mut pair, CAFE, &what);
                    }
                }
            }
        }
    }
}

#[test]
fn the_last_of_two_roams_wins_and_the_first_proves_nothing() {
    for seed in 0..50 {
        let mut pair = connected(Options::psk(300 + seed));
        // The answer to the first update is under way when the second roam comes.
        pair.held = [true, false];
        roam(&mut pair, HOME, CAFE);
        pair.run_for(Duration::from_millis(50));
        assert!(!pair.waiting.is_empty(), "the answer waits");
        let now = pair.now;
        pair.client.migrate(path_from(PHONE), now).expect("agreed");
        pair.release();
        pair.run_for(Duration::from_secs(2));
        assert_eq!(told(&pair, "Migrated"), 1, "seed {seed}: {:?}", pair.client_events);
        assert_eq!(told(&pair, &migrated_to(PHONE)), 1);
        check_at(&mut pair, PHONE, "two roams");
        // There and back again.
        for to in [CAFE, PHONE] {
            let now = pair.now;
            pair.client.migrate(path_from(to), now).expect("agreed");
        }
        pair.run_for(Duration::from_secs(2));
        assert_eq!(told(&pair, "Migrated"), 2, "seed {seed}: {:?}", pair.client_events);
        check_at(&mut pair, PHONE, "there and back");
    }
}

#[test]
fn a_second_update_waits_for_the_first_even_on_another_ike_sa() {
    let mut pair = connected(Options::psk(13));
    /* INFORMATIONAL { N(UPDATE_SA_ADDRESSES), ... } --> (under way) */
    pair.held = [false, true];
    let now = pair.now;
    pair.client.migrate(path_from(CAFE), now).expect("agreed");
    /* <-- CREATE_CHILD_SA { SA, Ni, KEi } */
    pair.with_peer(|session| session.rekey_ike(now));
    pair.run_for(Duration::from_millis(50));
    assert_eq!(told(&pair, "IkeRekeyed"), 1);
    let (first, before) = (pair.waiting[0].payload.clone(), pair.waiting.len());
    let now = pair.now;
    pair.client.migrate(path_from(PHONE), now).expect("agreed");
    pair.run_for(Duration::from_millis(150));
    let sent: Vec<_> = pair.waiting[before..].iter().map(|flight| flight.payload.clone()).collect();
    assert_eq!(sent, [first], "the first goes on along the new path, and nothing overtakes it");
    pair.release();
    pair.run_for(Duration::from_secs(5));
    assert_eq!((told(&pair, "Migrated"), told(&pair, &migrated_to(PHONE))), (1, 1));
    check_at(&mut pair, PHONE, "two IKE SAs");
}

#[test]
fn an_update_that_nobody_answers_ends_the_session_in_half_a_minute() {
    let mut pair = connected(Options::psk(3));
    roam(&mut pair, HOME, CAFE);
    pair.network.loss = 1000;
    pair.run_for(Duration::from_secs(25));
    assert!(pair.client_failure.is_none());
    pair.run_for(Duration::from_secs(10));
    assert!(matches!(pair.client_failure, Some(Failure::PeerDead)), "{:?}", pair.client_failure);
}

#[test]
fn without_mobike_there_is_no_migration_and_the_responder_follows_by_itself() {
    for ours in [true, false] {
        let mut pair = Pair::new(Options { mobike: !ours, ..Options::psk(4) });
        pair.responder.set_faults(Faults { no_mobike: !ours, ..Faults::default() });
        let now = pair.now;
        assert_eq!(pair.client.migrate(path_from(CAFE), now), Err(MigrateError::NotEstablished));
        pair.connect();
        assert!(!pair.client.info().expect("established").mobike);
        assert!(!pair.responder_info().expect("established").mobike);
        let now = pair.now;
        assert_eq!(pair.client.migrate(path_from(CAFE), now), Err(MigrateError::NotAgreed));
        assert_eq!(pair.client.info().expect("established").path, path_from(HOME));
        // RFC 7296 §2.23.
        pair.nat.forget();
        pair.client.probe(now);
        pair.run_for(Duration::from_secs(1));
        check_at(&mut pair, HOME, "followed");
    }
}

#[test]
fn the_responder_does_not_lead() {
    let mut pair = connected(Options::psk(5));
    let now = pair.now;
    pair.with_peer(|session| {
        assert_eq!(session.migrate(path_from(CAFE), now), Err(MigrateError::NotAgreed));
    });
    // Nor does the client follow.
    let update = [status(NotifyType::UpdateSaAddresses, Vec::new())];
    pair.with_peer(|session| ask(session, &update, now));
    pair.run_for(Duration::from_secs(1));
    check_at(&mut pair, HOME, "unmoved");
}

/// Sends an INFORMATIONAL request with these payloads.
fn ask(session: &mut Session, payloads: &[Payload], now: std::time::Instant) {
    let (state, common) = state(session);
    let Common { out, timers, .. } = common;
    state.current.request(out, Exchange::Informational, payloads, Task::Dpd, timers, now);
}

#[test]
fn a_replayed_update_moves_nothing() {
    let mut pair = connected(Options::psk(6));
    pair.held = [false, true];
    let now = pair.now;
    pair.client.migrate(path_from(CAFE), now).expect("agreed");
    pair.run_for(Duration::from_millis(1));
    let update = pair.waiting.first().expect("the update").clone();
    pair.release();
    pair.run_for(Duration::from_secs(1));
    let now = pair.now;
    pair.client.migrate(path_from(PHONE), now).expect("agreed");
    pair.run_for(Duration::from_secs(1));
    check_at(&mut pair, PHONE, "moved on");
    let changes = |pair: &Pair| pair.responder_events.iter().filter(|e| e.starts_with("PathChanged")).count();
    let before = changes(&pair);
    for from in [CAFE, HOME, "192.168.9.9:666"] {
        for rekeyed in [false, true] {
            if rekeyed {
                let now = pair.now;
                pair.client.rekey_ike(now);
                pair.run_for(Duration::from_secs(1));
            }
            let mut replay = update.clone();
            replay.path.local = from.parse().unwrap();
            pair.launch(replay);
            pair.run_for(Duration::from_secs(1));
            check_at(&mut pair, PHONE, "after the replay");
        }
    }
    assert_eq!(changes(&pair), before);
}

#[test]
fn an_answer_from_elsewhere_is_no_proof() {
    let mut pair = connected(Options::psk(7));
    pair.held = [true, false];
    let now = pair.now;
    pair.client.migrate(path_from(CAFE), now).expect("agreed");
    pair.run_for(Duration::from_millis(50));
    let answer = pair.waiting.first().expect("the answer").clone();
    pair.client.handle_datagram(path_from(HOME), &answer.payload[4..], pair.now);
    pair.run_for(Duration::from_millis(1));
    assert_eq!(told(&pair, "Migrated"), 0);
    // The same along the path that it has to prove.
    pair.client.handle_datagram(path_from(CAFE), &answer.payload[4..], pair.now);
    pair.run_for(Duration::from_millis(1));
    assert_eq!(told(&pair, "Migrated"), 1);
}

#[test]
fn refusals_are_told_apart_and_the_responder_stays() {
    for (kind, refusal) in [
        (NotifyType::UnacceptableAddresses, "UnacceptableAddresses"),
        (NotifyType::UnexpectedNatDetected, "UnexpectedNat"),
        (NotifyType::InvalidSyntax, "Other(InvalidSyntax)"),
    ] {
        let mut pair = connected(Options::psk(8));
        pair.responder.set_faults(Faults { reject_update: Some(kind), ..Faults::default() });
        let at = pair.responder_info().expect("established").path;
        let now = pair.now;
        pair.client.migrate(path_from(CAFE), now).expect("agreed");
        pair.run_for(Duration::from_secs(1));
        let event = format!("MigrationRefused {{ path: {:?}, refusal: {refusal} }}", path_from(CAFE));
        assert_eq!(told(&pair, &event), 1, "{:?}", pair.client_events);
        assert_eq!(pair.responder_info().expect("established").path, at);
        // A second attempt is allowed.
        pair.responder.set_faults(Faults::default());
        let now = pair.now;
        pair.client.migrate(path_from(CAFE), now).expect("agreed");
        pair.run_for(Duration::from_secs(1));
        check_at(&mut pair, CAFE, "second attempt");
    }
}

const SMALL: usize = 300;

/// The client's path to the responder over TCP.
fn stream_from(local: &str) -> Path {
    Path { framing: Framing::Stream, ..path_from(local) }
}

/// What a request and its answer carry when both are longer than `SMALL`.
fn long_request() -> Vec<Payload> {
    let cookie = status(NotifyType::Cookie2, vec![9; 64]);
    let natd = [NotifyType::NatDetectionSourceIp, NotifyType::NatDetectionDestinationIp];
    let natd = natd.into_iter().map(|kind| status(kind, vec![0; 20]));
    let filling = status(NotifyType::Other(40_960), vec![0; 2 * SMALL]);
    natd.chain([cookie, filling]).collect()
}

#[test]
fn a_message_is_cut_for_the_path_that_it_leaves_along() {
    // So small that the answer needs fragments over UDP.
    let datagram = 180;
    let mut pair = connected(Options { fragment_size: datagram, ..Options::psk(14) });
    let now = pair.now;
    for (main, aside) in [(path_from(HOME), stream_from(HOME)), (stream_from(HOME), path_from(HOME))] {
        pair.client.migrate(main, now).expect("agreed");
        pair.run_for(Duration::from_secs(1));
        // A request along another path than the main one, as a test of it.
        pair.held = [true, false];
        let now = pair.now;
        let (state, common) = state(&mut pair.client);
        common.out.path = aside;
        let request = &long_request()[..3];
        state.current.request(
            &mut common.out,
            Exchange::Informational,
            request,
            Task::Dpd,
            &common.timers,
            now,
        );
        common.out.path = main;
        pair.run_for(Duration::from_millis(100));
        let answers: Vec<usize> = pair.waiting.iter().map(|flight| flight.payload.len()).collect();
        assert!(pair.waiting.iter().all(|flight| flight.path.framing == aside.framing));
        match aside.framing {
            Framing::Stream => assert_eq!(answers.len(), 1, "fragments in a stream"),
            Framing::Bare | Framing::NonEspMarker => {
                assert!(answers.len() > 1 && answers.iter().all(|len| len + 28 <= datagram), "{answers:?}");
            }
        }
        pair.release();
        pair.run_for(Duration::from_secs(1));
    }
}

#[test]
fn a_request_that_moves_from_a_stream_to_udp_is_cut_for_udp() {
    let mut pair = connected(Options { fragment_size: SMALL, ..Options::psk(15) });
    let now = pair.now;
    pair.client.migrate(stream_from(HOME), now).expect("agreed");
    pair.run_for(Duration::from_secs(1));
    pair.held = [false, true];
    let now = pair.now;
    ask(&mut pair.client, &long_request(), now);
    pair.run_for(Duration::from_millis(10));
    assert_eq!(pair.waiting.len(), 1, "fragments in a stream");
    // The stream is lost with what was in it.
    pair.waiting.clear();
    let now = pair.now;
    pair.client.migrate(path_from(CAFE), now).expect("agreed");
    pair.run_for(Duration::from_millis(1));
    let lengths: Vec<usize> = pair.waiting.iter().map(|flight| flight.payload.len()).collect();
    assert!(lengths.len() > 1 && lengths.iter().all(|len| len + 28 <= SMALL), "{lengths:?}");
    pair.release();
    pair.run_for(Duration::from_secs(1));
    assert_eq!(told(&pair, &migrated_to(CAFE)), 1, "the request was not answered");
    check_at(&mut pair, CAFE, "moved");
}

#[test]
fn a_changed_cookie2_ends_the_session() {
    let mut pair = connected(Options::psk(9));
    let now = pair.now;
    pair.held = [false, true];
    pair.client.migrate(path_from(CAFE), now).expect("agreed");
    let (state, common) = state(&mut pair.client);
    let carrier = state.current.own_spi();
    let Some(Task::UpdateAddresses(update)) = state.current.abandon() else { panic!("no update") };
    for answer in [vec![], vec![status(NotifyType::Cookie2, vec![7; 16])]] {
        let payloads = Payloads::sort(answer).unwrap();
        let outcome = state.on_update_response(common, carrier, &update, false, &payloads);
        assert!(matches!(outcome, Err(Failure::ProtocolViolation(_))), "{outcome:?}");
    }
    let _: Update = update;
}

#[test]
fn both_roles_echo_cookie2_and_answer_nat_detection() {
    let mut pair = connected(Options::psk(10));
    let cookie = status(NotifyType::Cookie2, vec![9; 32]);
    let natd = [NotifyType::NatDetectionSourceIp, NotifyType::NatDetectionDestinationIp];
    let request: Vec<Payload> =
        natd.into_iter().map(|kind| status(kind, vec![0; 20])).chain([cookie.clone()]).collect();
    let now = pair.now;
    let check = |session: &mut Session| {
        let (state, common) = state(session);
        let (carrier, path) = (state.current.own_spi(), common.out.path);
        let mut answer = |payloads: &[Payload]| {
            let payloads = Payloads::sort(payloads.to_vec()).unwrap();
            state.answer_mobike(common, carrier, path, &payloads, now)
        };
        let full = answer(&request);
        assert!(full.contains(&cookie));
        let full = Payloads::sort(full).unwrap();
        assert!(natd.into_iter().all(|kind| full.has(kind)));
        assert_eq!(answer(&[]), []);
        for wrong in [0, 7, 65, 4000] {
            assert_eq!(answer(&[status(NotifyType::Cookie2, vec![9; wrong])]), [], "{wrong} octets");
        }
    };
    check(&mut pair.client);
    pair.with_peer(check);
}

#[test]
fn an_initiator_that_forbids_nats_is_told_of_one() {
    let mut pair = connected(Options::psk(11));
    let (at, now) = (pair.responder_info().expect("established").path, pair.now);
    let request =
        [status(NotifyType::UpdateSaAddresses, vec![]), status(NotifyType::NoNatsAllowed, vec![1; 12])];
    pair.with_peer(|session| {
        let (state, common) = state(session);
        let carrier = state.current.own_spi();
        let elsewhere = Path { remote: "203.0.113.77:4500".parse().unwrap(), ..at };
        let payloads = Payloads::sort(request.to_vec()).unwrap();
        let answer = state.answer_mobike(common, carrier, elsewhere, &payloads, now);
        assert_eq!(answer, [status(NotifyType::UnexpectedNatDetected, vec![])]);
        assert_eq!(common.out.path, at);
    });
}

#[test]
fn the_peers_additional_addresses_are_kept_up_to_date() {
    let mut pair = connected(Options::psk(12));
    let known = |pair: &Pair| pair.client.info().expect("established").additional_addresses;
    assert_eq!(known(&pair), [] as [std::net::IpAddr; 0]);
    for (said, expected) in [
        (vec![(NotifyType::AdditionalIp4Address, vec![198, 51, 100, 11])], vec!["198.51.100.11"]),
        (vec![], vec!["198.51.100.11"]),
        (vec![(NotifyType::AdditionalIp4Address, vec![198, 51, 100, 12])], vec!["198.51.100.12"]),
        (vec![(NotifyType::NoAdditionalAddresses, vec![])], vec![]),
    ] {
        let payloads: Vec<Payload> = said.into_iter().map(|(kind, data)| status(kind, data)).collect();
        let now = pair.now;
        pair.with_peer(|session| ask(session, &payloads, now));
        pair.run_for(Duration::from_secs(1));
        let texts: Vec<String> = known(&pair).iter().map(ToString::to_string).collect();
        assert_eq!(texts, expected);
    }
}
