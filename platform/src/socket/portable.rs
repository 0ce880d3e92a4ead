//! quinn-udp: coalesced reception and segmentation offload on Windows, single datagrams on macOS.

use std::io::{self, IoSliceMut};
use std::net::{SocketAddr, UdpSocket};
#[cfg(unix)]
use std::os::fd::AsFd;
#[cfg(windows)]
use std::os::windows::io::AsSocket;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use quinn_udp::{RecvMeta, Transmit, UdpSocketState};
use socket2::{Domain, Protocol, SockRef, Socket as RawSocket, Type};

use super::{IcmpError, ReceiveBatch, Received, UdpAbilities, UdpOptions, canonical, send_one};
use crate::wakeup::{Interest, Wakeup, wait};

/// Trains of one call.
pub(super) const BATCH: usize = quinn_udp::BATCH_SIZE;

pub(super) struct Socket {
    socket: UdpSocket,
    state: UdpSocketState,
    offload: bool,
    coalescing: AtomicBool,
}

impl Socket {
    pub(super) fn bind(local: SocketAddr, options: &UdpOptions) -> io::Result<Self> {
        let raw = RawSocket::new(Domain::for_address(local), Type::DGRAM, Some(Protocol::UDP))?;
        steer(&raw, local, options.mark, options.device.as_deref())?;
        // The system may grant less; `abilities` says how much it did.
        let _ = raw.set_recv_buffer_size(options.buffer);
        let _ = raw.set_send_buffer_size(options.buffer);
        raw.bind(&local.into())?;
        let socket = UdpSocket::from(raw);
        // Makes it non-blocking and sets DF.
        let state = UdpSocketState::new((&socket).into())?;
        let this = Self { socket, state, offload: options.offload, coalescing: AtomicBool::new(false) };
        #[cfg(windows)]
        this.state.set_gro((&this.socket).into(), false)?;
        Ok(this)
    }

    pub(super) fn std(&self) -> &UdpSocket {
        &self.socket
    }

    pub(super) fn abilities(&self) -> UdpAbilities {
        let socket = SockRef::from(&self.socket);
        UdpAbilities {
            segmentation: self.offload && self.state.max_gso_segments() > 1,
            coalescing: self.coalescing.load(Relaxed),
            receive_buffer: socket.recv_buffer_size().unwrap_or(0),
            send_buffer: socket.send_buffer_size().unwrap_or(0),
        }
    }

    pub(super) fn set_dont_fragment(&self, _: bool) -> io::Result<()> {
        Err(io::Error::new(io::ErrorKind::Unsupported, "changing DF on a bound socket"))
    }

    pub(super) fn coalesce_received(&self) {
        #[cfg(windows)]
        if self.offload {
            let granted = self.state.set_gro((&self.socket).into(), true).is_ok();
            self.coalescing.store(granted, Relaxed);
        }
    }

    pub(super) const fn path_mtu(&self) -> Option<u32> {
        None
    }

    pub(super) const fn keep_icmp(&self) {}

    pub(super) const fn take_icmp(&self) -> io::Result<Option<IcmpError>> {
        Ok(None)
    }

    pub(super) fn send(&self, datagram: &[u8], to: Option<SocketAddr>) -> io::Result<()> {
        send_one(&self.socket, datagram, to)
    }

    pub(super) fn send_train(
        &self,
        datagrams: &[u8],
        stride: usize,
        to: Option<SocketAddr>,
        wakeup: &Wakeup,
    ) -> io::Result<()> {
        if stride == 0 {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a train"));
        }
        let mut rest = datagrams;
        while !rest.is_empty() {
            let segments = if self.offload { self.state.max_gso_segments() } else { 1 };
            let (now, later) = rest.split_at(rest.len().min(segments * stride));
            match self.send_some(now, stride, segments, to) {
                Ok(()) => rest = later,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if !self.wait(Interest::Write, wakeup)? {
                        return Err(error);
                    }
                }
                // quinn-udp gives up segmentation by itself when the system refuses it: try again with less.
                Err(_) if self.offload && self.state.max_gso_segments() < segments => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn send_some(
        &self,
        bytes: &[u8],
        stride: usize,
        segments: usize,
        to: Option<SocketAddr>,
    ) -> io::Result<()> {
        if segments == 1 {
            return send_one(&self.socket, bytes, to);
        }
        let destination = match to {
            Some(to) => to,
            None => self.socket.peer_addr()?,
        };
        let transmit =
            Transmit { destination, ecn: None, contents: bytes, segment_size: Some(stride), src_ip: None };
        self.state.try_send((&self.socket).into(), &transmit)
    }

    pub(super) fn try_receive(&self, batch: &mut ReceiveBatch) -> io::Result<()> {
        batch.received.clear();
        let mut metas = [RecvMeta::default(); BATCH];
        let mut slots = batch.storage.chunks_exact_mut(ReceiveBatch::SLOT);
        let mut buffers: [IoSliceMut<'_>; BATCH] =
            std::array::from_fn(|_| IoSliceMut::new(slots.next().unwrap_or_default()));
        let count = match self.state.recv((&self.socket).into(), &mut buffers, &mut metas) {
            Ok(count) => count,
            Err(error) if is_harmless(&error) => 0,
            Err(error) => return Err(error),
        };
        for (index, meta) in metas.iter().take(count).enumerate() {
            let stride = meta.stride.min(meta.len);
            if stride > 0 {
                let start = index * ReceiveBatch::SLOT;
                batch.received.push(Received {
                    range: start..start + meta.len,
                    stride,
                    from: canonical(meta.addr),
                });
            }
        }
        Ok(())
    }

    pub(super) fn wait_readable(&self, wakeup: &Wakeup) -> io::Result<bool> {
        self.wait(Interest::Read, wakeup)
    }

    fn wait(&self, interest: Interest, wakeup: &Wakeup) -> io::Result<bool> {
        #[cfg(unix)]
        let handle = self.socket.as_fd();
        #[cfg(windows)]
        let handle = self.socket.as_socket();
        wait(handle, interest, wakeup)
    }
}

/// Makes routing treat the socket's packets as told. There are no marks here.
pub(super) fn steer(
    socket: &RawSocket,
    address: SocketAddr,
    _: Option<u32>,
    device: Option<&str>,
) -> io::Result<()> {
    device.map_or(Ok(()), |device| bind_device(socket, device, address))
}

/// Bounds how much a TCP connection holds unsent, by bounding all that it holds. What is on its way has to fit as well:
/// four times as much carries 80 Mbit/s over a round trip of 50 ms.
pub(super) fn bound_waiting(socket: &RawSocket, unsent: u32) -> io::Result<()> {
    socket.set_send_buffer_size(usize::try_from(unsent).unwrap_or(usize::MAX).saturating_mul(4))
}

/// Nothing there, or an ICMP message about something sent earlier, which anyone can forge.
fn is_harmless(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock
            | io::ErrorKind::Interrupted
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::HostUnreachable
            | io::ErrorKind::NetworkUnreachable
    )
}

#[cfg(windows)]
fn bind_device(_: &RawSocket, _: &str, _: SocketAddr) -> io::Result<()> {
    Err(io::Error::new(io::ErrorKind::Unsupported, "binding a socket to an interface"))
}

#[cfg(target_os = "macos")]
fn bind_device(socket: &RawSocket, device: &str, local: SocketAddr) -> io::Result<()> {
    let index = nix::net::if_::if_nametoindex(device)?;
    let index = std::num::NonZeroU32::new(index);
    match local {
        SocketAddr::V4(_) => socket.bind_device_by_index_v4(index),
        SocketAddr::V6(_) => socket.bind_device_by_index_v6(index),
    }
}
