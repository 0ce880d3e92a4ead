//! The gateway's configuration: a TOML file, read once, with everything that it names.
//!
//! ```toml
//! [listen]
//! addresses = ["198.51.100.10"]           # default: all
//! ike_port = 500
//! nat_port = 4500
//! control = "gateway.sock"                # default: none
//!
//! [identity]
//! id = "gateway.practice"
//! certificate = "gateway.crt"             # without one the gateway authenticates with the clients' keys
//! key = "gateway.key"
//!
//! [clients]
//! eap = [{ name = "alice", password = "..." }]
//! psk = [{ id = "bob", secret = "..." }]
//! ca = ["ca.crt"]
//!
//! [assign]
//! v4 = "10.77.1.0/24"
//! v6 = "fd77::1:0/112"
//! dns = ["10.77.0.1"]
//! domains = ["practice"]
//! subnets = ["10.77.0.0/16"]
//! local_ts = ["0.0.0.0/0", "::/0"]
//!
//! [proposals]
//! ike = ["aes256gcm16-prfsha256-x25519"]
//! esp = ["aes256gcm16-x25519"]
//!
//! [timers]
//! child_rekey_s = 3600
//!
//! [inner]
//! addresses = ["10.77.0.1", "fd77::1"]
//!
//! [tun]                                   # instead of the inner network, for benchmarks
//! name = "practice0"
//! mtu = 1400
//!
//! [faults.link]
//! drop_percent = 2
//!
//! [faults.ike]
//! ignore_dpd = true
//! ```
//!
//! Files are named relative to the configuration file. What is not known is refused, with its line and what would be
//! allowed.

mod faults;
mod file;
mod network;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use evenkeel_ipsec::crypto::{EspProposals, IkeProposals, Secret};
use evenkeel_ipsec::wire::{Id, TrafficSelector};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

pub use self::faults::{ErrorNotify, Faults, IkeFaults};
use self::file::{AssignTable, File, IdentityTable, InnerTable, ProposalsTable, Text, TimersTable};
use self::network::Network;
use crate::inner::dns::Zone;
use crate::inner::{InnerConfig, MAX_ADDRESSES};

/// Everything that the gateway is told.
pub struct GatewayConfig {
    /// Where clients reach it.
    pub listen: Listen,
    /// IDr.
    pub id: Id,
    /// How it authenticates.
    pub credential: Credential,
    /// Whom it lets in.
    pub clients: Clients,
    /// What it gives to clients.
    pub assign: Assign,
    /// What it accepts for IKE SAs.
    pub ike: IkeProposals,
    /// What it accepts for CHILD SAs.
    pub esp: EspProposals,
    /// Its timers.
    pub timers: GatewayTimers,
    /// The network behind it.
    pub inner: InnerConfig,
    /// The TUN device that takes its place, if one does.
    pub tun: Option<TunSettings>,
    /// What it does wrong.
    pub faults: Faults,
}

/// Where clients reach the gateway.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Listen {
    /// Local addresses; none for all.
    pub addresses: Vec<IpAddr>,
    /// UDP port without non-ESP markers. 0 lets the system choose.
    pub ike_port: u16,
    /// UDP port with them. 0 lets the system choose.
    pub nat_port: u16,
    /// Where the control socket is to be.
    pub control: Option<PathBuf>,
}

/// A TUN device for the clients' packets.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TunSettings {
    /// Its name.
    pub name: String,
    /// Its MTU.
    pub mtu: u16,
}

impl TunSettings {
    /// Fits into 1500 bytes with every suite and address family that we have.
    pub const DEFAULT_MTU: u16 = 1400;
}

/// How the gateway authenticates.
pub enum Credential {
    /// With a certificate.
    Certificate {
        /// DER, leaf first.
        chain: Vec<Vec<u8>>,
        /// The private key, PEM.
        key_pem: Secret,
    },
    /// With the client's pre-shared key.
    Psk,
}

/// Whom the gateway lets in.
pub struct Clients {
    /// DER certificates of the CAs of client certificates.
    pub anchors: Vec<Vec<u8>>,
    /// EAP users and passwords.
    pub eap: Vec<(String, Secret)>,
    /// Pre-shared keys by IDi; `None` for everyone's that has none of their own.
    pub psk: Vec<(Option<Id>, Secret)>,
}

/// What a client is given.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Assign {
    /// The first IPv4 address and how many follow it, itself included.
    pub v4: Option<(Ipv4Addr, u32)>,
    /// The first IPv6 address and how many follow it, itself included.
    pub v6: Option<(Ipv6Addr, u32)>,
    /// DNS servers.
    pub dns: Vec<IpAddr>,
    /// DNS domains of those servers.
    pub domains: Vec<String>,
    /// Networks behind the gateway.
    pub subnets: Vec<(IpAddr, u8)>,
    /// The gateway's traffic selectors.
    pub local_ts: Vec<TrafficSelector>,
}

/// Timers; `None` for never.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct GatewayTimers {
    /// Age at which the gateway rekeys an IKE SA.
    pub ike_rekey: Option<Duration>,
    /// Age at which it rekeys a CHILD SA.
    pub child_rekey: Option<Duration>,
    /// Silence after which it asks whether the client is alive.
    pub dpd_after: Option<Duration>,
    /// How long an authentication is good for (RFC 4478).
    pub auth_lifetime: Option<Duration>,
}

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
    /// No client could ever get in.
    #[error("nobody may connect; add clients.eap, clients.psk or clients.ca")]
    NoClients,
    /// The wrong address family.
    #[error("assign.v4 takes an IPv4 network and assign.v6 an IPv6 network")]
    PoolFamily,
    /// Clients would get the inner machine's address.
    #[error("inner.addresses has {0}, which assign.v4 or assign.v6 may give to a client")]
    InnerAddressInPool(IpAddr),
    /// smoltcp's bound.
    #[error("inner.addresses has more than {MAX_ADDRESSES} addresses")]
    TooManyInnerAddresses,
    /// Both sockets on one port.
    #[error("listen.ike_port and listen.nat_port are the same")]
    SamePort,
}

impl GatewayConfig {
    /// Reads the file and all that it names.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|reason| ConfigError::Unreadable { path: path.to_owned(), reason })?;
        Self::from_toml(&text, path)
    }

    /// The configuration in `text`, which came from `path`.
    pub fn from_toml(text: &str, path: &Path) -> Result<Self, ConfigError> {
        let file: File = toml::from_str(text)
            .map_err(|reason| ConfigError::Malformed { path: path.to_owned(), reason: Box::new(reason) })?;
        Resolver { path }.resolve(file)
    }
}

/// Turns what the file says into what the gateway uses.
struct Resolver<'a> {
    path: &'a Path,
}

impl Resolver<'_> {
    fn resolve(&self, file: File) -> Result<GatewayConfig, ConfigError> {
        let listen = file.listen;
        if listen.ike_port == listen.nat_port && listen.ike_port != 0 {
            return Err(self.inconsistent(Inconsistency::SamePort));
        }
        let credential = self.credential(&file.identity)?;
        let clients = self.clients(file.clients, &credential)?;
        let inner = self.inner(file.inner, &file.assign)?;
        Ok(GatewayConfig {
            listen: Listen {
                addresses: listen.addresses,
                ike_port: listen.ike_port,
                nat_port: listen.nat_port,
                control: listen.control.map(|socket| self.beside(&socket)),
            },
            id: file.identity.id.0,
            credential,
            clients,
            assign: self.assign(file.assign)?,
            ike: ike_proposals(&file.proposals),
            esp: esp_proposals(&file.proposals),
            timers: timers(&file.timers),
            inner,
            tun: file
                .tun
                .map(|tun| TunSettings { name: tun.name, mtu: tun.mtu.unwrap_or(TunSettings::DEFAULT_MTU) }),
            faults: file.faults,
        })
    }

    fn credential(&self, identity: &IdentityTable) -> Result<Credential, ConfigError> {
        match (&identity.certificate, &identity.key) {
            (Some(certificate), Some(key)) => Ok(Credential::Certificate {
                chain: self.certificates(certificate)?,
                key_pem: Secret::new(self.read(key)?),
            }),
            (None, None) => Ok(Credential::Psk),
            (Some(_), None) | (None, Some(_)) => Err(self.inconsistent(Inconsistency::CertificateWithoutKey)),
        }
    }

    fn clients(&self, table: file::ClientsTable, credential: &Credential) -> Result<Clients, ConfigError> {
        let mut anchors = Vec::new();
        for ca in &table.ca {
            anchors.extend(self.certificates(ca)?);
        }
        let needs_certificate = !table.eap.is_empty() || !anchors.is_empty();
        if needs_certificate && matches!(credential, Credential::Psk) {
            return Err(self.inconsistent(Inconsistency::MethodNeedsCertificate));
        }
        if !needs_certificate && table.psk.is_empty() {
            return Err(self.inconsistent(Inconsistency::NoClients));
        }
        Ok(Clients {
            anchors,
            eap: table.eap.into_iter().map(|user| (user.name, user.password.0)).collect(),
            psk: table.psk.into_iter().map(|key| (key.id.map(|id| id.0), key.secret.0)).collect(),
        })
    }

    fn assign(&self, table: AssignTable) -> Result<Assign, ConfigError> {
        let wrong_family = || self.inconsistent(Inconsistency::PoolFamily);
        let v4 = table.v4.map(|pool| pool.0.hosts_v4().ok_or_else(wrong_family)).transpose()?;
        let v6 = table.v6.map(|pool| pool.0.hosts_v6().ok_or_else(wrong_family)).transpose()?;
        let local_ts: Vec<_> = table
            .local_ts
            .iter()
            .filter_map(|Text(network)| TrafficSelector::from_cidr(network.address, network.prefix))
            .collect();
        let everything = || vec![TrafficSelector::any_v4(), TrafficSelector::any_v6()];
        Ok(Assign {
            v4,
            v6,
            dns: table.dns,
            domains: table.domains,
            subnets: table.subnets.iter().map(|Text(network)| (network.address, network.prefix)).collect(),
            local_ts: if local_ts.is_empty() { everything() } else { local_ts },
        })
    }

    fn inner(&self, table: InnerTable, assign: &AssignTable) -> Result<InnerConfig, ConfigError> {
        if table.addresses.len() > MAX_ADDRESSES {
            return Err(self.inconsistent(Inconsistency::TooManyInnerAddresses));
        }
        let pools: Vec<Network> = assign.v4.iter().chain(&assign.v6).map(|pool| pool.0).collect();
        let taken = |address: &&IpAddr| pools.iter().any(|pool| pool.contains(**address));
        if let Some(address) = table.addresses.iter().find(taken) {
            return Err(self.inconsistent(Inconsistency::InnerAddressInPool(*address)));
        }
        Ok(InnerConfig {
            zone: Zone::practice(&table.addresses),
            addresses: table.addresses,
            any_address: table.any_address,
            mtu: table.mtu,
            max_connections: table.max_connections,
        })
    }

    fn certificates(&self, file: &Path) -> Result<Vec<Vec<u8>>, ConfigError> {
        let pem = self.read(file)?;
        let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
        match certificates {
            Ok(found) if !found.is_empty() => Ok(found.iter().map(|der| der.to_vec()).collect()),
            Ok(_) | Err(_) => Err(ConfigError::NoCertificate(self.beside(file))),
        }
    }

    fn read(&self, file: &Path) -> Result<Vec<u8>, ConfigError> {
        let path = self.beside(file);
        std::fs::read(&path).map_err(|reason| ConfigError::Unreadable { path, reason })
    }

    /// A file that the configuration names, relative to the configuration's own folder.
    fn beside(&self, file: &Path) -> PathBuf {
        self.path.parent().map_or_else(|| file.to_owned(), |folder| folder.join(file))
    }

    fn inconsistent(&self, problem: Inconsistency) -> ConfigError {
        ConfigError::Inconsistent { path: self.path.to_owned(), problem }
    }
}

fn ike_proposals(table: &ProposalsTable) -> IkeProposals {
    if !table.ike.is_empty() {
        IkeProposals(table.ike.iter().map(|Text(proposal)| proposal.clone()).collect())
    } else if table.legacy {
        IkeProposals::with_legacy()
    } else {
        IkeProposals::modern()
    }
}

fn esp_proposals(table: &ProposalsTable) -> EspProposals {
    if !table.esp.is_empty() {
        EspProposals(table.esp.iter().map(|Text(proposal)| proposal.clone()).collect())
    } else if table.legacy {
        EspProposals::with_legacy()
    } else {
        EspProposals::modern()
    }
}

fn timers(table: &TimersTable) -> GatewayTimers {
    let seconds = |value: Option<u32>| value.filter(|&s| s != 0).map(|s| Duration::from_secs(s.into()));
    GatewayTimers {
        ike_rekey: seconds(table.ike_rekey_s),
        child_rekey: seconds(table.child_rekey_s),
        dpd_after: seconds(table.dpd_s.or(Some(30))),
        auth_lifetime: seconds(table.auth_lifetime_s),
    }
}

#[cfg(test)]
mod tests;
