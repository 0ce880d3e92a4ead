//! The search against a path that loses what is too large.

use super::*;
use crate::defaults;
use crate::overhead::{EspShape, Family};
use std::time::Instant;

const RTT: Duration = Duration::from_millis(40);

/// A path with one MTU, and a virtual clock.
struct Path {
    mtu: u16,
    answers: bool,
    now: Instant,
    start: Instant,
    search: PmtuSearch,
    /// Answers under way, with the time when they arrive.
    replies: Vec<(Instant, ProbeId)>,
    /// Which answers are lost though the size fits, by the number of the probe.
    lost: fn(u32) -> bool,
    sent: Vec<u16>,
}

impl Path {
    fn new(mtu: u16) -> Self {
        Self::with(mtu, |_| {})
    }

    #[expect(clippy::disallowed_methods, reason = "a starting point for virtual time")]
    fn with(mtu: u16, change: impl FnOnce(&mut Config)) -> Self {
        let start = Instant::now();
        let mut config = Config {
            direction: Direction::Uplink,
            style: ProbeStyle::Padded,
            encapsulation: Encapsulation { family: Family::V4, esp: EspShape::AEAD },
            link_mtu: 1500,
            remembered: None,
            first_number: 0,
            rtt: Some(RTT),
        };
        change(&mut config);
        let search = PmtuSearch::new(config, start);
        Self {
            mtu,
            answers: true,
            now: start,
            start,
            search,
            replies: Vec::new(),
            lost: |_| false,
            sent: Vec::new(),
        }
    }

    fn elapsed(&self) -> Duration {
        self.now - self.start
    }

    fn send(&mut self) {
        while let Some(probe) = self.search.poll_probe(self.now) {
            self.sent.push(probe.size);
            if self.answers && probe.size <= self.mtu && !(self.lost)(probe.id.number) {
                self.replies.push((self.now + RTT, probe.id));
            }
        }
    }

    /// Does whatever comes next, up to `end`. False when nothing happens until then.
    fn step(&mut self, end: Instant) -> bool {
        self.send();
        let reply = self.replies.iter().map(|(at, _)| *at).min();
        let next = [reply, self.search.poll_timeout()].into_iter().flatten().min();
        let Some(at) = next.filter(|&at| at <= end) else {
            self.now = end;
            return false;
        };
        self.now = self.now.max(at);
        if reply == Some(at) {
            let index = self.replies.iter().position(|(arrival, _)| *arrival == at).unwrap();
            let (_, id) = self.replies.remove(index);
            self.search.handle_reply(id, self.now);
        } else {
            self.search.handle_timeout(self.now);
        }
        true
    }

    fn run_for(&mut self, span: Duration) {
        let end = self.now + span;
        while self.step(end) {}
    }

    fn settle(&mut self) {
        let end = self.now + Duration::from_secs(60);
        while self.search.outcome() == Outcome::Searching {
            assert!(self.step(end), "the search ends");
        }
    }
}

#[test]
fn the_size_is_right_within_two_round_trips_whatever_it_is() {
    for mtu in 1024..=1500 {
        let mut path = Path::new(mtu);
        path.run_for(RTT * 2);
        assert_eq!(path.search.size(), mtu - mtu % 4, "path of {mtu}");
        path.settle();
        assert_eq!(path.search.size(), mtu - mtu % 4);
        assert_eq!(path.search.outcome(), Outcome::Exact);
    }
}

#[test]
fn a_path_with_a_named_size_is_right_within_one_round_trip() {
    for mtu in [1500, 1492, 1420, 1400, 1380, 1300, 1280] {
        let mut path = Path::new(mtu);
        path.run_for(RTT);
        assert_eq!(path.search.size(), mtu);
    }
}

#[test]
fn a_size_counts_as_measured_once_a_larger_one_was_lost_twice_or_there_is_none() {
    let measured = |path: &Path| path.search.is_measured().then(|| path.search.size());
    let mut path = Path::new(1400);
    path.run_for(RTT);
    assert_eq!((path.search.size(), measured(&path)), (1400, None), "the larger ones were lost once");
    path.run_for(RTT);
    assert_eq!(measured(&path), Some(1400));
    // The two largest by chance.
    let mut path = Path::new(1500);
    path.lost = |number| number < 2;
    path.run_for(RTT);
    assert_eq!((path.search.size(), measured(&path)), (1480, None));
    path.run_for(RTT);
    assert_eq!(measured(&path), Some(1500));
    // A router's word is none, unless there is nobody else to ask.
    path.search.handle_icmp_too_big(600, true, path.now);
    assert_eq!((path.search.size(), measured(&path)), (600, None));
    path.run_for(RTT * 2);
    assert_eq!(measured(&path), Some(1500));
    let mut silent = Path::new(1500);
    silent.answers = false;
    silent.settle();
    assert_eq!(measured(&silent), Some(1280));
    silent.search.handle_icmp_too_big(600, true, silent.now);
    assert_eq!(measured(&silent), Some(600));
}

#[test]
fn a_search_keeps_its_budget_on_every_path() {
    for mtu in (576..=1500).chain([0]) {
        let mut path = Path::new(mtu);
        path.settle();
        let spent = path.search.spent();
        assert!(spent.probes <= 80 && spent.bytes <= 80_000, "{mtu}: {spent:?}");
    }
}

#[test]
fn only_sizes_that_the_suite_can_produce_are_asked_about() {
    for (esp, family) in [(EspShape::aes_cbc(16), Family::V4), (EspShape::aes_cbc(12), Family::V6)] {
        let encapsulation = Encapsulation { family, esp };
        let mut path = Path::with(1433, |config| config.encapsulation = encapsulation);
        path.settle();
        let right = encapsulation.outer_len(usize::from(encapsulation.inner_mtu(1433)));
        assert_eq!(usize::from(path.search.size()), right);
        assert!(path.sent.iter().all(|&size| {
            encapsulation.outer_len(usize::from(encapsulation.inner_mtu(size))) == usize::from(size)
        }));
    }
}

#[test]
fn every_third_answer_lost_delays_the_size_but_does_not_change_it() {
    for mtu in 1100..=1500 {
        let mut path = Path::new(mtu);
        path.lost = |number| number % 3 == 1;
        path.settle();
        assert_eq!(path.search.size(), mtu - mtu % 4, "path of {mtu}");
    }
}

#[test]
fn the_floor_of_1280_holds_until_a_smaller_size_is_proven_by_two_lost_ones() {
    let mut path = Path::new(1124);
    assert_eq!(path.search.size(), 1280);
    path.run_for(RTT);
    assert_eq!(path.search.size(), 1280, "one unanswered probe may be a lost one");
    path.run_for(RTT);
    assert_eq!(path.search.size(), 1124);
}

#[test]
fn over_ipv6_nothing_below_1280_is_tried() {
    let v6 = Encapsulation { family: Family::V6, esp: EspShape::AEAD };
    let mut path = Path::with(1000, |config| config.encapsulation = v6);
    path.settle();
    assert_eq!((path.search.size(), path.search.outcome()), (1280, Outcome::Unanswered));
    assert!(path.sent.iter().all(|&size| size >= 1280));
}

#[test]
fn where_nothing_answers_the_size_is_conservative_and_says_so() {
    let mut path = Path::new(1500);
    path.answers = false;
    path.settle();
    assert_eq!((path.search.size(), path.search.outcome()), (1280, Outcome::Unanswered));
    let sent = path.sent.len();
    path.run_for(Duration::from_secs(3600));
    assert!(path.sent.len() - sent < 110, "an hour of asking again costs {} probes", path.sent.len() - sent);
    path.answers = true;
    path.run_for(Duration::from_secs(600));
    assert_eq!((path.search.size(), path.search.outcome()), (1500, Outcome::Exact));
}

#[test]
fn a_remembered_size_is_used_at_once_and_a_wrong_one_corrected() {
    for (remembered, mtu) in [(1412, 1412), (1412, 1300), (1300, 1412), (65535, 1412), (0, 1412)] {
        let mut path = Path::with(mtu, |config| config.remembered = Some(remembered));
        assert_eq!(path.search.size(), remembered.clamp(576, 1500));
        path.run_for(RTT * 2);
        assert_eq!(path.search.size(), mtu);
    }
}

#[test]
fn numbers_go_on_where_another_search_ended_and_its_answers_are_none() {
    let mut path = Path::with(1300, |config| config.first_number = 70_000);
    let probe = path.search.poll_probe(path.now).unwrap();
    assert_eq!((probe.id.number, probe.size), (70_000, 1500));
    for number in [0, 4464, 69_999] {
        path.search.handle_reply(ProbeId { number, ..probe.id }, path.now);
    }
    path.settle();
    assert_eq!(path.search.size(), 1300);
}

#[test]
fn the_link_bounds_what_is_tried() {
    let mut path = Path::with(1500, |config| config.link_mtu = 1400);
    path.settle();
    assert_eq!((path.search.size(), path.search.outcome()), (1400, Outcome::Exact));
    assert_eq!(path.sent.iter().max(), Some(&1400));
}

#[test]
fn a_black_hole_under_traffic_ends_within_three_seconds() {
    for after in [1492, 1400, 1300, 1281, 1124, 577] {
        let mut path = Path::new(1500);
        path.settle();
        path.run_for(Duration::from_secs(5));
        path.mtu = after;
        let changed = path.now;
        while path.search.size() > after {
            path.search.handle_traffic(path.now);
            path.run_for(Duration::from_millis(10));
            assert!(path.now - changed < Duration::from_secs(3), "{after}");
        }
        path.settle();
        assert_eq!(path.search.size(), after - after % 4);
    }
}

#[test]
fn a_path_that_shrinks_during_the_search_is_still_found() {
    for at in [10, 41, 45, 81, 90, 121, 130] {
        let mut path = Path::new(1412);
        path.run_for(Duration::from_millis(at));
        path.mtu = 1300;
        for _ in 0..30 {
            path.search.handle_traffic(path.now);
            path.run_for(Duration::from_millis(100));
        }
        assert_eq!(path.search.size(), 1300, "changed after {at} ms");
    }
}

#[test]
fn confirming_costs_three_probes_a_second_at_most_and_nothing_without_traffic() {
    let mut path = Path::new(1400);
    path.settle();
    let before = path.sent.len();
    path.run_for(Duration::from_secs(500));
    assert_eq!(path.sent.len(), before);
    for _ in 0..50 {
        path.search.handle_traffic(path.now);
        path.run_for(Duration::from_millis(100));
    }
    assert!(path.sent.len() - before <= 18, "{} probes in five seconds", path.sent.len() - before);
}

#[test]
fn a_larger_path_is_found_when_the_raise_timer_ends_even_under_traffic() {
    let mut path = Path::new(1400);
    path.settle();
    path.mtu = 1500;
    while path.search.size() == 1400 {
        path.search.handle_traffic(path.now);
        path.run_for(Duration::from_millis(500));
        assert!(path.elapsed() < defaults::RAISE_AFTER + Duration::from_secs(2));
    }
    assert_eq!(path.search.size(), 1500);
}

#[test]
fn a_router_that_names_a_smaller_mtu_is_believed_at_once_and_checked() {
    let mut path = Path::new(1500);
    path.settle();
    path.mtu = 1411;
    path.search.handle_icmp_too_big(1411, true, path.now);
    assert_eq!(path.search.size(), 1408);
    path.settle();
    assert_eq!((path.search.size(), path.search.outcome()), (1408, Outcome::Exact));
}

#[test]
fn an_icmp_error_that_does_not_quote_our_packet_changes_nothing() {
    let mut path = Path::new(1500);
    path.settle();
    path.search.handle_icmp_too_big(600, false, path.now);
    assert_eq!(path.search.size(), 1500);
    assert!(path.search.poll_probe(path.now).is_none());
}

#[test]
fn a_forged_icmp_error_is_undone_within_two_round_trips_and_a_flood_is_bounded() {
    let mut path = Path::new(1500);
    path.settle();
    path.search.handle_icmp_too_big(0, true, path.now);
    assert_eq!(path.search.size(), 576, "bounded even when believed");
    path.run_for(RTT * 2);
    assert_eq!(path.search.size(), 1500);
    path.settle();

    let (before, mut low) = (path.sent.len(), Duration::ZERO);
    for _ in 0..6000 {
        path.search.handle_icmp_too_big(0, true, path.now);
        path.run_for(Duration::from_millis(10));
        low += if path.search.size() < 1500 { Duration::from_millis(10) } else { Duration::ZERO };
    }
    assert!(path.sent.len() - before < 300, "a minute's flood costs {} probes", path.sent.len() - before);
    assert!(low < Duration::from_secs(1), "{low:?} of a minute too small");
}

#[test]
fn an_icmp_error_never_raises() {
    let mut path = Path::new(1400);
    path.settle();
    path.search.handle_icmp_too_big(9000, true, path.now);
    path.search.handle_icmp_too_big(1480, true, path.now);
    assert_eq!(path.search.size(), 1400);
}

#[test]
fn unknown_repeated_and_foreign_answers_are_ignored() {
    let mut path = Path::new(1300);
    path.settle();
    for number in 0..5000 {
        for direction in [Direction::Uplink, Direction::Downlink] {
            path.search.handle_reply(ProbeId { direction, number: number + 100_000 }, path.now);
        }
    }
    assert_eq!(path.search.size(), 1300);
    let mut path = Path::new(1300);
    path.send();
    for number in 0..30 {
        path.search.handle_reply(ProbeId { direction: Direction::Downlink, number }, path.now);
    }
    assert_eq!(path.search.size(), 1280);
}

#[test]
fn an_outage_in_the_middle_of_a_search_never_brings_the_first_guess_back() {
    let mut path = Path::new(1500);
    path.settle();
    path.run_for(Duration::from_secs(2));
    path.mtu = 700;
    path.search.handle_traffic(path.now);
    while path.search.size() > 700 {
        assert!(path.step(path.now + Duration::from_secs(5)));
    }
    path.answers = false;
    path.run_for(Duration::from_secs(5));
    assert!(path.search.size() <= 700, "{}", path.search.size());
    assert_eq!(path.search.outcome(), Outcome::Coarse);
    path.answers = true;
    path.run_for(Duration::from_secs(15));
    assert_eq!((path.search.size(), path.search.outcome()), (700, Outcome::Exact));
}

#[test]
fn an_outage_after_the_first_answers_leaves_the_largest_answered_size() {
    let mut path = Path::with(1248, |config| config.remembered = Some(1480));
    path.run_for(RTT);
    assert_eq!(path.search.size(), 1480, "one unanswered probe may be a lost one");
    path.answers = false;
    path.replies.clear();
    path.run_for(Duration::from_secs(5));
    assert_eq!((path.search.size(), path.search.outcome()), (1240, Outcome::Coarse));
}
