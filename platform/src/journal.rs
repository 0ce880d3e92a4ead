//! A file that says what is about to be changed on the machine, so that it can be undone by another
//! process than the one that changed it.
#![allow(dead_code, reason = "systems without routes and DNS change nothing yet")]

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use serde::{Serialize, de::DeserializeOwned};

use crate::dirs::write_private;

/// A journal that cannot be read or written. The change it was to guard must not be made.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The file system refused.
    #[error("journal {}: {source}", path.display())]
    Io {
        /// The journal's file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is not what this version writes.
    #[error("journal {} cannot be understood: {source}", path.display())]
    Malformed {
        /// The journal's file.
        path: PathBuf,
        /// Where the parser stopped.
        source: serde_json::Error,
    },
}

/// One journal file, holding one `T` while something on the machine is changed.
#[derive(Clone, Debug)]
pub(crate) struct Journal {
    path: PathBuf,
}

impl Journal {
    pub(crate) fn new(state_dir: &Path, file_name: &str) -> Self {
        Self { path: state_dir.join(file_name) }
    }

    /// What a process before us left, if it did.
    pub(crate) fn read<T: DeserializeOwned>(&self) -> Result<Option<T>, JournalError> {
        match fs::read(&self.path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map(Some)
                .map_err(|source| JournalError::Malformed { path: self.path.clone(), source }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(self.io(source)),
        }
    }

    /// Replaces the journal. On return it is on disk: what it lists may be done.
    pub(crate) fn write<T: Serialize>(&self, entry: &T) -> Result<(), JournalError> {
        let bytes = serde_json::to_vec_pretty(entry)
            .map_err(|source| JournalError::Malformed { path: self.path.clone(), source })?;
        write_private(&self.path, &bytes).map_err(|source| self.io(source))
    }

    /// Everything it lists has been undone.
    pub(crate) fn clear(&self) -> Result<(), JournalError> {
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(self.io(error)),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Moves a journal that cannot be understood out of the way, kept for whoever has to find out why.
    pub(crate) fn set_aside(&self) -> Result<(), JournalError> {
        fs::rename(&self.path, self.path.with_extension("unreadable")).map_err(|source| self.io(source))
    }

    fn io(&self, source: io::Error) -> JournalError {
        JournalError::Io { path: self.path.clone(), source }
    }
}
