//! Name resolution against real files, real helper programs (scripts that note how they were called) and
//! a systemd-resolved of our own on a private D-Bus.
#![cfg(target_os = "linux")]
#![allow(missing_docs, reason = "a test binary")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test binary")]

use std::{fs, path::Path};

use evenkeel_platform::dns::{DnsManager, DnsPlan, DnsSystem};
use tempfile::TempDir;

#[path = "bus/mod.rs"]
mod bus;
#[path = "dns/file.rs"]
mod file;
#[path = "dns/resolvconf.rs"]
mod resolvconf;
#[path = "dns/resolved.rs"]
mod resolved;

/// A root directory and a state directory.
struct Machine {
    root: TempDir,
    state: TempDir,
    bus: Option<String>,
}

impl Machine {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("etc")).unwrap();
        Self { root, state: tempfile::tempdir().unwrap(), bus: None }
    }

    fn etc(&self, name: &str) -> std::path::PathBuf {
        self.root.path().join("etc").join(name)
    }

    fn dns(&self) -> DnsManager {
        let system = DnsSystem { root: self.root.path().to_owned(), bus: self.bus.clone() };
        DnsManager::new(self.state.path(), system)
    }
}

/// The loopback interface stands in for the tunnel: it exists everywhere.
fn plan(all: bool) -> DnsPlan {
    DnsPlan {
        interface: "lo".into(),
        servers: vec!["10.10.0.53".parse().unwrap(), "2001:db8::53".parse().unwrap()],
        domains: vec!["corp.example".into(), "lab.example".into()],
        all,
    }
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}
