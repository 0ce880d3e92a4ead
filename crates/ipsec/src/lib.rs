//! IKEv2 (RFC 7296) and ESP (RFC 4303) without sockets, clocks or operating system randomness.
//!
//! * [`wire`] turns bytes into checked values and back: IKE messages, payloads, UDP encapsulation.
//! * [`crypto`] names the algorithms and wraps the libraries that implement them.
//! * [`eap`] has the EAP methods that run inside IKE_AUTH.
//! * [`ike`] is the state machine of IKE SAs and CHILD SAs, for both roles.
//! * [`esp`] seals and opens packets; it never imports [`ike`].

#![forbid(unsafe_code)]

pub mod crypto;
pub mod eap;
pub mod esp;
pub mod ike;
pub mod wire;
