//! From the socket to the TUN device.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::ops::{ControlFlow, Range};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use evenkeel_ipsec::esp::InboundSa;
use evenkeel_ipsec::wire::{Encapsulated, EspSpi, classify};
use evenkeel_platform::socket::{ReceiveBatch, UdpSocket};
use evenkeel_platform::tun::{Offload, Tun};

use crate::coalesce::{Coalescer, PacketSink};
use crate::config::{EventSink, PlaneEvent};
use crate::early::Early;
use crate::from_tun::LOOKS_BEFORE_SLEEP;
use crate::icmp::Quote;
use crate::mailbox::{Inbox, Mailbox};
use crate::mss::{Checksum, MssClamp};
use crate::outbound::OutboundChange;
use crate::probe::{MAX_REPLY, WatchSet, outer_headers};
use crate::stats::{PlaneDrop, ThreadStats};
use crate::throttle::{Budget, Throttle};

/// How often a peer's being alive is told.
const SEEN_INTERVAL: Duration = Duration::from_millis(500);

/// How many answers to probes are told in which time: some searches' worth.
const REPLIES: (u32, Duration) = (64, Duration::from_millis(100));

/// How often a busy thread looks whether ICMP messages wait. An idle one is woken by them.
const ICMP_INTERVAL: Duration = Duration::from_millis(100);

/// How many ICMP messages are read before packets get their turn again.
const ICMP_BATCH: usize = 64;

/// A change for the inbound thread.
pub(crate) enum InboundChange {
    Install(Box<InboundEntry>),
    Remove(EspSpi),
    SetPeer(EspSpi, SocketAddr),
    SetSocket(UdpSocket),
    SetMss(MssClamp),
    Watch(Box<WatchSet>),
    Stop,
}

/// An inbound SA.
pub(crate) struct InboundEntry {
    pub(crate) sa: InboundSa,
    /// Of the outbound half: what an ICMP message about its packets quotes.
    pub(crate) spi_out: EspSpi,
    /// Where the peer last was, if its outbound half follows it.
    pub(crate) following: Option<SocketAddr>,
    pub(crate) seen: bool,
    pub(crate) seen_throttle: Throttle,
}

impl InboundEntry {
    pub(crate) const fn new(sa: InboundSa, spi_out: EspSpi, following: Option<SocketAddr>) -> Self {
        Self { sa, spi_out, following, seen: false, seen_throttle: Throttle::new(SEEN_INTERVAL) }
    }
}

pub(crate) struct Inbound {
    socket: UdpSocket,
    inbox: Inbox<InboundChange>,
    outbound: Mailbox<OutboundChange>,
    mss: MssClamp,
    watches: WatchSet,
    replies: Budget,
    events: Arc<EventSink>,
    /// Sorted by SPI.
    sas: Vec<InboundEntry>,
    /// Where the last packet's SA was: mostly the next one's too.
    recent: usize,
    device: Device,
    /// None for a device that takes plain packets only.
    coalescer: Option<Coalescer>,
    early: Early,
    icmp: IcmpLimits,
    unknown_spi: Throttle,
    trouble: Throttle,
}

/// How often to look for ICMP messages, and how many may become events.
struct IcmpLimits {
    look: Throttle,
    ours: Budget,
    foreign: Throttle,
}

/// The TUN device, counting.
struct Device {
    tun: Tun,
    stats: Arc<ThreadStats>,
}

impl PacketSink for Device {
    #[inline]
    fn write(&mut self, offload: Offload, packet: &[IoSlice<'_>], segments: usize) -> io::Result<()> {
        let result = self.tun.write(offload, packet);
        if result.is_ok() {
            self.stats.writes.add(1);
            self.stats.packets_written.add(segments as u64);
        } else {
            self.stats.dropped(PlaneDrop::Write, segments as u64);
        }
        result
    }
}

impl Inbound {
    pub(crate) fn new(
        tun: Tun,
        socket: UdpSocket,
        inbox: Inbox<InboundChange>,
        outbound: Mailbox<OutboundChange>,
        mss: MssClamp,
        stats: Arc<ThreadStats>,
        events: Arc<EventSink>,
    ) -> Self {
        Self {
            socket,
            inbox,
            outbound,
            mss,
            watches: WatchSet::default(),
            replies: Budget::new(REPLIES.0, REPLIES.1),
            events,
            sas: Vec::new(),
            recent: 0,
            coalescer: tun.has_offload().then(Coalescer::new),
            early: Early::default(),
            device: Device { tun, stats },
            icmp: IcmpLimits {
                look: Throttle::new(ICMP_INTERVAL),
                ours: Budget::new(20, Duration::from_secs(1)),
                foreign: Throttle::new(Duration::from_secs(1)),
            },
            unknown_spi: Throttle::new(Duration::from_secs(1)),
            trouble: Throttle::new(Duration::from_secs(1)),
        }
    }

    /// The thread's life.
    pub(crate) fn run(mut self) {
        let mut batch = ReceiveBatch::new();
        let mut looks = 0;
        let mut woken = false;
        loop {
            if self.inbox.has_news() && self.apply_changes().is_break() {
                return;
            }
            if let Err(error) = self.socket.try_receive(&mut batch) {
                if self.trouble.allows(Instant::now()) {
                    (self.events)(PlaneEvent::Trouble(error));
                }
                // Not to spin on an error that stays: whatever changes it is readable or a change.
                looks = LOOKS_BEFORE_SLEEP;
            }
            if !batch.is_empty() {
                looks = 0;
                woken = false;
                // What was asked for before these packets came holds for them: else the answer to a probe might find
                // nobody watching for it yet.
                if self.inbox.has_news() && self.apply_changes().is_break() {
                    return;
                }
                self.carry(&mut batch);
            } else if woken {
                // Something ended the wait, and it was no datagram.
                woken = false;
                self.take_icmp(Instant::now());
            } else if looks < LOOKS_BEFORE_SLEEP {
                looks += 1;
                thread::yield_now();
            } else {
                match self.socket.wait_readable(self.inbox.wakeup()) {
                    Ok(true) => woken = true,
                    Ok(false) => self.inbox.note_woken(),
                    Err(error) => {
                        (self.events)(PlaneEvent::Stopped(error));
                        return;
                    }
                }
            }
        }
    }

    #[inline]
    fn carry(&mut self, batch: &mut ReceiveBatch) {
        self.device.stats.reads.add(1);
        let (trains, storage) = batch.parts();
        for train in trains {
            let mut start = train.range.start;
            while start < train.range.end {
                let end = (start + train.stride).min(train.range.end);
                self.carry_datagram(storage, start..end, train.from);
                start = end;
            }
        }
        if let Some(coalescer) = &mut self.coalescer {
            coalescer.finish(storage, &mut self.device);
        }
        self.report_seen();
    }

    #[inline]
    fn carry_datagram(&mut self, storage: &mut [u8], range: Range<usize>, from: SocketAddr) {
        self.device.stats.packets_read.add(1);
        let datagram = &mut storage[range.clone()];
        match classify(datagram) {
            Encapsulated::Esp(_) => {
                if let Some(inner) = self.open(datagram, from) {
                    let packet = range.start + inner.start..range.start + inner.end;
                    if self.watches.matches(&storage[packet.clone()]) {
                        self.report_reply(&storage[packet], outer_headers(from) + range.len());
                    } else {
                        self.deliver(storage, packet);
                    }
                }
            }
            Encapsulated::Ike(message) => {
                let message = message.to_vec();
                self.hand_over(message, from);
            }
            Encapsulated::Keepalive => self.device.stats.keepalives.add(1),
            Encapsulated::Runt => self.device.stats.dropped(PlaneDrop::Runt, 1),
        }
    }

    /// Opens an ESP packet; where its inner packet lies in it.
    #[inline]
    fn open(&mut self, esp: &mut [u8], from: SocketAddr) -> Option<Range<usize>> {
        let spi = EspSpi(u32::from_be_bytes(*esp.first_chunk()?));
        let Some(entry) = self.find(spi) else {
            self.refuse_unknown(spi, esp, from);
            return None;
        };
        match entry.sa.open(esp) {
            Ok(opened) => {
                entry.seen = true;
                let inner = opened.offset..opened.offset + opened.packet.len();
                if opened.newest && entry.following.is_some_and(|peer| peer != from) {
                    entry.following = Some(from);
                    self.follow(spi, from);
                }
                Some(inner)
            }
            Err(error) => {
                entry.seen |= error.is_authentic();
                self.device.stats.dropped(PlaneDrop::Open, 1);
                None
            }
        }
    }

    #[inline]
    fn find(&mut self, spi: EspSpi) -> Option<&mut InboundEntry> {
        if self.sas.get(self.recent).is_none_or(|entry| entry.sa.spi() != spi) {
            self.recent = self.sas.binary_search_by_key(&spi, |entry| entry.sa.spi()).ok()?;
        }
        self.sas.get_mut(self.recent)
    }

    #[inline]
    fn deliver(&mut self, storage: &mut [u8], packet: Range<usize>) {
        self.mss.apply(&mut storage[packet.clone()], Checksum::Complete);
        match &mut self.coalescer {
            Some(coalescer) => {
                coalescer.push(storage, packet, &mut self.device);
            }
            // A failed write is counted by the device; there is nobody else to tell.
            None => {
                let _ = self.device.write(Offload::default(), &[IoSlice::new(&storage[packet])], 1);
            }
        }
    }

    /// Tells of an answer to a probe.
    #[cold]
    fn report_reply(&mut self, packet: &[u8], outer_len: usize) {
        self.device.stats.probes.add(1);
        if !self.replies.allows(Instant::now()) {
            self.device.stats.dropped(PlaneDrop::Reply, 1);
            return;
        }
        let packet = packet[..packet.len().min(MAX_REPLY)].to_vec();
        let outer_len = u16::try_from(outer_len).unwrap_or(u16::MAX);
        (self.events)(PlaneEvent::ProbeReply { packet, outer_len });
    }

    #[cold]
    fn hand_over(&mut self, message: Vec<u8>, from: SocketAddr) {
        self.device.stats.control.add(1);
        match self.socket.local_addr() {
            Ok(to) => (self.events)(PlaneEvent::Control { from, to, message }),
            Err(error) => (self.events)(PlaneEvent::Trouble(error)),
        }
    }

    #[cold]
    fn refuse_unknown(&mut self, spi: EspSpi, esp: &[u8], from: SocketAddr) {
        let now = Instant::now();
        self.device.stats.dropped(PlaneDrop::UnknownSpi, 1);
        self.early.keep(spi, esp, from, now);
        if self.unknown_spi.allows(now) {
            (self.events)(PlaneEvent::UnknownSpi { spi, from });
        }
    }

    /// Carries what was here before its SA.
    #[cold]
    fn carry_early(&mut self, spi: EspSpi) {
        for mut packet in self.early.take(spi, Instant::now()) {
            self.device.stats.recovered(PlaneDrop::UnknownSpi, 1);
            if let Some(inner) = self.open(&mut packet.esp, packet.from) {
                self.deliver(&mut packet.esp, inner);
            }
            if let Some(coalescer) = &mut self.coalescer {
                coalescer.finish(&packet.esp, &mut self.device);
            }
        }
        self.report_seen();
    }

    #[cold]
    fn follow(&self, spi_in: EspSpi, peer: SocketAddr) {
        self.outbound.post(OutboundChange::SetPeer(spi_in, peer));
        (self.events)(PlaneEvent::PeerMoved { spi_in, peer });
    }

    /// Tells which SAs were used, once a batch at most.
    #[inline]
    fn report_seen(&mut self) {
        let now = Instant::now();
        if self.sas.iter().any(|entry| entry.seen) {
            self.device.stats.last.set(now);
        }
        for entry in self.sas.iter_mut().filter(|entry| entry.seen) {
            entry.seen = false;
            if entry.seen_throttle.allows(now) {
                (self.events)(PlaneEvent::EspSeen { spi_in: entry.sa.spi() });
            }
        }
        if self.icmp.look.allows(now) {
            self.take_icmp(now);
        }
    }

    /// Reads what ICMP says about our datagrams.
    #[cold]
    fn take_icmp(&mut self, now: Instant) {
        for _ in 0..ICMP_BATCH {
            let Ok(Some(error)) = self.socket.take_icmp() else { return };
            let Some(mtu) = error.mtu.map(|mtu| u16::try_from(mtu).unwrap_or(u16::MAX)) else { continue };
            let quote = Quote::parse(error.quoted())
                .filter(|quote| self.sas.iter().any(|entry| entry.spi_out.0 == quote.spi));
            match quote {
                Some(quote) if self.icmp.ours.allows(now) => {
                    self.outbound.post(OutboundChange::JudgeTooBig { mtu, quote });
                }
                None if self.icmp.foreign.allows(now) => {
                    (self.events)(PlaneEvent::IcmpTooBig { mtu, quoted_is_ours: false });
                }
                Some(_) | None => {}
            }
        }
    }

    fn apply_changes(&mut self) -> ControlFlow<()> {
        while let Some(change) = self.inbox.next() {
            match change {
                InboundChange::Install(entry) => {
                    let spi = entry.sa.spi();
                    match self.sas.binary_search_by_key(&entry.sa.spi(), |entry| entry.sa.spi()) {
                        Ok(index) => self.sas[index] = *entry,
                        Err(index) => self.sas.insert(index, *entry),
                    }
                    self.carry_early(spi);
                }
                InboundChange::Remove(spi) => self.sas.retain(|entry| entry.sa.spi() != spi),
                InboundChange::SetPeer(spi, peer) => {
                    if let Some(following) = self.find(spi).and_then(|entry| entry.following.as_mut()) {
                        *following = peer;
                    }
                }
                InboundChange::SetSocket(socket) => self.socket = socket,
                InboundChange::SetMss(mss) => self.mss = mss,
                InboundChange::Watch(watches) => self.watches = *watches,
                InboundChange::Stop => return ControlFlow::Break(()),
            }
        }
        ControlFlow::Continue(())
    }
}
