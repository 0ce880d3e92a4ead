//! utun through tun-rs: no offloads.

use std::io::{self, IoSlice};
use std::os::fd::AsFd;

use tun_rs::{DeviceBuilder, SyncDevice};

use super::{Frame, Offload, TunConfig};
use crate::wakeup::{Interest, Wakeup, wait};

pub(super) struct Device {
    tun: SyncDevice,
}

impl Device {
    pub(super) fn open(config: &TunConfig) -> io::Result<Self> {
        // The kernel names utun devices; routes are another module's concern.
        let tun = DeviceBuilder::new()
            .mtu(config.mtu)
            .packet_information(false)
            .associate_route(false)
            .build_sync()?;
        tun.set_nonblocking(true)?;
        tun.enabled(true)?;
        Ok(Self { tun })
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
        false
    }

    pub(super) fn try_read(&self, buffer: &mut [u8]) -> io::Result<Option<Frame>> {
        loop {
            match self.tun.recv(buffer) {
                Ok(len) => return Ok(Some(Frame { len, offload: Offload::default() })),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
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

    pub(super) fn write(&self, _: Offload, packet: &[IoSlice<'_>]) -> io::Result<()> {
        match packet {
            [whole] => self.tun.send(whole).map(|_| ()),
            pieces => self.tun.send_vectored(pieces).map(|_| ()),
        }
    }
}
