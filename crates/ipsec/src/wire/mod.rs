//! IKEv2 and ESP in UDP and TCP on the wire (RFC 7296 §3, RFC 7383 §2.5, RFC 3948 §2, RFC 9329 §3).
//!
//! Decoding checks every length once; the owned values that come out need no further validation.

mod configuration;
mod dn;
mod encap;
mod error;
mod header;
mod id;
mod message;
mod notify;
mod numbers;
mod payload;
mod printable;
mod proposal;
mod reader;
mod selector;
mod stream;
mod writer;

pub use configuration::*;
pub use encap::*;
pub use error::*;
pub use header::*;
pub use id::*;
pub use message::*;
pub use notify::*;
pub use numbers::*;
pub use payload::*;
pub use printable::*;
pub use proposal::*;
pub use selector::*;
pub use stream::*;
