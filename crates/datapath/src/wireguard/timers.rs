//! The thread that looks after boringtun's timers, and asleep most of the time.

use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use super::config::{SILENT_AFTER, WireGuardEvent};
use super::shared::Shared;

/// How often to look while something may be due: boringtun's shortest timer is 5 s.
const BUSY_INTERVAL: Duration = Duration::from_secs(1);

/// After this long without data all of boringtun's timers that follow data have done what they do: 15 s at most, and the
/// handshake that one of them may begin counts by itself.
const QUIET_AFTER: Duration = Duration::from_secs(30);

/// A session's keys must not be used for longer than this (WireGuard §6.1), so they are not kept longer by much.
const REJECT_AFTER: Duration = Duration::from_secs(180);

/// The persistent keepalive, in boringtun's reckoning: so long after the last, whatever else was sent.
pub(super) struct KeepaliveClock {
    interval: Option<Duration>,
    last: Instant,
}

impl KeepaliveClock {
    /// `since` is when the session was made.
    pub(super) fn new(seconds: Option<u16>, since: Instant) -> Self {
        let interval =
            seconds.filter(|seconds| *seconds > 0).map(|seconds| Duration::from_secs(seconds.into()));
        Self { interval, last: since }
    }

    /// An empty packet was sent: the persistent keepalive if it was due, else an answer, which changes nothing.
    pub(super) fn sent(&mut self, now: Instant) {
        if self.interval.is_some_and(|interval| now.duration_since(self.last) >= interval) {
            self.last = now;
        }
    }

    /// How long to sleep while there is nothing else to do.
    fn nap(&self, now: Instant) -> Duration {
        // A moment late rather than early: boringtun would find nothing due.
        const MOMENT: Duration = Duration::from_millis(20);
        let left =
            self.interval.map(|interval| (self.last + interval).saturating_duration_since(now) + MOMENT);
        left.unwrap_or(REJECT_AFTER).min(REJECT_AFTER)
    }
}

/// Whether the peer answers, judged once a second.
#[derive(Default)]
struct Silence {
    /// Since when data is unanswered.
    since: Option<Instant>,
    told: bool,
}

impl Silence {
    /// May it have to be told soon?
    fn is_pending(&self) -> bool {
        self.since.is_some() && !self.told
    }

    /// What to tell, if anything.
    fn judge(
        &mut self,
        data_sent: Option<Instant>,
        received: Option<Instant>,
        now: Instant,
    ) -> Option<WireGuardEvent> {
        if data_sent.is_none_or(|sent| received.is_some_and(|received| received >= sent)) {
            self.since = None;
            return std::mem::take(&mut self.told).then_some(WireGuardEvent::PeerAnswers);
        }
        // Whatever came while more data was sent is an answer as well.
        if let (Some(since), Some(received)) = (self.since, received)
            && received > since
        {
            self.since = Some(received);
            if std::mem::take(&mut self.told) {
                return Some(WireGuardEvent::PeerAnswers);
            }
        }
        let since = *self.since.get_or_insert(now);
        if self.told || now.duration_since(since) < SILENT_AFTER {
            return None;
        }
        self.told = true;
        Some(WireGuardEvent::PeerSilent)
    }
}

/// The thread's life.
pub(super) fn run(shared: &Shared) {
    shared.attach_timers(thread::current());
    let mut silence = Silence::default();
    while !shared.stop.load(Ordering::Acquire) {
        let now = Instant::now();
        shared.look_at_timers(now);
        if let Some(event) = silence.judge(shared.data_sent.read(), shared.inbound.last.read(), now) {
            // boringtun would, but its clock stands still between two looks: it takes data that was sent in the same second as
            // the last answer to be answered.
            if matches!(event, WireGuardEvent::PeerSilent) {
                shared.ask_again(now);
            }
            (shared.events)(event);
        }
        let is_busy = || {
            let recent = |at: Option<Instant>| at.is_some_and(|at| at.elapsed() < QUIET_AFTER);
            recent(shared.data_sent.read())
                || recent(shared.data_received.read())
                || shared.session().handshaking
                || silence.is_pending()
        };
        let nap = if is_busy() || !shared.rest(is_busy) {
            BUSY_INTERVAL
        } else {
            let session = shared.session();
            // boringtun keeps nothing alive that is lost.
            if session.lost { REJECT_AFTER } else { session.keepalive.nap(now) }
        };
        thread::park_timeout(nap);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_keepalive_is_due_an_interval_after_the_last_whatever_was_sent_in_between() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut clock = KeepaliveClock::new(Some(25), start);
        let moment = Duration::from_millis(20);
        assert_eq!(clock.nap(at(5)), Duration::from_secs(20) + moment);
        clock.sent(at(20));
        assert_eq!(clock.nap(at(20)), Duration::from_secs(5) + moment);
        clock.sent(at(26));
        assert_eq!(clock.nap(at(26)), Duration::from_secs(25) + moment);
        assert_eq!(clock.nap(at(100)), moment);
        for never in [None, Some(0)] {
            assert_eq!(KeepaliveClock::new(never, start).nap(at(1)), REJECT_AFTER);
        }
        assert_eq!(KeepaliveClock::new(Some(600), start).nap(at(1)), REJECT_AFTER);
    }

    #[test]
    fn a_peer_is_silent_when_data_goes_unanswered_and_that_is_told_once() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut silence = Silence::default();
        let mut told = |sent: Option<u64>, received: u64, now| {
            silence.judge(sent.map(at), Some(at(received)), at(now)).map(|event| format!("{event:?}"))
        };
        assert_eq!(told(None, 0, 100), None, "nobody asked");
        assert_eq!(told(Some(100), 101, 101), None, "answered");
        assert_eq!(
            told(Some(200), 101, 201),
            None,
            "not unanswered for long, however long nothing came before"
        );
        assert_eq!(told(Some(215), 101, 215), None);
        assert_eq!(told(Some(216), 101, 216).as_deref(), Some("PeerSilent"));
        assert_eq!(told(Some(217), 101, 217), None);
        assert_eq!(told(Some(218), 218, 218).as_deref(), Some("PeerAnswers"));
        assert_eq!(told(Some(219), 218, 219), None);
    }

    #[test]
    fn a_peer_that_answers_in_between_is_not_silent() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut silence = Silence::default();
        // Data every second, of which the newest is never answered yet.
        for second in 1..100 {
            let event = silence.judge(Some(at(second)), Some(at(second.saturating_sub(3))), at(second));
            assert!(event.is_none(), "{event:?} at {second}");
        }
        assert!(
            (100..116).find_map(|second| silence.judge(Some(at(second)), Some(at(97)), at(second))).is_some()
        );
    }
}
