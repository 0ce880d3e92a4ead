//! The two files.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use evenkeel_netprofile::defaults::REMEMBERED_BYTES;
use evenkeel_netprofile::memory::Networks;
use evenkeel_netprofile::time::UnixSeconds;
use evenkeel_platform::dirs;

const NETWORKS: &str = "networks.json";
const SALT: &str = "networks.salt";
const SALT_BYTES: usize = 32;

/// Where they are, and how much of what is to be written was.
pub(super) struct Files {
    networks: PathBuf,
    salt: PathBuf,
    asked: u64,
    disk: Arc<Disk>,
}

/// What is on disk.
#[derive(Default)]
struct Disk {
    /// The number of the state that is. Held while writing.
    written: Mutex<u64>,
    /// The last attempt to write failed.
    failed: AtomicBool,
    /// What was set aside is to be removed.
    clears_aside: AtomicBool,
}

impl Files {
    pub(super) fn new(state_dir: &Path) -> Self {
        Self {
            networks: state_dir.join(NETWORKS),
            salt: state_dir.join(SALT),
            asked: 0,
            disk: Arc::default(),
        }
    }

    /// The salt, and whether it was drawn just now.
    pub(super) fn salt(&self) -> io::Result<([u8; SALT_BYTES], bool)> {
        if let Some(bytes) = read(&self.salt, SALT_BYTES)? {
            match <[u8; SALT_BYTES]>::try_from(bytes) {
                Ok(salt) => return Ok((salt, false)),
                Err(_) => set_aside(&self.salt)?,
            }
        }
        let mut salt = [0; SALT_BYTES];
        aws_lc_rs::rand::fill(&mut salt).map_err(|_| io::Error::other("no randomness"))?;
        dirs::write_private(&self.salt, &salt)?;
        Ok((salt, true))
    }

    /// What is remembered. Of an earlier salt's networks none could be recognised.
    pub(super) fn networks(&self, salt_is_new: bool, now: UnixSeconds) -> io::Result<Networks> {
        let Some(bytes) = read(&self.networks, REMEMBERED_BYTES)? else { return Ok(Networks::default()) };
        if salt_is_new {
            tracing::warn!("networks were remembered by a name that can't be made any more");
            set_aside(&self.networks)?;
            return Ok(Networks::default());
        }
        match Networks::from_json(&bytes, now) {
            Ok((networks, dropped)) => {
                for entry in dropped {
                    tracing::warn!(network = %entry.key, why = ?entry.why, "a remembered network is dropped");
                }
                Ok(networks)
            }
            Err(error) => {
                tracing::warn!(%error, "starting with none");
                set_aside(&self.networks)?;
                Ok(Networks::default())
            }
        }
    }

    pub(super) fn save(&mut self, json: String) -> Save {
        self.asked += 1;
        Save { path: self.networks.clone(), json, number: self.asked, disk: Arc::clone(&self.disk) }
    }

    /// With the next state that is written, what was set aside goes.
    pub(super) fn forget_aside(&self) {
        self.disk.clears_aside.store(true, Ordering::Relaxed);
    }

    /// Whether the last attempt to write has failed.
    pub(super) fn has_failed(&self) -> bool {
        self.disk.failed.load(Ordering::Relaxed)
    }
}

/// One state of the memory on its way to the disk.
#[must_use = "nothing is kept that is not written"]
pub struct Save {
    path: PathBuf,
    json: String,
    number: u64,
    disk: Arc<Disk>,
}

impl Save {
    /// Writes it, unless something newer was; whether it is on disk. Waits for the disk. A failure is logged, and there is
    /// [something unsaved](super::Memory::unsaved) from then on.
    pub fn write(self) -> bool {
        let mut written = self.disk.written.lock().unwrap_or_else(PoisonError::into_inner);
        if *written >= self.number {
            return true;
        }
        let result = dirs::write_private(&self.path, self.json.as_bytes()).and_then(|()| self.clear_aside());
        match &result {
            Ok(()) => *written = self.number,
            Err(error) => tracing::error!(%error, "what was learned of networks could not be written"),
        }
        self.disk.failed.store(result.is_err(), Ordering::Relaxed);
        result.is_ok()
    }

    fn clear_aside(&self) -> io::Result<()> {
        if !self.disk.clears_aside.load(Ordering::Relaxed) {
            return Ok(());
        }
        match fs::remove_file(aside(&self.path)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        self.disk.clears_aside.store(false, Ordering::Relaxed);
        Ok(())
    }
}

/// A regular file's contents, at most one byte more than `limit`; `None` if it is not there.
fn read(path: &Path, limit: usize) -> io::Result<Option<Vec<u8>>> {
    match fs::symlink_metadata(path) {
        Ok(known) if known.is_file() => {}
        Ok(_) => return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    }
    let most = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    let mut bytes = Vec::new();
    fs::File::open(path)?.take(most).read_to_end(&mut bytes)?;
    Ok(Some(bytes))
}

/// Keeps a file that can't be understood for whoever has to find out why.
fn set_aside(path: &Path) -> io::Result<()> {
    tracing::warn!(file = %path.display(), "can't be understood; it is kept with the ending .broken");
    fs::rename(path, aside(path))
}

/// Where a file is kept that can't be understood.
fn aside(path: &Path) -> PathBuf {
    let mut aside = path.to_owned().into_os_string();
    aside.push(".broken");
    aside.into()
}
