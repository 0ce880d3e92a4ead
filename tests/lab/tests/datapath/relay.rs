//! Somebody on the path.

use std::{
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    thread,
};

use anyhow::Context;
use evenkeel_lab::Host;

/// Forwards what each end sends to the other, and does more.
pub(crate) struct Relay {
    /// Where the left end believes the right one to be.
    pub(crate) for_left: SocketAddr,
    /// Where the right end believes the left one to be.
    pub(crate) for_right: SocketAddr,
}

impl Relay {
    /// Forwards everything, late by one where it pleases, with changed copies, old packets and nonsense in between.
    pub(crate) fn hostile(wire: &Host, left: SocketAddr, right: SocketAddr) -> anyhow::Result<Self> {
        let bind = || wire.run(|| UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))).context("the relay's socket");
        let (facing_left, facing_right) = (bind()?, bind()?);
        let relay = Self { for_left: facing_left.local_addr()?, for_right: facing_right.local_addr()? };
        for (from, to, target) in
            [(facing_left.try_clone()?, facing_right.try_clone()?, right), (facing_right, facing_left, left)]
        {
            // Until the test's process ends.
            thread::spawn(move || Attacker::new(to, target).run(&from));
        }
        Ok(relay)
    }
}

struct Attacker {
    socket: UdpSocket,
    target: SocketAddr,
    /// xorshift64: attacks repeat from run to run as far as timing lets them.
    random: u64,
    old: Vec<u8>,
}

impl Attacker {
    fn new(socket: UdpSocket, target: SocketAddr) -> Self {
        Self { socket, target, random: 0x9e37_79b9_7f4a_7c15, old: Vec::new() }
    }

    fn run(&mut self, from: &UdpSocket) {
        let mut buffer = vec![0; 65_536];
        let mut held = Vec::new();
        while let Ok((len, _)) = from.recv_from(&mut buffer) {
            let packet = &buffer[..len];
            if self.one_in(20) {
                self.attack(packet);
            }
            // Reordered: one packet waits for the next.
            if held.is_empty() && self.one_in(50) {
                held = packet.to_vec();
                continue;
            }
            self.send(packet);
            if !held.is_empty() {
                self.send(&std::mem::take(&mut held));
            }
            if self.one_in(100) {
                self.old = packet.to_vec();
            }
        }
    }

    fn attack(&mut self, packet: &[u8]) {
        let mut forged = packet.to_vec();
        match self.random() % 8 {
            0 => {}
            1 => forged = self.old.clone(),
            2 => {
                let index = (self.random() as usize) % forged.len().max(1);
                if let Some(byte) = forged.get_mut(index) {
                    *byte ^= 1 << (self.random() % 8);
                }
            }
            3 => forged.truncate((self.random() as usize) % (forged.len() + 1)),
            // Far ahead: were it believed, the window would lose everything behind it.
            4 => {
                if let Some(sequence) = forged.get_mut(4..8) {
                    sequence.fill(0xff);
                }
            }
            5 => forged = (0..self.random() % 2000).map(|_| self.random() as u8).collect(),
            6 => forged = [&[0; 4][..], b"not an IKE message"].concat(),
            _ => forged = vec![0xff; 1 + (self.random() % 3) as usize],
        }
        self.send(&forged);
    }

    fn send(&self, datagram: &[u8]) {
        // Lost is lost: this is UDP.
        let _ = self.socket.send_to(datagram, self.target);
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.random().is_multiple_of(n)
    }

    fn random(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random
    }
}
