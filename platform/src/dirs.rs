//! Where files live and who may look into the folders.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

#[cfg_attr(target_os = "linux", path = "dirs/linux.rs")]
#[cfg_attr(target_os = "macos", path = "dirs/macos.rs")]
#[cfg_attr(windows, path = "dirs/windows.rs")]
mod sys;
#[cfg(unix)]
mod unix;

/// What an administrator provides: managed profiles, settings.
pub fn config_dir() -> PathBuf {
    sys::config_dir()
}

/// What the daemon writes and nobody else needs to see: profiles, sealed secrets, journals.
pub fn state_dir() -> PathBuf {
    sys::state_dir()
}

/// Where the daemon listens when it is not told otherwise: a socket's path, or a pipe's name.
pub fn ipc_endpoint() -> PathBuf {
    sys::ipc_endpoint()
}

/// Why a directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DirError {
    /// It cannot be created or examined.
    #[error("{}: {source}", path.display())]
    Io {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Somebody else could replace what is in it, or it is not a directory at all.
    #[error("{} is not safe to use: {why}", path.display())]
    Unsafe {
        /// The directory.
        path: PathBuf,
        /// What is wrong with it.
        why: &'static str,
    },
}

impl DirError {
    fn io(path: &Path, source: io::Error) -> Self {
        Self::Io { path: path.to_owned(), source }
    }
}

/// Makes sure that `path` is a directory only this account (on Windows: and administrators) can
/// enter. An existing one is tightened if it is ours, and refused if it is not.
pub fn create_private(path: &Path) -> Result<(), DirError> {
    sys::create(path, Audience::Private)
}

/// Makes sure that `path` is a directory that everyone may enter and only this account (or root) may
/// change, as a listening socket needs.
pub fn create_public(path: &Path) -> Result<(), DirError> {
    sys::create(path, Audience::Public)
}

/// Who may enter a directory. Nobody but its owner may ever write to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Audience {
    Private,
    Public,
}

/// Replaces a file in one step, readable by this account alone; it is on disk when this returns.
pub fn write_private(path: &Path, contents: &[u8]) -> io::Result<()> {
    let parent = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    let mut name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_owned();
    name.push(".new");
    let staged = parent.join(name);
    // What a killed process left under this name is ours to remove: only we can write here.
    match fs::remove_file(&staged) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    sys::write_new_private(&staged, contents)?;
    fs::rename(&staged, path)?;
    sys::sync_dir(parent)
}

/// Held by the one daemon that may use a state directory; released when dropped or when the process
/// ends in any way.
#[derive(Debug)]
pub struct InstanceLock {
    _file: fs::File,
}

/// Why the state directory could not be locked.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another daemon has it.
    #[error("another daemon is using {}", .0.display())]
    Taken(PathBuf),
    /// The lock file cannot be opened or locked.
    #[error("locking {}: {source}", path.display())]
    Io {
        /// The state directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl InstanceLock {
    /// Takes the lock of `state_dir`, without waiting. To be held before any `recover`, which would
    /// otherwise undo what a living daemon has set up.
    pub fn acquire(state_dir: &Path) -> Result<Self, LockError> {
        let io = |source| LockError::Io { path: state_dir.to_owned(), source };
        let file = fs::OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(state_dir.join("lock"))
            .map_err(io)?;
        match file.try_lock() {
            Ok(()) => Ok(Self { _file: file }),
            Err(fs::TryLockError::WouldBlock) => Err(LockError::Taken(state_dir.to_owned())),
            Err(fs::TryLockError::Error(source)) => Err(io(source)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_daemon_on_one_state_directory_is_refused_until_the_first_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let first = InstanceLock::acquire(dir.path()).unwrap();
        assert!(matches!(InstanceLock::acquire(dir.path()), Err(LockError::Taken(_))));
        drop(first);
        InstanceLock::acquire(dir.path()).unwrap();
    }

    #[test]
    fn a_private_file_replaces_the_old_one_and_a_leftover_of_a_killed_writer() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        write_private(&path, b"one").unwrap();
        fs::write(dir.path().join("file.new"), b"torn").unwrap();
        write_private(&path, b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
