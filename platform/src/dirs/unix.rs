//! Modes and owners.

use std::{
    fs,
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt},
    path::Path,
};

use nix::unistd::geteuid;

use super::{Audience, DirError};

pub(super) fn create(path: &Path, audience: Audience) -> Result<(), DirError> {
    let io = |source| DirError::io(path, source);
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        fs::create_dir_all(parent).map_err(|source| DirError::io(parent, source))?;
    }
    let mode = match audience {
        Audience::Private => 0o700,
        Audience::Public => 0o755,
    };
    let created = match fs::DirBuilder::new().mode(mode).create(path) {
        Ok(()) => true,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => false,
        Err(error) => return Err(io(error)),
    };
    // Not followed: a symbolic link would lead us to a place of somebody else's choice.
    let found = fs::symlink_metadata(path).map_err(io)?;
    let unsafe_dir = |why| DirError::Unsafe { path: path.to_owned(), why };
    if !found.is_dir() {
        return Err(unsafe_dir("it is not a directory"));
    }
    let ours = found.uid() == geteuid().as_raw();
    match audience {
        Audience::Private if !ours => Err(unsafe_dir("it belongs to another account")),
        Audience::Private if found.mode() & 0o077 != 0 => {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(io)
        }
        Audience::Public if !ours && found.uid() != 0 => Err(unsafe_dir("it belongs to another account")),
        // The umask may have taken bits from the mode asked for. One that was there keeps its mode.
        Audience::Public if created => {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(io)
        }
        Audience::Public if found.mode() & 0o022 != 0 => Err(unsafe_dir("others may write to it")),
        Audience::Private | Audience::Public => Ok(()),
    }
}

pub(super) fn write_new_private(path: &Path, contents: &[u8]) -> io::Result<()> {
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(contents)?;
    file.sync_all()
}

/// A rename is on disk only when its directory is.
pub(super) fn sync_dir(path: &Path) -> io::Result<()> {
    fs::File::open(path)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o777
    }

    #[test]
    fn a_private_directory_is_closed_to_others_even_if_it_was_open() {
        let dir = tempfile::tempdir().unwrap();
        let fresh = dir.path().join("a/b");
        create(&fresh, Audience::Private).unwrap();
        assert_eq!(mode(&fresh), 0o700);

        let open = dir.path().join("open");
        fs::create_dir(&open).unwrap();
        fs::set_permissions(&open, fs::Permissions::from_mode(0o755)).unwrap();
        create(&open, Audience::Private).unwrap();
        assert_eq!(mode(&open), 0o700);
    }

    #[test]
    fn a_symbolic_link_and_a_file_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("target");
        fs::create_dir(&target).unwrap();
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(&target, &link).unwrap();
        let file = dir.path().join("file");
        fs::write(&file, b"").unwrap();
        for path in [link, file] {
            for audience in [Audience::Private, Audience::Public] {
                assert!(matches!(create(&path, audience), Err(DirError::Unsafe { .. })), "{path:?}");
            }
        }
    }

    #[test]
    fn a_public_directory_that_others_may_write_to_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run");
        create(&path, Audience::Public).unwrap();
        assert_eq!(mode(&path), 0o755);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o777)).unwrap();
        assert!(matches!(create(&path, Audience::Public), Err(DirError::Unsafe { .. })));
    }
}
