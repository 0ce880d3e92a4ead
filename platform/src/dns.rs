//! Name resolution through the tunnel, and its exact removal.

use std::{io, net::IpAddr, path::PathBuf};

use serde::{Deserialize, Serialize};

use crate::{Unsupported, journal::JournalError};

#[cfg_attr(target_os = "linux", path = "dns/linux.rs")]
#[cfg_attr(any(target_os = "macos", windows), path = "dns/unsupported.rs")]
mod sys;

/// What name resolution is to look like while a tunnel is up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnsPlan {
    /// The tunnel's interface, by name.
    pub interface: String,
    /// The servers that the gateway pushed, best first.
    pub servers: Vec<IpAddr>,
    /// Domains that these servers are asked about; they are searched too. Each must be one ([`is_domain`]).
    pub domains: Vec<String>,
    /// Whether these servers are asked about everything. If not, and a system cannot divide by domain,
    /// they come first and the ones from before stay behind them.
    pub all: bool,
}

/// The part of the system that was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DnsBackend {
    /// systemd-resolved, over D-Bus: divides by domain.
    Resolved,
    /// The `resolvconf` program (openresolv's or Debian's).
    Resolvconf,
    /// The file `/etc/resolv.conf` itself.
    ResolvConfFile,
}

/// What became of our settings when they were to be removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DnsOutcome {
    /// There were none.
    Nothing,
    /// Everything is as it was.
    Restored,
    /// Somebody else has changed the settings since; theirs were left alone.
    ChangedByOthers,
}

/// Why name resolution could not be set or restored.
#[derive(Debug, thiserror::Error)]
pub enum DnsError {
    /// This system has no implementation.
    #[error(transparent)]
    Unsupported(#[from] Unsupported),
    /// The tunnel's interface is not there.
    #[error("there is no interface {0}")]
    NoInterface(String),
    /// A domain that is not one: it could smuggle other settings into a file.
    #[error("{0:?} is not a domain name")]
    BadDomain(String),
    /// Something is applied already: revert it first.
    #[error("name resolution is set already")]
    AlreadyApplied,
    /// What is to be changed could not be written down, so it was not changed.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// A file could not be read or changed.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// systemd-resolved refused or did not answer.
    #[error("systemd-resolved, {call}: {reason}")]
    Resolved {
        /// The D-Bus method.
        call: &'static str,
        /// What the bus or the service said.
        reason: String,
    },
    /// The helper program failed.
    #[error("{}: {reason}", program.display())]
    Helper {
        /// The program, by absolute path.
        program: PathBuf,
        /// How it ended.
        reason: String,
    },
}

/// The parts of a machine that name resolution is set in. Tests give their own.
#[derive(Clone, Debug)]
pub struct DnsSystem {
    /// The root of the file system.
    pub root: PathBuf,
    /// The D-Bus address to use instead of the system bus.
    pub bus: Option<String>,
}

impl Default for DnsSystem {
    fn default() -> Self {
        Self { root: "/".into(), bus: None }
    }
}

/// Sets and removes what a [`DnsPlan`] says. One at a time is in force.
#[derive(Debug)]
pub struct DnsManager(sys::DnsManager);

/// A [`DnsPlan`] in force. Dropping it changes nothing: what is to be undone is in the journal.
#[derive(Debug)]
#[must_use = "name resolution stays until it is reverted"]
pub struct AppliedDns(sys::AppliedDns);

impl AppliedDns {
    /// The part of the system that was told.
    pub fn backend(&self) -> DnsBackend {
        self.0.backend()
    }
}

impl DnsManager {
    /// Keeps its journal in `state_dir`.
    pub fn new(state_dir: &std::path::Path, system: DnsSystem) -> Self {
        Self(sys::DnsManager::new(state_dir, system))
    }

    /// Undoes what a killed daemon left; to be called before anything is in force, under the
    /// [`InstanceLock`](crate::dirs::InstanceLock).
    pub async fn recover(&self) -> Result<DnsOutcome, DnsError> {
        self.0.recover().await
    }

    /// Puts `plan` into force. On an error nothing of it is. A call that was given up half way, and a revert that
    /// failed, are made good by the next one.
    pub async fn apply(&self, plan: &DnsPlan) -> Result<AppliedDns, DnsError> {
        self.0.apply(plan).await.map(AppliedDns)
    }

    /// Removes what [`apply`](Self::apply) set.
    pub async fn revert(&self, applied: AppliedDns) -> Result<DnsOutcome, DnsError> {
        self.0.revert(applied.0).await
    }
}

/// Whether this is a domain name: RFC 1035 §2.3.1 with the underscore that services use. A gateway chooses these bytes,
/// and they go into files and messages of other programs.
#[must_use]
pub fn is_domain(text: &str) -> bool {
    let name = text.strip_suffix('.').unwrap_or(text);
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    name.len() <= 253 && name.split('.').all(label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_domain_cannot_carry_anything_else() {
        for good in ["example", "corp.example.", "_tcp.a-b.example", &"a".repeat(63)] {
            assert!(is_domain(good), "{good:?}");
        }
        let long = vec!["a".repeat(60); 5].join(".");
        for bad in
            ["", ".", "a..b", "a b", "a\nnameserver 1.2.3.4", "é.example", "a/b", &"a".repeat(64), &long]
        {
            assert!(!is_domain(bad), "{bad:?}");
        }
    }
}
