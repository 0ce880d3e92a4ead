//! EAP inside IKE_AUTH (RFC 3748, RFC 7296 §2.16): Identity, Notification, Nak and EAP-MSCHAPv2
//! (draft-kamath-pppext-eap-mschapv2, RFC 2759, RFC 3079).
//!
//! [`EapPeer`] is the client; `EapServer` (feature `responder`) the other side. Both are fed whole EAP packets and
//! answer with whole packets. EAP-MSCHAPv2 by itself can be attacked offline by whoever sees one exchange, so the
//! client must not feed a packet in before the gateway's AUTH payload is verified.

mod message;
mod mschapv2;
mod packet;
mod peer;
#[cfg(feature = "responder")]
mod server;

pub use message::{MschapCode, MschapError};
pub use peer::{EapAction, EapError, EapPeer};
#[cfg(feature = "responder")]
pub use server::{EapServer, EapServerAction};
