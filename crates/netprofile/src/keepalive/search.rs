//! The search: which method measures what, and what is believed of it.

mod stages;

use std::time::{Duration, Instant};

use self::stages::Step;
use super::bracket::{Bracket, Rules};
use super::second_socket::{SecondSocket, Shown};
use super::{
    Action, ActionId, Check, Confidence, Config, InboundProbe, Learned, Method, PortAssignment, Spent,
};
use crate::defaults;

/// Both ends of the bracket are seen twice: one change may be another uplink or a restarted NAT, one equal hash the luck
/// of a small port pool.
const BY_HASH: Rules = Rules { lives: 2, deaths: 2, inherit: true };
/// What came in is proof; what did not may have been lost.
const BY_INBOUND: Rules = Rules { lives: 1, deaths: 2, inherit: false };

/// The span that the budgets are for.
const HOUR: Duration = Duration::from_secs(3600);

/// Learns the lifetime of the NAT mapping; see the [module](super).
#[derive(Debug)]
pub struct LifetimeSearch {
    config: Config,
    stage: Stage,
    hash: Bracket,
    inbound: Bracket,
    second: SecondSocket,
    listening: Option<Listening>,
    proven: Option<Proven>,
    /// Silences that a mapping did not survive, until something proves otherwise; shortest first.
    suspected: Vec<Duration>,
    /// What was proven when the live mapping was lost all the same, as when a keepalive did not reach the NAT.
    doubted: Option<Proven>,
    recall_misses: u8,
    restored: Option<Instant>,
    /// Not more than this, until then: the live mapping was lost at what the second flow survived, more than once.
    ceiling: Option<(Duration, Instant)>,
    /// The shortest silence that the live mapping was lost in: until more than the default is proven, the default is not
    /// believed, even where that silence is survived at another time.
    lost: Option<Duration>,
    next_id: u32,
    ports: Option<PortAssignment>,
    quiet_from: Instant,
    /// Attempts in a row that a method did not work at all.
    hash_failures: u8,
    inbound_failures: u8,
    gave_up: u32,
    /// A mapping was lost, or a method contradicted itself, since the search began.
    unsettled: bool,
    recheck: Duration,
    /// When it is searched anew, whatever is proven again meanwhile.
    anew_at: Instant,
    /// What was found is being proven again, and nothing else.
    recalling: bool,
    hour_from: Instant,
    this_hour: Spent,
    spent: Spent,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    /// Does what an earlier visit proved still hold?
    Recall,
    /// Find the bracket by hash.
    Hash,
    /// Have an inbound packet confirm what the hash says.
    Confirm,
    /// Find the bracket by inbound packets.
    Inbound,
    /// Over, until then.
    Settled { until: Instant },
}

#[derive(Clone, Copy, Debug)]
struct Listening {
    id: ActionId,
    silence: Duration,
    since: Option<Instant>,
}

#[derive(Clone, Copy, Debug)]
struct Proven {
    lower: Duration,
    method: Method,
    confidence: Confidence,
    at: Option<Instant>,
}

impl LifetimeSearch {
    /// Starts from what is remembered, or from the default. The tunnel counts as busy until it was idle for a while.
    #[must_use]
    pub fn new(config: Config, now: Instant) -> Self {
        let lower = config.remembered.and_then(|known| {
            let lower = known.lower.filter(|&lower| lower >= defaults::SHORTEST_SILENCE)?;
            (known.confidence > Confidence::Low).then_some(Proven {
                lower: lower.min(defaults::LONGEST_SILENCE),
                method: known.method,
                confidence: known.confidence,
                at: None,
            })
        });
        // What killed a mapping once is not tried on the live one, however old the memory.
        let upper = config.remembered.and_then(|known| known.upper).filter(|&upper| {
            upper >= defaults::SHORTEST_SILENCE && lower.is_none_or(|lower| lower.lower < upper)
        });
        let known_ports = config.remembered.and_then(|known| known.ports);
        let known_ports = known_ports.filter(|_| lower.is_some() || upper.is_some());
        let mut search = Self {
            config,
            stage: Stage::Hash,
            hash: Bracket::default(),
            inbound: Bracket::default(),
            second: SecondSocket::new(),
            listening: None,
            proven: lower,
            suspected: upper.into_iter().collect(),
            doubted: None,
            recall_misses: 0,
            restored: None,
            ceiling: None,
            lost: None,
            next_id: 0,
            // Worth nothing without a lifetime that it was seen with.
            ports: known_ports,
            quiet_from: now + defaults::IDLE_BEFORE_SEARCH,
            hash_failures: 0,
            inbound_failures: 0,
            gave_up: 0,
            unsettled: false,
            recheck: defaults::RECHECK_AFTER,
            anew_at: now,
            recalling: false,
            hour_from: now,
            this_hour: Spent::default(),
            spent: Spent::default(),
        };
        search.begin_search();
        if search.proven.is_some() {
            search.stage = Stage::Recall;
        }
        search
    }

    /// Send a keepalive when nothing was sent on the live path for this long. Changes with any `handle_*`.
    #[must_use]
    pub fn interval(&self) -> Duration {
        let found = self.unproven().max(self.share_of_proven());
        let most = self.ceiling.map_or(found, |(ceiling, _)| ceiling);
        found.min(most).max(defaults::SHORTEST_INTERVAL)
    }

    /// Everything that is known.
    #[must_use]
    pub fn learned(&self) -> Learned {
        // What the interval rests on: a proof shorter than the default says nothing about it.
        let basis = self.proven.filter(|_| self.share_of_proven() >= self.unproven());
        Learned {
            interval: self.interval(),
            lower: self.proven.map(|proven| proven.lower),
            upper: self.upper(),
            confidence: basis.map_or(Confidence::Low, |proven| proven.confidence),
            method: basis.map(|proven| proven.method).or(self.suspected.first().map(|_| Method::Passive)),
            proven_at: self.proven.and_then(|proven| proven.at),
            ports: self.ports,
            settled: matches!(self.stage, Stage::Settled { .. }),
        }
    }

    /// What the search has asked for since it was made.
    #[must_use]
    pub fn spent(&self) -> Spent {
        self.spent
    }

    /// The next thing to do, if one is due.
    pub fn poll_action(&mut self, now: Instant) -> Option<Action> {
        if let Some(listening) = &mut self.listening
            && listening.since.is_none()
        {
            listening.since = Some(now);
            self.this_hour.inbound_probes += 1;
            self.spent.inbound_probes = self.spent.inbound_probes.saturating_add(1);
            return Some(Action::ProbeInbound { id: listening.id, silence: listening.silence });
        }
        let id = ActionId(self.next_id);
        if self.second.poll(id, now) {
            self.next_id = self.next_id.wrapping_add(1);
            self.this_hour.checks += 1;
            self.spent.checks = self.spent.checks.saturating_add(1);
            return Some(Action::CheckSecondSocket { id });
        }
        None
    }

    /// When to call [`handle_timeout`](Self::handle_timeout), and then to poll for an action.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        if let Some(Listening { silence, since, .. }) = self.listening {
            return since.map(|since| since + silence + defaults::INBOUND_TIMEOUT);
        }
        if let Some(due) = self.second.due() {
            return Some(due);
        }
        match self.stage {
            Stage::Settled { until } => Some(self.ceiling.map_or(until, |(_, ends)| until.min(ends))),
            Stage::Recall | Stage::Hash | Stage::Confirm | Stage::Inbound => {
                Some(if self.is_spent() { self.hour_from + HOUR } else { self.quiet_from })
            }
        }
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        if now >= self.hour_from + HOUR {
            self.hour_from = now;
            self.this_hour = Spent::default();
        }
        if let Some(id) = self.second.awaits()
            && self.second.is_overdue(now)
        {
            self.handle_check(id, Check::Unreachable, now);
        }
        if let Some(Listening { id, silence, since: Some(since) }) = self.listening
            && now >= since + silence + defaults::INBOUND_TIMEOUT
        {
            self.handle_inbound_probe(id, InboundProbe::Unavailable, now);
        }
        self.ceiling = self.ceiling.filter(|&(_, until)| now < until);
        if let Stage::Settled { until } = self.stage
            && now >= until
        {
            self.keep_suspicions();
            if !self.config.second_socket && !self.config.inbound_probe {
                // Nothing can ever test the suspicion, and it may have been a lost keepalive.
                self.suspected.clear();
                self.lost = None;
            }
            self.begin_search();
            if now < self.anew_at && self.is_proven_by_inbound() {
                self.stage = Stage::Recall;
                self.recalling = true;
            }
        }
        self.proceed(now);
    }

    /// Data (anything but keepalives and checks) went through the tunnel: no step is begun until it has been idle.
    pub fn handle_traffic(&mut self, now: Instant) {
        self.quiet_from = now + defaults::IDLE_BEFORE_SEARCH;
    }

    /// [`Action::CheckSecondSocket`] has ended. Reports that are not awaited (any more) are ignored.
    pub fn handle_check(&mut self, id: ActionId, check: Check, now: Instant) {
        if self.second.awaits() != Some(id) {
            return;
        }
        match check {
            Check::Unreachable => {
                self.second.reset();
                self.hash_failures = self.hash_failures.saturating_add(1);
            }
            Check::Seen(hash) => match self.second.answer(hash, now) {
                Shown::Nothing => {}
                Shown::Unstable => self.hash_failures = self.hash_failures.saturating_add(1),
                Shown::Same(silence) => {
                    self.hash_failures = 0;
                    // What used to kill is survived. The NAT may have come to hand out the same port again, and until a
                    // change is seen anew an equal hash proves nothing.
                    if self.is_deadly(silence) {
                        self.ports = None;
                    }
                    self.hash.lives(silence);
                }
                Shown::Changed { asked, bound } => {
                    self.hash_failures = 0;
                    self.hash.dies(asked, bound, BY_HASH);
                    if self.hash.reproduced && self.ports.is_none() {
                        self.ports = Some(PortAssignment::Changing);
                    }
                    self.doubt(asked);
                }
            },
        }
        self.proceed(now);
    }

    /// [`Action::ProbeInbound`] has ended. Reports that are not awaited (any more) are ignored.
    pub fn handle_inbound_probe(&mut self, id: ActionId, outcome: InboundProbe, now: Instant) {
        let Some(Listening { silence, .. }) = self.listening.take_if(|listening| listening.id == id) else {
            return;
        };
        match outcome {
            InboundProbe::Unavailable => self.inbound_failures = self.inbound_failures.saturating_add(1),
            InboundProbe::Arrived => {
                self.inbound_failures = 0;
                self.inbound.lives(silence);
                self.prove_by_inbound(silence, now);
            }
            InboundProbe::Lost => {
                self.inbound_failures = 0;
                self.inbound.dies(silence, silence, BY_INBOUND);
                if self.stage == Stage::Recall {
                    self.recall_misses += 1;
                    if self.recall_misses >= BY_INBOUND.deaths {
                        self.doubt(silence);
                    }
                }
                if self.inbound.confirmed.is_some_and(|confirmed| confirmed.asked <= silence) {
                    self.doubt(silence);
                    if self.hash.lived.is_some_and(|lived| lived.asked >= silence) {
                        self.ports = Some(PortAssignment::Preserving);
                    }
                }
            }
        }
        self.proceed(now);
    }

    /// The live mapping was lost after nothing had been sent on it for `idle`: a check shows another hash, or traffic
    /// goes one way after the silence. The interval shrinks at once. A change without a silence (a NAT that was
    /// restarted, another uplink) is no evidence about lifetimes.
    pub fn handle_mapping_lost(&mut self, idle: Duration, now: Instant) {
        if idle >= defaults::SHORTEST_SILENCE {
            if self.restored.is_some_and(|at| now < at + defaults::LOST_AGAIN_WITHIN) {
                // The second flow lives where the live one dies: this NAT treats them differently.
                let ceiling = self.ceiling.map_or(idle, |(ceiling, _)| ceiling.min(idle));
                let ceiling = ceiling * defaults::KEEP_PERCENT / 100;
                self.ceiling = Some((ceiling, now + defaults::CEILING_LIVES));
            }
            let before = self.proven.or(self.doubted);
            self.keep_suspicions();
            self.suspect(idle);
            self.lost = Some(self.lost.map_or(idle, |known| known.min(idle)));
            self.doubt(idle);
            self.gave_up = 0;
            self.begin_search();
            self.unsettled = true;
            // A keepalive that was lost looks just so: what was proven is tried again on the second flow first.
            self.doubted = before.filter(|before| {
                before.lower >= idle && (self.config.second_socket || self.config.inbound_probe)
            });
            if self.doubted.is_some() {
                self.stage = Stage::Recall;
            }
        }
        self.second.reset();
        self.proceed(now);
    }

    /// The interval without any proof.
    fn unproven(&self) -> Duration {
        self.upper().into_iter().chain(self.lost).min().map_or(defaults::FIRST_INTERVAL, |shortest| {
            defaults::FIRST_INTERVAL.min(shortest * defaults::SHRINK_PERCENT / 100)
        })
    }

    fn share_of_proven(&self) -> Duration {
        self.proven.map_or(Duration::ZERO, |proven| proven.lower * defaults::KEEP_PERCENT / 100)
    }

    fn begin_search(&mut self) {
        self.hash = Bracket::default();
        self.inbound = Bracket::default();
        self.second.reset();
        self.listening = None;
        self.hash_failures = 0;
        self.inbound_failures = 0;
        self.unsettled = false;
        self.doubted = None;
        self.recall_misses = 0;
        self.recalling = false;
        self.stage = Stage::Hash;
    }

    fn hash_works(&self) -> bool {
        self.config.second_socket
            && self.hash_failures < defaults::METHOD_FAILURES
            && !(self.ports == Some(PortAssignment::Preserving) && self.inbound_works())
    }

    fn inbound_works(&self) -> bool {
        self.config.inbound_probe && self.inbound_failures < defaults::METHOD_FAILURES
    }

    /// The shortest silence that is known, or suspected, to kill a mapping.
    fn upper(&self) -> Option<Duration> {
        // A changed hash is a sign at once, a packet that did not come may have been lost.
        let by_hash = self.hash.died.filter(|died| died.times > 0);
        let measured = [by_hash, self.hash.confirmed, self.inbound.confirmed];
        measured.into_iter().flatten().map(|died| died.bound).chain(self.suspected.first().copied()).min()
    }

    /// Whether so long a silence is known, or suspected, to kill a mapping.
    fn is_deadly(&self, silence: Duration) -> bool {
        let by_hash = self.hash.died.filter(|died| died.times > 0);
        let measured = [by_hash, self.hash.confirmed].into_iter().flatten().map(|died| died.asked);
        measured.chain(self.suspected.first().copied()).any(|deadly| deadly <= silence)
    }

    fn suspect(&mut self, silence: Duration) {
        if !self.suspected.contains(&silence) {
            self.suspected.push(silence);
            self.suspected.sort_unstable();
            self.suspected.truncate(defaults::SUSPICIONS);
        }
    }

    /// Before a new search: what the last one measured to be deadly is tested first, and believed until then.
    fn keep_suspicions(&mut self) {
        for died in [self.hash.confirmed, self.inbound.confirmed].into_iter().flatten() {
            self.suspect(died.bound);
        }
    }

    /// A mapping did not survive `silence`: what claims otherwise is dropped at once.
    fn doubt(&mut self, silence: Duration) {
        self.proven = self.proven.filter(|proven| proven.lower < silence);
        self.doubted = self.doubted.filter(|doubted| doubted.lower < silence);
    }

    fn prove(&mut self, proven: Proven) {
        self.proven = Some(proven);
        if self.share_of_proven() >= defaults::FIRST_INTERVAL {
            self.lost = None;
        }
    }

    fn prove_by_inbound(&mut self, silence: Duration, now: Instant) {
        self.suspected.retain(|&suspected| suspected > silence);
        self.hash.refute(silence);
        self.inbound.refute(silence);
        if self.proven.is_none_or(|proven| proven.lower <= silence) {
            let confidence = self.proven.map_or(Confidence::Medium, |proven| {
                if proven.lower == silence {
                    proven.confidence.max(Confidence::Medium)
                } else {
                    Confidence::Medium
                }
            });
            let method = Method::InboundAfterSilence;
            self.prove(Proven { lower: silence, method, confidence, at: Some(now) });
        }
    }

    fn is_spent(&self) -> bool {
        self.this_hour.checks + defaults::CHECKS_PER_SILENCE > defaults::CHECKS_PER_HOUR
            || self.this_hour.inbound_probes >= defaults::INBOUND_PROBES_PER_HOUR
    }

    /// Begins the next step, if one may begin.
    fn proceed(&mut self, now: Instant) {
        // Each pass ends in a step, or in another stage nearer to the end.
        for _ in 0..8 {
            if self.second.is_busy() || self.listening.is_some() {
                return;
            }
            for bracket in [&mut self.hash, &mut self.inbound] {
                // The shortest one first; once it has been survived, the next.
                let lived = bracket.lived.map_or(Duration::ZERO, |lived| lived.asked);
                if let Some(&suspected) = self.suspected.iter().find(|&&suspected| suspected > lived) {
                    bracket.suspect(suspected);
                }
            }
            let may_begin = now >= self.quiet_from && !self.is_spent();
            match self.step() {
                Step::ByHash(silence) if may_begin => self.second.begin(silence, now),
                Step::ByInbound(silence) if may_begin => {
                    self.listening = Some(Listening { id: ActionId(self.next_id), silence, since: None });
                    self.next_id = self.next_id.wrapping_add(1);
                }
                Step::ByHash(_) | Step::ByInbound(_) | Step::Rest => return,
                Step::Enter(stage) => {
                    self.recalling = false;
                    self.stage = stage;
                }
                Step::Accept { lower, method, confidence } => {
                    self.suspected.retain(|&suspected| suspected > lower);
                    if self.doubted.take().is_some() {
                        self.restored = Some(now);
                    }
                    self.prove(Proven { lower, method, confidence, at: Some(now) });
                    self.settle_again(now);
                }
                Step::Keep => {
                    self.settle_again(now);
                }
                Step::GiveUp => {
                    self.settle(self.give_up_pause(), now);
                    self.gave_up = self.gave_up.saturating_add(1);
                }
            }
        }
    }

    /// How long what was found is left alone: a day, but an hour after a lost mapping or a contradiction, and then
    /// twice as long after each search without one.
    fn recheck_after(&mut self) -> Duration {
        if self.is_doubtful() {
            self.recheck = defaults::DOUBTFUL_RECHECK_AFTER;
        }
        let pause = self.recheck;
        self.recheck = (self.recheck * 2).min(defaults::RECHECK_AFTER);
        pause
    }

    fn give_up_pause(&self) -> Duration {
        if !self.config.second_socket && !self.config.inbound_probe {
            return defaults::LAST_GIVE_UP_PAUSE;
        }
        let pause = defaults::FIRST_GIVE_UP_PAUSE * (1 << self.gave_up.min(6));
        let longest =
            if self.is_doubtful() { defaults::DOUBTFUL_RECHECK_AFTER } else { defaults::LAST_GIVE_UP_PAUSE };
        pause.min(longest)
    }

    fn is_doubtful(&self) -> bool {
        self.unsettled || [&self.hash, &self.inbound].into_iter().any(Bracket::is_contradicted)
    }

    /// What was found holds.
    fn settle_again(&mut self, now: Instant) {
        // To prove it once more is no new search, which would be due at another time.
        let pause = if self.recalling { Duration::ZERO } else { self.recheck_after() };
        self.settle(pause, now);
    }

    fn settle(&mut self, pause: Duration, now: Instant) {
        if !std::mem::take(&mut self.recalling) {
            self.anew_at = now + pause;
        }
        let recall = self.is_proven_by_inbound().then_some(now + defaults::RECALL_AFTER);
        let until = recall.map_or(self.anew_at, |recall| recall.min(self.anew_at));
        self.stage = Stage::Settled { until };
    }

    fn is_proven_by_inbound(&self) -> bool {
        let by_inbound = self.proven.is_some_and(|proven| proven.method == Method::InboundAfterSilence);
        by_inbound && self.config.inbound_probe
    }
}
