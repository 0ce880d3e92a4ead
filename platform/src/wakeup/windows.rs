//! An event for the Wintun ring and a loopback datagram for sockets, which cannot wait for events.

use std::io;
use std::net::{Ipv4Addr, UdpSocket};
use std::os::windows::io::{AsRawSocket, BorrowedSocket};

use tun_rs::InterruptEvent;
use windows_sys::Win32::Networking::WinSock;

use super::Wakeup;

pub(crate) struct Signal {
    event: InterruptEvent,
    reader: UdpSocket,
    writer: UdpSocket,
}

impl Signal {
    pub(crate) fn new() -> io::Result<Self> {
        let reader = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        let writer = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        writer.connect(reader.local_addr()?)?;
        reader.connect(writer.local_addr()?)?;
        reader.set_nonblocking(true)?;
        writer.set_nonblocking(true)?;
        Ok(Self { event: InterruptEvent::new()?, reader, writer })
    }

    pub(crate) fn set(&self) {
        // Neither can fail while this process owns both ends.
        let _ = self.event.trigger();
        let _ = self.writer.send(&[1]);
    }

    pub(crate) fn clear(&self) {
        let _ = self.event.reset();
        let mut signal = [0; 1];
        while self.reader.recv(&mut signal).is_ok() {}
    }

    #[cfg(test)]
    pub(crate) fn is_set(&self) -> bool {
        let mut signal = [0; 1];
        self.reader.peek(&mut signal).is_ok()
    }

    pub(crate) fn event(&self) -> &InterruptEvent {
        &self.event
    }
}

/// What the caller waits to do with the socket.
#[derive(Clone, Copy)]
pub(crate) enum Interest {
    Read,
    Write,
}

/// Sleeps until `socket` is ready (or broken: then using it tells why), which is `true`, or until the wakeup
/// is set, which is `false` and takes precedence.
pub(crate) fn wait(socket: BorrowedSocket<'_>, interest: Interest, wakeup: &Wakeup) -> io::Result<bool> {
    let events = match interest {
        Interest::Read => WinSock::POLLRDNORM,
        Interest::Write => WinSock::POLLWRNORM,
    };
    let entry = |socket: &dyn AsRawSocket, events| WinSock::WSAPOLLFD {
        fd: socket.as_raw_socket() as WinSock::SOCKET,
        events,
        revents: 0,
    };
    let mut fds = [entry(&socket, events), entry(&wakeup.0.reader, WinSock::POLLRDNORM)];
    // SAFETY: the pointer and count describe `fds`, whose sockets are borrowed for the whole call.
    let result = unsafe { WinSock::WSAPoll(fds.as_mut_ptr(), fds.len() as u32, -1) };
    if result == WinSock::SOCKET_ERROR {
        return Err(io::Error::last_os_error());
    }
    Ok(fds[1].revents == 0)
}
