//! An idle tunnel behind NATs: the live mapping with its keepalives, the second socket, and inbound probes on flows of
//! their own.

use std::time::{Duration, Instant};

use evenkeel_netprofile::keepalive::{
    Action, ActionId, Check, Config, InboundProbe, LifetimeSearch, MappingHash,
};

use crate::nat::{Behaviour, Chain, Endpoint};
use crate::rng::Rng;

const GATEWAY: Endpoint = (0xcb00_7107, 4500);
const LIVE: Endpoint = (0x0a00_0002, 4500);
const SECOND: Endpoint = (0x0a00_0002, 40_000);

/// How the owner of the search is situated.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Surroundings {
    pub(crate) rtt: Duration,
    /// Percent of packets that are lost beyond the NATs.
    pub(crate) loss: u64,
    /// Of a thousand keepalives, how many never reach the first NAT.
    pub(crate) lost_keepalives: u64,
    /// Pause between packets that the gateway's side sends by itself.
    pub(crate) inbound_every: Duration,
}

impl Default for Surroundings {
    fn default() -> Self {
        Self {
            rtt: Duration::from_millis(40),
            loss: 0,
            lost_keepalives: 0,
            inbound_every: Duration::from_secs(900),
        }
    }
}

enum Pending {
    Check { id: ActionId, outcome: Check },
    Inbound { id: ActionId, outer: Endpoint },
    Reported { id: ActionId, outcome: InboundProbe },
}

/// The world, with its clock.
pub(crate) struct Idle {
    pub(crate) search: LifetimeSearch,
    pub(crate) nats: Chain,
    pub(crate) now: Instant,
    pub(crate) keepalives: u32,
    /// Packets of the gateway's side that did not get in.
    pub(crate) refused_inbound: u32,
    /// How often the owner reported a lost mapping.
    pub(crate) losses: u32,
    start: Instant,
    around: Surroundings,
    rng: Rng,
    pending: Vec<(Instant, Pending)>,
    sent: Instant,
    /// Where the gateway sends to.
    peer: Endpoint,
    /// The longest silence since the live mapping was last checked.
    longest_gap: Duration,
    check_live: Instant,
    inbound_at: Instant,
    /// The gateway's side lost a packet that the next one will betray.
    hole: Option<Duration>,
    flows: u16,
}

impl Idle {
    #[expect(clippy::disallowed_methods, reason = "a starting point for virtual time")]
    pub(crate) fn new(behaviours: &[Behaviour], around: Surroundings, config: Config, seed: u64) -> Self {
        let start = Instant::now();
        let mut nats = Chain::new(behaviours, seed);
        let peer = nats.outbound(LIVE, GATEWAY, Duration::ZERO);
        nats.inbound(peer, GATEWAY, Duration::ZERO);
        // IKE_AUTH and what follows: the live mapping is established.
        nats.outbound(LIVE, GATEWAY, Duration::from_secs(3));
        nats.inbound(peer, GATEWAY, Duration::from_secs(3));
        let now = start + Duration::from_secs(3);
        Self {
            search: LifetimeSearch::new(config, now),
            nats,
            now,
            keepalives: 0,
            refused_inbound: 0,
            losses: 0,
            start,
            around,
            rng: Rng::new(seed ^ 0x5eed),
            pending: Vec::new(),
            sent: now,
            peer,
            longest_gap: Duration::ZERO,
            check_live: now + Duration::from_secs(60),
            inbound_at: now + around.inbound_every,
            hole: None,
            flows: 0,
        }
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.now - self.start
    }

    fn percent(&mut self, low: u64, high: u64) -> u32 {
        u32::try_from(self.rng.within(low, high)).unwrap()
    }

    fn lost(&mut self) -> bool {
        self.rng.chance(self.around.loss)
    }

    /// Runs until `end`, calling `each` after every event.
    pub(crate) fn run_until(&mut self, end: Duration, mut each: impl FnMut(&Self)) {
        let end = self.start + end;
        loop {
            while let Some(action) = self.search.poll_action(self.now) {
                self.perform(action);
            }
            let keepalive = self.sent + self.search.interval();
            let first_pending = self.pending.iter().map(|(at, _)| *at).min();
            let due = [Some(keepalive), self.search.poll_timeout(), first_pending];
            let next = due.into_iter().flatten().chain([self.check_live, self.inbound_at]).min().unwrap();
            if next > end {
                self.now = end;
                return;
            }
            self.now = self.now.max(next);
            if first_pending.is_some_and(|at| at <= self.now) {
                let index = self.pending.iter().position(|(at, _)| *at <= self.now).unwrap();
                let (_, pending) = self.pending.remove(index);
                self.arrive(pending);
            } else if keepalive <= self.now {
                self.keepalives += 1;
                let lost = self.rng.within(1, 1000) <= self.around.lost_keepalives;
                self.send_live(lost);
            } else if self.check_live <= self.now {
                self.check_the_live_mapping();
            } else if self.inbound_at <= self.now {
                self.receive_from_the_gateways_side();
            } else {
                self.search.handle_timeout(self.now);
            }
            each(self);
        }
    }

    /// Where the live mapping leads after sending on it.
    fn send_live(&mut self, lost: bool) -> Option<Endpoint> {
        let gap = self.now - self.sent;
        self.longest_gap = self.longest_gap.max(gap);
        self.sent = self.now;
        (!lost).then(|| self.nats.outbound(LIVE, GATEWAY, self.now - self.start))
    }

    /// DPD with NAT_DETECTION: another address than the gateway knows is a lost mapping, and moves it.
    fn check_the_live_mapping(&mut self) {
        self.check_live = self.now + Duration::from_secs(self.rng.within(50, 200));
        let Some(seen) = self.send_live(false) else { return };
        self.nats.inbound(seen, GATEWAY, self.now - self.start);
        if seen != self.peer {
            self.peer = seen;
            self.losses += 1;
            self.search.handle_mapping_lost(self.longest_gap, self.now);
        }
        self.longest_gap = Duration::ZERO;
    }

    fn receive_from_the_gateways_side(&mut self) {
        self.inbound_at = self.now + self.around.inbound_every * self.percent(20, 180) / 100;
        let silence = self.now - self.sent;
        if self.nats.inbound(self.peer, GATEWAY, self.now - self.start) {
            // The sequence number jumps over what did not get in.
            if let Some(silence) = self.hole.take() {
                self.losses += 1;
                self.search.handle_mapping_lost(silence, self.now);
            }
        } else {
            self.refused_inbound += 1;
            self.hole = Some(silence);
            // Whoever sent it will repeat it.
            self.inbound_at = self.now + self.search.interval() / 3;
        }
    }

    fn perform(&mut self, action: Action) {
        let now = self.now - self.start;
        match action {
            Action::CheckSecondSocket { id } => {
                // The owner repeats after one second; the NATs see every repetition.
                for attempt in 0..4_u64 {
                    let sent = Duration::from_secs(attempt);
                    let seen = self.nats.outbound(SECOND, GATEWAY, now + sent);
                    if !self.lost() && !self.lost() {
                        let hash = MappingHash(hash(seen));
                        let back = sent + self.around.rtt;
                        self.nats.inbound(seen, GATEWAY, now + back);
                        self.pending
                            .push((self.now + back, Pending::Check { id, outcome: Check::Seen(hash) }));
                        return;
                    }
                }
                let at = self.now + Duration::from_secs(8);
                self.pending.push((at, Pending::Check { id, outcome: Check::Unreachable }));
            }
            Action::ProbeInbound { id, silence } => {
                self.flows += 1;
                let inner_port = 50_000 + self.flows % 10_000;
                let inner = (LIVE.0, inner_port);
                let established = Duration::from_secs(3);
                for at in [Duration::ZERO, established] {
                    let seen = self.nats.outbound(inner, GATEWAY, now + at);
                    self.nats.inbound(seen, GATEWAY, now + at + self.around.rtt);
                }
                let outer = self.nats.outbound(inner, GATEWAY, now + established + self.around.rtt);
                let at = self.now + established + self.around.rtt * 2 + silence;
                self.pending.push((at, Pending::Inbound { id, outer }));
            }
        }
    }

    fn arrive(&mut self, pending: Pending) {
        match pending {
            Pending::Check { id, outcome } => self.search.handle_check(id, outcome, self.now),
            Pending::Reported { id, outcome } => self.search.handle_inbound_probe(id, outcome, self.now),
            Pending::Inbound { id, outer } => {
                // The gateway repeats it twice there within a second.
                let gets_through = (0..3).any(|_| !self.lost());
                let arrived = gets_through && self.nats.inbound(outer, GATEWAY, self.now - self.start);
                let outcome = if arrived { InboundProbe::Arrived } else { InboundProbe::Lost };
                let wait = if arrived { Duration::ZERO } else { Duration::from_secs(5) };
                self.pending.push((self.now + wait, Pending::Reported { id, outcome }));
            }
        }
    }
}

/// Stands for SHA-1 over SPIs, address and port: equal for equal endpoints.
fn hash((address, port): Endpoint) -> [u8; 20] {
    let mut hash = [0; 20];
    hash[..4].copy_from_slice(&address.to_be_bytes());
    hash[4..6].copy_from_slice(&port.to_be_bytes());
    hash
}
