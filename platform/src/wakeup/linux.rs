//! An eventfd.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use nix::sys::eventfd::{EfdFlags, EventFd};

pub(crate) struct Signal(EventFd);

impl Signal {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self(EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?))
    }

    pub(crate) fn set(&self) {
        // Fails only when the counter is full: then it is set.
        let _ = self.0.write(1);
    }

    pub(crate) fn clear(&self) {
        // Fails only when nothing is there to clear.
        let _ = self.0.read();
    }

    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
