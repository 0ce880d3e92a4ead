//! The equipment for networks that are to be learned does what it says. No VPN in here.

#![cfg(target_os = "linux")]

mod hosts;
mod path;
mod translators;

use std::{
    net::{SocketAddr, UdpSocket},
    time::Duration,
};

use anyhow::Context;
use evenkeel_lab::{Host, Nat, Network, Topology, topology::GATEWAY_V4, traffic};

/// Patience where an answer is to come, and where none is.
pub(crate) const SOON: Duration = Duration::from_secs(3);
pub(crate) const MOMENT: Duration = Duration::from_millis(300);

/// A client behind a translator, and a gateway that serves.
pub(crate) fn network() -> anyhow::Result<Network> {
    let network = Topology::behind(Nat::preserving()).build()?;
    traffic::serve(&network.gateway)?;
    Ok(network)
}

/// A UDP flow from a client to the gateway.
pub(crate) struct Flow {
    pub(crate) client: UdpSocket,
    pub(crate) gateway: UdpSocket,
}

impl Flow {
    pub(crate) fn open(client: &Host, gateway: &Host, port: u16) -> anyhow::Result<Self> {
        let gateway = gateway.run(|| UdpSocket::bind((GATEWAY_V4, port)))?;
        let client = client.run(|| UdpSocket::bind("0.0.0.0:0"))?;
        client.connect((GATEWAY_V4, port))?;
        gateway.set_read_timeout(Some(SOON))?;
        Ok(Self { client, gateway })
    }

    /// Sends out; where it seems to come from.
    pub(crate) fn out(&self) -> anyhow::Result<SocketAddr> {
        self.client.send(b"out")?;
        Ok(self.gateway.recv_from(&mut [0; 16]).context("the way out")?.1)
    }

    /// Sends in, to where the last packet came from; whether it got there.
    pub(crate) fn gets_in(&self, to: SocketAddr) -> anyhow::Result<bool> {
        self.client.set_read_timeout(Some(MOMENT))?;
        self.gateway.send_to(b"in", to)?;
        Ok(self.client.recv(&mut [0; 16]).is_ok())
    }

    /// Whether a payload gets out at all.
    pub(crate) fn carries(&self, payload: &[u8]) -> anyhow::Result<bool> {
        self.gateway.set_read_timeout(Some(MOMENT))?;
        self.client.send(payload)?;
        let mut buffer = [0; 64];
        Ok(self.gateway.recv(&mut buffer).is_ok_and(|got| buffer[..got] == *payload))
    }
}
