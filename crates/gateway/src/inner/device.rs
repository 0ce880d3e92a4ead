//! smoltcp's view of the tunnel: a queue of packets in each direction. Tests build their client stack on it too.

use std::collections::VecDeque;

use smoltcp::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::time::Instant;

/// Packets that wait to be fetched. smoltcp stops producing at this bound and goes on once the queue was drained.
const TRANSMIT_BOUND: usize = 512;

/// An IP-level device made of two queues.
pub struct QueueDevice {
    mtu: usize,
    received: VecDeque<Vec<u8>>,
    transmitted: VecDeque<Vec<u8>>,
}

impl QueueDevice {
    /// A device that sends packets of at most `mtu` bytes.
    #[must_use]
    pub fn new(mtu: usize) -> Self {
        Self { mtu, received: VecDeque::new(), transmitted: VecDeque::new() }
    }

    /// Queues a packet for the stack to receive.
    pub fn queue_received(&mut self, packet: &[u8]) {
        self.received.push_back(packet.to_vec());
    }

    /// The next packet that the stack sent.
    pub fn pop_transmitted(&mut self) -> Option<Vec<u8>> {
        self.transmitted.pop_front()
    }
}

impl Device for QueueDevice {
    type RxToken<'a> = Received;
    type TxToken<'a> = Transmit<'a>;

    fn receive(&mut self, _now: Instant) -> Option<(Received, Transmit<'_>)> {
        let packet = self.received.pop_front()?;
        // An immediate answer (echo reply, RST) may exceed the bound by one packet for each packet received.
        Some((Received(packet), Transmit(&mut self.transmitted)))
    }

    fn transmit(&mut self, _now: Instant) -> Option<Transmit<'_>> {
        (self.transmitted.len() < TRANSMIT_BOUND).then_some(Transmit(&mut self.transmitted))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ip;
        capabilities.max_transmission_unit = self.mtu;
        capabilities
    }
}

/// One received packet.
pub struct Received(Vec<u8>);

impl RxToken for Received {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(&self.0)
    }
}

/// Room for one packet to send.
pub struct Transmit<'a>(&'a mut VecDeque<Vec<u8>>);

impl TxToken for Transmit<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let mut packet = vec![0; len];
        let result = f(&mut packet);
        self.0.push_back(packet);
        result
    }
}
