//! Routes, network events and mounted files against the real kernel, each test in user and network namespaces of its own: no root is
//! needed and nothing on the machine changes. Dumps of everything are compared before and after.
#![cfg(target_os = "linux")]
#![allow(missing_docs, reason = "a test binary")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test binary")]

#[path = "bus/mod.rs"]
mod bus;
#[path = "namespaces/dns.rs"]
mod dns;
#[path = "namespaces/net_events.rs"]
mod net_events;
#[path = "namespaces/network.rs"]
mod network;
#[path = "namespaces/network_identity.rs"]
mod network_identity;
#[path = "namespaces/routes.rs"]
mod routes;
