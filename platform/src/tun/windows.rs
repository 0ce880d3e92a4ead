//! The Wintun ring through tun-rs: no offloads, and no system call per packet either.

use std::io::{self, IoSlice};

use tun_rs::{DeviceBuilder, SyncDevice};

use super::{Frame, Offload, TunConfig};
use crate::wakeup::Wakeup;

pub(super) struct Device {
    tun: SyncDevice,
}

impl Device {
    pub(super) fn open(config: &TunConfig) -> io::Result<Self> {
        let mut builder = DeviceBuilder::new().mtu(config.mtu);
        if let Some(name) = &config.name {
            builder = builder.name(name);
        }
        let tun = builder.build_sync()?;
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
        self.tun.set_mtu(mtu)?;
        self.tun.set_mtu_v6(mtu)
    }

    pub(super) const fn has_offload(&self) -> bool {
        false
    }

    pub(super) fn try_read(&self, buffer: &mut [u8]) -> io::Result<Option<Frame>> {
        match self.tun.try_recv(buffer) {
            Ok(len) => Ok(Some(Frame { len, offload: Offload::default() })),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(super) fn read(&self, buffer: &mut [u8], wakeup: &Wakeup) -> io::Result<Option<Frame>> {
        match self.tun.recv_intr(buffer, wakeup.0.event()) {
            Ok(len) => Ok(Some(Frame { len, offload: Offload::default() })),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(super) fn write(&self, _: Offload, packet: &[IoSlice<'_>]) -> io::Result<()> {
        match packet {
            [whole] => self.tun.send(whole).map(|_| ()),
            // Only superpackets come in pieces, and this device was never said to take them.
            _ => Err(io::Error::new(io::ErrorKind::InvalidInput, "a packet in pieces")),
        }
    }
}
