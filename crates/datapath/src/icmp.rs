//! Which ICMP messages about our datagrams to believe.
//!
//! The kernel matches addresses and ports. Both are easily guessed by somebody off the path, so a message counts as one
//! about our packet only if it quotes the SPI of an SA that sends, and a sequence number that it used not long ago: 44
//! bits that nobody knows who did not see the packet. The inbound thread reads the messages and compares SPIs; the
//! sequence number is the outbound thread's, which decides.

/// How many packets back a quoted one may lie: two seconds at 7 Gbit/s. Of the sequence numbers of a 32-bit half, one
/// in 4096.
const RECENT: u64 = 1 << 20;

/// What a quoted ESP packet shows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Quote {
    pub(crate) spi: u32,
    /// The low half.
    pub(crate) sequence: u32,
}

impl Quote {
    /// Of the first bytes of a UDP payload; `None` if they are too few, or not ESP.
    pub(crate) fn parse(payload: &[u8]) -> Option<Self> {
        let &[p0, p1, p2, p3, q0, q1, q2, q3] = payload.first_chunk::<8>()?;
        let spi = u32::from_be_bytes([p0, p1, p2, p3]);
        // Zero is the non-ESP marker (RFC 3948 §2.2).
        (spi != 0).then_some(Self { spi, sequence: u32::from_be_bytes([q0, q1, q2, q3]) })
    }

    /// Was it among the last packets of the SA whose last one was `last`?
    pub(crate) fn is_recent(self, last: u64) -> bool {
        let back = u64::from((last as u32).wrapping_sub(self.sequence));
        // Numbers start at 1.
        back < RECENT.min(last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quote_is_believed_as_long_as_its_packet_is_recent() {
        let quote = |sequence| Quote { spi: 1, sequence };
        for (sequence, last, recent) in [
            (1, 1, true),
            (5, 9, true),
            (0, 9, false),
            (10, 9, false),
            (0, 0, false),
            (u32::MAX, 9, false),
            (1_000_000, 1_000_000 + RECENT - 1, true),
            (1_000_000, 1_000_000 + RECENT, false),
            // ESN: the last one lies in the next half.
            (u32::MAX - 3, (1 << 32) + 5, true),
            (6, (1 << 32) + 5, false),
        ] {
            assert_eq!(quote(sequence).is_recent(last), recent, "{sequence} of {last}");
        }
    }

    #[test]
    fn only_esp_with_its_sequence_number_is_a_quote() {
        assert_eq!(Quote::parse(&[0, 0, 0, 9, 0, 0, 0, 8, 7]), Some(Quote { spi: 9, sequence: 8 }));
        assert_eq!(Quote::parse(&[0, 0, 0, 9, 0, 0, 0]), None);
        assert_eq!(Quote::parse(&[0, 0, 0, 0, 1, 2, 3, 4]), None, "an IKE message");
        assert_eq!(Quote::parse(&[]), None);
    }
}
