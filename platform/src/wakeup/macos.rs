//! A socket pair: a byte in it is the signal.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

pub(crate) struct Signal {
    reader: UnixStream,
    writer: UnixStream,
}

impl Signal {
    pub(crate) fn new() -> io::Result<Self> {
        let (reader, writer) = UnixStream::pair()?;
        reader.set_nonblocking(true)?;
        writer.set_nonblocking(true)?;
        Ok(Self { reader, writer })
    }

    pub(crate) fn set(&self) {
        // Fails only when the buffer is full of signals.
        let _ = (&self.writer).write(&[1]);
    }

    pub(crate) fn clear(&self) {
        let mut signals = [0; 64];
        while matches!((&self.reader).read(&mut signals), Ok(1..)) {}
    }

    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        self.reader.as_fd()
    }
}
