//! The receiving half of a CHILD SA.

use std::net::IpAddr;
use std::sync::Arc;

use super::counters::{DropReason, SaCounters};
use super::inner::Inner;
use super::selectors::{Direction, Policy, SelectorPair};
use super::transform::{EspKeys, InvalidKeys, Transform};
use super::window::{Refusal, ReplayWindow};
use super::{HEADER_LEN, NEXT_HEADER_NONE, TRAILER_LEN, sequence};
use crate::crypto::EspSuite;
use crate::wire::EspSpi;

/// Why a packet was not delivered. All of these can be produced by anyone on the path except the last four,
/// which only the authenticated peer can cause.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum OpenError {
    /// Too short or misaligned for this SA, or another SA's SPI.
    #[error("malformed ESP packet")]
    Malformed,
    /// The sequence number was seen before.
    #[error("replayed packet")]
    Replay,
    /// The sequence number is left of the replay window.
    #[error("packet older than the replay window")]
    TooOld,
    /// The integrity check failed.
    #[error("integrity check failed")]
    Icv,
    /// The padding behind a valid ICV is not what RFC 4303 §2.4 prescribes.
    #[error("wrong ESP padding")]
    BadPadding,
    /// A dummy packet: nothing is wrong, there is nothing to deliver.
    #[error("dummy packet")]
    Dummy,
    /// Neither IPv4 nor IPv6 in tunnel mode, or shorter than its header says.
    #[error("the inner packet is not a whole IP packet")]
    BadInner,
    /// The peer sent what the CHILD SA must not carry.
    #[error("inner packet {source_address} -> {destination_address} is outside the traffic selectors")]
    SelectorMismatch {
        /// Inner source.
        source_address: IpAddr,
        /// Inner destination.
        destination_address: IpAddr,
    },
}

impl OpenError {
    const fn reason(self) -> DropReason {
        match self {
            Self::Malformed | Self::BadPadding => DropReason::Malformed,
            Self::Replay => DropReason::Replay,
            Self::TooOld => DropReason::TooOld,
            Self::Icv => DropReason::Integrity,
            Self::Dummy => DropReason::Dummy,
            Self::BadInner => DropReason::BadInner,
            Self::SelectorMismatch { .. } => DropReason::Selector,
        }
    }

    /// Did the packet come from the peer, whatever was wrong in it? Such a packet proves the peer alive.
    #[must_use]
    pub const fn is_authentic(self) -> bool {
        match self {
            Self::BadPadding | Self::Dummy | Self::BadInner | Self::SelectorMismatch { .. } => true,
            Self::Malformed | Self::Replay | Self::TooOld | Self::Icv => false,
        }
    }
}

/// An inner packet, decrypted where it was received.
#[derive(Debug)]
pub struct Opened<'a> {
    /// The inner packet without TFC padding: IPv4 or IPv6, as long as its own header says.
    pub packet: &'a mut [u8],
    /// Where it begins in the ESP packet.
    pub offset: usize,
    /// No packet with a higher sequence number came before it: the peer's last known address is this one's.
    pub newest: bool,
}

/// Opens ESP packets.
pub struct InboundSa {
    spi: EspSpi,
    esn: bool,
    window: ReplayWindow,
    transform: Transform,
    policy: Policy,
    counters: Arc<SaCounters>,
}

impl InboundSa {
    /// `spi` is the one that we chose.
    ///
    /// # Errors
    /// When the keys do not fit the suite.
    pub fn new(
        spi: EspSpi,
        suite: EspSuite,
        keys: &EspKeys,
        selectors: &SelectorPair,
        counters: Arc<SaCounters>,
    ) -> Result<Self, InvalidKeys> {
        Ok(Self {
            spi,
            esn: suite.esn,
            window: ReplayWindow::new(),
            transform: Transform::opening(suite, keys)?,
            policy: Policy::new(selectors, Direction::Inbound),
            counters,
        })
    }

    /// The SPI that its packets carry.
    #[must_use]
    pub const fn spi(&self) -> EspSpi {
        self.spi
    }

    /// The highest authenticated sequence number; 0 before the first packet.
    #[must_use]
    pub const fn sequence(&self) -> u64 {
        self.window.highest()
    }

    /// Its counters.
    #[must_use]
    pub const fn counters(&self) -> &Arc<SaCounters> {
        &self.counters
    }

    /// Verifies, decrypts in place and checks one ESP packet: first the sequence number, because it is cheap,
    /// then the ICV; only then does the window move (RFC 4303 §3.4.3).
    ///
    /// # Errors
    /// See [`OpenError`]; the bytes are then unspecified.
    #[inline]
    pub fn open<'a>(&mut self, esp: &'a mut [u8]) -> Result<Opened<'a>, OpenError> {
        let result = self.open_uncounted(esp);
        match &result {
            Ok(opened) => self.counters.carried(opened.packet.len()),
            Err(error) => self.counters.dropped(error.reason()),
        }
        result
    }

    #[inline]
    fn open_uncounted<'a>(&mut self, esp: &'a mut [u8]) -> Result<Opened<'a>, OpenError> {
        let headroom = HEADER_LEN + self.transform.iv_len();
        let sealed =
            esp.len().checked_sub(headroom + self.transform.icv_len()).ok_or(OpenError::Malformed)?;
        if sealed < TRAILER_LEN || !sealed.is_multiple_of(self.transform.alignment()) {
            return Err(OpenError::Malformed);
        }
        let header = esp.first_chunk::<HEADER_LEN>().ok_or(OpenError::Malformed)?;
        let [s0, s1, s2, s3, q0, q1, q2, q3] = *header;
        if u32::from_be_bytes([s0, s1, s2, s3]) != self.spi.0 {
            return Err(OpenError::Malformed);
        }
        let low = u32::from_be_bytes([q0, q1, q2, q3]);
        let sequence = if self.esn {
            sequence::infer(self.window.highest(), low).ok_or(OpenError::TooOld)?
        } else {
            u64::from(low)
        };
        self.window.check(sequence).map_err(|refusal| match refusal {
            Refusal::Replay => OpenError::Replay,
            Refusal::TooOld => OpenError::TooOld,
        })?;
        self.transform.open(esp, sequence, self.esn).map_err(|_| OpenError::Icv)?;
        let newest = sequence > self.window.highest();
        self.window.accept(sequence);

        let payload = &mut esp[headroom..headroom + sealed];
        let inner_len = self.inner_len(payload)?;
        Ok(Opened { packet: &mut payload[..inner_len], offset: headroom, newest })
    }

    /// How much of an authenticated payload (inner packet, TFC padding, padding, trailer) is inner packet.
    #[inline]
    fn inner_len(&self, payload: &[u8]) -> Result<usize, OpenError> {
        let (body, &[padding, next_header]) =
            payload.split_last_chunk::<TRAILER_LEN>().ok_or(OpenError::Malformed)?;
        let content = body.len().checked_sub(usize::from(padding)).ok_or(OpenError::BadPadding)?;
        let (content, padding) = body.split_at(content);
        if !padding.iter().zip(1u8..).all(|(byte, expected)| *byte == expected) {
            return Err(OpenError::BadPadding);
        }
        if next_header == NEXT_HEADER_NONE {
            return Err(OpenError::Dummy);
        }
        let inner = Inner::parse(content).ok_or(OpenError::BadInner)?;
        if inner.addresses.next_header() != next_header {
            return Err(OpenError::BadInner);
        }
        if !self.policy.permits(&inner) {
            return Err(OpenError::SelectorMismatch {
                source_address: inner.addresses.source(),
                destination_address: inner.addresses.destination(),
            });
        }
        Ok(inner.len())
    }
}
