//! ESP in tunnel mode (RFC 4303): one type for each direction of a CHILD SA.
//!
//! [`OutboundSa`] seals an inner packet in place and owns the sequence number, which for the AEADs is also
//! the IV: the type is neither `Clone` nor rewindable, so no (key, IV) pair can occur twice. [`InboundSa`]
//! opens in place, and moves its replay window only for a packet that was authenticated. Both check every
//! inner packet against the CHILD SA's traffic selectors, because a gateway that sends what it never
//! negotiated is as wrong as a host that leaks what the tunnel must not carry.
//!
//! Nothing here allocates per packet, reads a clock, or draws randomness.
//!
//! A slot, the buffer that a packet is sealed in:
//!
//! ```text
//! | SPI 4 | sequence 4 | IV 8 or 16 | inner packet | padding | pad length 1 | next header 1 | ICV 12..32 |
//!  <------- headroom() ------------> <-inner_len-->  <------------------- trailer ---------------------->
//! ```

mod counters;
mod inbound;
mod inner;
mod outbound;
mod selectors;
mod sequence;
#[cfg(test)]
mod tests;
mod transform;
mod window;

pub use counters::{CounterSnapshot, DropReason, SaCounters};
pub use inbound::{InboundSa, OpenError, Opened};
pub use outbound::{OutboundSa, SealError};
pub use selectors::SelectorPair;
pub use transform::{EspKeys, InvalidKeys};

/// SPI and sequence number: what stands in clear before the IV (RFC 4303 §2).
const HEADER_LEN: usize = 8;

/// Pad Length and Next Header (RFC 4303 §2.5, §2.6).
const TRAILER_LEN: usize = 2;

/// Next Header of an inner IPv4 packet.
const NEXT_HEADER_IPV4: u8 = 4;

/// Next Header of an inner IPv6 packet.
const NEXT_HEADER_IPV6: u8 = 41;

/// Next Header of a dummy packet, sent to hide traffic patterns (RFC 4303 §2.6).
const NEXT_HEADER_NONE: u8 = 59;
