//! Secrets that must outlive the daemon: sealed in the state directory, each bound to its owner and
//! its name, never in plain text on disk.
//!
//! On Linux and macOS they are sealed with AES-256-GCM under a key of this machine that root alone can
//! read, which is what `systemd-creds` does without a TPM: it keeps secrets out of backups and copies
//! of single files, not from root. On Windows the system's data protection (DPAPI) seals them for the
//! account of the service.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use aws_lc_rs::digest;
use zeroize::Zeroizing;

use crate::{
    dirs::{self, DirError},
    user::UserId,
};

#[cfg(unix)]
mod host_key;
#[cfg_attr(target_os = "linux", path = "credentials/linux.rs")]
#[cfg_attr(target_os = "macos", path = "credentials/macos.rs")]
#[cfg_attr(windows, path = "credentials/windows.rs")]
mod sys;

/// More is no password, key or certificate.
const MAX_SECRET: usize = 64 * 1024;

/// Why a secret cannot be kept or given back.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    /// The vault's directory cannot be used.
    #[error(transparent)]
    Directory(#[from] DirError),
    /// A file of the vault cannot be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The key of this machine can be read by others, or has the wrong form: secrets under it cannot
    /// be relied on.
    #[error("the key {} {why}", path.display())]
    HostKey {
        /// The key's file.
        path: PathBuf,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The file was changed, was moved here from another owner or name, or was sealed on another
    /// machine.
    #[error("a sealed secret cannot be opened here")]
    NotAuthentic,
    /// The system could not seal it.
    #[error("the secret cannot be sealed")]
    Seal,
    /// Longer than any secret is.
    #[error("a secret of more than {MAX_SECRET} bytes is not kept")]
    TooLong,
}

/// The sealed secrets of a state directory.
#[derive(Debug)]
pub struct Vault {
    dir: PathBuf,
    sealer: sys::Sealer,
}

impl Vault {
    /// Opens the vault in `state_dir`, creating it and the key of this machine if they are not there.
    pub fn open(state_dir: &Path) -> Result<Self, VaultError> {
        let dir = state_dir.join("credentials");
        dirs::create_private(&dir)?;
        Ok(Self { sealer: sys::Sealer::open(&dir)?, dir })
    }

    /// Keeps `secret` as `name` of `owner`, replacing what had that name.
    pub fn seal(&self, name: &str, owner: &UserId, secret: &[u8]) -> Result<(), VaultError> {
        if secret.len() > MAX_SECRET {
            return Err(VaultError::TooLong);
        }
        let sealed = self.sealer.seal(&context(name, owner), secret)?;
        let path = self.path(name, owner);
        dirs::write_private(&path, &sealed).map_err(|source| VaultError::Io { path, source })
    }

    /// The secret kept as `name` of `owner`, if there is one.
    pub fn unseal(&self, name: &str, owner: &UserId) -> Result<Option<Zeroizing<Vec<u8>>>, VaultError> {
        let path = self.path(name, owner);
        match fs::read(&path) {
            Ok(sealed) => self.sealer.unseal(&context(name, owner), sealed).map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(VaultError::Io { path, source }),
        }
    }

    /// Forgets the secret kept as `name` of `owner`; whether there was one.
    pub fn delete(&self, name: &str, owner: &UserId) -> Result<bool, VaultError> {
        let path = self.path(name, owner);
        match fs::remove_file(&path) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(source) => Err(VaultError::Io { path, source }),
        }
    }

    /// Hashed, so that neither a name's characters nor its length matter to the file system.
    fn path(&self, name: &str, owner: &UserId) -> PathBuf {
        let hash = digest::digest(&digest::SHA256, &context(name, owner));
        let hex: String = hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        self.dir.join(hex).with_extension("sealed")
    }
}

/// What a sealed secret is bound to. The owner's text form holds no NUL, so no two pairs share one.
fn context(name: &str, owner: &UserId) -> Vec<u8> {
    let mut context = owner.to_string().into_bytes();
    context.push(0);
    context.extend_from_slice(name.as_bytes());
    context
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALICE: UserId = UserId::Uid(1000);
    const BOB: UserId = UserId::Uid(1001);

    fn sealed_files(dir: &Path) -> Vec<PathBuf> {
        let mut files: Vec<_> =
            fs::read_dir(dir.join("credentials")).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.retain(|path| path.extension().is_some_and(|extension| extension == "sealed"));
        files.sort();
        files
    }

    #[test]
    fn a_secret_comes_back_to_its_owner_and_name_alone_even_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        Vault::open(dir.path()).unwrap().seal("office", &ALICE, b"hunter2").unwrap();
        let vault = Vault::open(dir.path()).unwrap();
        assert_eq!(vault.unseal("office", &ALICE).unwrap().unwrap().as_slice(), b"hunter2");
        assert!(vault.unseal("office", &BOB).unwrap().is_none());
        assert!(vault.unseal("home", &ALICE).unwrap().is_none());
        assert!(vault.delete("office", &ALICE).unwrap());
        assert!(!vault.delete("office", &ALICE).unwrap());
        assert!(vault.unseal("office", &ALICE).unwrap().is_none());
    }

    #[test]
    fn nothing_on_disk_holds_the_secret() {
        let dir = tempfile::tempdir().unwrap();
        let vault = Vault::open(dir.path()).unwrap();
        vault.seal("office", &ALICE, b"correct horse battery staple").unwrap();
        for entry in fs::read_dir(dir.path().join("credentials")).unwrap() {
            let bytes = fs::read(entry.unwrap().path()).unwrap();
            assert!(!bytes.windows(7).any(|window| window == b"correct"));
        }
    }

    #[test]
    fn a_changed_file_and_one_moved_from_another_owner_are_not_authentic() {
        let dir = tempfile::tempdir().unwrap();
        let vault = Vault::open(dir.path()).unwrap();
        vault.seal("office", &ALICE, b"hers").unwrap();
        let hers = sealed_files(dir.path()).remove(0);
        fs::rename(hers, vault.path("office", &BOB)).unwrap();
        assert!(matches!(vault.unseal("office", &BOB), Err(VaultError::NotAuthentic)));

        vault.seal("office", &ALICE, b"hers").unwrap();
        let path = vault.path("office", &ALICE);
        let good = fs::read(&path).unwrap();
        for length in 0..good.len() {
            fs::write(&path, &good[..length]).unwrap();
            assert!(matches!(vault.unseal("office", &ALICE), Err(VaultError::NotAuthentic)), "{length}");
        }
        let mut bad = good;
        *bad.last_mut().unwrap() ^= 1;
        fs::write(&path, bad).unwrap();
        assert!(matches!(vault.unseal("office", &ALICE), Err(VaultError::NotAuthentic)));
    }
}
