//! The last log lines, kept in memory for `evenkeel log` and bounded in bytes.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use evenkeel_platform::user::UserId;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use super::line::Text;
use crate::access::Caller;

/// What the ring holds at most, in bytes of text.
const CAPACITY: usize = 256 * 1024;
/// What one line holds at most: a peer that can fill a line must not empty the ring with it.
const LINE: usize = 1024;

/// One logged event.
#[derive(Clone, Debug)]
pub struct Entry {
    /// When it was logged.
    pub at: SystemTime,
    /// Its severity.
    pub level: Level,
    /// The module it comes from.
    pub target: &'static str,
    /// The message and its fields on one line.
    pub text: String,
    /// Whose connection it may speak of; `None` when it was logged while nobody's was up.
    owner: Option<UserId>,
}

/// A shared, bounded log. What is logged during one user's connection is shown to that user and to administrators.
#[derive(Clone, Default)]
pub struct LogRing(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    entries: VecDeque<Entry>,
    bytes: usize,
    owner: Option<UserId>,
}

impl LogRing {
    /// From here on, lines belong to this user's connection (`None`: to nobody's).
    pub fn belongs_to(&self, owner: Option<UserId>) {
        self.lock().owner = owner;
    }

    /// The last `count` entries that the caller may read, oldest first.
    #[must_use]
    pub fn tail(&self, caller: &Caller, count: usize) -> Vec<Entry> {
        let inner = self.lock();
        let visible = |entry: &&Entry| entry.owner.as_ref().is_none_or(|owner| caller.may_act_for(owner));
        let mut tail: Vec<Entry> = inner.entries.iter().rev().filter(visible).take(count).cloned().collect();
        tail.reverse();
        tail
    }

    /// The layer that fills this ring.
    #[must_use]
    pub fn layer<S: Subscriber>(&self) -> impl Layer<S> + use<S> {
        RingLayer(self.clone())
    }

    fn push(&self, level: Level, target: &'static str, text: String) {
        let mut inner = self.lock();
        inner.bytes += text.len();
        let owner = inner.owner.clone();
        inner.entries.push_back(Entry { at: SystemTime::now(), level, target, text, owner });
        while inner.bytes > CAPACITY {
            let Some(dropped) = inner.entries.pop_front() else { break };
            inner.bytes -= dropped.text.len();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing inside the lock can leave the ring half-changed in a way that matters to a log.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct RingLayer(LogRing);

impl<S: Subscriber> Layer<S> for RingLayer {
    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        let mut text = Text::with_limit(LINE);
        event.record(&mut text);
        let metadata = event.metadata();
        self.0.push(*metadata.level(), metadata.target(), text.finish());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tracing_subscriber::layer::SubscriberExt;

    fn user(uid: u32) -> Caller {
        Caller { user: UserId::Uid(uid), administrator: false }
    }

    fn logged(ring: &LogRing, work: impl FnOnce()) {
        tracing::subscriber::with_default(tracing_subscriber::registry().with(ring.layer()), work);
    }

    #[test]
    fn an_event_becomes_one_line_with_its_fields() {
        let ring = LogRing::default();
        logged(&ring, || tracing::warn!(port = 4500, peer = "a\nb", "no answer"));
        let tail = ring.tail(&user(1), 10);
        assert_eq!(tail.len(), 1);
        assert_eq!(tail[0].level, Level::WARN);
        assert_eq!(tail[0].text, "no answer port=4500 peer=a\\nb");
    }

    #[test]
    fn the_ring_forgets_the_oldest_and_stays_within_its_bytes() {
        let ring = LogRing::default();
        logged(&ring, || {
            for number in 0..2000 {
                tracing::info!("{number} {}", "x".repeat(5000));
            }
        });
        let inner = ring.lock();
        assert!(inner.bytes <= CAPACITY);
        assert_eq!(inner.bytes, inner.entries.iter().map(|entry| entry.text.len()).sum::<usize>());
        assert!(inner.entries.back().unwrap().text.starts_with("1999 "));
        assert!(inner.entries.iter().all(|entry| entry.text.len() <= LINE));
    }

    #[test]
    fn tail_gives_the_newest_in_order() {
        let ring = LogRing::default();
        logged(&ring, || (0..5).for_each(|number| tracing::info!("{number}")));
        let texts: Vec<String> = ring.tail(&user(1), 2).into_iter().map(|entry| entry.text).collect();
        assert_eq!(texts, ["3", "4"]);
    }

    #[test]
    fn lines_of_a_connection_are_for_its_user_and_administrators() {
        let ring = LogRing::default();
        logged(&ring, || {
            tracing::info!("started");
            ring.belongs_to(Some(UserId::Uid(1000)));
            tracing::info!("connecting as alice@example.org");
            ring.belongs_to(None);
            tracing::info!("idle");
        });
        let read = |caller: &Caller| ring.tail(caller, 10).len();
        assert_eq!(read(&user(1000)), 3);
        assert_eq!(read(&user(1001)), 2);
        assert_eq!(read(&Caller { user: UserId::Uid(0), administrator: true }), 3);
    }
}
