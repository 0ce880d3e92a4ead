//! Everything that Evenkeel asks of an operating system, one module a concern.
//!
//! A concern is `concern.rs`, which holds the types and says what they mean, plus
//! `concern/{linux,macos,windows}.rs`, which expose the same items to it. Code outside this crate
//! never asks which system it runs on: what a system cannot do is the typed [`Unsupported`].
//!
//! What changes the machine ([`routes`], [`dns`]) writes what it is about to do to a journal in the
//! state directory first, so that a daemon that was killed puts everything back when it next starts.
//!
//! This is the only crate of the product that may use `unsafe`; each block says why it is sound.
#![allow(unsafe_code, reason = "system calls without a safe wrapper live here and nowhere else")]

#[cfg(feature = "count-allocations")]
pub mod allocations;
pub mod checksum;
pub mod credentials;
pub mod dirs;
pub mod dns;
pub mod ipc_transport;
pub mod net_events;
pub mod network_hints;
pub mod network_identity;
pub mod routes;
pub mod service;
pub mod sleep;
pub mod socket;
pub mod trust;
pub mod tun;
pub mod user;
pub mod wakeup;

mod journal;
#[cfg(target_os = "linux")]
mod network_manager;
#[cfg(windows)]
mod win32;

pub use journal::JournalError;

/// This system has no implementation of a concern.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} is not supported on this system")]
pub struct Unsupported {
    /// The concern, as a person would name it: "routes", "DNS", "network events".
    pub what: &'static str,
}
