//! Whether the machine has slept: what the system's service says, and what its clocks say.

use std::future::pending;
use std::time::{Duration, Instant};

use evenkeel_platform::sleep::{self, SleepEvents, SleepSystem};
use tokio::sync::mpsc;

/// The clocks tell of a sleep from this on: a NAT may forget in seconds, and clocks that are read one after the other
/// differ by less.
const SLEEP: Duration = Duration::from_secs(1);

/// Both witnesses tell of the same sleep within this time.
const SAME: Duration = Duration::from_secs(5);

/// Notices that the machine has slept.
pub(super) struct Sleep {
    told: mpsc::Receiver<()>,
    /// Time asleep that has been accounted for.
    asleep: Option<Duration>,
    noticed: Option<Instant>,
}

impl Sleep {
    /// Starts to watch. Needs a tokio runtime.
    pub(super) fn watch() -> Self {
        let (sink, told) = mpsc::channel(1);
        // It ends with the other end of the channel.
        tokio::spawn(async move {
            let mut events = match SleepEvents::open(&SleepSystem::default()).await {
                Ok(events) => events,
                Err(error) => return tracing::info!(%error, "sleep is noticed by the clocks alone"),
            };
            loop {
                tokio::select! {
                    woke = events.woke() => if !woke || sink.send(()).await.is_err() { return },
                    () = sink.closed() => return,
                }
            }
        });
        Self { told, asleep: sleep::time_asleep(), noticed: None }
    }

    /// Whether the clocks say that the machine has slept since this was last asked. Costs two readings of a clock.
    pub(super) fn has_slept(&mut self) -> bool {
        self.slept_until(sleep::time_asleep(), Instant::now())
    }

    /// Waits until the system's service says that the machine has woken. Cancel safe.
    pub(super) async fn woke(&mut self) {
        loop {
            if self.told.recv().await.is_none() {
                return pending().await;
            }
            if self.is_news(Instant::now()) {
                return;
            }
        }
    }

    fn slept_until(&mut self, asleep: Option<Duration>, now: Instant) -> bool {
        let (Some(asleep), Some(before)) = (asleep, self.asleep) else { return false };
        if asleep.saturating_sub(before) < SLEEP {
            return false;
        }
        self.asleep = Some(asleep);
        self.is_news(now)
    }

    /// Whether the other witness has not just told of it.
    fn is_news(&mut self, now: Instant) -> bool {
        let news = self.noticed.is_none_or(|noticed| now.saturating_duration_since(noticed) > SAME);
        if news {
            self.noticed = Some(now);
        }
        news
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sleep(asleep: Option<u64>) -> (mpsc::Sender<()>, Sleep) {
        let (sink, told) = mpsc::channel(1);
        (sink, Sleep { told, asleep: asleep.map(Duration::from_secs), noticed: None })
    }

    fn seconds(seconds: u64) -> Option<Duration> {
        Some(Duration::from_secs(seconds))
    }

    #[test]
    fn the_clocks_tell_of_each_sleep_once() {
        let (now, (_sink, mut sleep)) = (Instant::now(), sleep(Some(100)));
        assert!(!sleep.slept_until(seconds(100), now));
        assert!(!sleep.slept_until(Some(Duration::from_millis(100_900)), now));
        assert!(sleep.slept_until(seconds(700), now));
        assert!(!sleep.slept_until(seconds(700), now + 2 * SAME));
        assert!(sleep.slept_until(seconds(800), now + 2 * SAME));
    }

    #[test]
    fn clocks_that_do_not_tell_say_nothing() {
        let (_sink, mut sleep) = sleep(None);
        assert!(!sleep.slept_until(None, Instant::now()));
        assert!(!sleep.slept_until(seconds(700), Instant::now()));
    }

    #[tokio::test]
    async fn what_both_witnesses_say_is_one_sleep() {
        let (sink, mut sleep) = sleep(Some(100));
        sink.send(()).await.unwrap();
        sleep.woke().await;
        assert!(!sleep.slept_until(seconds(700), Instant::now()), "told twice");
        // And the other way round.
        sleep.noticed = None;
        assert!(sleep.slept_until(seconds(800), Instant::now()));
        sink.send(()).await.unwrap();
        assert!(tokio::time::timeout(Duration::from_millis(50), sleep.woke()).await.is_err());
    }
}
