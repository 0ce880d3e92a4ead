//! A file that says what is about to be changed on the machine, so that it can be undone by another
//! process than the one that changed it.
#![allow(dead_code, reason = "systems without routes and DNS change nothing yet")]

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

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

/// Version of the files that this build writes and reads. What another one meant is not guessed at.
const VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
struct Versioned<T> {
    version: u32,
    #[serde(flatten)]
    entry: T,
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
            Ok(bytes) => parse(&bytes).map(Some).map_err(|source| self.malformed(source)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(self.io(source)),
        }
    }

    /// Replaces the journal. On return it is on disk: what it lists may be done.
    pub(crate) fn write<T: Serialize>(&self, entry: &T) -> Result<(), JournalError> {
        let bytes = serde_json::to_vec_pretty(&Versioned { version: VERSION, entry })
            .map_err(|source| self.malformed(source))?;
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

    fn malformed(&self, source: serde_json::Error) -> JournalError {
        JournalError::Malformed { path: self.path.clone(), source }
    }
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> serde_json::Result<T> {
    let Versioned { version, entry } = serde_json::from_slice(bytes)?;
    if version == VERSION {
        Ok(entry)
    } else {
        Err(serde::de::Error::custom(format_args!("it is of version {version}, not {VERSION}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Changed {
        name: String,
        was: Vec<u8>,
    }

    #[test]
    fn what_is_written_is_read_back_until_it_is_cleared() {
        let dir = tempfile::tempdir().unwrap();
        let journal = Journal::new(dir.path(), "a.journal");
        assert_eq!(journal.read::<Changed>().unwrap(), None);
        let changed = Changed { name: "x".into(), was: vec![0, 255] };
        journal.write(&changed).unwrap();
        assert_eq!(journal.read().unwrap(), Some(changed));
        journal.clear().unwrap();
        assert_eq!(journal.read::<Changed>().unwrap(), None);
    }

    #[test]
    fn a_journal_of_another_version_or_of_none_is_not_understood() {
        let dir = tempfile::tempdir().unwrap();
        let journal = Journal::new(dir.path(), "a.journal");
        for text in
            [r#"{"version":2,"name":"x","was":[]}"#, r#"{"name":"x","was":[]}"#, r#"{"version":1}"#, "{"]
        {
            fs::write(dir.path().join("a.journal"), text).unwrap();
            assert!(matches!(journal.read::<Changed>(), Err(JournalError::Malformed { .. })), "{text}");
        }
    }
}
