//! The error queue of a socket (`IP_RECVERR` in ip(7), `IPV6_RECVERR` in ipv6(7)).

use std::ffi::{c_int, c_void};
use std::io;
use std::mem;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;

use socket2::{SockAddr, SockAddrStorage};

use super::{check, is_harmless, set_option};
use crate::socket::{IcmpError, QUOTED, canonical};

/// ICMP "fragmentation needed" (RFC 792), and ICMPv6 "packet too big" (RFC 4443).
const UNREACHABLE: u8 = 3;
const FRAGMENTATION_NEEDED: u8 = 4;
const PACKET_TOO_BIG: u8 = 2;

/// Room for the extended error and the address of its sender, which stands behind it.
#[repr(C, align(8))]
struct Control([u8; 128]);

pub(super) fn keep(socket: &UdpSocket) -> io::Result<()> {
    let (level, name) = match socket.local_addr()? {
        SocketAddr::V4(_) => (libc::IPPROTO_IP, libc::IP_RECVERR),
        SocketAddr::V6(_) => (libc::IPPROTO_IPV6, libc::IPV6_RECVERR),
    };
    set_option(socket.as_raw_fd(), level, name, 1)
}

/// The next message of the queue that came by ICMP. Those of our own system about what it refused to send were told
/// to the sender.
pub(super) fn take(socket: &UdpSocket) -> io::Result<Option<IcmpError>> {
    loop {
        match next(socket) {
            Ok(Some(error)) => return Ok(Some(error)),
            Ok(None) => {}
            Err(error) if is_harmless(&error) => return Ok(None),
            Err(error) => return Err(error),
        }
    }
}

fn next(socket: &UdpSocket) -> io::Result<Option<IcmpError>> {
    let mut quoted = [0; QUOTED];
    let mut slice = libc::iovec { iov_base: quoted.as_mut_ptr().cast(), iov_len: quoted.len() };
    let mut address = SockAddrStorage::zeroed();
    let mut control = Control([0; 128]);
    // SAFETY: a plain C structure for which all zeros is a valid value.
    let mut message: libc::msghdr = unsafe { mem::zeroed() };
    message.msg_iov = &raw mut slice;
    message.msg_iovlen = 1;
    message.msg_name = (&raw mut address).cast();
    message.msg_namelen = size_of::<SockAddrStorage>() as libc::socklen_t;
    message.msg_control = (&raw mut control).cast();
    message.msg_controllen = size_of::<Control>() as _;
    // SAFETY: the message points to the slice over `quoted`, to the address and to the control buffer with their true
    // lengths; all outlive the call.
    let quoted_len = check(unsafe {
        libc::recvmsg(socket.as_raw_fd(), &raw mut message, libc::MSG_ERRQUEUE | libc::MSG_DONTWAIT)
    })?;
    let Some(error) = extended_error(&message) else { return Ok(None) };
    // SAFETY: the kernel wrote a socket address of msg_namelen bytes into the storage.
    let to = unsafe { SockAddr::new(address, message.msg_namelen) }.as_socket();
    let mtu = match (error.ee_origin, error.ee_type, error.ee_code) {
        (libc::SO_EE_ORIGIN_ICMP, UNREACHABLE, FRAGMENTATION_NEEDED)
        | (libc::SO_EE_ORIGIN_ICMP6, PACKET_TOO_BIG, _) => Some(error.ee_info),
        (libc::SO_EE_ORIGIN_ICMP | libc::SO_EE_ORIGIN_ICMP6, _, _) => None,
        _ => return Ok(None),
    };
    Ok(to.map(|to| IcmpError { mtu, to: canonical(to), quoted, quoted_len: quoted_len.min(QUOTED) }))
}

fn extended_error(message: &libc::msghdr) -> Option<libc::sock_extended_err> {
    // SAFETY: the message was filled by recvmsg: msg_control points to msg_controllen bytes of whole control messages,
    // which CMSG_FIRSTHDR and CMSG_NXTHDR stay within; both options carry a sock_extended_err first.
    unsafe {
        let mut control = libc::CMSG_FIRSTHDR(message);
        while !control.is_null() {
            let kind = ((*control).cmsg_level, (*control).cmsg_type);
            if kind == (libc::IPPROTO_IP, libc::IP_RECVERR)
                || kind == (libc::IPPROTO_IPV6, libc::IPV6_RECVERR)
            {
                return Some(libc::CMSG_DATA(control).cast::<libc::sock_extended_err>().read_unaligned());
            }
            control = libc::CMSG_NXTHDR(message, control);
        }
    }
    None
}

pub(super) fn path_mtu(socket: &UdpSocket) -> Option<u32> {
    let (level, name) = match socket.local_addr().ok()? {
        SocketAddr::V4(_) => (libc::IPPROTO_IP, libc::IP_MTU),
        SocketAddr::V6(_) => (libc::IPPROTO_IPV6, libc::IPV6_MTU),
    };
    let mut value: c_int = 0;
    let mut len = size_of::<c_int>() as libc::socklen_t;
    let pointer: *mut c_void = (&raw mut value).cast();
    // SAFETY: the pointer and length describe `value`, an int, which both options give; `len` outlives the call.
    let result = unsafe { libc::getsockopt(socket.as_raw_fd(), level, name, pointer, &raw mut len) };
    check(result as isize).ok()?;
    u32::try_from(value).ok()
}
