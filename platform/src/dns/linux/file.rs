//! `/etc/resolv.conf` itself, where nobody else is in charge of it.
//!
//! The file (or symbolic link) from before stays what it is, inode and all: it gets a second name, ours
//! is renamed over its first one, and at the end it is renamed back. At no moment is there no
//! `resolv.conf`. Where that cannot be (a bind mount, as in containers; a read-only `/etc`) the contents
//! are replaced in place and written back from the journal.

use std::{
    fmt::Write as _,
    fs, io,
    io::Write as _,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::super::{DnsError, DnsOutcome, DnsPlan};

/// glibc reads no more (`MAXNS`).
const MAX_SERVERS: usize = 3;

const BEFORE: &str = ".resolv.conf.evenkeel-before";
const NEW: &str = ".resolv.conf.evenkeel-new";

/// What is replaced by what.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct FileChange {
    etc: PathBuf,
    original: Original,
    written: String,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Original {
    Absent,
    File { contents: Vec<u8> },
    Symlink { target: PathBuf, contents: Option<Vec<u8>> },
}

impl FileChange {
    /// Looks at the file and decides what it is to say.
    pub(super) fn plan(root: &Path, plan: &DnsPlan) -> Result<Self, DnsError> {
        let etc = root.join("etc");
        let path = etc.join("resolv.conf");
        let original = Original::read(&path).map_err(|source| DnsError::File { path, source })?;
        let before = String::from_utf8_lossy(original.contents()).into_owned();
        Ok(Self { etc, written: contents(plan, &before), original })
    }

    fn path(&self) -> PathBuf {
        self.etc.join("resolv.conf")
    }

    pub(super) fn make(&self) -> Result<(), DnsError> {
        self.swap_in()
            .or_else(|_| {
                self.remove(BEFORE)?;
                self.remove(NEW)?;
                overwrite(&self.path(), self.written.as_bytes())
            })
            .map_err(|source| DnsError::File { path: self.path(), source })
    }

    pub(super) fn unmake(&self) -> Result<DnsOutcome, DnsError> {
        self.restore().map_err(|source| DnsError::File { path: self.path(), source })
    }

    /// By a second name for the original and a rename over the first.
    fn swap_in(&self) -> io::Result<()> {
        if self.original != Original::Absent {
            self.remove(BEFORE)?;
            // Of a symbolic link this names the link itself again, not what it points to.
            fs::hard_link(self.path(), self.etc.join(BEFORE))?;
        }
        self.rename_in(self.written.as_bytes())
    }

    fn rename_in(&self, contents: &[u8]) -> io::Result<()> {
        self.remove(NEW)?;
        let staged = self.etc.join(NEW);
        let mut file = fs::OpenOptions::new().write(true).create_new(true).open(&staged)?;
        // Every program resolves names. A mode given to `open` would lose what the umask takes.
        file.set_permissions(fs::Permissions::from_mode(0o644))?;
        file.write_all(contents)?;
        file.sync_all()?;
        fs::rename(staged, self.path())
    }

    fn restore(&self) -> io::Result<DnsOutcome> {
        let path = self.path();
        self.remove(NEW)?;
        let now = match fs::read(&path) {
            Ok(now) => Some(now),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        // A daemon that was killed while it wrote in place left the beginning of what it wanted to say.
        let ours = now.as_ref().is_some_and(|now| self.written.as_bytes().starts_with(now));
        if !ours {
            self.remove(BEFORE)?;
            let untouched = now.unwrap_or_default() == self.original.contents();
            return Ok(if untouched { DnsOutcome::Restored } else { DnsOutcome::ChangedByOthers });
        }
        match fs::rename(self.etc.join(BEFORE), &path) {
            Ok(()) => {
                // If both were names of one file, the rename did nothing.
                self.remove(BEFORE)?;
                return Ok(DnsOutcome::Restored);
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        match &self.original {
            Original::Absent => fs::remove_file(&path)?,
            Original::File { contents } => overwrite(&path, contents)?,
            Original::Symlink { contents, .. } if fs::read_link(&path).is_ok() => match contents {
                Some(contents) => overwrite(&path, contents)?,
                // It had led nowhere.
                None => fs::remove_file(fs::canonicalize(&path)?)?,
            },
            Original::Symlink { target, .. } => {
                fs::remove_file(&path)?;
                std::os::unix::fs::symlink(target, &path)?;
            }
        }
        Ok(DnsOutcome::Restored)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        match fs::remove_file(self.etc.join(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            Ok(()) | Err(_) => Ok(()),
        }
    }
}

impl Original {
    fn read(path: &Path) -> io::Result<Self> {
        let absent_is_none = |result: io::Result<Vec<u8>>| match result {
            Ok(contents) => Ok(Some(contents)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        };
        let contents = absent_is_none(fs::read(path))?;
        Ok(match (fs::read_link(path), contents) {
            (Ok(target), contents) => Self::Symlink { target, contents },
            (Err(_), Some(contents)) => Self::File { contents },
            (Err(_), None) => Self::Absent,
        })
    }

    fn contents(&self) -> &[u8] {
        match self {
            Self::Absent | Self::Symlink { contents: None, .. } => &[],
            Self::File { contents } | Self::Symlink { contents: Some(contents), .. } => contents,
        }
    }
}

/// Replaces the contents of a file, keeping the file.
fn overwrite(path: &Path, contents: &[u8]) -> io::Result<()> {
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).open(path)?;
    file.write_all(contents)?;
    file.sync_all()
}

/// Our servers and domains in `resolv.conf(5)` form.
pub(super) fn entry(plan: &DnsPlan) -> String {
    let mut text = String::new();
    for server in &plan.servers {
        let _ = writeln!(text, "nameserver {server}");
    }
    if !plan.domains.is_empty() {
        let _ = writeln!(text, "search {}", plan.domains.join(" "));
    }
    text
}

/// The whole file. Unless the tunnel's servers are to be asked about everything, those from before stay
/// behind them; options stay in any case.
fn contents(plan: &DnsPlan, before: &str) -> String {
    let old = |keyword: &str| -> Vec<String> {
        let lines = before.lines().map(str::trim).filter_map(|line| line.strip_prefix(keyword));
        lines.filter(|rest| rest.starts_with([' ', '\t'])).map(|rest| rest.trim().to_owned()).collect()
    };
    let mut servers: Vec<String> = plan.servers.iter().map(ToString::to_string).collect();
    let mut domains = plan.domains.clone();
    if !plan.all {
        servers.extend(old("nameserver"));
        // The last of these lines is the one that counts.
        let search = old("search").pop().or_else(|| old("domain").pop()).unwrap_or_default();
        domains.extend(search.split_whitespace().map(str::to_owned));
    }
    servers.truncate(MAX_SERVERS);

    let mut text = format!(
        "# Set by Evenkeel while the tunnel {} is up. The file from before returns when it ends.\n",
        plan.interface
    );
    for server in servers {
        let _ = writeln!(text, "nameserver {server}");
    }
    if !domains.is_empty() {
        let _ = writeln!(text, "search {}", domains.join(" "));
    }
    for options in old("options") {
        let _ = writeln!(text, "options {options}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(all: bool) -> DnsPlan {
        DnsPlan {
            interface: "tun0".into(),
            servers: vec!["10.10.0.53".parse().unwrap(), "2001:db8::53".parse().unwrap()],
            domains: vec!["corp.example".into()],
            all,
        }
    }

    const HOME: &str = "# by the router\nnameserver 192.168.1.1\nnameserver 192.168.1.2\nsearch lan\noptions edns0 trust-ad\n";

    #[test]
    fn servers_from_before_stay_behind_ours_unless_ours_are_for_everything() {
        let comment =
            "# Set by Evenkeel while the tunnel tun0 is up. The file from before returns when it ends.\n";
        assert_eq!(
            contents(&plan(true), HOME),
            format!(
                "{comment}nameserver 10.10.0.53\nnameserver 2001:db8::53\nsearch corp.example\noptions edns0 trust-ad\n"
            )
        );
        assert_eq!(
            contents(&plan(false), HOME),
            format!(
                "{comment}nameserver 10.10.0.53\nnameserver 2001:db8::53\nnameserver 192.168.1.1\n\
                 search corp.example lan\noptions edns0 trust-ad\n"
            )
        );
    }
}
