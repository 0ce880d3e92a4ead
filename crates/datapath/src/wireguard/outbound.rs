//! From the TUN device to the peer.

use std::io::{self, IoSlice};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use evenkeel_platform::socket::{MAX_TRAIN, UdpSocket, is_too_big};
use evenkeel_platform::tun::{Frame, MAX_PACKET, Offload, Tun};

use super::AllowedIps;
use super::config::{MESSAGE_OVERHEAD, WireGuardEvent};
use super::session::{LEAST_ROOM, Sealed, Session};
use super::shared::{Counts, Shared};
use crate::mailbox::Inbox;
use crate::mss::{Checksum, MssClamp};
use crate::outbound::{LOOKS_BEFORE_SLEEP, TOLD};
use crate::oversize::{Handling, handling, too_big_message};
use crate::segment::Segments;
use crate::stats::PlaneDrop;
use crate::throttle::{Budget, Throttle};
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
    tun: Tun,
    socket: UdpSocket,
    inbox: Inbox<OutboundChange>,
    shared: Arc<Shared>,
    allowed: AllowedIps,
    mss: MssClamp,
    inner_mtu: usize,
    train: Train,
    /// Where a packet is made before boringtun copies it into the train.
    packet: Box<[u8]>,
    told: Budget,
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
            tun,
            socket,
            inbox,
            shared,
            allowed,
            mss,
            inner_mtu: usize::MAX,
            train: Train::new(),
            packet: vec![0; MAX_PACKET].into_boxed_slice(),
            told: Budget::new(TOLD.0, TOLD.1),
            too_big: Throttle::new(Duration::from_secs(1)),
            trouble: Throttle::new(Duration::from_secs(1)),
        }
    }

    /// The thread's life.
    pub(super) fn run(mut self) {
        let mut buffer = vec![0; MAX_PACKET].into_boxed_slice();
        let mut looks = 0;
        loop {
            if self.inbox.has_news() && self.apply_changes().is_break() {
                return;
            }
            let read = match self.tun.try_read(&mut buffer) {
                Ok(None) => {
                    // Whatever is collected leaves before this thread rests.
                    self.send();
                    if looks < LOOKS_BEFORE_SLEEP {
                        looks += 1;
                        thread::yield_now();
                        continue;
                    }
                    self.tun.read(&mut buffer, self.inbox.wakeup())
                }
                read => read,
            };
            match read {
                Ok(Some(frame)) => {
                    looks = 0;
                    self.carry(&mut buffer, frame);
                }
                Ok(None) => self.inbox.note_woken(),
                Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                    self.shared.outbound.dropped(PlaneDrop::Inconsistent, 1);
                }
                Err(error) => {
                    (self.shared.events)(WireGuardEvent::Stopped(error));
                    return;
                }
            }
        }
    }

    #[inline]
    fn carry(&mut self, buffer: &mut [u8], frame: Frame) {
        let stats = &self.shared.outbound;
        stats.reads.add(1);
        let Some(packet) = buffer.get_mut(..frame.len) else { return };
        if frame.offload.segmentation.is_none() {
            let checksum =
                if frame.offload.checksum.is_some() { Checksum::Partial } else { Checksum::Complete };
            self.mss.apply(packet, checksum);
        }
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
        if segments.longest() > self.inner_mtu && !self.make_fit(&mut segments) {
            self.carry_oversized(segments);
        } else {
            self.carry_all(|packet| {
                let len = segments.next_len()?;
                segments.write_next(packet.get_mut(..len)?);
                Some(len)
            });
        }
    }

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

    /// Tells the sender the inner MTU, and cuts what it sent where that can be done.
    #[cold]
    fn make_fit(&mut self, segments: &mut Segments<'_>) -> bool {
        let mtu = u16::try_from(self.inner_mtu).unwrap_or(u16::MAX);
        if let Some(message) = too_big_message(segments.whole(), segments.longest(), mtu)
            && self.told.allows(Instant::now())
            && self.tun.write(Offload::default(), &[IoSlice::new(&message)]).is_ok()
        {
            self.shared.outbound.too_big_told.add(1);
        }
        segments.shorten(self.inner_mtu)
    }

    /// Carries what is too long and no TCP data. It is rare enough for a buffer of its own.
    #[cold]
    fn carry_oversized(&mut self, mut segments: Segments<'_>) {
        let mut buffer = vec![0; segments.longest()];
        while let Some(packet) = segments.next_len().and_then(|len| buffer.get_mut(..len)) {
            segments.write_next(packet);
            match handling(packet, self.inner_mtu) {
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

    /// Hands the train to the socket.
    #[inline]
    fn send(&mut self) {
        if self.train.is_empty() {
            return;
        }
        let (train, wakeup) = (&self.train, self.inbox.wakeup());
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

    fn apply_changes(&mut self) -> ControlFlow<()> {
        // What is sealed already goes to the socket that it was sealed for.
        self.send();
        while let Some(change) = self.inbox.next() {
            match change {
                OutboundChange::SetSocket(socket) => self.socket = socket,
                OutboundChange::SetMss(mss) => self.mss = mss,
                OutboundChange::SetInnerMtu(mtu) => self.inner_mtu = mtu.into(),
                OutboundChange::Stop => return ControlFlow::Break(()),
            }
        }
        ControlFlow::Continue(())
    }
}
