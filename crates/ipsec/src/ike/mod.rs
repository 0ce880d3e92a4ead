//! IKE SAs and CHILD SAs as state machines (RFC 7296), for both roles.
//!
//! A [`Session`] is one association with one peer: its IKE SA, the IKE SAs that replace it when it is
//! rekeyed, and the CHILD SAs that they own. It is driven like a `quinn-proto` connection: feed input with
//! `handle_*`, then drain [`Session::poll_transmit`], [`Session::poll_event`] and read
//! [`Session::poll_timeout`], in this order.
//!
//! | file | what |
//! |---|---|
//! | `init.rs` | IKE_SA_INIT as the initiator: COOKIE, INVALID_KE_PAYLOAD, NAT detection |
//! | `auth.rs` | IKE_AUTH as the initiator: PSK, certificates, EAP |
//! | `sa.rs` | one IKE SA as a channel: keys, message IDs, window, retransmission, fragments |
//! | `child.rs`, `child_request.rs`, `child_response.rs` | CHILD SAs: creating and rekeying them, with the collisions |
//! | `ike_rekey.rs`, `inform.rs` | rekeying the IKE SA; DPD and DELETE |
//! | `mobike.rs` | MOBIKE: another path for the same SAs (RFC 4555) |
//! | `mapping.rs` | what a NAT makes of our address, and tests of other paths (RFC 4555 §3.8, §3.10) |
//! | `delayed_check.rs` | requests that the gateway sends after a silence (docs/delayed-check.md) |
//! | `responder/` | the responder role (feature `responder`) |

mod auth;
mod auth_data;
mod child;
mod child_request;
mod child_response;
mod config;
pub mod defaults;
mod delayed_check;
mod established;
mod event;
mod failure;
mod fragment;
mod ike_rekey;
mod inform;
mod init;
mod keys;
mod mapping;
mod mobike;
mod natd;
mod pacing;
mod path;
mod payloads;
mod sa;
mod session;
mod timers;

#[cfg(feature = "responder")]
pub mod responder;
#[cfg(all(test, feature = "responder"))]
mod simulation;

pub use config::{ClientConfig, LocalAuth, PeerAuth, Timers};
pub use event::{
    ChildEnd, ChildInstalled, ChildSaInfo, Configuration, DelayedCheck, Event, IkeSaInfo, MigrationRefusal,
    RekeyFailed, RekeyOf, SignRequest,
};
pub use failure::{Failure, PeerAuthFailure};
pub use mapping::Mapping;
pub use mobike::MigrateError;
pub use path::{Framing, Path, Transmit};
#[cfg(feature = "responder")]
pub use responder::{Faults, PeerPolicy, Pool, Responder, ResponderAuth, ResponderConfig, SessionId};
pub use session::Session;
pub use timers::WakeReason;
