//! From the TUN device to the peer.

use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use evenkeel_platform::socket::{MAX_TRAIN, UdpSocket, is_too_big};
use evenkeel_platform::tun::{Frame, MAX_PACKET, Tun};

use super::AllowedIps;
use super::config::{MESSAGE_OVERHEAD, WireGuardEvent};
use super::session::{LEAST_ROOM, Sealed, Session};
use super::shared::{Counts, Shared};
use crate::from_tun::{FromTun, Source};
use crate::mailbox::Inbox;
use crate::mss::MssClamp;
use crate::oversize::{Handling, handling};
use crate::segment::Segments;
use crate::stats::{PlaneDrop, ThreadStats};
use crate::throttle::Throttle;
use crate::train::Train;

/// A change for the outbound thread.
pub(super) enum OutboundChange {
    SetSocket(UdpSocket),
    SetMss(MssClamp),
    /// No longer inner packet than this leaves.
    SetInnerMtu(u16),
    Stop,
}

pub(super) struct Outbound {
    source: Source<OutboundChange>,
    socket: UdpSocket,
    shared: Arc<Shared>,
    allowed: AllowedIps,
    train: Train,
    /// Where a packet is made before boringtun copies it into the train.
    packet: Box<[u8]>,
    too_big: Throttle,
    trouble: Throttle,
}

impl Outbound {
    pub(super) fn new(
        tun: Tun,
        socket: UdpSocket,
        inbox: Inbox<OutboundChange>,
        shared: Arc<Shared>,
        allowed: AllowedIps,
        mss: MssClamp,
    ) -> Self {
        Self {
            source: Source::new(tun, inbox, mss),
            socket,
            shared,
            allowed,
            train: Train::new(),
            packet: vec![0; MAX_PACKET].into_boxed_slice(),
            too_big: Throttle::new(Duration::from_secs(1)),
            trouble: Throttle::new(Duration::from_secs(1)),
        }
    }
}

impl FromTun for Outbound {
    type Change = OutboundChange;

    fn source(&mut self) -> &mut Source<OutboundChange> {
        &mut self.source
    }

    fn stats(&self) -> &ThreadStats {
        &self.shared.outbound
    }

    fn tell_stopped(&self, error: io::Error) {
        (self.shared.events)(WireGuardEvent::Stopped(error));
    }

    #[inline]
    fn carry(&mut self, buffer: &mut [u8], frame: Frame) {
        let stats = &self.shared.outbound;
        stats.reads.add(1);
        let Some(packet) = buffer.get_mut(..frame.len) else { return };
        self.source.limit_mss(packet, frame.offload);
        // The segments of a superpacket share their addresses.
        let allowed = self.allowed.contains_destination(packet);
        let Ok(mut segments) = Segments::new(packet, frame.offload) else {
            stats.packets_read.add(1);
            stats.dropped(PlaneDrop::Inconsistent, 1);
            return;
        };
        let count = segments.remaining() as u64;
        stats.packets_read.add(count);
        if !allowed {
            stats.dropped(PlaneDrop::NoSa, count);
            return;
        }
        self.shared.stir();
        if segments.longest() > self.source.inner_mtu && !self.source.make_fit(&mut segments, stats) {
            self.carry_oversized(segments);
        } else {
            self.carry_all(|packet| {
                let len = segments.next_len()?;
                segments.write_next(packet.get_mut(..len)?);
                Some(len)
            });
        }
    }

    /// Hands the train to the socket.
    #[inline]
    fn send(&mut self) {
        if self.train.is_empty() {
            return;
        }
        let (train, wakeup) = (&self.train, self.source.inbox.wakeup());
        match self.socket.send_train(train.bytes(), train.stride(), None, wakeup) {
            Ok(()) => {
                let (stats, now) = (&self.shared.outbound, Instant::now());
                stats.writes.add(1);
                stats.packets_written.add(train.packets() as u64);
                stats.last.set(now);
                self.shared.data_sent.set(now);
                self.shared.stir();
            }
            Err(error) => self.report_failure(error),
        }
        self.train.clear();
    }

    fn apply_changes(&mut self) -> ControlFlow<()> {
        // What is sealed already goes to the socket that it was sealed for.
        self.send();
        while let Some(change) = self.source.inbox.next() {
            match change {
                OutboundChange::SetSocket(socket) => self.socket = socket,
                OutboundChange::SetMss(mss) => self.source.mss = mss,
                OutboundChange::SetInnerMtu(mtu) => self.source.inner_mtu = mtu.into(),
                OutboundChange::Stop => return ControlFlow::Break(()),
            }
        }
        ControlFlow::Continue(())
    }
}

impl Outbound {
    /// Seals all packets that `next` makes. The lock is held until a train is full, never while one is sent.
    #[inline]
    fn carry_all(&mut self, mut next: impl FnMut(&mut [u8]) -> Option<usize>) {
        let shared = Arc::clone(&self.shared);
        let mut made = next(&mut self.packet);
        while made.is_some() {
            let mut bytes = 0;
            {
                let mut session = shared.session();
                while let Some(len) = made {
                    let needed = len + MESSAGE_OVERHEAD;
                    if needed > MAX_TRAIN {
                        shared.outbound.dropped(PlaneDrop::TooBig, 1);
                    } else if self.train.has_room(needed, None) && self.train.slot().len() >= LEAST_ROOM {
                        bytes += self.seal(&mut session, len);
                    } else {
                        break;
                    }
                    made = next(&mut self.packet);
                }
            }
            Counts::add(&shared.counts.bytes_sent, bytes);
            if made.is_some() {
                self.send();
            }
        }
    }

    /// Seals the packet into the train; how many inner bytes will leave at once.
    #[inline]
    fn seal(&mut self, session: &mut Session, len: usize) -> u64 {
        let Some(packet) = self.packet.get(..len) else { return 0 };
        match session.seal(packet, self.train.slot()) {
            Sealed::Datagram(sealed) => {
                self.train.add(sealed, None);
                len as u64
            }
            Sealed::Waits => 0,
            Sealed::Dropped => {
                self.shared.outbound.dropped(PlaneDrop::NoSa, 1);
                0
            }
        }
    }

    /// Carries what is too long and no TCP data. It is rare enough for a buffer of its own.
    #[cold]
    fn carry_oversized(&mut self, mut segments: Segments<'_>) {
        let mut buffer = vec![0; segments.longest()];
        while let Some(packet) = segments.next_len().and_then(|len| buffer.get_mut(..len)) {
            segments.write_next(packet);
            match handling(packet, self.source.inner_mtu) {
                Handling::Pass => {
                    let mut whole = Some(&*packet);
                    self.carry_all(|place| {
                        let packet = whole.take()?;
                        place.get_mut(..packet.len())?.copy_from_slice(packet);
                        Some(packet.len())
                    });
                }
                Handling::Fragment(mut fragments) => self.carry_all(|place| {
                    let len = fragments.next_len()?;
                    fragments.write_next(place.get_mut(..len)?);
                    Some(len)
                }),
                Handling::Drop => self.shared.outbound.dropped(PlaneDrop::TooBig, 1),
            }
        }
    }

    #[cold]
    fn report_failure(&mut self, error: io::Error) {
        let (packets, now) = (self.train.packets() as u64, Instant::now());
        if is_too_big(&error) {
            self.shared.outbound.dropped(PlaneDrop::TooBig, packets);
            if self.too_big.allows(now) {
                let path_mtu = self.socket.path_mtu().map(|mtu| u16::try_from(mtu).unwrap_or(u16::MAX));
                let datagram_len = self.train.stride();
                (self.shared.events)(WireGuardEvent::TooBig { datagram_len, path_mtu });
            }
            return;
        }
        self.shared.outbound.dropped(PlaneDrop::Send, packets);
        if self.trouble.allows(now) {
            (self.shared.events)(WireGuardEvent::Trouble(error));
        }
    }
}
