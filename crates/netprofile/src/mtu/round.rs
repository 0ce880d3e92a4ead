//! One round: probes that are sent together and whose answers are awaited together.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

/// The probes of one round. The last and smallest is the *marker*: its size is known to fit, so its answer shows that
/// silence about the larger ones, all sent before it, is about their size.
#[derive(Debug)]
pub(super) struct Round {
    unsent: VecDeque<u16>,
    awaited: BTreeMap<u32, u16>,
    marker: Option<u32>,
    answered: bool,
    wait: Duration,
    deadline: Instant,
}

/// Whether a round goes on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Progress {
    Awaiting,
    Over,
}

impl Round {
    /// `sizes` may come in any order and with repetitions.
    pub(super) fn new(mut sizes: Vec<u16>, wait: Duration, now: Instant) -> Self {
        sizes.sort_unstable_by(|a, b| b.cmp(a));
        sizes.dedup();
        Self {
            unsent: sizes.into(),
            awaited: BTreeMap::new(),
            marker: None,
            answered: false,
            wait,
            deadline: now + wait,
        }
    }

    pub(super) fn next_unsent(&mut self) -> Option<u16> {
        self.unsent.pop_front()
    }

    pub(super) fn sent(&mut self, number: u32, size: u16, now: Instant) {
        self.awaited.insert(number, size);
        self.deadline = now + self.wait;
        if self.unsent.is_empty() {
            self.marker = Some(number);
        }
    }

    pub(super) fn answer(&mut self, number: u32) -> Progress {
        if self.awaited.remove(&number).is_none() {
            return Progress::Awaiting;
        }
        self.answered = true;
        let all = self.unsent.is_empty() && self.awaited.is_empty();
        if all || self.marker == Some(number) { Progress::Over } else { Progress::Awaiting }
    }

    pub(super) fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Whether any of its probes was answered. If none was, the round says nothing about sizes.
    pub(super) fn was_answered(&self) -> bool {
        self.answered
    }

    /// The sizes that went out and were not answered.
    pub(super) fn unanswered(&self) -> impl Iterator<Item = u16> {
        self.awaited.values().copied()
    }
}
