//! What a person or an administrator says about a VPN: the profile.
//!
//! A profile starts as a file: Evenkeel's own TOML, an Apple `.mobileconfig` or a strongSwan `.sswan`.
//! [`load`] reads it *in the caller's process*, pulls in the certificates and keys it refers to, and
//! gives back three separate things:
//!
//! - a [`Profile`], which holds no secret and can be shown to anyone who may see that it exists;
//! - its [`Secrets`], which have no `Debug`, are wiped on drop, and travel beside it;
//! - [`Warning`]s: what the file asks for that is weak, or that Evenkeel can't honour.
//!
//! Nothing is half-imported: either every reference resolves and every combination makes sense, or a
//! [`ProfileError`] names file, line, key and what is allowed there.
//!
//! The types hold their own invariants (a [`Profile`] that deserialises is a valid one), so the daemon
//! can take one from an unprivileged process without checking it a second time. The parsers over bytes,
//! [`parse_toml`], [`import::mobileconfig::parse`] and [`import::sswan::parse`], are pure and bounded.
#![forbid(unsafe_code)]

mod certificate;
mod error;
mod file;
pub mod import;
mod key;
mod load;
mod locate;
mod model;
mod name;
mod pkcs12;
mod portal;
mod proposal;
mod resolve;
mod schema;
mod secret;
mod url;
mod value;
mod wireguard;

pub use certificate::{Certificate, CertificateChain, CertificateError};
pub use error::{Conflict, FileProblem, Place, Problem, ProfileError, Warning};
pub use key::KeyError;
pub use load::{ImportOptions, Loaded, load, parse_toml};
pub use model::{
    Auth, EspOptions, Fallback, GatewayPorts, IkeOptions, Method, PortsError, Profile, TcpPorts, Timers,
    Trust, Tunnel,
};
pub use name::{NameError, ProfileName, is_invisible};
pub use pkcs12::Pkcs12Error;
pub use portal::{Portal, ProbeAnswer, ProbePage, ProbePageError};
pub use proposal::{Proposal, ProposalError};
pub use resolve::ReadReference;
pub use schema::json_schema;
pub use secret::{Secret, SecretKind, Secrets};
pub use url::{WebUrl, WebUrlError};
pub use value::{Cidr, CidrError, Host, HostError, Identity, IdentityError};
pub use wireguard::{Endpoint, EndpointError, WireGuard, WireGuardKey, WireGuardKeyError, wireguard_secret};

/// Largest profile file, and largest file it may refer to, in bytes.
pub const MAX_FILE: usize = 1 << 20;
