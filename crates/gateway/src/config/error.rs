//! What can be wrong with a configuration.

use std::net::IpAddr;
use std::path::PathBuf;

use crate::inner::MAX_ADDRESSES;

/// Why a configuration can't be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file can't be read.
    #[error("{}: {reason}", path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        reason: std::io::Error,
    },
    /// Not TOML, an unknown key, or a value that can't be; the message has the line and what is allowed.
    #[error("{}: {reason}", path.display())]
    Malformed {
        /// The configuration file.
        path: PathBuf,
        /// What and where.
        reason: Box<toml::de::Error>,
    },
    /// A file that should hold PEM certificates does not.
    #[error("{}: no PEM certificate in it", .0.display())]
    NoCertificate(PathBuf),
    /// Values that don't go together.
    #[error("{}: {problem}", path.display())]
    Inconsistent {
        /// The configuration file.
        path: PathBuf,
        /// What is wrong.
        problem: Inconsistency,
    },
}

/// Values that are fine alone but not together.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Inconsistency {
    /// One of the two is missing.
    #[error("identity.certificate and identity.key need each other")]
    CertificateWithoutKey,
    /// RFC 7296 §2.16.
    #[error("clients.eap and clients.ca need identity.certificate and identity.key")]
    MethodNeedsCertificate,
    /// TLS has no other way for a server to prove itself.
    #[error("listen.tcp_tls needs identity.certificate and identity.key")]
    TlsNeedsCertificate,
    /// No client could ever get in.
    #[error("nobody may connect; add clients.eap, clients.psk or clients.ca")]
    NoClients,
    /// The wrong address family.
    #[error("assign.v4 takes an IPv4 network and assign.v6 an IPv6 network")]
    PoolFamily,
    /// Clients would get the inner machine's address.
    #[error("inner.addresses has {0}, which assign.v4 or assign.v6 may give to a client")]
    InnerAddressInPool(IpAddr),
    /// The inner network's TCP/IP stack takes no others.
    #[error("inner.addresses has {0}, which is no unicast address")]
    InnerAddressNotUnicast(IpAddr),
    /// Too small for IP, or larger than the stack can send.
    #[error("inner.mtu is {0}; allowed: 1280 to 9000")]
    InnerMtu(usize),
    /// The TCP/IP stack's bound.
    #[error("inner.addresses has more than {MAX_ADDRESSES} addresses")]
    TooManyInnerAddresses,
    /// Both sockets on one port.
    #[error("listen.ike_port and listen.nat_port are the same")]
    SamePort,
}
