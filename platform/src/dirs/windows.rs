//! Folders in `ProgramData` with access lists of their own: what that folder hands down would let every
//! user add files.

use std::{
    ffi::OsString,
    fs,
    io::{self, Write},
    os::windows::ffi::OsStringExt,
    path::{Path, PathBuf},
    ptr,
};

use windows_sys::Win32::{
    Storage::FileSystem::CreateDirectoryW,
    System::Com::CoTaskMemFree,
    UI::Shell::{FOLDERID_ProgramData, SHGetKnownFolderPath},
};

use super::{Audience, DirError};
use crate::{
    user::UserId,
    win32::{SecurityDescriptor, is_trusted, owner_of_path, wide},
};

pub(super) fn config_dir() -> PathBuf {
    program_data().join(r"Evenkeel\Config")
}

pub(super) fn state_dir() -> PathBuf {
    program_data().join(r"Evenkeel\State")
}

pub(super) fn ipc_endpoint() -> PathBuf {
    r"\\.\pipe\evenkeel".into()
}

/// Asked of the system: an environment variable would let the caller choose.
fn program_data() -> PathBuf {
    let mut path = ptr::null_mut();
    // SAFETY: the folder's id is a constant, no flags and no other user's token are given, and `path` is a
    // valid place for a pointer.
    let found = unsafe { SHGetKnownFolderPath(&FOLDERID_ProgramData, 0, ptr::null_mut(), &raw mut path) };
    let folder = (found >= 0 && !path.is_null()).then(|| {
        let mut length = 0;
        // SAFETY: the call succeeded, so the string ends with NUL, behind which nothing is looked at.
        while unsafe { *path.add(length) } != 0 {
            length += 1;
        }
        // SAFETY: `length` units in front of the NUL were just read.
        OsString::from_wide(unsafe { std::slice::from_raw_parts(path, length) }).into()
    });
    // SAFETY: the string, or null, is ours to free, whether or not the call succeeded.
    unsafe { CoTaskMemFree(path.cast()) };
    folder.unwrap_or_else(|| r"C:\ProgramData".into())
}

pub(super) fn create(path: &Path, audience: Audience) -> Result<(), DirError> {
    let io = |source| DirError::io(path, source);
    let unsafe_dir = |why| Err(DirError::Unsafe { path: path.to_owned(), why });
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        if !parent.exists() {
            create(parent, Audience::Public)?;
        } else if !is_trusted(&owner_of_path(parent).map_err(io)?).map_err(io)? {
            return unsafe_dir("its parent belongs to another account");
        }
    }
    let descriptor = access(audience).map_err(io)?;
    let name = wide(path);
    let attributes = descriptor.attributes();
    // SAFETY: `name` ends with NUL; the attributes and the descriptor in them outlive the call.
    if unsafe { CreateDirectoryW(name.as_ptr(), &raw const attributes) } != 0 {
        return Ok(());
    }
    let error = io::Error::last_os_error();
    if error.kind() != io::ErrorKind::AlreadyExists {
        return Err(io(error));
    }
    // Not followed: a junction would lead us to a place of somebody else's choice.
    let found = fs::symlink_metadata(path).map_err(io)?;
    if !found.is_dir() || found.is_symlink() {
        return unsafe_dir("it is not a directory");
    }
    if !is_trusted(&owner_of_path(path).map_err(io)?).map_err(io)? {
        return unsafe_dir("it belongs to another account");
    }
    descriptor.apply_to(path).map_err(io)
}

/// Full access for the system, administrators and this account; nothing inherited. Public adds reading
/// for users.
fn access(audience: Audience) -> io::Result<SecurityDescriptor> {
    let us = UserId::current()?;
    let users = match audience {
        Audience::Private => "",
        Audience::Public => "(A;OICI;0x1200a9;;;BU)",
    };
    SecurityDescriptor::from_sddl(&format!("D:P(A;OICI;FA;;;SY)(A;OICI;FA;;;BA)(A;OICI;FA;;;{us}){users}"))
}

/// The folder's access list is handed down to the file.
pub(super) fn write_new_private(path: &Path, contents: &[u8]) -> io::Result<()> {
    let mut file = fs::OpenOptions::new().write(true).create_new(true).open(path)?;
    file.write_all(contents)?;
    file.sync_all()
}

/// Windows has no such call; NTFS journals renames by itself.
#[expect(clippy::unnecessary_wraps, reason = "the same item as on systems where it can fail")]
pub(super) fn sync_dir(_path: &Path) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_made_twice_without_complaint_and_a_file_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a").join("b");
        for audience in [Audience::Private, Audience::Private, Audience::Public] {
            create(&path, audience).unwrap();
        }
        let file = dir.path().join("file");
        fs::write(&file, b"").unwrap();
        assert!(matches!(create(&file, Audience::Private), Err(DirError::Unsafe { .. })));
    }

    #[test]
    fn known_folders_are_absolute() {
        for path in [config_dir(), state_dir()] {
            assert!(path.is_absolute(), "{}", path.display());
        }
    }
}
