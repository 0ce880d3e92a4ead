//! Packets on their way: when each is there, and what becomes of it by chance.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, VecDeque},
    io::IoSlice,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use evenkeel_platform::{
    tun::{MAX_PACKET, Offload, Tun},
    wakeup::Wakeup,
};

use super::{Conditions, Counts};

/// Packets on their way.
#[derive(Default)]
pub(super) struct Line {
    state: Mutex<State>,
    news: Condvar,
}

pub(super) struct State {
    pub(super) conditions: Conditions,
    pub(super) counts: Counts,
    /// xorshift64: what happens by chance repeats from run to run as far as timing lets it.
    random: u64,
    under_way: BinaryHeap<Reverse<Packet>>,
    sequence: u64,
    /// When the last packet that keeps its place will be there.
    last: Option<Instant>,
    /// When the packets before have left the queue, and how long each is.
    leaving: VecDeque<(Instant, u64)>,
    closed: bool,
}

impl Default for State {
    fn default() -> Self {
        Self {
            conditions: Conditions::default(),
            counts: Counts::default(),
            random: 0x9e37_79b9_7f4a_7c15,
            under_way: BinaryHeap::new(),
            sequence: 0,
            last: None,
            leaving: VecDeque::new(),
            closed: false,
        }
    }
}

/// Ordered by when it is there.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Packet {
    due: Instant,
    sequence: u64,
    bytes: Vec<u8>,
}

impl Line {
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends both threads; the reader's has to be woken too.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.news.notify_all();
    }

    /// Takes packets from the router until the path is closed.
    pub(super) fn fill(&self, tun: &Tun, wakeup: &Wakeup) {
        let mut buffer = vec![0; MAX_PACKET];
        loop {
            let read = tun.read(&mut buffer, wakeup);
            let mut state = self.lock();
            if state.closed {
                return;
            }
            // What a router says to its neighbours on a new device is not for the path.
            if let Ok(Some(frame)) = read
                && let Some(packet) = buffer.get(..frame.len)
                && !is_multicast(packet)
            {
                state.take(packet, Instant::now());
                self.news.notify_all();
            }
        }
    }

    /// Gives packets back to the router when they are due.
    pub(super) fn empty(&self, tun: &Tun) {
        let mut state = self.lock();
        loop {
            if state.closed {
                return;
            }
            let now = Instant::now();
            let wait =
                state.under_way.peek().map(|Reverse(packet)| packet.due.saturating_duration_since(now));
            match wait {
                Some(Duration::ZERO) => {
                    let Some(Reverse(packet)) = state.under_way.pop() else { continue };
                    state.counts.forwarded += 1;
                    drop(state);
                    // A router that has no room for it has lost it.
                    let _ = tun.write(Offload::default(), &[IoSlice::new(&packet.bytes)]);
                    state = self.lock();
                }
                Some(wait) => {
                    let woken = self.news.wait_timeout(state, wait);
                    state = woken.unwrap_or_else(PoisonError::into_inner).0;
                }
                None => state = self.news.wait(state).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }
}

impl State {
    /// Decides what becomes of a packet.
    fn take(&mut self, packet: &[u8], now: Instant) {
        self.counts.arrived += 1;
        if self.chance(self.conditions.lost_per_mille) {
            self.counts.lost += 1;
            return;
        }
        let Some(sent) = self.queue(packet.len() as u64, now) else {
            self.counts.overflowed += 1;
            return;
        };
        let jitter = u64::try_from(self.conditions.jitter.as_micros()).unwrap_or(u64::MAX);
        let jitter = if jitter == 0 { 0 } else { self.random() % jitter };
        let mut due = sent + self.conditions.delay + Duration::from_micros(jitter);
        if self.chance(self.conditions.late_per_mille) {
            self.counts.held_back += 1;
            due += self.conditions.late;
        } else {
            due = self.last.map_or(due, |last| due.max(last));
            self.last = Some(due);
        }
        let copies = if self.chance(self.conditions.doubled_per_mille) { 2 } else { 1 };
        for _ in 0..copies {
            self.sequence += 1;
            self.under_way.push(Reverse(Packet { due, sequence: self.sequence, bytes: packet.to_vec() }));
        }
    }

    /// When the packet has left the queue that the rate makes; none if it is full.
    fn queue(&mut self, length: u64, now: Instant) -> Option<Instant> {
        let Some(rate) = self.conditions.rate else { return Some(now) };
        while self.leaving.pop_front_if(|(left, _)| *left <= now).is_some() {}
        let waiting: u64 = self.leaving.iter().map(|(_, length)| length).sum();
        if waiting + length > self.conditions.queue {
            return None;
        }
        let start = self.leaving.back().map_or(now, |(left, _)| *left);
        let left = start + Duration::from_nanos(length.saturating_mul(1_000_000_000) / rate.max(1));
        self.leaving.push_back((left, length));
        Some(left)
    }

    fn chance(&mut self, per_mille: u32) -> bool {
        per_mille > 0 && self.random() % 1000 < u64::from(per_mille)
    }

    fn random(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random
    }
}

fn is_multicast(packet: &[u8]) -> bool {
    match packet.first().map(|first| first >> 4) {
        Some(4) => packet.get(16).is_some_and(|first| first >> 4 == 0xe),
        Some(6) => packet.get(24) == Some(&0xff),
        Some(_) | None => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dues(state: &State, start: Instant) -> Vec<Duration> {
        let mut dues: Vec<_> = state.under_way.iter().map(|Reverse(packet)| packet.due - start).collect();
        dues.sort_unstable();
        dues
    }

    #[test]
    fn a_rate_spaces_packets_and_a_full_queue_drops_the_next() {
        let (start, mut state) = (Instant::now(), State::default());
        state.conditions = Conditions { rate: Some(1000), queue: 250, ..Conditions::default() };
        for _ in 0..3 {
            state.take(&[0; 100], start);
        }
        assert_eq!(dues(&state, start), [100, 200].map(Duration::from_millis));
        assert_eq!(state.counts.overflowed, 1);
        // A tenth of a second later there is room again.
        state.take(&[0; 100], start + Duration::from_millis(100));
        assert_eq!(dues(&state, start), [100, 200, 300].map(Duration::from_millis));
    }

    #[test]
    fn jitter_keeps_the_order_and_lateness_does_not() {
        let (start, mut state) = (Instant::now(), State::default());
        let (delay, jitter) = (Duration::from_millis(10), Duration::from_millis(50));
        state.conditions = Conditions { delay, jitter, ..Conditions::default() };
        for _ in 0..100 {
            state.take(&[0; 10], start);
        }
        let order = |state: &mut State| {
            std::iter::from_fn(|| state.under_way.pop()).map(|Reverse(p)| p.sequence).collect::<Vec<_>>()
        };
        assert!(dues(&state, start).iter().all(|due| (delay..delay + jitter).contains(due)));
        assert!(order(&mut state).is_sorted());
        state.conditions.late_per_mille = 300;
        for _ in 0..100 {
            state.take(&[0; 10], start);
        }
        assert!(state.counts.held_back > 10 && !order(&mut state).is_sorted());
    }
}
