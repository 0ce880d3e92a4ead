//! The search of one direction.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::candidates::Grid;
use super::round::{Progress, Round};
use super::{Config, Outcome, Probe, ProbeId, Spent};
use crate::defaults;

/// Finds how large a packet fits through one direction of a path; see the [module](super).
#[derive(Debug)]
pub struct PmtuSearch {
    config: Config,
    grid: Grid,
    ceiling: u16,
    size: u16,
    outcome: Outcome,
    /// Whether `size` rests on what this path has shown, and not on what was known before it.
    measured: bool,
    why: Why,
    round: Option<Round>,
    /// The largest size that was answered since this search began.
    proven: Option<u16>,
    /// The same from before an outage.
    last_proven: Option<u16>,
    /// How many rounds left each size above `proven` unanswered.
    misses: BTreeMap<u16, u8>,
    /// The sizes of which one miss may have another cause.
    doubtful: BTreeSet<u16>,
    /// Whether that holds for the round that is under way.
    doubts_round: bool,
    /// Whether this search lost a probe of a size that fits.
    lossy: bool,
    /// Every unanswered probe of this search, so that an answer counts however late it comes.
    open: BTreeMap<u32, (u16, Instant)>,
    next_number: u32,
    silent_rounds: u32,
    /// A size that a router named, or that was remembered.
    hint: Option<u16>,
    /// The size to use where nothing answers.
    fallback: u16,
    /// Searches in a row in which nothing answered.
    unanswered: u32,
    /// Whether anything has ever answered on this path.
    answered: bool,
    rtt: Option<Duration>,
    spent: Spent,
    confirmed: Instant,
    confirm_at: Option<Instant>,
    raise_at: Option<Instant>,
    alarm_from: Instant,
    false_alarms: u32,
}

/// What a search was begun for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Why {
    /// Nothing is known, or everything changed.
    Start,
    /// Does the size in use still fit?
    Confirm,
    /// Does a larger one fit?
    Raise,
    /// A router says that `before` no longer fits.
    TooBig { before: u16 },
}

impl PmtuSearch {
    /// Begins a search: probes can be polled at once.
    #[must_use]
    pub fn new(config: Config, now: Instant) -> Self {
        let grid = Grid::new(config.encapsulation);
        let ceiling = grid.ceiling(config.link_mtu);
        let remembered = config.remembered.map(|size| grid.floor(size).max(grid.least()));
        let fallback = remembered.unwrap_or_else(|| conservative(grid));
        let mut search = Self {
            config,
            grid,
            ceiling,
            size: fallback.min(ceiling),
            outcome: Outcome::Searching,
            measured: false,
            why: Why::Start,
            round: None,
            proven: None,
            last_proven: None,
            misses: BTreeMap::new(),
            doubtful: BTreeSet::new(),
            doubts_round: false,
            lossy: false,
            open: BTreeMap::new(),
            next_number: config.first_number,
            silent_rounds: 0,
            hint: remembered,
            fallback,
            unanswered: 0,
            answered: false,
            rtt: config.rtt,
            spent: Spent::default(),
            confirmed: now,
            confirm_at: None,
            raise_at: None,
            alarm_from: now,
            false_alarms: 0,
        };
        search.begin(Why::Start, now);
        search
    }

    /// The outer packet size to use, in bytes with the IP header. Changes with any `handle_*`.
    #[must_use]
    pub fn size(&self) -> u16 {
        self.size
    }

    /// The largest size that is asked about.
    #[must_use]
    pub fn ceiling(&self) -> u16 {
        self.ceiling
    }

    /// The largest packet that is known to cross, as far as anything is: what was answered, in a search that is under way.
    #[must_use]
    pub fn crossing(&self) -> u16 {
        self.proven.map_or(self.size, |proven| proven.min(self.size))
    }

    /// What the size rests on.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        self.outcome
    }

    /// Whether the size in use is what this path was found to carry, or the best that can be had where nobody answers. Before
    /// the first round is over it is a memory or a guess, and after an ICMP error the word of a router: nothing to hold
    /// others to for longer than that takes.
    #[must_use]
    pub fn is_measured(&self) -> bool {
        self.measured
    }

    /// What the search that is under way, or the last one, has sent.
    #[must_use]
    pub fn spent(&self) -> Spent {
        self.spent
    }

    /// The next probe to send, if one is due. Larger ones come first, and must leave in this order.
    pub fn poll_probe(&mut self, now: Instant) -> Option<Probe> {
        let round = self.round.as_mut()?;
        let size = round.next_unsent()?;
        let number = self.next_number;
        self.next_number = self.next_number.wrapping_add(1);
        round.sent(number, size, now);
        self.open.insert(number, (size, now));
        self.spent.probes += 1;
        self.spent.bytes += u64::from(size);
        let id = ProbeId { direction: self.config.direction, number };
        Some(Probe { id, style: self.config.style, size })
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        match &self.round {
            Some(round) => Some(round.deadline()),
            None => [self.confirm_at, self.raise_at].into_iter().flatten().min(),
        }
    }

    /// A probe was answered by an authenticated packet. Unknown and repeated ids are ignored.
    pub fn handle_reply(&mut self, id: ProbeId, now: Instant) {
        if id.direction != self.config.direction {
            return;
        }
        let Some((size, sent)) = self.open.remove(&id.number) else { return };
        self.rtt = Some(now.saturating_duration_since(sent));
        self.answered = true;
        if self.proven.is_none_or(|proven| size > proven) {
            self.proven = Some(size);
            self.misses.retain(|&missed, _| missed > size);
        }
        if size >= self.size {
            self.size = size;
            self.confirmed = now;
        }
        let progress = self.round.as_mut().map(|round| round.answer(id.number));
        if progress == Some(Progress::Over) {
            self.end_round(now);
        }
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        if let Some(round) = &self.round {
            if now >= round.deadline() {
                self.end_round(now);
            }
        } else if self.raise_at.is_some_and(|at| now >= at) {
            self.begin(Why::Raise, now);
        } else if self.confirm_at.is_some_and(|at| now >= at) {
            self.begin(Why::Confirm, now);
        }
    }

    /// An ICMP "fragmentation needed" (RFC 1191) or "packet too big" (RFC 8201) arrived that names `mtu`.
    ///
    /// Without `quotes_our_packet` (the quoted header and SPI and sequence number are of a packet that we sent) it is
    /// ignored: anyone can send one. With it the size falls at once, never below what any path carries, and probes
    /// decide within a few round trips whether that was true. After a false alarm further ones only have the size
    /// confirmed, for a time that doubles.
    pub fn handle_icmp_too_big(&mut self, mtu: u16, quotes_our_packet: bool, now: Instant) {
        if !quotes_our_packet {
            return;
        }
        let named = self.grid.floor(mtu).max(self.grid.least());
        if named >= self.size {
            // An answer to a probe that was larger than the size in use.
            if named < self.ceiling {
                self.hint = Some(named);
            }
        } else if now < self.alarm_from {
            self.confirm_soon(now);
        } else if !matches!((self.why, &self.round), (Why::TooBig { .. }, Some(_))) {
            let before = self.size;
            self.size = named;
            self.hint = Some(named);
            self.begin(Why::TooBig { before }, now);
        }
    }

    /// The round under way was asked by requests that may have been too long for the way to whom is asked. What it loses lowers
    /// the size in use like any loss, but does not count where a size is told to others, or refuted for good.
    pub fn doubt_round(&mut self) {
        self.doubts_round = true;
    }

    /// The way to whom is asked turns out to be narrower than what was sent along it: what went unanswered says nothing about
    /// this direction, and is asked anew.
    pub fn handle_requests_lost(&mut self, now: Instant) {
        self.misses.clear();
        self.doubtful.clear();
        self.doubts_round = false;
        self.lossy = false;
        self.measured = false;
        match self.proven.filter(|_| self.round.is_some()) {
            Some(proven) => self.ask_again(proven, now),
            None => self.begin(Why::Start, now),
        }
    }

    /// The sizes of the first round once more, but for those that are smaller than what was answered; and, as far as there is
    /// room, what a second round would ask.
    fn ask_again(&mut self, proven: u16, now: Instant) {
        let mut sizes = self.opening();
        sizes.retain(|&size| size > proven);
        if let Some((&suspect, _)) = self.misses.first_key_value() {
            sizes.extend(self.grid.between(proven, suspect));
            sizes.truncate(defaults::PROBES_PER_ROUND - 1);
        }
        sizes.push(proven);
        self.begin_round(sizes, now);
    }

    /// Packets that may be large are going in this direction: uplink, a large packet was sent; downlink, anything was
    /// sent that asks for data. From this on the size in use is confirmed each second, and within two round trips of
    /// the first packet after a pause.
    pub fn handle_traffic(&mut self, now: Instant) {
        if self.outcome != Outcome::Unanswered {
            self.confirm_soon(now);
        }
    }

    fn begin(&mut self, why: Why, now: Instant) {
        self.why = why;
        self.proven = None;
        self.last_proven = None;
        self.misses.clear();
        self.doubtful.clear();
        self.doubts_round = false;
        self.lossy = false;
        self.open.clear();
        self.silent_rounds = 0;
        self.spent = Spent::default();
        self.confirm_at = None;
        if !matches!(why, Why::Confirm | Why::Raise) {
            self.outcome = Outcome::Searching;
            // Where nothing has ever answered, a router's word is all that there will be.
            self.measured &= !self.answered;
        }
        self.begin_round(self.opening(), now);
    }

    /// The sizes of a first round.
    fn opening(&self) -> Vec<u16> {
        match self.why {
            Why::Start | Why::TooBig { .. } => {
                let mut sizes = self.grid.common(self.ceiling);
                sizes.extend(self.around(self.hint));
                sizes.extend(self.around(Some(self.size)));
                sizes
            }
            Why::Raise if self.outcome == Outcome::Unanswered => self.still_fits(),
            Why::Confirm => self.still_fits(),
            Why::Raise => {
                let mut sizes = self.grid.common(self.ceiling);
                sizes.retain(|&size| size > self.size);
                sizes.extend(self.around(Some(self.size)));
                sizes
            }
        }
    }

    /// The size in use, and two markers that tell a lost size from a lost path: two, because one may be lost itself, and
    /// seconds count in a black hole.
    fn still_fits(&self) -> Vec<u16> {
        let mut sizes = vec![self.size, self.grid.least()];
        sizes.extend(self.smaller());
        sizes
    }

    /// A size and the next larger one: if the one is answered and the other is not, the search is all but over.
    fn around(&self, size: Option<u16>) -> impl Iterator<Item = u16> {
        let (least, ceiling) = (self.grid.least(), self.ceiling);
        size.into_iter()
            .flat_map(|size| [size, self.grid.next(size)])
            .filter(move |&size| size >= least && size <= ceiling)
    }

    fn begin_round(&mut self, sizes: Vec<u16>, now: Instant) {
        let probes = u32::try_from(sizes.len()).unwrap_or(u32::MAX);
        let bytes: u64 = sizes.iter().map(|&size| u64::from(size)).sum();
        if self.spent.probes.saturating_add(probes) > defaults::PROBES_PER_SEARCH
            || self.spent.bytes + bytes > defaults::BYTES_PER_SEARCH
        {
            return self.settle(Outcome::Coarse, now);
        }
        self.spent.rounds += 1;
        self.round = Some(Round::new(sizes, self.wait(), now));
    }

    fn wait(&self) -> Duration {
        let once = match self.rtt {
            Some(rtt) => (rtt + rtt / 2 + Duration::from_millis(50))
                .clamp(defaults::LEAST_PROBE_TIMEOUT, defaults::MOST_PROBE_TIMEOUT),
            None => defaults::FIRST_PROBE_TIMEOUT,
        };
        (once * (1 << self.silent_rounds.saturating_sub(1).min(4))).min(defaults::MOST_PROBE_TIMEOUT)
    }

    fn end_round(&mut self, now: Instant) {
        let Some(round) = self.round.take() else { return };
        let (true, Some(proven)) = (round.was_answered(), self.proven) else {
            return self.silence(now);
        };
        self.silent_rounds = 0;
        let doubted = std::mem::take(&mut self.doubts_round);
        for size in round.unanswered() {
            if size <= proven {
                self.lossy = true;
            } else {
                if doubted {
                    self.doubtful.insert(size);
                }
                let missed = self.misses.entry(size).or_default();
                *missed = missed.saturating_add(1);
            }
        }
        let too_large =
            self.misses.range(..=self.size).any(|(_, &missed)| missed >= defaults::PROBES_BEFORE_LOWERING);
        if self.size > proven && too_large {
            self.size = proven;
            self.outcome = Outcome::Searching;
        }
        // A larger one that was lost once may have been lost by chance.
        let missed_again =
            self.misses.keys().any(|&size| self.has_missed(size, defaults::PROBES_BEFORE_LOWERING));
        self.measured |= self.size <= proven && (missed_again || self.size >= self.ceiling);
        if doubted {
            return self.ask_again(proven, now);
        }
        self.next_round(proven, now);
    }

    /// Whether a size was missed so often that nothing else can be the cause.
    fn has_missed(&self, size: u16, enough: u8) -> bool {
        let doubtful = u8::from(self.doubtful.contains(&size));
        self.misses.get(&size).is_some_and(|&missed| missed >= enough + doubtful)
    }

    /// Even the marker was not answered: it was lost, or nothing answers, or what was proven a moment ago no longer
    /// holds. Repeat once, then ask anew, about little.
    fn silence(&mut self, now: Instant) {
        self.silent_rounds += 1;
        self.last_proven = self.proven.or(self.last_proven);
        if !self.answered {
            // Somebody did answer here when a larger size was learned, or it would not be remembered: it was learned of another
            // path, or is no longer so.
            let conservative = conservative(self.grid);
            self.fallback = self.fallback.min(conservative);
            self.size = self.size.min(conservative);
        }
        if let (Some(proven), 1) = (self.proven, self.silent_rounds) {
            return self.next_round(proven, now);
        }
        self.proven = None;
        self.misses.clear();
        self.open.clear();
        if self.silent_rounds >= defaults::SILENT_ROUNDS {
            self.settle(Outcome::Unanswered, now);
        } else {
            self.begin_round(self.still_fits(), now);
        }
    }

    fn next_round(&mut self, proven: u16, now: Instant) {
        let next = self.grid.next(proven);
        let enough = if self.lossy {
            defaults::PROBES_BEFORE_TOO_LARGE_IF_LOSSY
        } else {
            defaults::PROBES_BEFORE_TOO_LARGE
        };
        let refuted = |size: u16| self.has_missed(size, enough);
        let confirmed = self.why == Why::Confirm
            && self.outcome != Outcome::Searching
            && proven >= self.size
            && self.misses.is_empty();
        if confirmed {
            return self.settle(self.outcome, now);
        }
        if next > self.ceiling || refuted(next) {
            return self.settle(Outcome::Exact, now);
        }
        let mut suspects = self.misses.keys().copied();
        let mut sizes = match suspects.next() {
            Some(suspect) => {
                let mut sizes = self.grid.between(proven, suspect);
                // Its neighbour too, for the case that a round lost the suspect by chance.
                sizes.extend(std::iter::once(suspect).filter(|&size| !refuted(size)));
                sizes.extend(suspects.next().filter(|size| self.misses.get(size) == Some(&1)));
                sizes
            }
            // Everything that was asked was answered, or the marker alone was asked: ask about all that is larger.
            None => self.grid.common(self.ceiling).into_iter().filter(|&size| size > proven).collect(),
        };
        sizes.extend(self.around(self.hint).filter(|&size| size > proven && !refuted(size)));
        sizes.push(proven);
        self.begin_round(sizes, now);
    }

    fn settle(&mut self, outcome: Outcome, now: Instant) {
        self.round = None;
        self.measured = true;
        let silent = outcome == Outcome::Unanswered;
        match self.outcome {
            // A size that was measured stays measured when a later check finds nobody who answers.
            Outcome::Exact | Outcome::Coarse if silent => {}
            // What was lowered or half measured on a path that did answer is kept too: nothing better is known.
            Outcome::Searching if silent && self.answered => {
                self.outcome = Outcome::Coarse;
                self.size = self.last_proven.map_or(self.size, |proven| proven.min(self.size));
            }
            Outcome::Searching | Outcome::Exact | Outcome::Coarse | Outcome::Unanswered => {
                self.outcome = outcome;
            }
        }
        // What a router said is kept until the raise timer ends (RFC 8201 §4), having nothing better.
        if self.outcome == Outcome::Unanswered && !matches!(self.why, Why::TooBig { .. }) {
            self.size = self.fallback.min(self.ceiling);
        }
        if let (Some(proven), Outcome::Exact | Outcome::Coarse) = (self.proven, outcome) {
            self.size = proven;
            self.confirmed = now;
        }
        if let Why::TooBig { before } = self.why {
            self.judge_alarm(self.size < before, now);
        }
        self.unanswered = if silent { self.unanswered.saturating_add(1) } else { 0 };
        // Confirmations come each second while packets flow: they must not put off the search for a larger size.
        let unfinished = silent && self.outcome == Outcome::Coarse;
        if self.why != Why::Confirm || self.raise_at.is_none() || unfinished {
            self.raise_at = self.raise_after().map(|pause| now + pause);
        }
        self.hint = None;
    }

    fn raise_after(&self) -> Option<Duration> {
        let only_a_router_knows =
            self.outcome == Outcome::Unanswered && matches!(self.why, Why::TooBig { .. });
        if self.unanswered > 0 && !only_a_router_knows {
            let pause = defaults::FIRST_UNANSWERED_RETRY * 4_u32.pow((self.unanswered - 1).min(4));
            return Some(pause.min(defaults::RAISE_AFTER));
        }
        (self.size < self.ceiling).then_some(defaults::RAISE_AFTER)
    }

    fn judge_alarm(&mut self, was_true: bool, now: Instant) {
        self.false_alarms = if was_true { 0 } else { (self.false_alarms + 1).min(defaults::ALARM_DOUBLINGS) };
        let pause = defaults::ALARM_PAUSE * (1 << self.false_alarms);
        self.alarm_from = now + pause;
    }

    fn confirm_soon(&mut self, now: Instant) {
        if self.round.is_none() {
            let at = now.max(self.confirmed + defaults::CONFIRM_EVERY);
            self.confirm_at = Some(self.confirm_at.map_or(at, |due| due.min(at)));
        }
    }

    /// The next smaller common size.
    fn smaller(&self) -> Option<u16> {
        self.grid.common(self.ceiling).into_iter().rev().find(|&size| size < self.size)
    }
}

/// What is used where nothing is known.
fn conservative(grid: Grid) -> u16 {
    grid.floor(defaults::CONSERVATIVE_PATH_MTU).max(grid.least())
}
