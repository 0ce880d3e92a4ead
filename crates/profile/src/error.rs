//! What can be wrong with a profile file, and what is weak about one that loads.
use std::fmt;
use std::path::PathBuf;

use thiserror::Error;

use crate::{CertificateError, KeyError, MAX_FILE, NameError, Pkcs12Error, ProfileName};

/// A profile file that was refused. Its `Display` is `FILE:LINE:COLUMN: KEY: what is wrong; allowed: ...`.
#[derive(Debug, PartialEq, Eq, Error)]
pub struct ProfileError {
    /// The profile file as the caller named it.
    pub file: PathBuf,
    /// Where in it, where that can be told.
    pub place: Option<Place>,
    /// The key at fault, dotted: `auth.method`, `trust.ca[1]`.
    pub key: Option<String>,
    /// What is wrong and, where that can be said, what is allowed.
    pub problem: Problem,
}

/// A place in a text file, counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Line.
    pub line: usize,
    /// Column in characters.
    pub column: usize,
}

/// What is wrong with a profile file.
#[derive(Debug, PartialEq, Eq, Error)]
pub enum Problem {
    /// The profile file itself can't be read.
    #[error(transparent)]
    Unreadable(FileProblem),
    /// The text is not well-formed. The words are the parser's.
    #[error("not valid {format}: {message}")]
    Syntax {
        /// TOML, plist or JSON.
        format: &'static str,
        /// What the parser says.
        message: String,
    },
    /// A key is unknown or missing, or its value has a wrong type or form. The words carry what is allowed.
    #[error("{0}")]
    Value(String),
    /// A required key is missing.
    #[error("the key '{0}' is missing")]
    Missing(&'static str),
    /// A number is out of range.
    #[error("{value} is out of range; allowed: {min} to {max}")]
    Range {
        /// What the file says.
        value: u64,
        /// Smallest allowed.
        min: u64,
        /// Largest allowed.
        max: u64,
    },
    /// A list is too long.
    #[error("{count} entries are too many; allowed: at most {max}")]
    TooMany {
        /// How many there are.
        count: usize,
        /// How many may be.
        max: usize,
    },
    /// Keys that don't go together.
    #[error(transparent)]
    Conflict(Conflict),
    /// A file that the profile refers to.
    #[error("{}: {problem}", file.display())]
    Reference {
        /// The file, as resolved against the profile's folder.
        file: PathBuf,
        /// What is wrong with it.
        problem: FileProblem,
    },
    /// The format is right but what it describes is no IKEv2 VPN that Evenkeel can do.
    #[error("{0}")]
    Unsupported(String),
    /// The file is a plist or JSON of another kind.
    #[error("this is no profile; allowed: Evenkeel's TOML, an Apple .mobileconfig, a strongSwan .sswan")]
    NotAProfile,
    /// The profile's name can't be used.
    #[error(transparent)]
    Name(NameError),
}

impl Problem {
    /// Whether the same file would load if a passphrase were given.
    pub fn needs_passphrase(&self) -> bool {
        match self {
            Self::Reference { problem, .. } | Self::Unreadable(problem) => matches!(
                problem,
                FileProblem::Key(KeyError::PassphraseNeeded)
                    | FileProblem::Pkcs12(Pkcs12Error::PassphraseNeeded)
            ),
            Self::Syntax { .. }
            | Self::Value(_)
            | Self::Missing(_)
            | Self::Range { .. }
            | Self::TooMany { .. }
            | Self::Conflict(_)
            | Self::Unsupported(_)
            | Self::NotAProfile
            | Self::Name(_) => false,
        }
    }
}

/// What is wrong with a file.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum FileProblem {
    /// The system refuses.
    #[error("can't be read: {}", reason(*.0))]
    Io(std::io::ErrorKind),
    /// A folder, a device or a pipe.
    #[error("is no regular file")]
    NotAFile,
    /// Larger than anything a profile needs.
    #[error("is too large; allowed: at most {} KiB", MAX_FILE / 1024)]
    TooLarge,
    /// Not UTF-8.
    #[error("is not UTF-8 text")]
    NotText,
    /// No usable certificates.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// No usable private key.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// No usable PKCS#12.
    #[error(transparent)]
    Pkcs12(#[from] Pkcs12Error),
}

fn reason(kind: std::io::ErrorKind) -> String {
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "the foreign enum is non-exhaustive; its words will do"
    )]
    match kind {
        std::io::ErrorKind::NotFound => "there is no such file".to_owned(),
        std::io::ErrorKind::PermissionDenied => "you have no permission to read it".to_owned(),
        other => other.to_string(),
    }
}

/// Keys that are each right and wrong together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Conflict {
    /// `identity` with a method other than EAP.
    #[error("'identity' is the EAP user name; allowed with this method: 'local_id'")]
    IdentityWithoutEap,
    /// EAP without `identity`.
    #[error("method \"eap-mschapv2\" needs 'identity', the user name")]
    EapWithoutIdentity,
    /// A certificate or key with a method that doesn't use one.
    #[error("'{0}' belongs to method \"certificate\" only")]
    KeyMaterialWithoutCertificate(&'static str),
    /// Method certificate with neither form of it.
    #[error("method \"certificate\" needs either 'certificate' and 'key', or 'pkcs12'")]
    CertificateMissing,
    /// `pkcs12` beside `certificate` or `key`.
    #[error("'pkcs12' already holds certificate and key; allowed: either it, or 'certificate' and 'key'")]
    TwoCertificates,
    /// `certificate` without `key`.
    #[error("'certificate' needs the 'key' that belongs to it")]
    CertificateWithoutKey,
    /// `key` without `certificate`.
    #[error("'key' needs the 'certificate' that belongs to it")]
    KeyWithoutCertificate,
    /// `[trust]` with a pre-shared key.
    #[error("with method \"psk\" the gateway proves itself by the same key; [trust] must be left out")]
    TrustWithPsk,
    /// A TCP port with `fallback.tcp = false`.
    #[error("fallback.tcp = false means that no TCP port is used")]
    PortWithoutTcp,
    /// `gateway_ports.tcp` and `fallback.tcp_ports`.
    #[error("gateway_ports.tcp names the one TCP port already; allowed: either of the two")]
    TwoTcpPorts,
    /// An empty list.
    #[error("no port at all; allowed: 1 to 8 ports, or fallback.tcp = false")]
    NoTcpPort,
    /// TLS, and port 443 is not among the ports.
    #[error("fallback.tls wraps the stream to TCP port 443, which is not among the ports")]
    TlsWithoutItsPort,
    /// Nobody is trusted.
    #[error("who may vouch for the gateway? [trust] needs ca = [\"FILE\"] or system = true")]
    TrustMissing,
    /// Both a status and a body.
    #[error("allowed: either 'expect_status' or 'expect_body', which implies status 200")]
    TwoPortalAnswers,
    /// An answer to nothing.
    #[error("an answer needs the 'url' that gives it")]
    PortalAnswerWithoutUrl,
    /// No address of our own, or too many.
    #[error("WireGuard assigns no addresses; allowed: 1 to {} of our own", crate::WireGuard::MAX_ADDRESSES)]
    WireGuardAddresses,
    /// No network behind the peer, or too many.
    #[error(
        "nothing is reached with these addresses; allowed: 1 to {} networks of their families",
        crate::WireGuard::MAX_NETWORKS
    )]
    WireGuardNetworks,
    /// A network of a family that we have no address of.
    #[error("a network here is of a family (IPv4, IPv6) that 'addresses' has none of")]
    WireGuardFamily,
    /// The peer's public key where a secret belongs, or the other way round.
    #[error("this is the same as 'public_key', which is the peer's and known to others")]
    WireGuardKeyTwice,
}

/// Something to tell the person about a profile that was taken all the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Warning {
    /// `legacy = true`: SHA-1 and MODP-1024 may be used.
    Legacy,
    /// A secret stands in the file in clear.
    SecretInFile,
    /// The foreign file asks for something that Evenkeel leaves out.
    NotHonoured {
        /// Its key in that file.
        key: String,
        /// Why, or what happens instead.
        why: String,
    },
    /// The foreign file's name can't be used as it is.
    Renamed {
        /// The name in that file.
        from: String,
        /// The profile's.
        to: ProfileName,
    },
    /// The file is signed; the signature was taken off without being checked.
    SignatureNotChecked,
    /// The profile trusts the system's roots since the foreign file names no CA.
    SystemTrust,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Legacy => f.write_str(
                "legacy = true lets this connection use SHA-1 and MODP-1024, which are broken or close to it; \
                 ask the gateway's operator for newer algorithms",
            ),
            Self::SecretInFile => {
                f.write_str("the file holds its secret in clear; anyone who can read the file can connect")
            }
            Self::NotHonoured { key, why } => write!(f, "{key} is not honoured: {why}"),
            Self::Renamed { from, to } => write!(f, "the name {from:?} can't be used; the profile is called '{to}'"),
            Self::SignatureNotChecked => {
                f.write_str("the file is signed; its contents were taken without checking by whom")
            }
            Self::SystemTrust => f.write_str(
                "the file names no CA; any gateway certificate that the system's roots vouch for is accepted, \
                 if it names the gateway",
            ),
        }
    }
}

impl fmt::Display for ProfileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if let Some(Place { line, column }) = self.place {
            write!(f, ":{line}:{column}")?;
        }
        if let Some(key) = &self.key {
            write!(f, ": {key}")?;
        }
        write!(f, ": {}", self.problem)
    }
}
