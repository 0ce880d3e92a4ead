//! The TUN device: where inner packets come from and go to.
//!
//! On Linux the device can exchange *superpackets* with the kernel: one TCP segment (or UDP datagram train)
//! of up to 64 KB that the kernel would otherwise have cut to the MTU, with its checksum still to be
//! finished. [`Offload`] says what is left to do with such a packet, in the same terms in both directions. A
//! device without this ability gives and takes plain packets, whose [`Offload`] is the default one.

use std::io::{self, IoSlice};
use std::sync::Arc;

use crate::wakeup::Wakeup;

#[cfg_attr(target_os = "linux", path = "tun/linux.rs")]
#[cfg_attr(target_os = "macos", path = "tun/macos.rs")]
#[cfg_attr(windows, path = "tun/windows.rs")]
mod sys;

#[cfg(target_os = "linux")]
mod virtio;

/// The longest packet that a device gives or takes.
pub const MAX_PACKET: usize = 65_535;

/// The most slices that one packet to [`Tun::write`] may consist of.
pub const MAX_SLICES: usize = 128;

/// What to make.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TunConfig {
    /// The device's name; `None` leaves it to the system, as macOS always does.
    pub name: Option<String>,
    /// Its MTU.
    pub mtu: u16,
    /// Ask for superpackets. Where the system has none this makes a plain device.
    pub offload: bool,
}

/// What a sender left to be done to a packet.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Offload {
    /// The transport checksum is not finished.
    pub checksum: Option<PartialChecksum>,
    /// The packet is a superpacket.
    pub segmentation: Option<Segmentation>,
}

/// The checksum field holds the sum of the pseudo-header; the sum from `start` to the end of the packet
/// belongs at `start + offset`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PartialChecksum {
    /// Where the transport header begins in the packet.
    pub start: u16,
    /// Where the checksum is in the transport header.
    pub offset: u16,
}

/// How to cut a superpacket.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Segmentation {
    /// The protocol, which says what changes from segment to segment.
    pub kind: SegmentKind,
    /// Payload bytes of each segment; the last may have fewer.
    pub size: u16,
}

/// What a superpacket consists of.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum SegmentKind {
    /// TCP over IPv4.
    TcpV4,
    /// TCP over IPv6.
    TcpV6,
    /// UDP over either.
    Udp,
}

/// A packet that was read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Frame {
    /// Its length.
    pub len: usize,
    /// What is left to be done to it.
    pub offload: Offload,
}

/// A TUN device. Clones share it; it disappears with the last of them.
#[derive(Clone)]
pub struct Tun(Arc<sys::Device>);

impl Tun {
    /// Makes a device and brings it up, without addresses or routes.
    ///
    /// # Errors
    /// When the caller may not, the name is taken, or the system lacks the driver.
    pub fn open(config: &TunConfig) -> io::Result<Self> {
        sys::Device::open(config).map(|device| Self(Arc::new(device)))
    }

    /// The device's name.
    ///
    /// # Errors
    /// When the device is gone.
    pub fn name(&self) -> io::Result<String> {
        self.0.name()
    }

    /// The system's index of the device.
    ///
    /// # Errors
    /// When the device is gone.
    pub fn index(&self) -> io::Result<u32> {
        self.0.index()
    }

    /// The present MTU.
    ///
    /// # Errors
    /// When the device is gone.
    pub fn mtu(&self) -> io::Result<u16> {
        self.0.mtu()
    }

    /// Changes the MTU in place: addresses, routes and connections stay.
    ///
    /// # Errors
    /// When the system refuses the value.
    pub fn set_mtu(&self, mtu: u16) -> io::Result<()> {
        self.0.set_mtu(mtu)
    }

    /// Does the device give and take TCP superpackets?
    #[must_use]
    pub fn has_offload(&self) -> bool {
        self.0.has_offload()
    }

    /// The next packet, if one is waiting.
    ///
    /// # Errors
    /// When the device is gone; a packet that makes no sense is [`io::ErrorKind::InvalidData`], after which
    /// reading can go on.
    pub fn try_read(&self, buffer: &mut [u8]) -> io::Result<Option<Frame>> {
        self.0.try_read(buffer)
    }

    /// Waits for the next packet; `None` when the wakeup came first.
    ///
    /// # Errors
    /// As [`try_read`](Self::try_read).
    pub fn read(&self, buffer: &mut [u8], wakeup: &Wakeup) -> io::Result<Option<Frame>> {
        self.0.read(buffer, wakeup)
    }

    /// Hands the system one packet, given in at most [`MAX_SLICES`] pieces.
    ///
    /// # Errors
    /// When the system does not take it.
    pub fn write(&self, offload: Offload, packet: &[IoSlice<'_>]) -> io::Result<()> {
        self.0.write(offload, packet)
    }
}
