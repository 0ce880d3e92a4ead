//! AES-256-GCM under a key that is made once on this machine and that its owner alone can read.

use std::{
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, NONCE_LEN, RandomizedNonceKey},
    rand,
};
use nix::unistd::geteuid;
use zeroize::Zeroizing;

use super::VaultError;
use crate::dirs;

const KEY_LEN: usize = 32;

/// Stands before every sealed secret; a later form gets another one. It is authenticated too.
const FORM: &[u8; 4] = b"EKS1";

/// Seals with the key of this machine.
#[derive(Debug)]
pub(super) struct Sealer {
    key: RandomizedNonceKey,
}

impl Sealer {
    pub(super) fn open(dir: &Path) -> Result<Self, VaultError> {
        let path = dir.join("host.key");
        let bytes = match read_key(&path)? {
            Some(bytes) => bytes,
            None => create_key(&path)?,
        };
        let key = RandomizedNonceKey::new(&AES_256_GCM, &bytes)
            .map_err(|_| VaultError::HostKey { path, why: "has the wrong length" })?;
        Ok(Self { key })
    }

    /// Form, nonce, ciphertext, tag. Nonces are random: at 2^32 secrets sealed their collision would
    /// become thinkable (NIST SP 800-38D §8.3), which no person's passwords will reach.
    pub(super) fn seal(&self, context: &[u8], secret: &[u8]) -> Result<Vec<u8>, VaultError> {
        // With room for the tag: growing would leave a copy of the secret behind.
        let mut body = Zeroizing::new(Vec::with_capacity(secret.len() + AES_256_GCM.tag_len()));
        body.extend_from_slice(secret);
        let nonce = self
            .key
            .seal_in_place_append_tag(Aad::from(bound(context)), &mut *body)
            .map_err(|_| VaultError::Seal)?;
        Ok([FORM.as_slice(), nonce.as_ref(), &body].concat())
    }

    pub(super) fn unseal(&self, context: &[u8], sealed: Vec<u8>) -> Result<Zeroizing<Vec<u8>>, VaultError> {
        let rest = sealed.strip_prefix(FORM).ok_or(VaultError::NotAuthentic)?;
        let (nonce, body) = rest.split_first_chunk::<NONCE_LEN>().ok_or(VaultError::NotAuthentic)?;
        let mut body = Zeroizing::new(body.to_vec());
        let length = self
            .key
            .open_in_place(nonce.into(), Aad::from(bound(context)), &mut body)
            .map_err(|_| VaultError::NotAuthentic)?
            .len();
        body.truncate(length);
        Ok(body)
    }
}

fn bound(context: &[u8]) -> Vec<u8> {
    [FORM, context].concat()
}

fn read_key(path: &Path) -> Result<Option<Zeroizing<Vec<u8>>>, VaultError> {
    let io = |source| VaultError::Io { path: path.to_owned(), source };
    let found = match fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io(error)),
    };
    let refuse = |why| Err(VaultError::HostKey { path: path.to_owned(), why });
    if !found.is_file() {
        return refuse("is not a regular file");
    }
    if found.uid() != geteuid().as_raw() {
        return refuse("belongs to another account");
    }
    if found.mode() & 0o077 != 0 {
        return refuse("can be read by others");
    }
    fs::read(path).map(Zeroizing::new).map(Some).map_err(io)
}

fn create_key(path: &Path) -> Result<Zeroizing<Vec<u8>>, VaultError> {
    let mut key = Zeroizing::new(vec![0; KEY_LEN]);
    rand::fill(&mut key).map_err(|_| VaultError::Seal)?;
    dirs::write_private(path, &key).map_err(|source| VaultError::Io { path: PathBuf::from(path), source })?;
    Ok(key)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_key_that_others_can_read_or_of_the_wrong_length_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("host.key");
        drop(Sealer::open(dir.path()).unwrap());
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);

        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(Sealer::open(dir.path()), Err(VaultError::HostKey { .. })));

        fs::remove_file(&path).unwrap();
        dirs::write_private(&path, b"short").unwrap();
        assert!(matches!(Sealer::open(dir.path()), Err(VaultError::HostKey { .. })));
    }

    #[test]
    fn a_secret_sealed_on_another_machine_is_not_authentic() {
        let here = tempfile::tempdir().unwrap();
        let there = tempfile::tempdir().unwrap();
        let sealed = Sealer::open(there.path()).unwrap().seal(b"context", b"secret").unwrap();
        let outcome = Sealer::open(here.path()).unwrap().unseal(b"context", sealed);
        assert!(matches!(outcome, Err(VaultError::NotAuthentic)));
    }
}
