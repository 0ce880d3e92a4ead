//! The profile documents on disk: one JSON file each, in a folder that only the daemon's user can enter.
//!
//! A document appears whole or not at all ([`dirs::write_private`]). Replacing a profile writes the new document under
//! a new number before the old one goes; a crash in between leaves both, and the higher number wins when the folder is
//! next opened.
//!
//! Documents are read once, when the store is opened. What was validated is what is used: nothing is read again at
//! connect.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use evenkeel_platform::dirs;
use evenkeel_profile::{Profile, ProfileName};
use serde::{Deserialize, Serialize};

use crate::access::Ownership;

/// Version of the documents that this build writes and reads.
const FORMAT: u32 = 1;
/// A document is a profile of at most a few certificates.
const MAX_DOCUMENT: u64 = 4 << 20;
/// How many profiles one owner may have: enough for anybody, too few to fill the disk with.
pub const MAX_PER_OWNER: usize = 100;

/// Number of a document. It never names two different profiles while anything of the first is left.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RecordId(u64);

impl fmt::Display for RecordId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// One profile and whose it is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Record {
    /// Number of its document, and the name of its secrets in the vault.
    pub id: RecordId,
    /// Whose it is.
    pub owner: Ownership,
    /// The profile.
    pub profile: Profile,
}

/// Why a profile could not be kept.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The folder or a document could not be written or read.
    #[error("{path}: {source}", path = path.display())]
    Io {
        /// What was being touched.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The owner has as many profiles as one may have.
    #[error("there are {MAX_PER_OWNER} profiles already")]
    TooMany,
}

/// A document that could not be used when the store was opened. It is left where it is.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {reason}", path = path.display())]
pub struct Unreadable {
    /// The document.
    pub path: PathBuf,
    /// What is wrong with it.
    pub reason: String,
}

/// All profiles, in memory and on disk.
#[derive(Debug)]
pub struct ProfileStore {
    folder: PathBuf,
    records: BTreeMap<RecordId, Record>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    format: u32,
    owner: Ownership,
    profile: Profile,
}

impl ProfileStore {
    /// Reads every document in `folder`, which must exist, and finishes what a crash interrupted.
    ///
    /// # Errors
    /// When the folder can't be listed. A single bad document is reported beside the store, not as an error.
    pub fn open(folder: &Path) -> Result<(Self, Vec<Unreadable>), StoreError> {
        let mut store = Self { folder: folder.to_owned(), records: BTreeMap::new() };
        let mut unreadable = Vec::new();
        for entry in fs::read_dir(folder).map_err(at(folder))? {
            let path = entry.map_err(at(folder))?.path();
            let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
            let Some(id) = number_of(name) else { continue };
            match read_document(&path) {
                Ok(document) => {
                    let Document { owner, profile, .. } = document;
                    store.records.insert(id, Record { id, owner, profile });
                }
                Err(reason) => unreadable.push(Unreadable { path, reason }),
            }
        }
        store.remove_superseded()?;
        Ok((store, unreadable))
    }

    /// Every record, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &Record> {
        self.records.values()
    }

    /// The record of exactly this owner and name.
    #[must_use]
    pub fn find(&self, owner: &Ownership, name: &ProfileName) -> Option<&Record> {
        self.iter().find(|record| record.owner == *owner && record.profile.name == *name)
    }

    /// The number that the next document will have. Its secrets are sealed under it first.
    #[must_use]
    pub fn next_id(&self) -> RecordId {
        // Unreadable documents keep their numbers: look at the folder, not at what was understood of it.
        let on_disk = fs::read_dir(&self.folder).into_iter().flatten().flatten();
        let highest = on_disk
            .filter_map(|entry| number_of(entry.file_name().to_str()?))
            .chain(self.records.keys().copied())
            .max();
        RecordId(highest.map_or(1, |RecordId(number)| number.saturating_add(1)))
    }

    /// Writes a profile under a number from [`next_id`](Self::next_id). One of the same owner and name is replaced; its
    /// number is returned, so that its secrets can be deleted.
    ///
    /// # Errors
    /// When it can't be written; nothing is changed then.
    pub fn insert(
        &mut self,
        id: RecordId,
        owner: Ownership,
        profile: Profile,
    ) -> Result<Option<RecordId>, StoreError> {
        let replaced = self.find(&owner, &profile.name).map(|record| record.id);
        if replaced.is_none() && self.iter().filter(|record| record.owner == owner).count() >= MAX_PER_OWNER {
            return Err(StoreError::TooMany);
        }
        let document = Document { format: FORMAT, owner, profile };
        let path = self.path_of(id);
        let bytes = serde_json::to_vec_pretty(&document).map_err(io::Error::from).map_err(at(&path))?;
        dirs::write_private(&path, &bytes).map_err(at(&path))?;
        let Document { owner, profile, .. } = document;
        self.records.insert(id, Record { id, owner, profile });
        if let Some(old) = replaced {
            self.records.remove(&old);
            if let Err(error) = self.delete_document(old) {
                // It has been superseded already; opening the store again finishes the job.
                tracing::warn!(%error, "could not delete a replaced profile's document");
            }
        }
        Ok(replaced)
    }

    /// Deletes a document.
    ///
    /// # Errors
    /// When it can't be deleted; it stays in the store then.
    pub fn remove(&mut self, id: RecordId) -> Result<(), StoreError> {
        self.delete_document(id)?;
        self.records.remove(&id);
        Ok(())
    }

    fn delete_document(&self, id: RecordId) -> Result<(), StoreError> {
        let path = self.path_of(id);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(at(&path)(error)),
            // A removal that a power cut undoes is found again when the store is opened; nothing is lost by it.
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Removes those documents whose owner and name a later document has as well.
    fn remove_superseded(&mut self) -> Result<(), StoreError> {
        let superseded: Vec<RecordId> = self
            .iter()
            .filter(|old| {
                self.iter().any(|new| {
                    new.id > old.id && new.owner == old.owner && new.profile.name == old.profile.name
                })
            })
            .map(|old| old.id)
            .collect();
        superseded.into_iter().try_for_each(|id| self.remove(id))
    }

    fn path_of(&self, id: RecordId) -> PathBuf {
        self.folder.join(format!("{id}.json"))
    }
}

fn number_of(file_name: &str) -> Option<RecordId> {
    let digits = file_name.strip_suffix(".json")?;
    digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse().ok().map(RecordId))?
}

fn read_document(path: &Path) -> Result<Document, String> {
    let metadata = fs::symlink_metadata(path).map_err(|error| error.to_string())?;
    if !metadata.is_file() {
        return Err("not a regular file".to_owned());
    }
    if metadata.len() > MAX_DOCUMENT {
        return Err(format!("larger than {MAX_DOCUMENT} bytes"));
    }
    let bytes = fs::read(path).map_err(|error| error.to_string())?;
    let document: Document = serde_json::from_slice(&bytes).map_err(|error| error.to_string())?;
    if document.format != FORMAT {
        return Err(format!("format {} is not known", document.format));
    }
    Ok(document)
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> StoreError {
    move |source| StoreError::Io { path: path.to_owned(), source }
}
