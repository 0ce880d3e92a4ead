//! Whichever of the three is in charge of name resolution here is told: systemd-resolved, the
//! `resolvconf` program, or nobody but the file.

use std::{
    fs,
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
};

use serde::{Deserialize, Serialize};

use super::{DnsBackend, DnsError, DnsOutcome, DnsPlan, DnsSystem, is_domain};
use crate::journal::{Journal, JournalError};

#[path = "linux/file.rs"]
mod file;
#[path = "linux/resolvconf.rs"]
mod resolvconf;
#[path = "linux/resolved.rs"]
mod resolved;

use file::FileChange;
use resolvconf::ResolvconfEntry;
use resolved::{LinkSettings, Resolved};

#[derive(Debug)]
pub(super) struct DnsManager {
    system: DnsSystem,
    journal: Journal,
    /// Whether the journal's change is this process's and wanted. If not, it is a leftover.
    in_force: AtomicBool,
}

/// What is changed where. Also the journal's form.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct AppliedDns {
    change: Change,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Change {
    Resolved(LinkSettings),
    Resolvconf(ResolvconfEntry),
    File(FileChange),
}

impl AppliedDns {
    pub(super) fn backend(&self) -> DnsBackend {
        match self.change {
            Change::Resolved(_) => DnsBackend::Resolved,
            Change::Resolvconf(_) => DnsBackend::Resolvconf,
            Change::File(_) => DnsBackend::ResolvConfFile,
        }
    }
}

impl DnsManager {
    pub(super) fn new(state_dir: &Path, system: DnsSystem) -> Self {
        Self { system, journal: Journal::new(state_dir, "dns.journal"), in_force: AtomicBool::new(false) }
    }

    pub(super) async fn recover(&self) -> Result<DnsOutcome, DnsError> {
        match self.journal.read::<AppliedDns>() {
            Ok(Some(left)) => self.revert(left).await,
            Ok(None) => Ok(DnsOutcome::Nothing),
            Err(error @ JournalError::Malformed { .. }) => {
                self.journal.set_aside()?;
                Err(error.into())
            }
            Err(error) => Err(error.into()),
        }
    }

    pub(super) async fn apply(&self, plan: &DnsPlan) -> Result<AppliedDns, DnsError> {
        if let Some(bad) = plan.domains.iter().find(|domain| !is_domain(domain)) {
            return Err(DnsError::BadDomain(bad.clone()));
        }
        if self.in_force.load(Ordering::Relaxed) {
            return Err(DnsError::AlreadyApplied);
        }
        self.recover().await?;
        let (applied, resolved) = self.choose(plan).await?;
        self.journal.write(&applied)?;
        let outcome = match &applied.change {
            Change::Resolved(settings) => match resolved {
                Some(resolved) => resolved.set(settings, plan).await,
                None => Err(DnsError::no_bus()),
            },
            Change::Resolvconf(entry) => entry.add(plan).await,
            Change::File(change) => change.make(),
        };
        match outcome {
            Ok(()) => {
                self.in_force.store(true, Ordering::Relaxed);
                Ok(applied)
            }
            Err(error) => {
                // The error to report is the first; should undoing fail too, the journal remains.
                let _ = self.revert(applied).await;
                Err(error)
            }
        }
    }

    pub(super) async fn revert(&self, applied: AppliedDns) -> Result<DnsOutcome, DnsError> {
        self.in_force.store(false, Ordering::Relaxed);
        let outcome = match &applied.change {
            Change::Resolved(settings) => {
                // It keeps such settings in memory only: when it is gone, so are they.
                if let Some(resolved) = Resolved::find(self.system.bus.as_deref()).await {
                    resolved.revert(settings).await?;
                }
                DnsOutcome::Restored
            }
            Change::Resolvconf(entry) => {
                entry.delete().await?;
                DnsOutcome::Restored
            }
            Change::File(change) => change.unmake()?,
        };
        self.journal.clear()?;
        Ok(outcome)
    }

    async fn choose(&self, plan: &DnsPlan) -> Result<(AppliedDns, Option<Resolved>), DnsError> {
        let root = &self.system.root;
        let applied = |change| AppliedDns { change };
        if asks_resolved(root)
            && let Some(resolved) = Resolved::find(self.system.bus.as_deref()).await
        {
            return Ok((applied(Change::Resolved(LinkSettings::of(&plan.interface)?)), Some(resolved)));
        }
        if let Some(entry) = ResolvconfEntry::find(root, &plan.interface) {
            return Ok((applied(Change::Resolvconf(entry)), None));
        }
        Ok((applied(Change::File(FileChange::plan(root, plan)?)), None))
    }
}

/// Whether programs of this machine ask systemd-resolved. That it runs is not enough: where
/// `resolv.conf` and `nsswitch.conf` lead elsewhere, what it is told has no effect.
fn asks_resolved(root: &Path) -> bool {
    let resolv_conf = root.join("etc/resolv.conf");
    if fs::read_link(&resolv_conf).is_ok_and(|target| target.to_string_lossy().contains("systemd/resolve/")) {
        return true;
    }
    let stub = fs::read_to_string(&resolv_conf).is_ok_and(|text| {
        let mut servers = text.lines().filter_map(|line| line.trim().strip_prefix("nameserver"));
        servers.any(|server| ["127.0.0.53", "127.0.0.54"].contains(&server.trim()))
    });
    stub || fs::read_to_string(root.join("etc/nsswitch.conf")).is_ok_and(|text| {
        let mut hosts = text.lines().filter_map(|line| line.trim().strip_prefix("hosts:"));
        hosts.any(|services| services.split_whitespace().any(|service| service == "resolve"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolved_is_told_only_where_programs_ask_it() {
        let root = tempfile::tempdir().unwrap();
        let etc = root.path().join("etc");
        fs::create_dir(&etc).unwrap();
        assert!(!asks_resolved(root.path()));
        let file = etc.join("resolv.conf");
        fs::write(&file, "nameserver 192.168.1.1\n").unwrap();
        assert!(!asks_resolved(root.path()));
        fs::write(&file, "search lan\nnameserver 127.0.0.53\n").unwrap();
        assert!(asks_resolved(root.path()));
        fs::remove_file(&file).unwrap();
        std::os::unix::fs::symlink("../run/systemd/resolve/resolv.conf", &file).unwrap();
        assert!(asks_resolved(root.path()));
        fs::remove_file(&file).unwrap();
        let switch = etc.join("nsswitch.conf");
        fs::write(&switch, "passwd: files\nhosts: files dns\n").unwrap();
        assert!(!asks_resolved(root.path()));
        fs::write(&switch, "hosts: mymachines resolve [!UNAVAIL=return] files dns\n").unwrap();
        assert!(asks_resolved(root.path()));
    }
}
