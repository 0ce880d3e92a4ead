//! Access tokens: who a process, or the client of a pipe, is.

use std::{
    io,
    os::windows::io::{AsRawHandle, BorrowedHandle, FromRawHandle, OwnedHandle},
    ptr,
};

use windows_sys::Win32::{
    Security::{
        CheckTokenMembership, CreateWellKnownSid, GetTokenInformation, RevertToSelf, SECURITY_MAX_SID_SIZE,
        TOKEN_QUERY, TOKEN_USER, TokenUser, WinBuiltinAdministratorsSid,
    },
    System::{
        Pipes::ImpersonateNamedPipeClient,
        Threading::{GetCurrentProcess, GetCurrentThread, OpenProcessToken, OpenThreadToken},
    },
};

use super::UserId;
use crate::win32;

pub(super) fn current() -> io::Result<UserId> {
    Token::of_this_process()?.user()
}

/// An access token, open for questions.
pub(crate) struct Token(OwnedHandle);

impl Token {
    fn of_this_process() -> io::Result<Self> {
        let mut token = ptr::null_mut();
        // SAFETY: the pseudo handle of this process needs no closing; `token` is a valid place.
        if unsafe { OpenProcessToken(GetCurrentProcess(), TOKEN_QUERY, &raw mut token) } == 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the call succeeded, so `token` is an open handle that nobody else owns.
        Ok(Self(unsafe { OwnedHandle::from_raw_handle(token) }))
    }

    /// The client at the other end of a pipe, as it was when it wrote what was read last. Its process
    /// might be another one by now; this is the account that was on the line.
    pub(crate) fn of_pipe_client(pipe: BorrowedHandle<'_>) -> io::Result<Self> {
        // SAFETY: the handle is an open one of a pipe's server end.
        if unsafe { ImpersonateNamedPipeClient(pipe.as_raw_handle()) } == 0 {
            return Err(io::Error::last_os_error());
        }
        let mut token = ptr::null_mut();
        // Opened as ourselves: the client may not be allowed to look at its own token.
        // SAFETY: the pseudo handle of this thread needs no closing; `token` is a valid place.
        let opened = unsafe { OpenThreadToken(GetCurrentThread(), TOKEN_QUERY, 1, &raw mut token) };
        let error = io::Error::last_os_error();
        // SAFETY: no arguments; it undoes the impersonation of this thread.
        if unsafe { RevertToSelf() } == 0 {
            // To go on would be to act as the client from here on.
            std::process::abort();
        }
        if opened == 0 {
            return Err(error);
        }
        // SAFETY: the call succeeded, so `token` is an open handle that nobody else owns.
        Ok(Self(unsafe { OwnedHandle::from_raw_handle(token) }))
    }

    pub(crate) fn user(&self) -> io::Result<UserId> {
        // A TOKEN_USER with the SID that it points to, which has a greatest size. Aligned for pointers.
        let mut buffer = [0_u64; 32];
        let mut length = 0;
        // SAFETY: the handle is open, the buffer is as long as is said, and `length` is a valid place.
        let done = unsafe {
            GetTokenInformation(
                self.0.as_raw_handle(),
                TokenUser,
                buffer.as_mut_ptr().cast(),
                u32::try_from(size_of_val(&buffer)).unwrap_or_default(),
                &raw mut length,
            )
        };
        if done == 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the call succeeded, so the buffer, which is large and aligned enough, begins with one.
        let user = unsafe { &*buffer.as_ptr().cast::<TOKEN_USER>() };
        // SAFETY: the SID lies in the buffer too.
        unsafe { win32::sid(user.User.Sid) }
    }

    /// Whether the account acts as an administrator. One who could, but has not been elevated, does not.
    /// Only for tokens of a client: the system answers for impersonation tokens alone.
    pub(crate) fn is_admin(&self) -> io::Result<bool> {
        let mut administrators = [0_u32; SECURITY_MAX_SID_SIZE as usize / 4];
        let mut length = SECURITY_MAX_SID_SIZE;
        // SAFETY: the buffer has the size that any SID fits in, as `length` says; no domain is needed for
        // this group.
        let made = unsafe {
            CreateWellKnownSid(
                WinBuiltinAdministratorsSid,
                ptr::null_mut(),
                administrators.as_mut_ptr().cast(),
                &raw mut length,
            )
        };
        if made == 0 {
            return Err(io::Error::last_os_error());
        }
        let mut member = 0;
        // SAFETY: the token is open, the SID was just made, and `member` is a valid place.
        let done = unsafe {
            CheckTokenMembership(self.0.as_raw_handle(), administrators.as_mut_ptr().cast(), &raw mut member)
        };
        if done == 0 { Err(io::Error::last_os_error()) } else { Ok(member != 0) }
    }
}
