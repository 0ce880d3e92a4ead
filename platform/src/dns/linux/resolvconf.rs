//! The `resolvconf` program, of openresolv or of Debian: it keeps one entry an interface and makes
//! `/etc/resolv.conf` of them all.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tokio::{io::AsyncWriteExt, process::Command};

use super::{
    super::{DnsError, DnsPlan},
    file,
};

/// Absolute, so that no search path decides what runs as root.
const PLACES: [&str; 4] = ["usr/sbin/resolvconf", "sbin/resolvconf", "usr/bin/resolvconf", "bin/resolvconf"];

/// It runs hooks of other packages.
const PATIENCE: Duration = Duration::from_secs(10);

/// Our entry.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct ResolvconfEntry {
    program: PathBuf,
    flavour: Flavour,
    name: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Flavour {
    /// Knows metrics and exclusive entries.
    Openresolv,
    /// Orders entries by their names alone; `tun*` stands before network cards.
    Debian,
}

impl ResolvconfEntry {
    /// The program, if one is in charge of `resolv.conf`.
    pub(super) fn find(root: &Path, interface: &str) -> Option<Self> {
        let program = PLACES.iter().map(|place| root.join(place)).find(|path| path.is_file())?;
        // systemd's own stand-in speaks to systemd-resolved, which was asked before.
        let real = fs::canonicalize(&program).ok()?;
        if real.file_name().is_some_and(|name| name == "resolvectl") {
            return None;
        }
        // Both are shell scripts. Debian's has no effect where `resolv.conf` does not point to its file.
        let script = String::from_utf8_lossy(&fs::read(&real).ok()?).into_owned();
        let flavour = if script.contains("openresolv") { Flavour::Openresolv } else { Flavour::Debian };
        let target = fs::read_link(root.join("etc/resolv.conf")).unwrap_or_default();
        if flavour == Flavour::Debian && !target.to_string_lossy().contains("resolvconf/") {
            return None;
        }
        Some(Self { program, flavour, name: format!("tun.{interface}") })
    }

    pub(super) async fn add(&self, plan: &DnsPlan) -> Result<(), DnsError> {
        let mut arguments = vec!["-a", &self.name];
        match self.flavour {
            Flavour::Openresolv if plan.all => arguments.extend(["-m", "0", "-x"]),
            Flavour::Openresolv => arguments.extend(["-m", "0"]),
            Flavour::Debian => {}
        }
        self.run(&arguments, file::entry(plan)).await
    }

    /// Deletes the entry; that there is none is no failure.
    pub(super) async fn delete(&self) -> Result<(), DnsError> {
        match self.flavour {
            Flavour::Openresolv => self.run(&["-f", "-d", &self.name], String::new()).await,
            Flavour::Debian => self.run(&["-d", &self.name], String::new()).await,
        }
    }

    async fn run(&self, arguments: &[&str], input: String) -> Result<(), DnsError> {
        let failed = |reason: String| DnsError::Helper { program: self.program.clone(), reason };
        let running = async {
            let mut child = Command::new(&self.program)
                .args(arguments)
                .env_clear()
                .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
                .current_dir("/")
                .stdin(Stdio::piped())
                .stdout(Stdio::null())
                .stderr(Stdio::piped())
                .kill_on_drop(true)
                .spawn()?;
            if let Some(mut stdin) = child.stdin.take() {
                match stdin.write_all(input.as_bytes()).await {
                    // It may have ended without reading: its exit status says whether that is right.
                    Err(error) if error.kind() != io::ErrorKind::BrokenPipe => return Err(error),
                    Ok(()) | Err(_) => {}
                }
            }
            child.wait_with_output().await
        };
        match tokio::time::timeout(PATIENCE, running).await {
            Ok(Ok(output)) if output.status.success() => Ok(()),
            Ok(Ok(output)) => {
                let said = String::from_utf8_lossy(&output.stderr);
                Err(failed(format!("{}: {}", output.status, said.trim())))
            }
            Ok(Err(error)) => Err(failed(error.to_string())),
            Err(_) => Err(failed(format!("not done after {} s", PATIENCE.as_secs()))),
        }
    }
}
