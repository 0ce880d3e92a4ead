//! Security descriptors and identifiers of Windows, owned and freed as Rust values.

use std::{
    ffi::{OsStr, c_void},
    io,
    os::windows::{
        ffi::OsStrExt,
        io::{AsRawHandle, BorrowedHandle},
    },
    path::Path,
    ptr,
};

use windows_sys::Win32::{
    Foundation::{ERROR_SUCCESS, LocalFree},
    Security::{
        Authorization::{
            ConvertSidToStringSidW, ConvertStringSecurityDescriptorToSecurityDescriptorW,
            GetNamedSecurityInfoW, GetSecurityInfo, SDDL_REVISION_1, SE_FILE_OBJECT, SE_KERNEL_OBJECT,
            SetNamedSecurityInfoW,
        },
        DACL_SECURITY_INFORMATION, GetSecurityDescriptorDacl, OWNER_SECURITY_INFORMATION,
        PROTECTED_DACL_SECURITY_INFORMATION, PSECURITY_DESCRIPTOR, PSID, SECURITY_ATTRIBUTES,
    },
};

use crate::user::UserId;

/// The accounts that can do everything anyway: what they own is as safe as what we own.
const SYSTEM: [&str; 3] = [
    "S-1-5-18",
    "S-1-5-32-544",
    // TrustedInstaller, which owns the system's own folders.
    "S-1-5-80-956008885-3418522649-1831038044-1853292631-2271478464",
];

/// A NUL-terminated UTF-16 string. An inner NUL ends it: callers give names of their own making.
pub(crate) fn wide(text: impl AsRef<OsStr>) -> Vec<u16> {
    text.as_ref().encode_wide().chain([0]).collect()
}

/// The result of a call that returns a Win32 error code.
fn check(code: u32) -> io::Result<()> {
    if code == ERROR_SUCCESS { Ok(()) } else { Err(io::Error::from_raw_os_error(code.cast_signed())) }
}

/// Memory that the system allocated for us with `LocalAlloc`.
pub(crate) struct Local(*mut c_void);

impl Local {
    /// # Safety
    /// `pointer` is null, or was allocated by `LocalAlloc` and is owned by nobody else.
    pub(crate) unsafe fn from_raw(pointer: *mut c_void) -> Self {
        Self(pointer)
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        // SAFETY: by the contract of `from_raw` this is null, which is allowed, or ours to free.
        unsafe { LocalFree(self.0) };
    }
}

/// A security descriptor made from its text form (SDDL).
pub(crate) struct SecurityDescriptor(Local);

impl SecurityDescriptor {
    pub(crate) fn from_sddl(sddl: &str) -> io::Result<Self> {
        let text = wide(sddl);
        let mut descriptor: PSECURITY_DESCRIPTOR = ptr::null_mut();
        // SAFETY: `text` ends with NUL and outlives the call; `descriptor` is a valid place for a pointer;
        // the size is not asked for.
        let done = unsafe {
            ConvertStringSecurityDescriptorToSecurityDescriptorW(
                text.as_ptr(),
                SDDL_REVISION_1,
                &raw mut descriptor,
                ptr::null_mut(),
            )
        };
        if done == 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the call succeeded, so it allocated the descriptor by LocalAlloc and gave it to us.
        Ok(Self(unsafe { Local::from_raw(descriptor) }))
    }

    /// Attributes for a call that creates something. They point into `self`.
    pub(crate) fn attributes(&self) -> SECURITY_ATTRIBUTES {
        SECURITY_ATTRIBUTES {
            // A dozen bytes or two.
            nLength: u32::try_from(size_of::<SECURITY_ATTRIBUTES>()).unwrap_or_default(),
            lpSecurityDescriptor: self.0.0,
            bInheritHandle: 0,
        }
    }

    /// Replaces the access list of something that exists, and cuts off what it would inherit.
    pub(crate) fn apply_to(&self, path: &Path) -> io::Result<()> {
        let (mut present, mut defaulted, mut acl) = (0, 0, ptr::null_mut());
        // SAFETY: the descriptor is a valid one that we own; the three places are valid.
        let found = unsafe {
            GetSecurityDescriptorDacl(self.0.0, &raw mut present, &raw mut acl, &raw mut defaulted)
        };
        if found == 0 {
            return Err(io::Error::last_os_error());
        }
        let path = wide(path);
        // SAFETY: `path` ends with NUL; `acl` points into the descriptor, which outlives the call; owner,
        // group and audit list are not set and may be null.
        check(unsafe {
            SetNamedSecurityInfoW(
                path.as_ptr(),
                SE_FILE_OBJECT,
                DACL_SECURITY_INFORMATION | PROTECTED_DACL_SECURITY_INFORMATION,
                ptr::null_mut(),
                ptr::null_mut(),
                acl,
                ptr::null(),
            )
        })
    }
}

/// The owner of a file or directory.
pub(crate) fn owner_of_path(path: &Path) -> io::Result<UserId> {
    let path = wide(path);
    let (mut owner, mut descriptor) = (ptr::null_mut(), ptr::null_mut());
    // SAFETY: `path` ends with NUL; both places are valid; what is not asked for may be null.
    check(unsafe {
        GetNamedSecurityInfoW(
            path.as_ptr(),
            SE_FILE_OBJECT,
            OWNER_SECURITY_INFORMATION,
            &raw mut owner,
            ptr::null_mut(),
            ptr::null_mut(),
            ptr::null_mut(),
            &raw mut descriptor,
        )
    })?;
    // SAFETY: the call succeeded, so the descriptor was allocated by LocalAlloc for us.
    let _descriptor = unsafe { Local::from_raw(descriptor) };
    // SAFETY: `owner` points into the descriptor, which lives to the end of this function.
    unsafe { sid(owner) }
}

/// The owner of a kernel object, such as a pipe. The handle needs the right `READ_CONTROL`.
pub(crate) fn owner_of_handle(handle: BorrowedHandle<'_>) -> io::Result<UserId> {
    let (mut owner, mut descriptor) = (ptr::null_mut(), ptr::null_mut());
    // SAFETY: the handle is open; both places are valid; what is not asked for may be null.
    check(unsafe {
        GetSecurityInfo(
            handle.as_raw_handle(),
            SE_KERNEL_OBJECT,
            OWNER_SECURITY_INFORMATION,
            &raw mut owner,
            ptr::null_mut(),
            ptr::null_mut(),
            ptr::null_mut(),
            &raw mut descriptor,
        )
    })?;
    // SAFETY: the call succeeded, so the descriptor was allocated by LocalAlloc for us.
    let _descriptor = unsafe { Local::from_raw(descriptor) };
    // SAFETY: `owner` points into the descriptor, which lives to the end of this function.
    unsafe { sid(owner) }
}

/// Whether `owner` is an account that we trust with everything: ours, or the system's.
pub(crate) fn is_trusted(owner: &UserId) -> io::Result<bool> {
    let system = matches!(owner, UserId::Sid(sid) if SYSTEM.contains(&sid.as_str()));
    Ok(system || *owner == UserId::current()?)
}

/// The text form of a security identifier.
///
/// # Safety
/// `sid` is null or points to a valid SID.
pub(crate) unsafe fn sid(sid: PSID) -> io::Result<UserId> {
    if sid.is_null() {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut text = ptr::null_mut();
    // SAFETY: the SID is valid by this function's contract; `text` is a valid place for a pointer.
    if unsafe { ConvertSidToStringSidW(sid, &raw mut text) } == 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call succeeded, so `text` was allocated by LocalAlloc for us.
    let _text = unsafe { Local::from_raw(text.cast()) };
    let mut length = 0;
    // SAFETY: `text` ends with NUL, and no unit behind it is looked at.
    while unsafe { *text.add(length) } != 0 {
        length += 1;
    }
    // SAFETY: `length` units in front of the NUL were just read; nobody changes them.
    let units = unsafe { std::slice::from_raw_parts(text, length) };
    String::from_utf16(units).map(UserId::Sid).map_err(|_| io::ErrorKind::InvalidData.into())
}
