//! IKE fragmentation (RFC 7383): reassembly of what the peer sends.

use super::defaults::{MAX_FRAGMENTS, MAX_MESSAGE};
use crate::wire::MessageId;
use zeroize::Zeroizing;

/// Collects the authenticated fragments of one message.
#[derive(Default)]
pub(super) struct Reassembly {
    current: Option<Partial>,
}

struct Partial {
    message_id: MessageId,
    total: u16,
    first_payload: u8,
    parts: Vec<Option<Zeroizing<Vec<u8>>>>,
    missing: u16,
    size: usize,
}

/// A decrypted fragment with its place in the message.
pub(super) struct Fragment {
    pub message_id: MessageId,
    pub first_payload: u8,
    pub number: u16,
    pub total: u16,
    pub content: Zeroizing<Vec<u8>>,
}

impl Reassembly {
    /// Adds a fragment whose ICV was verified. Returns the first payload's type and the whole content once
    /// nothing is missing. Fragments that contradict each other are dropped (RFC 7383 §2.6).
    pub(super) fn add(&mut self, fragment: Fragment) -> Option<(u8, Zeroizing<Vec<u8>>)> {
        let Fragment { message_id, first_payload, number, total, content } = fragment;
        if number == 0 || number > total || total > MAX_FRAGMENTS {
            return None;
        }
        // A larger total means that the sender has fragmented anew with a smaller size; a smaller one is old.
        let starts_anew = match &self.current {
            Some(partial) if partial.message_id == message_id => {
                if total < partial.total {
                    return None;
                }
                total > partial.total
            }
            Some(_) | None => true,
        };
        if starts_anew {
            let parts = (0..total).map(|_| None).collect();
            let partial = Partial { message_id, total, first_payload: 0, parts, missing: total, size: 0 };
            self.current = Some(partial);
        }
        let partial = self.current.as_mut()?;
        let slot = partial.parts.get_mut(usize::from(number) - 1)?;
        if slot.is_some() || partial.size + content.len() > MAX_MESSAGE {
            return None;
        }
        partial.size += content.len();
        partial.missing -= 1;
        *slot = Some(content);
        if number == 1 {
            partial.first_payload = first_payload;
        }
        if partial.missing > 0 {
            return None;
        }
        let partial = self.current.take()?;
        let mut whole = Zeroizing::new(Vec::with_capacity(partial.size));
        for part in partial.parts.into_iter().flatten() {
            whole.extend_from_slice(&part);
        }
        Some((partial.first_payload, whole))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fragment(number: u16, total: u16, byte: u8) -> Fragment {
        let content = Zeroizing::new(vec![byte; 3]);
        Fragment {
            message_id: MessageId(1),
            first_payload: if number == 1 { 35 } else { 0 },
            number,
            total,
            content,
        }
    }

    #[test]
    fn fragments_in_any_order_give_the_message_once() {
        let mut reassembly = Reassembly::default();
        assert!(reassembly.add(fragment(3, 3, 3)).is_none());
        assert!(reassembly.add(fragment(1, 3, 1)).is_none());
        assert!(reassembly.add(fragment(1, 3, 9)).is_none(), "a duplicate changes nothing");
        let (first, whole) = reassembly.add(fragment(2, 3, 2)).expect("complete");
        assert_eq!((first, whole.as_slice()), (35, &[1, 1, 1, 2, 2, 2, 3, 3, 3][..]));
        assert!(reassembly.add(fragment(2, 3, 2)).is_none());
    }

    #[test]
    fn a_larger_total_starts_anew_and_a_smaller_one_is_ignored() {
        let mut reassembly = Reassembly::default();
        assert!(reassembly.add(fragment(1, 2, 7)).is_none());
        assert!(reassembly.add(fragment(1, 3, 1)).is_none());
        assert!(reassembly.add(fragment(2, 2, 7)).is_none());
        assert!(reassembly.add(fragment(2, 3, 2)).is_none());
        assert!(reassembly.add(fragment(3, 3, 3)).is_some());
    }

    #[test]
    fn impossible_numbers_are_dropped() {
        let mut reassembly = Reassembly::default();
        for (number, total) in [(0, 1), (2, 1), (1, 0), (1, MAX_FRAGMENTS + 1), (0, 0)] {
            assert!(reassembly.add(fragment(number, total, 0)).is_none());
        }
    }
}
