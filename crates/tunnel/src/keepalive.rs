//! NAT keepalives (RFC 3948 §2.3, §4).

use std::time::Instant;

use crate::defaults::NAT_KEEPALIVE;

/// When something was last sent on the path, and so when a keepalive is due.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Keepalive {
    last_sent: Instant,
}

impl Keepalive {
    pub(crate) fn new(now: Instant) -> Self {
        Self { last_sent: now }
    }

    /// Something went out. Instants may come in any order: the data plane reports its own late.
    pub(crate) fn sent(&mut self, at: Instant) {
        self.last_sent = self.last_sent.max(at);
    }

    pub(crate) fn due(&self) -> Instant {
        self.last_sent + NAT_KEEPALIVE
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a starting point for virtual time")]
    fn a_keepalive_is_due_twenty_seconds_after_the_last_packet_of_any_kind() {
        let start = Instant::now();
        let mut keepalive = Keepalive::new(start);
        assert_eq!(keepalive.due(), start + Duration::from_secs(20));
        keepalive.sent(start + Duration::from_secs(15));
        assert_eq!(keepalive.due(), start + Duration::from_secs(35));
        keepalive.sent(start + Duration::from_secs(3));
        assert_eq!(keepalive.due(), start + Duration::from_secs(35), "a late report takes nothing back");
    }
}
