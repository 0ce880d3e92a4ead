//! Collects sealed packets of equal length until they leave in one system call.

use std::net::SocketAddr;

use evenkeel_platform::socket::{MAX_TRAIN, MAX_TRAIN_SEGMENTS};

/// ESP packets back to back, for one peer: all of one length, but the last may be shorter and ends the train.
pub(crate) struct Train {
    buffer: Box<[u8]>,
    len: usize,
    stride: usize,
    packets: usize,
    ended: bool,
    peer: Option<SocketAddr>,
}

impl Train {
    pub(crate) fn new() -> Self {
        let buffer = vec![0; MAX_TRAIN].into_boxed_slice();
        Self { buffer, len: 0, stride: 0, packets: 0, ended: false, peer: None }
    }

    /// Can a packet of `len` bytes to `peer` be added? An empty train takes any that a datagram can be.
    #[inline]
    pub(crate) fn has_room(&self, len: usize, peer: Option<SocketAddr>) -> bool {
        let joins = self.packets == 0
            || (!self.ended && len <= self.stride && self.packets < MAX_TRAIN_SEGMENTS && self.peer == peer);
        joins && self.len + len <= self.buffer.len()
    }

    /// The slot that the next packet is sealed in.
    #[inline]
    pub(crate) fn slot(&mut self) -> &mut [u8] {
        &mut self.buffer[self.len..]
    }

    /// Adds what is in the slot; [`has_room`](Self::has_room) said that it fits.
    #[inline]
    pub(crate) fn add(&mut self, len: usize, peer: Option<SocketAddr>) {
        if self.packets == 0 {
            self.stride = len;
            self.peer = peer;
        }
        self.ended = len < self.stride;
        self.len += len;
        self.packets += 1;
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.packets == 0
    }

    pub(crate) const fn packets(&self) -> usize {
        self.packets
    }

    pub(crate) const fn stride(&self) -> usize {
        self.stride
    }

    pub(crate) const fn peer(&self) -> Option<SocketAddr> {
        self.peer
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.buffer[..self.len]
    }

    pub(crate) const fn clear(&mut self) {
        self.len = 0;
        self.packets = 0;
        self.ended = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_train_takes_equal_packets_and_one_shorter_at_its_end() {
        let mut train = Train::new();
        train.add(1000, None);
        assert!(!train.has_room(1001, None), "longer than the first");
        train.add(1000, None);
        assert!(train.has_room(10, None));
        train.add(10, None);
        assert!(!train.has_room(10, None), "a short packet was the last");
        assert_eq!((train.bytes().len(), train.stride(), train.packets()), (2010, 1000, 3));
        train.clear();
        assert!(train.has_room(MAX_TRAIN, None) && !train.has_room(MAX_TRAIN + 1, None));
    }

    #[test]
    fn a_train_has_one_peer() {
        let mut train = Train::new();
        let peer = |port| Some(SocketAddr::from(([192, 0, 2, 1], port)));
        train.add(100, peer(1));
        assert!(train.has_room(100, peer(1)) && !train.has_room(100, peer(2)) && !train.has_room(100, None));
    }

    #[test]
    fn a_train_is_no_longer_than_the_system_takes() {
        let mut train = Train::new();
        while train.has_room(1472, None) {
            train.add(1472, None);
        }
        assert_eq!(train.packets(), 44);
        train.clear();
        while train.has_room(80, None) {
            train.add(80, None);
        }
        assert_eq!(train.packets(), MAX_TRAIN_SEGMENTS);
    }
}
