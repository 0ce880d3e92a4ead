//! DPAPI for the account of the service. Not "local machine": that would let every account unseal.

use std::{path::Path, ptr, slice};

use windows_sys::Win32::Security::Cryptography::{
    CRYPT_INTEGER_BLOB, CRYPTPROTECT_UI_FORBIDDEN, CryptProtectData, CryptUnprotectData,
};
use zeroize::{Zeroize, Zeroizing};

use super::VaultError;
use crate::win32::Local;

/// Seals for the account this process runs as.
#[derive(Debug)]
pub(super) struct Sealer;

impl Sealer {
    #[expect(clippy::unnecessary_wraps, reason = "the same item as on systems where it can fail")]
    pub(super) fn open(_dir: &Path) -> Result<Self, VaultError> {
        Ok(Self)
    }

    pub(super) fn seal(&self, context: &[u8], secret: &[u8]) -> Result<Vec<u8>, VaultError> {
        let (input, entropy) =
            (blob(secret).ok_or(VaultError::Seal)?, blob(context).ok_or(VaultError::Seal)?);
        let mut output = CRYPT_INTEGER_BLOB::default();
        // SAFETY: input and entropy describe slices that outlive the call and are only read; `output` is a
        // valid place; description, reserved and prompt may be null.
        let done = unsafe {
            CryptProtectData(
                &raw const input,
                ptr::null(),
                &raw const entropy,
                ptr::null(),
                ptr::null(),
                CRYPTPROTECT_UI_FORBIDDEN,
                &raw mut output,
            )
        };
        if done == 0 {
            return Err(VaultError::Seal);
        }
        // SAFETY: the call succeeded and has given us `output`.
        Ok(unsafe { take(&output) }.to_vec())
    }

    pub(super) fn unseal(&self, context: &[u8], sealed: Vec<u8>) -> Result<Zeroizing<Vec<u8>>, VaultError> {
        let refused = VaultError::NotAuthentic;
        let (Some(input), Some(entropy)) = (blob(&sealed), blob(context)) else { return Err(refused) };
        let mut output = CRYPT_INTEGER_BLOB::default();
        // SAFETY: as above; the description is not asked for.
        let done = unsafe {
            CryptUnprotectData(
                &raw const input,
                ptr::null_mut(),
                &raw const entropy,
                ptr::null(),
                ptr::null(),
                CRYPTPROTECT_UI_FORBIDDEN,
                &raw mut output,
            )
        };
        if done == 0 {
            return Err(refused);
        }
        // SAFETY: the call succeeded and has given us `output`.
        Ok(unsafe { take(&output) })
    }
}

fn blob(bytes: &[u8]) -> Option<CRYPT_INTEGER_BLOB> {
    Some(CRYPT_INTEGER_BLOB {
        cbData: u32::try_from(bytes.len()).ok()?,
        // Never written to: the type serves input and output.
        pbData: bytes.as_ptr().cast_mut(),
    })
}

/// Copies what the system gave us, wipes it and frees it.
///
/// # Safety
/// `output` was filled by a successful call of `CryptProtectData` or `CryptUnprotectData` and is given up.
unsafe fn take(output: &CRYPT_INTEGER_BLOB) -> Zeroizing<Vec<u8>> {
    // SAFETY: such calls allocate by LocalAlloc and leave freeing to the caller.
    let _memory = unsafe { Local::from_raw(output.pbData.cast()) };
    let Ok(length) = usize::try_from(output.cbData) else { return Zeroizing::default() };
    if output.pbData.is_null() || length == 0 {
        return Zeroizing::default();
    }
    // SAFETY: the call filled `length` bytes at `pbData`, which only we have.
    let bytes = unsafe { slice::from_raw_parts_mut(output.pbData, length) };
    let copy = Zeroizing::new(bytes.to_vec());
    bytes.zeroize();
    copy
}
