//! How Evenkeel's processes talk: message types, codec, client and server ends.
//!
//! One connection is one stream (Unix socket or named pipe) of length-delimited JSON frames. The client
//! begins with [`Hello`], the daemon answers with [`Welcome`] or says which version it speaks. After that
//! the client sends [`Request`]s, each with an ID; the daemon answers each with one [`Response`] or
//! [`RequestError`] of the same ID, and may send [`Notification`]s in between.
//!
//! Everything is typed and carries no prose: a failure is a [`Cause`] with a stable code, a [`Category`] and
//! arguments. The sentence is made at the edge, in the reader's language. Secrets travel as
//! [`Secret`](evenkeel_profile::Secret), which serialises but never prints, and frames that may hold one are
//! wiped after use.
//!
//! Both ends treat the other as hostile: frames are bounded by [`MAX_FRAME`], a frame that doesn't parse ends
//! the connection, and nothing that arrives is printed before it is escaped (by the program that prints).
#![forbid(unsafe_code)]

mod cause;
mod client;
mod codec;
mod message;
mod network;
mod portal;
mod server;
mod status;
mod value;

pub use cause::{Category, Cause, EapFault, NameFault};
pub use client::{Client, ClientError};
pub use codec::{CodecError, MAX_FRAME};
pub use message::{
    ClientFrame, Hello, LogLevel, LogLine, Notification, Ownership, ProfileDetails, ProfileSummary, Request,
    RequestError, RequestId, Response, ServerFrame, Welcome,
};
pub use network::{
    Blockage, Carrier, How, LearnedNetwork, Measured, NatLifetime, NetworkStatus, PathMtu, RememberedNetwork,
    Verdict, Verdicts,
};
pub use portal::{
    ApiOutcome, DnsOutcome, HttpOutcome, PortalEvidence, PortalPage, PortalReport, PortalVerdict,
    Redirection, SystemConnectivity,
};
pub use server::{Incoming, RequestReader, ResponseWriter, accept};
pub use status::{Address, ChildSa, IkeSa, Portal, State, Status, Target, Transport, WireguardPeer};
pub use value::{EspSpi, IkeSpi, NetworkId, Timestamp};

/// The protocol that this crate speaks. It grows by one with every change that an older peer would
/// misunderstand; both ends come from one release, so versions are never mixed on purpose.
pub const PROTOCOL_VERSION: u32 = 1;
