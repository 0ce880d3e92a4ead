//! Sequence numbers: how a sender counts them, and how a receiver completes the half that is not sent.

use super::window::WINDOW;

/// The sender's counter (RFC 4303 §2.2, §3.3.3). It only goes forward, and ends rather than wraps.
pub(super) struct SendSequence {
    last: u64,
    limit: u64,
}

impl SendSequence {
    pub(super) const fn new(esn: bool) -> Self {
        Self { last: 0, limit: if esn { u64::MAX } else { u32::MAX as u64 } }
    }

    /// The last number given out; 0 before the first.
    pub(super) const fn last(&self) -> u64 {
        self.last
    }

    /// How many numbers are left.
    pub(super) const fn remaining(&self) -> u64 {
        self.limit - self.last
    }

    /// Takes the next number, for good: a packet that then fails to be sealed leaves a gap, never a repeat.
    pub(super) const fn take(&mut self) -> Option<u64> {
        if self.last == self.limit {
            return None;
        }
        self.last += 1;
        Some(self.last)
    }

    /// Uses up the numbers up to `last`.
    ///
    /// # Panics
    /// If `last` lies before what has been used, or beyond the end.
    #[cfg(any(test, feature = "testing"))]
    pub(super) const fn skip_to(&mut self, last: u64) {
        assert!(self.last <= last && last <= self.limit, "a sequence goes neither back nor beyond its end");
        self.last = last;
    }
}

/// The 64-bit sequence number of a packet that carried `low`, given the highest one authenticated so far
/// (RFC 4303 Appendix A2.2). `None` where the number would lie before the first or after the last.
///
/// The window either lies within one 2^32 subspace (case A) or spans two (case B); in both, a `low` that
/// falls in the window or in front of it decides the high half. A wrong guess fails the integrity check.
pub(super) const fn infer(highest: u64, low: u32) -> Option<u64> {
    let top_low = highest as u32;
    let top_high = (highest >> 32) as u32;
    let span = WINDOW as u32 - 1;
    let bottom = top_low.wrapping_sub(span);
    let high = if top_low >= span {
        if low >= bottom { Some(top_high) } else { top_high.checked_add(1) }
    } else if low >= bottom {
        top_high.checked_sub(1)
    } else {
        Some(top_high)
    };
    match high {
        Some(high) => Some((high as u64) << 32 | low as u64),
        None => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_number_in_the_window_or_up_to_2_32_ahead_is_inferred(
            highest in prop_oneof![any::<u32>().prop_map(u64::from), 0..u64::MAX >> 1, (0u64..1 << 16).prop_map(|n| (3 << 32) - 100 + n)],
            offset in prop_oneof![-(WINDOW.cast_signed() - 1)..=0, 0i64..(1 << 32) - WINDOW.cast_signed()],
        ) {
            let Some(sequence) = highest.checked_add_signed(offset) else { return Ok(()) };
            prop_assert_eq!(infer(highest, sequence as u32), Some(sequence));
        }
    }

    #[test]
    fn a_number_from_before_the_first_packet_has_no_high_half() {
        assert_eq!(infer(5, u32::MAX), None);
        assert_eq!(infer(1 << 32 | 5, u32::MAX), Some(u64::from(u32::MAX)));
    }

    #[test]
    fn a_number_past_the_last_subspace_has_no_high_half() {
        assert_eq!(infer(u64::MAX - 1, 3), None);
    }

    #[test]
    fn a_counter_ends_instead_of_wrapping() {
        let mut sequence = SendSequence::new(false);
        sequence.skip_to(u64::from(u32::MAX) - 1);
        assert_eq!(sequence.take(), Some(u64::from(u32::MAX)));
        assert_eq!(sequence.take(), None);
        assert_eq!(sequence.take(), None);

        let mut sequence = SendSequence::new(true);
        sequence.skip_to(u64::from(u32::MAX));
        assert_eq!(sequence.take(), Some(1 << 32));
    }
}
