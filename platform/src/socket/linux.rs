//! `sendmsg` with `UDP_SEGMENT`, `sendmmsg`, and `recvmmsg` with `UDP_GRO` (Linux 4.18, 5.0).

use std::ffi::{c_int, c_void};
use std::io;
use std::mem;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{setsockopt, sockopt};
use socket2::{Domain, Protocol, SockAddr, SockAddrStorage, Socket as RawSocket, Type};

use super::{
    IcmpError, MAX_TRAIN_SEGMENTS, ReceiveBatch, Received, UdpAbilities, UdpOptions, canonical, send_one,
};
use crate::wakeup::{Interest, Wakeup, wait};

#[path = "linux/icmp.rs"]
mod icmp;

/// How many pending errors of earlier datagrams a call may run into, one after another, without anybody having a look
/// whether there are more. Each is reported once, in place of a call; an error of the call itself comes again.
const PENDING: usize = 8;

/// And how many while there are more. There can be as many as ICMP messages that were kept, one for each datagram of some
/// trains: taking one of them, which another thread may be about, makes the next one pending.
const MOST_PENDING: usize = 4096;

/// Trains of one `recvmmsg`.
pub(super) const BATCH: usize = 16;

/// Room for one control message of an `int` or less, aligned as `cmsghdr` wants it.
#[repr(C, align(8))]
#[derive(Clone, Copy)]
struct Control([u8; 32]);

impl Control {
    const EMPTY: Self = Self([0; 32]);
}

pub(super) struct Socket {
    socket: UdpSocket,
    segmentation: AtomicBool,
    coalescing: AtomicBool,
    offload: bool,
}

impl Socket {
    pub(super) fn bind(local: SocketAddr, options: &UdpOptions) -> io::Result<Self> {
        let raw = RawSocket::new(
            Domain::for_address(local),
            Type::DGRAM.nonblocking().cloexec(),
            Some(Protocol::UDP),
        )?;
        steer(&raw, local, options.mark, options.device.as_deref())?;
        set_dont_fragment(raw.as_raw_fd(), local, options.dont_fragment)?;
        set_buffers(&raw, options.buffer);
        raw.bind(&local.into())?;
        Ok(Self {
            segmentation: AtomicBool::new(options.offload && knows_segmentation(&raw)),
            coalescing: AtomicBool::new(false),
            offload: options.offload,
            socket: raw.into(),
        })
    }

    pub(super) fn std(&self) -> &UdpSocket {
        &self.socket
    }

    pub(super) fn abilities(&self) -> UdpAbilities {
        let socket = socket2::SockRef::from(&self.socket);
        UdpAbilities {
            segmentation: self.segmentation.load(Relaxed),
            coalescing: self.coalescing.load(Relaxed),
            // The kernel reports twice what it lets us use, for its own bookkeeping (socket(7)).
            receive_buffer: socket.recv_buffer_size().unwrap_or(0) / 2,
            send_buffer: socket.send_buffer_size().unwrap_or(0) / 2,
        }
    }

    pub(super) fn set_dont_fragment(&self, on: bool) -> io::Result<()> {
        set_dont_fragment(self.socket.as_raw_fd(), self.socket.local_addr()?, on)
    }

    pub(super) fn coalesce_received(&self) {
        let granted = self.offload && setsockopt(&self.socket, sockopt::UdpGroSegment, &true).is_ok();
        self.coalescing.store(granted, Relaxed);
    }

    pub(super) fn path_mtu(&self) -> Option<u32> {
        icmp::path_mtu(&self.socket)
    }

    pub(super) fn keep_icmp(&self) {
        if let Err(error) = icmp::keep(&self.socket) {
            tracing::debug!(%error, "ICMP messages are not told");
        }
    }

    pub(super) fn take_icmp(&self) -> io::Result<Option<IcmpError>> {
        icmp::take(&self.socket)
    }

    pub(super) fn send(&self, datagram: &[u8], to: Option<SocketAddr>) -> io::Result<()> {
        let mut pending = 0;
        loop {
            match send_one(&self.socket, datagram, to) {
                Err(error) if self.may_be_earlier(&error, pending) => pending += 1,
                result => return result,
            }
        }
    }

    pub(super) fn send_train(
        &self,
        datagrams: &[u8],
        stride: usize,
        to: Option<SocketAddr>,
        wakeup: &Wakeup,
    ) -> io::Result<()> {
        if stride == 0 || datagrams.len().div_ceil(stride) > MAX_TRAIN_SEGMENTS {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a train"));
        }
        let to = to.map(SockAddr::from);
        if datagrams.len() <= stride {
            return self.insist(wakeup, || self.send_segmented(datagrams, None, to.as_ref()));
        }
        if self.segmentation.load(Relaxed) {
            let segment = u16::try_from(stride).map_err(io::Error::other)?;
            match self.insist(wakeup, || self.send_segmented(datagrams, Some(segment), to.as_ref())) {
                // The device below cannot checksum (EIO), or the kernel knows no UDP_SEGMENT here (EINVAL).
                Err(error) if matches!(error.raw_os_error(), Some(libc::EIO | libc::EINVAL)) => {
                    tracing::info!(%error, "UDP segmentation offload does not work here: sending one by one");
                    self.segmentation.store(false, Relaxed);
                }
                result => return result,
            }
        }
        let mut rest = datagrams;
        while !rest.is_empty() {
            let sent = self.insist(wakeup, || self.send_separately(rest, stride, to.as_ref()))?;
            rest = rest.get(sent * stride..).unwrap_or_default();
        }
        Ok(())
    }

    /// Repeats a call that the full send buffer, a signal or somebody's ICMP message got in the way of.
    fn insist<T>(&self, wakeup: &Wakeup, mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
        let mut pending = 0;
        loop {
            match call() {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if !wait(self.socket.as_fd(), Interest::Write, wakeup)? {
                        return Err(error);
                    }
                }
                Err(error) if self.may_be_earlier(&error, pending) => pending += 1,
                result => return result,
            }
        }
    }

    /// Whether an error may be that of an earlier datagram, after `pending` of them.
    #[cold]
    fn may_be_earlier(&self, error: &io::Error, pending: usize) -> bool {
        is_of_icmp(error) && (pending < PENDING || (pending < MOST_PENDING && self.has_pending()))
    }

    /// Whether an error is pending, or an ICMP message kept that becomes one.
    fn has_pending(&self) -> bool {
        // Errors are told without being asked for.
        let mut fds = [PollFd::new(self.socket.as_fd(), PollFlags::empty())];
        poll(&mut fds, PollTimeout::ZERO).is_ok_and(|told| told > 0)
    }

    fn send_segmented(&self, bytes: &[u8], segment: Option<u16>, to: Option<&SockAddr>) -> io::Result<()> {
        let mut slice = iovec(bytes);
        let mut control = Control::EMPTY;
        let mut message = header(&mut slice, to);
        if let Some(segment) = segment {
            message.msg_control = (&raw mut control).cast();
            // SAFETY: CMSG_SPACE only computes.
            message.msg_controllen = unsafe { libc::CMSG_SPACE(size_of::<u16>() as u32) } as _;
            // SAFETY: msg_control points to `control`, aligned for cmsghdr and with room for CMSG_SPACE(2) = 24
            // bytes, so the first header exists and its data has room for a u16.
            unsafe {
                let first = libc::CMSG_FIRSTHDR(&raw const message);
                (*first).cmsg_level = libc::SOL_UDP;
                (*first).cmsg_type = libc::UDP_SEGMENT;
                (*first).cmsg_len = libc::CMSG_LEN(size_of::<u16>() as u32) as _;
                libc::CMSG_DATA(first).cast::<u16>().write_unaligned(segment);
            }
        }
        // SAFETY: the message and everything it points to (slice, bytes, control, address) outlive the call,
        // which only reads them.
        check(unsafe { libc::sendmsg(self.socket.as_raw_fd(), &raw const message, 0) }).map(|_| ())
    }

    /// Returns how many of the datagrams were sent.
    fn send_separately(&self, bytes: &[u8], stride: usize, to: Option<&SockAddr>) -> io::Result<usize> {
        // SAFETY: iovec and mmsghdr are plain C structures for which all zeros is a valid value.
        let mut slices: [libc::iovec; MAX_TRAIN_SEGMENTS] = unsafe { mem::zeroed() };
        // SAFETY: as above.
        let mut messages: [libc::mmsghdr; MAX_TRAIN_SEGMENTS] = unsafe { mem::zeroed() };
        let mut count = 0;
        for ((datagram, slice), message) in bytes.chunks(stride).zip(&mut slices).zip(&mut messages) {
            *slice = iovec(datagram);
            message.msg_hdr = header(slice, to);
            count += 1;
        }
        // SAFETY: the first `count` messages are filled; all they point to outlives the call, which writes only
        // msg_len.
        let sent = check(
            unsafe { libc::sendmmsg(self.socket.as_raw_fd(), messages.as_mut_ptr(), count, 0) } as isize,
        )?;
        Ok(sent)
    }

    pub(super) fn try_receive(&self, batch: &mut ReceiveBatch) -> io::Result<()> {
        batch.received.clear();
        // SAFETY: plain C structures for which all zeros is a valid value.
        let mut slices: [libc::iovec; BATCH] = unsafe { mem::zeroed() };
        // SAFETY: as above.
        let mut messages: [libc::mmsghdr; BATCH] = unsafe { mem::zeroed() };
        let mut addresses: [SockAddrStorage; BATCH] = std::array::from_fn(|_| SockAddrStorage::zeroed());
        let mut controls = [Control::EMPTY; BATCH];
        let slots = batch.storage.chunks_exact_mut(ReceiveBatch::SLOT);
        for ((((message, slice), address), control), slot) in
            messages.iter_mut().zip(&mut slices).zip(&mut addresses).zip(&mut controls).zip(slots)
        {
            *slice = libc::iovec { iov_base: slot.as_mut_ptr().cast(), iov_len: slot.len() };
            message.msg_hdr.msg_iov = slice;
            message.msg_hdr.msg_iovlen = 1;
            message.msg_hdr.msg_name = (&raw mut *address).cast();
            message.msg_hdr.msg_namelen = size_of::<SockAddrStorage>() as libc::socklen_t;
            message.msg_hdr.msg_control = (&raw mut *control).cast();
            message.msg_hdr.msg_controllen = size_of::<Control>() as _;
        }
        // SAFETY: every message points to a slice over its own slot of the storage, its own address and its own
        // control buffer with their true lengths; all outlive the call.
        let result = unsafe {
            libc::recvmmsg(
                self.socket.as_raw_fd(),
                messages.as_mut_ptr(),
                BATCH as u32,
                libc::MSG_DONTWAIT,
                std::ptr::null_mut(),
            )
        };
        let count = match check(result as isize) {
            Ok(count) => count,
            Err(error) if is_harmless(&error) => 0,
            Err(error) => return Err(error),
        };
        for (index, (message, address)) in messages.iter().zip(addresses).take(count).enumerate() {
            let len = message.msg_len as usize;
            let truncated = message.msg_hdr.msg_flags & libc::MSG_TRUNC != 0;
            let stride = segment_size(&message.msg_hdr).unwrap_or(len).min(len);
            // SAFETY: the kernel wrote a socket address of msg_namelen bytes into the storage.
            let from = unsafe { SockAddr::new(address, message.msg_hdr.msg_namelen) }.as_socket();
            let (Some(from), false, 1..) = (from, truncated, stride) else { continue };
            let start = index * ReceiveBatch::SLOT;
            batch.received.push(Received { range: start..start + len, stride, from: canonical(from) });
        }
        Ok(())
    }

    pub(super) fn wait_readable(&self, wakeup: &Wakeup) -> io::Result<bool> {
        wait(self.socket.as_fd(), Interest::Read, wakeup)
    }
}

/// How long what was sent may stay unacknowledged. By itself TCP waits for a quarter of an hour.
const UNACKNOWLEDGED: Duration = Duration::from_secs(20);

/// Makes routing treat the socket's packets as told.
pub(super) fn steer(
    socket: &RawSocket,
    _: SocketAddr,
    mark: Option<u32>,
    device: Option<&str>,
) -> io::Result<()> {
    if let Some(mark) = mark {
        socket.set_mark(mark)?;
    }
    if let Some(device) = device {
        socket.bind_device(Some(device.as_bytes()))?;
    }
    Ok(())
}

/// Bounds how much a TCP connection holds unsent, and for how long its peer may be silent to what it was sent.
pub(super) fn bound_waiting(socket: &RawSocket, unsent: u32) -> io::Result<()> {
    socket.set_tcp_notsent_lowat(unsent)?;
    socket.set_tcp_user_timeout(Some(UNACKNOWLEDGED))
}

/// Nothing there, or an ICMP message about something sent earlier.
fn is_harmless(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EINTR)) || is_of_icmp(error)
}

/// Perhaps an ICMP message about something sent earlier, which anyone can forge.
fn is_of_icmp(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(
            libc::ECONNREFUSED
                | libc::EHOSTUNREACH
                | libc::ENETUNREACH
                | libc::EMSGSIZE
                | libc::EPROTO
                | libc::ENOPROTOOPT
                | libc::EACCES
                | libc::EOPNOTSUPP
        )
    )
}

const fn iovec(bytes: &[u8]) -> libc::iovec {
    libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() }
}

/// A message of one slice, to `to` or to the connected peer.
fn header(slice: &mut libc::iovec, to: Option<&SockAddr>) -> libc::msghdr {
    // SAFETY: a plain C structure for which all zeros is a valid value.
    let mut message: libc::msghdr = unsafe { mem::zeroed() };
    message.msg_iov = slice;
    message.msg_iovlen = 1;
    if let Some(to) = to {
        message.msg_name = to.as_ptr().cast_mut().cast();
        message.msg_namelen = to.len();
    }
    message
}

/// The size that the kernel says a coalesced train is made of.
fn segment_size(message: &libc::msghdr) -> Option<usize> {
    // SAFETY: the message was filled by recvmmsg: msg_control points to msg_controllen bytes of whole control
    // messages, which CMSG_FIRSTHDR and CMSG_NXTHDR stay within; UDP_GRO carries an int.
    unsafe {
        let mut control = libc::CMSG_FIRSTHDR(message);
        while !control.is_null() {
            if (*control).cmsg_level == libc::SOL_UDP && (*control).cmsg_type == libc::UDP_GRO {
                return usize::try_from(libc::CMSG_DATA(control).cast::<c_int>().read_unaligned()).ok();
            }
            control = libc::CMSG_NXTHDR(message, control);
        }
    }
    None
}

fn check(result: isize) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}

/// Does the kernel know the option at all? Whether a route's device can do it shows when sending.
fn knows_segmentation(socket: &RawSocket) -> bool {
    set_option(socket.as_raw_fd(), libc::SOL_UDP, libc::UDP_SEGMENT, 0).is_ok()
}

/// PROBE sets DF and lets the interface's MTU, but no ICMP message that anyone may have sent, limit us. DONT
/// sends whole and lets routers fragment.
fn set_dont_fragment(socket: RawFd, local: SocketAddr, on: bool) -> io::Result<()> {
    let (level, name, value) = match (local, on) {
        (SocketAddr::V4(_), true) => (libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_PROBE),
        (SocketAddr::V4(_), false) => (libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_DONT),
        (SocketAddr::V6(_), true) => (libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, libc::IPV6_PMTUDISC_PROBE),
        (SocketAddr::V6(_), false) => (libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, libc::IPV6_PMTUDISC_DONT),
    };
    set_option(socket, level, name, value)
}

/// The forced variants pass the administrator's limit but need CAP_NET_ADMIN; what was granted shows in
/// [`Socket::abilities`].
fn set_buffers(socket: &RawSocket, size: usize) {
    let value = c_int::try_from(size).unwrap_or(c_int::MAX);
    if set_option(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, value).is_err() {
        let _ = socket.set_recv_buffer_size(size);
    }
    if set_option(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_SNDBUFFORCE, value).is_err() {
        let _ = socket.set_send_buffer_size(size);
    }
    let granted = socket.recv_buffer_size().unwrap_or(0) / 2;
    if granted < size {
        tracing::info!(asked = size, granted, "the system limits the socket buffers (net.core.rmem_max)");
    }
}

fn set_option(socket: RawFd, level: c_int, name: c_int, value: c_int) -> io::Result<()> {
    let pointer: *const c_void = (&raw const value).cast();
    // SAFETY: the pointer and length describe `value`, an int, which these options all take.
    let result =
        unsafe { libc::setsockopt(socket, level, name, pointer, size_of::<c_int>() as libc::socklen_t) };
    check(result as isize).map(|_| ())
}
