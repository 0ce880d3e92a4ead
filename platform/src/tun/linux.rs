//! `/dev/net/tun` through tun-rs, read and written with `readv` and `writev` so that the virtio header has
//! its own place beside the packet.

use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::AsFd;

use tun_rs::{DeviceBuilder, SyncDevice};

use super::virtio::{self, HEADER_LEN};
use super::{Frame, MAX_SLICES, Offload, TunConfig};
use crate::wakeup::{Interest, Wakeup, wait};

pub(super) struct Device {
    tun: SyncDevice,
    offload: bool,
}

impl Device {
    pub(super) fn open(config: &TunConfig) -> io::Result<Self> {
        if config.offload {
            match Self::build(config, true) {
                Ok(device) => return Ok(device),
                // The driver knows no IFF_VNET_HDR, or none of the offloads.
                Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                    tracing::info!(%error, "the TUN device has no offloads");
                }
                Err(error) => return Err(error),
            }
        }
        Self::build(config, false)
    }

    fn build(config: &TunConfig, offload: bool) -> io::Result<Self> {
        let mut builder = DeviceBuilder::new().mtu(config.mtu).offload(offload).packet_information(false);
        if let Some(name) = &config.name {
            builder = builder.name(name);
        }
        let tun = builder.build_sync()?;
        tun.set_nonblocking(true)?;
        tun.enabled(true)?;
        Ok(Self { offload: tun.tcp_gso(), tun })
    }

    pub(super) fn name(&self) -> io::Result<String> {
        self.tun.name()
    }

    pub(super) fn index(&self) -> io::Result<u32> {
        self.tun.if_index()
    }

    pub(super) fn mtu(&self) -> io::Result<u16> {
        self.tun.mtu()
    }

    pub(super) fn set_mtu(&self, mtu: u16) -> io::Result<()> {
        self.tun.set_mtu(mtu)
    }

    pub(super) const fn has_offload(&self) -> bool {
        self.offload
    }

    pub(super) fn try_read(&self, buffer: &mut [u8]) -> io::Result<Option<Frame>> {
        loop {
            let result = if self.offload { self.read_superpacket(buffer) } else { self.read_plain(buffer) };
            match result {
                Ok(frame) => return Ok(Some(frame)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn read_plain(&self, buffer: &mut [u8]) -> io::Result<Frame> {
        Ok(Frame { len: self.tun.recv(buffer)?, offload: Offload::default() })
    }

    fn read_superpacket(&self, buffer: &mut [u8]) -> io::Result<Frame> {
        let mut header = [0; HEADER_LEN];
        let read = self.tun.recv_vectored(&mut [IoSliceMut::new(&mut header), IoSliceMut::new(buffer)])?;
        let len = read
            .checked_sub(HEADER_LEN)
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "packet without its header"))?;
        Ok(Frame { len, offload: virtio::decode(header)? })
    }

    pub(super) fn read(&self, buffer: &mut [u8], wakeup: &Wakeup) -> io::Result<Option<Frame>> {
        loop {
            if let Some(frame) = self.try_read(buffer)? {
                return Ok(Some(frame));
            }
            if !wait(self.tun.as_fd(), Interest::Read, wakeup)? {
                return Ok(None);
            }
        }
    }

    pub(super) fn write(&self, offload: Offload, packet: &[IoSlice<'_>]) -> io::Result<()> {
        let written = if self.offload {
            let header = virtio::encode(offload, packet.first().map_or(0, |first| first.len()));
            let mut slices = [IoSlice::new(&[]); MAX_SLICES + 1];
            slices[0] = IoSlice::new(&header);
            slices
                .get_mut(1..=packet.len())
                .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "too many slices"))?
                .copy_from_slice(packet);
            self.tun.send_vectored(&slices[..=packet.len()])
        } else {
            debug_assert_eq!(offload, Offload::default(), "a plain device finishes nothing");
            self.tun.send_vectored(packet)
        };
        written.map(|_| ())
    }
}
