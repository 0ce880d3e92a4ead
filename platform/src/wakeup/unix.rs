//! Waiting for a descriptor and a signal together.

use std::io;
use std::os::fd::BorrowedFd;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::Wakeup;
use crate::wakeup::sys::Signal;

/// What the caller waits to do with the descriptor.
#[derive(Clone, Copy)]
pub(crate) enum Interest {
    Read,
    Write,
}

impl Signal {
    #[cfg(test)]
    pub(crate) fn is_set(&self) -> bool {
        let mut signal = [PollFd::new(self.as_fd(), PollFlags::POLLIN)];
        matches!(poll(&mut signal, PollTimeout::ZERO), Ok(1))
    }
}

/// Sleeps until `descriptor` is ready (or broken: then using it tells why), which is `true`, or until the
/// wakeup is set, which is `false` and takes precedence.
pub(crate) fn wait(descriptor: BorrowedFd<'_>, interest: Interest, wakeup: &Wakeup) -> io::Result<bool> {
    let flags = match interest {
        Interest::Read => PollFlags::POLLIN,
        Interest::Write => PollFlags::POLLOUT,
    };
    let mut fds = [PollFd::new(descriptor, flags), PollFd::new(wakeup.0.as_fd(), PollFlags::POLLIN)];
    loop {
        match poll(&mut fds, PollTimeout::NONE) {
            Ok(_) => return Ok(!fds[1].any().unwrap_or(true)),
            Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}
