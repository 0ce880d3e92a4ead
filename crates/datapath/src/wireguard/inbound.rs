//! From the peer to the TUN device.

use std::io::{self, IoSlice};
use std::net::IpAddr;
use std::ops::{ControlFlow, Range};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use boringtun::noise::TunnResult;
use boringtun::noise::errors::WireGuardError;
use evenkeel_platform::socket::{MAX_TRAIN_SEGMENTS, ReceiveBatch, UdpSocket};
use evenkeel_platform::tun::{Offload, Tun};

use super::AllowedIps;
use super::config::{MESSAGE_OVERHEAD, WireGuardEvent};
use super::session::{Due, Kind, LEAST_ROOM, Session};
use super::shared::{Counts, Shared};
use crate::coalesce::{Coalescer, PacketSink};
use crate::from_tun::LOOKS_BEFORE_SLEEP;
use crate::mailbox::Inbox;
use crate::mss::{Checksum, MssClamp};
use crate::stats::PlaneDrop;
use crate::throttle::Throttle;

/// Where opened packets lie until they are written: a dozen long trains. Its pages are touched as they are needed.
const ARENA: usize = 1 << 20;

/// A change for the inbound thread.
pub(super) enum InboundChange {
    SetSocket(UdpSocket),
    SetMss(MssClamp),
    Stop,
}

pub(super) struct Inbound {
    socket: UdpSocket,
    inbox: Inbox<InboundChange>,
    allowed: AllowedIps,
    mss: MssClamp,
    device: Device,
    /// None for a device that takes plain packets only.
    coalescer: Option<Coalescer>,
    arena: Box<[u8]>,
    /// How much of the arena is in use.
    used: usize,
    /// The packets of the train that was opened last.
    opened: Vec<Range<usize>>,
    trouble: Throttle,
}

/// The TUN device, counting.
struct Device {
    tun: Tun,
    shared: Arc<Shared>,
}

impl PacketSink for Device {
    #[inline]
    fn write(&mut self, offload: Offload, packet: &[IoSlice<'_>], segments: usize) -> io::Result<()> {
        let result = self.tun.write(offload, packet);
        let stats = &self.shared.inbound;
        if result.is_ok() {
            stats.writes.add(1);
            stats.packets_written.add(segments as u64);
        } else {
            stats.dropped(PlaneDrop::Write, segments as u64);
        }
        result
    }
}

/// What a train brought.
#[derive(Default)]
struct Brought {
    bytes: u64,
    authentic: bool,
    handshake: bool,
}

impl Inbound {
    pub(super) fn new(
        tun: Tun,
        socket: UdpSocket,
        inbox: Inbox<InboundChange>,
        shared: Arc<Shared>,
        allowed: AllowedIps,
        mss: MssClamp,
    ) -> Self {
        Self {
            socket,
            inbox,
            allowed,
            mss,
            coalescer: tun.has_offload().then(Coalescer::new),
            device: Device { tun, shared },
            arena: vec![0; ARENA].into_boxed_slice(),
            used: 0,
            opened: Vec::with_capacity(MAX_TRAIN_SEGMENTS),
            trouble: Throttle::new(Duration::from_secs(1)),
        }
    }

    /// The thread's life.
    pub(super) fn run(mut self) {
        let mut batch = ReceiveBatch::new();
        let mut looks = 0;
        loop {
            if self.inbox.has_news() && self.apply_changes().is_break() {
                return;
            }
            if let Err(error) = self.socket.try_receive(&mut batch) {
                if self.trouble.allows(Instant::now()) {
                    (self.device.shared.events)(WireGuardEvent::Trouble(error));
                }
                // Not to spin on an error that stays: whatever changes it is readable or a change.
                looks = LOOKS_BEFORE_SLEEP;
            }
            if !batch.is_empty() {
                looks = 0;
                self.carry(&mut batch);
            } else if looks < LOOKS_BEFORE_SLEEP {
                looks += 1;
                thread::yield_now();
            } else {
                match self.socket.wait_readable(self.inbox.wakeup()) {
                    Ok(true) => looks = 0,
                    Ok(false) => self.inbox.note_woken(),
                    Err(error) => {
                        (self.device.shared.events)(WireGuardEvent::Stopped(error));
                        return;
                    }
                }
            }
        }
    }

    #[inline]
    fn carry(&mut self, batch: &mut ReceiveBatch) {
        let shared = Arc::clone(&self.device.shared);
        shared.inbound.reads.add(1);
        shared.stir();
        let (trains, storage) = batch.parts();
        for train in trains {
            let Some(datagrams) = storage.get(train.range.clone()) else { continue };
            if self.arena.len() - self.used < datagrams.len() + LEAST_ROOM {
                self.write_out();
            }
            let brought = self.open(&shared, datagrams, train.stride, train.from.ip());
            if brought.authentic {
                let now = Instant::now();
                shared.inbound.last.set(now);
                if brought.bytes > 0 {
                    shared.data_received.set(now);
                    Counts::add(&shared.counts.bytes_received, brought.bytes);
                }
                // Who waits for an answer may be asleep.
                shared.stir();
            }
            if brought.handshake {
                shared.note_handshake();
            }
            self.deliver();
        }
        self.write_out();
    }

    /// Opens a train under one lock.
    #[inline]
    fn open(&mut self, shared: &Shared, datagrams: &[u8], stride: usize, from: IpAddr) -> Brought {
        let mut brought = Brought::default();
        let mut session = shared.session();
        for datagram in datagrams.chunks(stride.max(1)) {
            shared.inbound.packets_read.add(1);
            match Kind::of(datagram) {
                Some(Kind::Data) => self.open_data(&mut session, datagram, shared, &mut brought),
                Some(kind) => {
                    shared.inbound.control.add(1);
                    handle_handshake(&mut session, kind, datagram, from, shared, &mut brought);
                }
                None => shared.inbound.dropped(PlaneDrop::Runt, 1),
            }
        }
        brought
    }

    #[inline]
    fn open_data(&mut self, session: &mut Session, datagram: &[u8], shared: &Shared, brought: &mut Brought) {
        let Some(room) = self.arena.get_mut(self.used..) else { return };
        let (len, source) = match session.tunn.decapsulate(None, datagram, room) {
            TunnResult::WriteToTunnelV4(packet, source) => (packet.len(), IpAddr::V4(source)),
            TunnResult::WriteToTunnelV6(packet, source) => (packet.len(), IpAddr::V6(source)),
            TunnResult::Done => {
                brought.authentic = true;
                shared.inbound.keepalives.add(1);
                return;
            }
            TunnResult::Err(error) => {
                let unknown = matches!(error, WireGuardError::WrongIndex | WireGuardError::NoCurrentSession);
                let runt = datagram.len() < MESSAGE_OVERHEAD;
                let reason = match (unknown, runt) {
                    (true, _) => PlaneDrop::UnknownSpi,
                    (false, true) => PlaneDrop::Runt,
                    (false, false) => PlaneDrop::Open,
                };
                shared.inbound.dropped(reason, 1);
                return;
            }
            // Data is never answered at once.
            TunnResult::WriteToNetwork(_) => return,
        };
        brought.authentic = true;
        if !self.allowed.contains(source) {
            shared.inbound.dropped(PlaneDrop::Source, 1);
            return;
        }
        brought.bytes += len as u64;
        self.opened.push(self.used..self.used + len);
        self.used += len;
    }

    /// Hands on the packets that were opened.
    #[inline]
    fn deliver(&mut self) {
        for packet in self.opened.drain(..) {
            let Some(bytes) = self.arena.get_mut(packet.clone()) else { continue };
            self.mss.apply(bytes, Checksum::Complete);
            // A failed write is counted by the device; there is nobody else to tell.
            match &mut self.coalescer {
                Some(coalescer) => {
                    coalescer.push(&self.arena, packet, &mut self.device);
                }
                None => {
                    let _ = self.device.write(Offload::default(), &[IoSlice::new(bytes)], 1);
                }
            }
        }
    }

    /// Writes what is being joined, and frees the arena.
    #[inline]
    fn write_out(&mut self) {
        if let Some(coalescer) = &mut self.coalescer {
            coalescer.finish(&self.arena, &mut self.device);
        }
        self.used = 0;
    }

    fn apply_changes(&mut self) -> ControlFlow<()> {
        while let Some(change) = self.inbox.next() {
            match change {
                InboundChange::SetSocket(socket) => self.socket = socket,
                InboundChange::SetMss(mss) => self.mss = mss,
                InboundChange::Stop => return ControlFlow::Break(()),
            }
        }
        ControlFlow::Continue(())
    }
}

/// Takes a message of a handshake, and answers it where an answer is due.
#[cold]
fn handle_handshake(
    session: &mut Session,
    kind: Kind,
    datagram: &[u8],
    from: IpAddr,
    shared: &Shared,
    brought: &mut Brought,
) {
    // boringtun's clock and its limit of handshakes a second go by its timers' calls.
    if session.refresh() != Due::Nothing {
        shared.outbound.last.set(Instant::now());
    }
    let mut room = [0; LEAST_ROOM];
    match session.tunn.decapsulate(Some(from), datagram, &mut room) {
        TunnResult::WriteToNetwork(answer) => {
            let cookie = Kind::of(answer) == Some(Kind::Cookie);
            let _ = session.socket.send(answer, None);
            if cookie {
                return;
            }
            brought.authentic = true;
            // As initiator we may send with the new keys, and have by the answer; as responder, once the peer has.
            if kind == Kind::Response {
                brought.handshake = true;
                let (packets, bytes) = session.flush();
                Counts::add(&shared.counts.sent_late, packets);
                Counts::add(&shared.counts.bytes_sent, bytes);
            }
        }
        // A cookie is taken in.
        TunnResult::Done => {}
        TunnResult::Err(_) => shared.inbound.dropped(PlaneDrop::Open, 1),
        // These come of data only.
        TunnResult::WriteToTunnelV4(..) | TunnResult::WriteToTunnelV6(..) => {}
    }
}
