//! When traffic last flowed, from counters that are looked at only when somebody wakes up anyway.

use std::time::{Duration, Instant};

use evenkeel_tunnel::{Activity, defaults};

/// How far before a NAT keepalive would be due an unseen packet is taken to have been sent. A counter that moved between
/// two looks does not say when: the packet is dated so that the next look comes soon, and if the counter stands still by
/// then the keepalive goes out at most this long after the packet's own twenty seconds.
const RECHECK: Duration = Duration::from_secs(5);

/// Remembers counters and the times at which they moved.
#[derive(Default)]
pub(super) struct ActivityLog {
    sent_packets: u64,
    looked: Option<Instant>,
    activity: Activity,
}

impl ActivityLog {
    /// Authenticated ESP was received.
    pub(super) fn received(&mut self, at: Instant) {
        self.activity.received = Some(at);
    }

    /// Looks at the number of packets that were sent so far.
    pub(super) fn look(&mut self, sent_packets: u64, now: Instant) -> Activity {
        if sent_packets != self.sent_packets {
            self.sent_packets = sent_packets;
            let doubt = defaults::NAT_KEEPALIVE.saturating_sub(RECHECK);
            let earliest = now.checked_sub(doubt).unwrap_or(now);
            // Not before the look at which it had not been sent yet.
            let at = self.looked.map_or(earliest, |looked| looked.max(earliest));
            self.activity.sent = self.activity.sent.max(Some(at));
        }
        self.looked = Some(now);
        self.activity
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// Looks whenever a keepalive would be due, as the tunnel does, until one goes out.
    fn keepalive_after(start: Instant, packets: impl Fn(Duration) -> u64) -> Duration {
        let mut log = ActivityLog::default();
        let mut sent = start;
        loop {
            let due = sent + defaults::NAT_KEEPALIVE;
            let activity = log.look(packets(due - start), due);
            sent = activity.sent.unwrap_or(start).max(sent);
            if sent + defaults::NAT_KEEPALIVE <= due {
                return due - start;
            }
        }
    }

    #[test]
    fn the_gap_before_a_keepalive_never_exceeds_twenty_five_seconds() {
        let start = Instant::now();
        for last in 0..200 {
            // One packet a second until `last`, nothing after it.
            let at = keepalive_after(start, |elapsed| elapsed.as_secs().min(last));
            let gap = at.saturating_sub(SECOND * u32::try_from(last).unwrap());
            assert!(gap <= Duration::from_secs(25), "last packet at {last} s, keepalive at {at:?}");
        }
    }

    #[test]
    fn without_packets_the_keepalive_is_due_after_twenty_seconds() {
        assert_eq!(keepalive_after(Instant::now(), |_| 0), defaults::NAT_KEEPALIVE);
    }

    #[test]
    fn looks_in_quick_succession_date_a_packet_closely() {
        let start = Instant::now();
        let mut log = ActivityLog::default();
        log.look(5, start);
        let activity = log.look(6, start + SECOND);
        assert!(activity.sent.unwrap() >= start);
    }
}
