//! Networks of namespaces with NAT, real gateways and real clients, all inside one sandbox per test.
//!
//! A test calls [`sandbox::run`], which runs it again inside fresh user, network, mount and PID namespaces: whatever it
//! builds vanishes with its process, however that ends, and tests can't see each other. In there it builds a
//! [`Topology`]; each [`Host`] is a network namespace and a mount namespace, and [`Host::run`] is "do this over there".
//!
//! ```text
//! client 192.168.1.11 -\
//! client 192.168.1.12 --+-- nat ==[carrier nat]== isp --(narrow)-- core -- gateway 198.51.100.10 -- server 10.10.0.80
//! ```
//!
//! What networks do to traffic can be changed while it flows: [`relay`] makes a path long, lossy, slow or narrow, [`nat`] has
//! translators with habits, [`blocks`] what is not let through, [`roaming`] a laptop with several uplinks; [`calls`] and
//! [`answers`] are an office that begins to talk, or does not answer.
//!
//! [`client`] is the product, the real daemon and the real command line; [`strongswan`] puts charon on a host, [`pki`]
//! makes certificates, good and bad, and [`traffic`] moves data and checks its SHA-256; a [`download`] goes on meanwhile, and
//! [`allocations`] is what moving it may not cost; [`sizes`] are what the product finds out about the path. [`portal`] makes
//! the clients' router a captive portal.
//!
//! All of this is made of what Linux alone has: elsewhere the crate is empty.

#![cfg(target_os = "linux")]
#![forbid(unsafe_code)]

pub mod allocations;
pub mod answers;
pub mod blocks;
pub mod calls;
pub mod client;
pub mod counters;
pub mod download;
pub mod engine;
pub mod exec;
pub mod gotatun;
pub mod host;
pub mod http;
pub mod logs;
pub mod nat;
pub mod office;
pub mod pki;
pub mod portal;
pub mod practice;
pub mod profile;
pub mod relay;
pub mod roaming;
pub mod sandbox;
pub mod sizes;
pub mod snapshot;
pub mod strongswan;
pub mod topology;
pub mod traffic;
pub mod wait;
pub mod wireguard_go;

pub use blocks::Block;
pub use host::Host;
pub use nat::{Nat, PortAllocation, Refresh};
pub use topology::{Network, Topology};
