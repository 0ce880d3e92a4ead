//! The sending half of a CHILD SA.

use std::sync::Arc;

use super::counters::{DropReason, SaCounters};
use super::inner::Inner;
use super::selectors::{Direction, Policy, SelectorPair};
use super::sequence::SendSequence;
use super::transform::{EspKeys, InvalidKeys, Transform};
use super::{HEADER_LEN, TRAILER_LEN};
use crate::crypto::EspSuite;
use crate::wire::EspSpi;

/// Why a packet was not sealed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SealError {
    /// All sequence numbers are used: the SA must be replaced (RFC 4303 §3.3.3).
    #[error("sequence numbers exhausted")]
    SequenceExhausted,
    /// The slot is shorter than the packet with header and trailer, or too long for the cipher.
    #[error("slot too short for the packet")]
    NoRoom,
    /// Not a whole IPv4 or IPv6 packet.
    #[error("not an IP packet")]
    BadInner,
    /// The packet is outside the traffic selectors.
    #[error("packet outside the traffic selectors")]
    SelectorMismatch,
}

/// Seals inner packets. Not `Clone`: its sequence number is the IV.
pub struct OutboundSa {
    spi: EspSpi,
    esn: bool,
    sequence: SendSequence,
    transform: Transform,
    policy: Policy,
    counters: Arc<SaCounters>,
}

impl OutboundSa {
    /// `spi` is the one that the peer chose; `iv_seed` is drawn for this SA alone.
    ///
    /// # Errors
    /// When the keys do not fit the suite.
    pub fn new(
        spi: EspSpi,
        suite: EspSuite,
        keys: &EspKeys,
        iv_seed: [u8; 32],
        selectors: &SelectorPair,
        counters: Arc<SaCounters>,
    ) -> Result<Self, InvalidKeys> {
        Ok(Self {
            spi,
            esn: suite.esn,
            sequence: SendSequence::new(suite.esn),
            transform: Transform::sealing(suite, keys, &iv_seed)?,
            policy: Policy::new(selectors, Direction::Outbound),
            counters,
        })
    }

    /// The SPI that its packets carry.
    #[must_use]
    pub const fn spi(&self) -> EspSpi {
        self.spi
    }

    /// Bytes in front of the inner packet: SPI, sequence number, IV.
    #[must_use]
    pub const fn headroom(&self) -> usize {
        HEADER_LEN + self.transform.iv_len()
    }

    /// The most bytes that can follow an inner packet: padding, trailer, ICV.
    #[must_use]
    pub const fn max_trailer(&self) -> usize {
        TRAILER_LEN + self.transform.alignment() - 1 + self.transform.icv_len()
    }

    /// Length of the ESP packet for an inner packet of `inner_len` bytes.
    #[must_use]
    pub const fn sealed_len(&self, inner_len: usize) -> usize {
        let padded = (inner_len + TRAILER_LEN).next_multiple_of(self.transform.alignment());
        self.headroom() + padded + self.transform.icv_len()
    }

    /// Length of the ESP packet that [`seal_padded`](Self::seal_padded) makes: the greatest of at most `limit` bytes
    /// that the cipher's alignment allows; `None` where the inner packet does not fit into it.
    #[must_use]
    pub const fn padded_len(&self, inner_len: usize, limit: usize) -> Option<usize> {
        let Some(room) = limit.checked_sub(self.headroom() + self.transform.icv_len()) else { return None };
        let alignment = self.transform.alignment();
        let len = self.headroom() + room / alignment * alignment + self.transform.icv_len();
        if len < self.sealed_len(inner_len) { None } else { Some(len) }
    }

    /// What ESP adds to an inner packet of `inner_len` bytes.
    #[must_use]
    pub const fn overhead(&self, inner_len: usize) -> usize {
        self.sealed_len(inner_len) - inner_len
    }

    /// The last sequence number used; 0 before the first packet.
    #[must_use]
    pub const fn sequence(&self) -> u64 {
        self.sequence.last()
    }

    /// How many packets it can still send.
    #[must_use]
    pub const fn remaining(&self) -> u64 {
        self.sequence.remaining()
    }

    /// Its counters.
    #[must_use]
    pub const fn counters(&self) -> &Arc<SaCounters> {
        &self.counters
    }

    /// Do the traffic selectors cover this inner packet?
    #[inline]
    #[must_use]
    pub fn permits(&self, packet: &[u8]) -> bool {
        Inner::parse(packet).is_some_and(|inner| self.policy.permits(&inner))
    }

    /// Seals the inner packet at `slot[headroom()..][..inner_len]` in place. The ESP packet begins at the
    /// start of the slot; its length is returned.
    ///
    /// # Errors
    /// See [`SealError`]; the slot is then unspecified and must not be sent.
    #[inline]
    pub fn seal(&mut self, slot: &mut [u8], inner_len: usize) -> Result<usize, SealError> {
        let result = self.seal_uncounted(slot, inner_len, self.sealed_len(inner_len));
        self.count(result, inner_len)
    }

    /// [`seal`](Self::seal) with TFC padding (RFC 4303 §2.7) behind the inner packet, to make an ESP packet of a
    /// wanted length: that of [`padded_len`](Self::padded_len) for `limit`. The receiver cuts the padding off by the
    /// inner packet's own length. Not for a peer that announced ESP_TFC_PADDING_NOT_SUPPORTED (RFC 7296 §1.3.1).
    ///
    /// # Errors
    /// See [`SealError`]: [`NoRoom`](SealError::NoRoom) also when the inner packet does not fit into `limit`.
    pub fn seal_padded(
        &mut self,
        slot: &mut [u8],
        inner_len: usize,
        limit: usize,
    ) -> Result<usize, SealError> {
        let result = match self.padded_len(inner_len, limit) {
            Some(len) => self.seal_uncounted(slot, inner_len, len),
            None => Err(SealError::NoRoom),
        };
        self.count(result, inner_len)
    }

    #[inline]
    fn count(&self, result: Result<usize, SealError>, inner_len: usize) -> Result<usize, SealError> {
        match result {
            Ok(_) => self.counters.carried(inner_len),
            Err(SealError::SequenceExhausted) => self.counters.dropped(DropReason::Exhausted),
            Err(SealError::BadInner | SealError::NoRoom) => self.counters.dropped(DropReason::BadInner),
            Err(SealError::SelectorMismatch) => self.counters.dropped(DropReason::Selector),
        }
        result
    }

    /// `len` is that of the ESP packet: aligned, and at least [`sealed_len`](Self::sealed_len).
    #[inline]
    fn seal_uncounted(&mut self, slot: &mut [u8], inner_len: usize, len: usize) -> Result<usize, SealError> {
        let headroom = self.headroom();
        let esp = slot.get_mut(..len).ok_or(SealError::NoRoom)?;
        let inner = Inner::parse(&esp[headroom..headroom + inner_len]).ok_or(SealError::BadInner)?;
        // Anything behind the packet would be TFC padding of the caller's making.
        if inner.len() != inner_len {
            return Err(SealError::BadInner);
        }
        if !self.policy.permits(&inner) {
            return Err(SealError::SelectorMismatch);
        }
        let next_header = inner.addresses.next_header();

        let sequence = self.sequence.take().ok_or(SealError::SequenceExhausted)?;
        esp[..4].copy_from_slice(&self.spi.0.to_be_bytes());
        esp[4..HEADER_LEN].copy_from_slice(&(sequence as u32).to_be_bytes());
        let trailer = &mut esp[headroom + inner_len..len - self.transform.icv_len()];
        // Without TFC padding there is less than the alignment, a power of two, to fill: all of it is padding.
        let padding = (trailer.len() - TRAILER_LEN) & (self.transform.alignment() - 1);
        let (tfc, trailer) = trailer.split_at_mut(trailer.len() - TRAILER_LEN - padding);
        tfc.fill(0);
        for (index, byte) in trailer[..padding].iter_mut().enumerate() {
            // RFC 4303 §2.4: 1, 2, 3, ... At most 15 here.
            *byte = index as u8 + 1;
        }
        trailer[padding] = padding as u8;
        trailer[padding + 1] = next_header;
        self.transform.seal(esp, sequence, self.esn).map_err(|_| SealError::NoRoom)?;
        Ok(len)
    }

    /// Uses up the sequence numbers up to `last`, which to the peer are lost packets: to see, in tests, what becomes of an
    /// SA whose numbers run out (RFC 4303 §3.3.3). None is ever used twice.
    ///
    /// # Panics
    /// If `last` lies before what has been used.
    #[cfg(any(test, feature = "testing"))]
    pub const fn skip_to(&mut self, last: u64) {
        self.sequence.skip_to(last);
    }
}
