//! From the TUN device to the socket.

use std::io;
use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use evenkeel_ipsec::esp::OutboundSa;
use evenkeel_ipsec::wire::EspSpi;
use evenkeel_platform::socket::{MAX_TRAIN, UdpSocket, is_too_big};
use evenkeel_platform::tun::{Frame, Tun};

use crate::config::{EventSink, PlaneEvent, Telling};
use crate::flows::Flows;
use crate::from_tun::{FromTun, Source};
use crate::icmp::Quote;
use crate::mailbox::Inbox;
use crate::mss::MssClamp;
use crate::oversize::{Handling, handling};
use crate::probe::{Probe, ProbeError, outer_headers};
use crate::segment::Segments;
use crate::stats::{PlaneDrop, ThreadStats};
use crate::throttle::Throttle;
use crate::train::Train;

/// An SA reports that its sequence numbers run low when fewer than this are left (1/16 of 2^32: six minutes at
/// 7 Gbit/s).
const SEQUENCE_LOW: u64 = 1 << 28;

/// How often the far end of a connection is told that its segments are too long.
const TELLINGS: usize = 2;

/// A change for the outbound thread. SAs are named by the SPI of their inbound half, as the control plane does.
pub(crate) enum OutboundChange {
    Install(Box<OutboundEntry>),
    SendOn(EspSpi),
    Remove(EspSpi),
    SetPeer(EspSpi, SocketAddr),
    SetSocket(UdpSocket),
    SetMss(MssClamp),
    /// The far ends of connections are to send no longer segments.
    TellFarEnds(MssClamp),
    /// No longer inner packet than this leaves.
    SetInnerMtu(u16, Telling),
    /// Tell of what leaves after a silence of this.
    ReportSentAfter(Duration),
    Probe(Box<Probe>),
    /// ICMP says that this packet was longer than a link takes.
    JudgeTooBig {
        mtu: u16,
        quote: Quote,
    },
    Stop,
}

/// An outbound SA and what it is used for.
pub(crate) struct OutboundEntry {
    pub(crate) spi_in: EspSpi,
    pub(crate) sa: OutboundSa,
    /// Not `Connected`: the address is told with every train.
    pub(crate) peer: Option<SocketAddr>,
    pub(crate) sending: bool,
    pub(crate) reported_low: bool,
}

pub(crate) struct Outbound {
    source: Source<OutboundChange>,
    socket: UdpSocket,
    stats: Arc<ThreadStats>,
    events: Arc<EventSink>,
    /// The SA to prefer comes first.
    sas: Vec<OutboundEntry>,
    train: Train,
    flows: Flows,
    /// What near and far ends were told last.
    told_near: usize,
    told_far: MssClamp,
    silence: Duration,
    too_big: Throttle,
    trouble: Throttle,
}

impl Outbound {
    pub(crate) fn new(
        tun: Tun,
        socket: UdpSocket,
        inbox: Inbox<OutboundChange>,
        mss: MssClamp,
        stats: Arc<ThreadStats>,
        events: Arc<EventSink>,
    ) -> Self {
        Self {
            source: Source::new(tun, inbox, mss),
            socket,
            stats,
            events,
            sas: Vec::new(),
            train: Train::new(),
            flows: Flows::new(),
            told_near: usize::MAX,
            told_far: mss,
            silence: Duration::MAX,
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
        &self.stats
    }

    fn tell_stopped(&self, error: io::Error) {
        (self.events)(PlaneEvent::Stopped(error));
    }

    /// Seals what one read brought into the train, sending the train whenever it is full.
    #[inline]
    fn carry(&mut self, buffer: &mut [u8], frame: Frame) {
        self.stats.reads.add(1);
        let Some(packet) = buffer.get_mut(..frame.len) else { return };
        self.source.limit_mss(packet, frame.offload);
        self.flows.note(packet);
        // The segments of a superpacket share addresses and ports, so one choice holds for all of them; each is
        // checked against the selectors again when it is sealed.
        let chosen = self.sas.iter().position(|entry| entry.sending && entry.sa.permits(packet));
        let Ok(mut segments) = Segments::new(packet, frame.offload) else {
            self.stats.packets_read.add(1);
            self.stats.dropped(PlaneDrop::Inconsistent, 1);
            return;
        };
        let count = segments.remaining() as u64;
        self.stats.packets_read.add(count);
        let Some(chosen) = chosen else {
            self.stats.dropped(PlaneDrop::NoSa, count);
            return;
        };
        if segments.longest() > self.source.inner_mtu && !self.source.make_fit(&mut segments, &self.stats) {
            self.carry_oversized(chosen, segments);
        } else {
            self.carry_segments(chosen, segments);
        }
        self.report_low_sequence(chosen);
    }

    /// Hands the train to the socket.
    #[inline]
    fn send(&mut self) {
        if self.train.is_empty() {
            return;
        }
        let (train, wakeup) = (&self.train, self.source.inbox.wakeup());
        match self.socket.send_train(train.bytes(), train.stride(), train.peer(), wakeup) {
            Ok(()) => {
                self.stats.writes.add(1);
                self.stats.packets_written.add(train.packets() as u64);
                let (before, now) = (self.stats.last.read(), Instant::now());
                self.stats.last.set(now);
                if let Some(silent_for) = before.map(|before| now.saturating_duration_since(before))
                    && silent_for >= self.silence
                {
                    (self.events)(PlaneEvent::SentAfterSilence { silent_for });
                }
            }
            Err(error) => self.report_failure(error),
        }
        self.train.clear();
    }

    fn apply_changes(&mut self) -> ControlFlow<()> {
        // What is sealed already goes to the socket and the peer that it was sealed for.
        self.send();
        while let Some(change) = self.source.inbox.next() {
            match change {
                OutboundChange::Install(entry) => {
                    self.sas.retain(|present| present.spi_in != entry.spi_in);
                    self.sas.insert(0, *entry);
                }
                OutboundChange::SendOn(spi_in) => self.prefer(spi_in),
                OutboundChange::Remove(spi_in) => self.sas.retain(|entry| entry.spi_in != spi_in),
                OutboundChange::SetPeer(spi_in, peer) => {
                    for entry in self.sas.iter_mut().filter(|entry| entry.spi_in == spi_in) {
                        entry.peer = Some(peer);
                    }
                }
                OutboundChange::SetSocket(socket) => self.socket = socket,
                OutboundChange::SetMss(mss) => self.source.mss = mss,
                OutboundChange::TellFarEnds(mss) => self.tell_far_ends(mss),
                OutboundChange::SetInnerMtu(mtu, telling) => self.change_inner_mtu(mtu, telling),
                OutboundChange::ReportSentAfter(silence) => self.silence = silence,
                OutboundChange::Probe(probe) => self.probe(&probe),
                OutboundChange::JudgeTooBig { mtu, quote } => self.judge_too_big(mtu, quote),
                OutboundChange::Stop => return ControlFlow::Break(()),
            }
        }
        ControlFlow::Continue(())
    }
}

impl Outbound {
    #[inline]
    fn carry_segments(&mut self, chosen: usize, mut segments: Segments<'_>) {
        while let Some(len) = segments.next_len() {
            if !self.carry_packet(chosen, len, |place| segments.write_next(place)) {
                self.stats.dropped(PlaneDrop::TooBig, segments.remaining() as u64);
                return;
            }
        }
    }

    /// Seals a packet of `len` bytes into the train; `write` puts it into its place. `false` if no datagram can be as
    /// long.
    #[inline]
    fn carry_packet(&mut self, chosen: usize, len: usize, write: impl FnOnce(&mut [u8])) -> bool {
        let (sealed_len, headroom, peer) = {
            let entry = &self.sas[chosen];
            (entry.sa.sealed_len(len), entry.sa.headroom(), entry.peer)
        };
        if sealed_len > MAX_TRAIN {
            return false;
        }
        if !self.train.has_room(sealed_len, peer) {
            self.send();
        }
        let slot = self.train.slot();
        write(&mut slot[headroom..headroom + len]);
        match self.sas[chosen].sa.seal(slot, len) {
            Ok(sealed_len) => self.train.add(sealed_len, peer),
            Err(_) => self.stats.dropped(PlaneDrop::Seal, 1),
        }
        true
    }

    /// Carries what is too long and no TCP data. It is rare enough for a buffer of its own.
    #[cold]
    fn carry_oversized(&mut self, chosen: usize, mut segments: Segments<'_>) {
        let mut buffer = vec![0; segments.longest()];
        while let Some(packet) = segments.next_len().and_then(|len| buffer.get_mut(..len)) {
            segments.write_next(packet);
            let carried = match handling(packet, self.source.inner_mtu) {
                Handling::Pass => {
                    self.carry_packet(chosen, packet.len(), |place| place.copy_from_slice(packet))
                }
                Handling::Fragment(mut fragments) => {
                    // What was not carried has not been taken either: the next length would be the same.
                    let mut carried = true;
                    while let Some(len) = fragments.next_len().filter(|_| carried) {
                        carried = self.carry_packet(chosen, len, |place| fragments.write_next(place));
                    }
                    carried
                }
                Handling::Drop => false,
            };
            if !carried {
                self.stats.dropped(PlaneDrop::TooBig, 1);
            }
        }
    }

    #[cold]
    fn report_failure(&mut self, error: io::Error) {
        let (packets, now) = (self.train.packets() as u64, Instant::now());
        if is_too_big(&error) {
            self.stats.dropped(PlaneDrop::TooBig, packets);
            if self.too_big.allows(now) {
                let path_mtu = self.socket.path_mtu().map(|mtu| u16::try_from(mtu).unwrap_or(u16::MAX));
                (self.events)(PlaneEvent::TooBig { esp_len: self.train.stride(), path_mtu });
            }
            return;
        }
        self.stats.dropped(PlaneDrop::Send, packets);
        if self.trouble.allows(now) {
            (self.events)(PlaneEvent::Trouble(error));
        }
    }

    #[inline]
    fn report_low_sequence(&mut self, index: usize) {
        let entry = &mut self.sas[index];
        if entry.sa.remaining() < SEQUENCE_LOW && !entry.reported_low {
            entry.reported_low = true;
            (self.events)(PlaneEvent::SequenceLow { spi_in: entry.spi_in });
        }
    }

    /// What is on its way when the path becomes narrower is lost: its senders are told at once.
    #[cold]
    fn change_inner_mtu(&mut self, mtu: u16, telling: Telling) {
        (self.source.inner_mtu, self.source.telling) = (mtu.into(), telling);
        if telling == Telling::Nobody {
            return;
        }
        let before = std::mem::replace(&mut self.told_near, mtu.into());
        if usize::from(mtu) < before {
            for message in self.flows.told_here(mtu) {
                self.source.tell(&message, &self.stats);
            }
        }
    }

    /// Connections that begin are limited as they begin; the far ends of those that there are have to be told.
    #[cold]
    fn tell_far_ends(&mut self, mss: MssClamp) {
        let before = std::mem::replace(&mut self.told_far, mss);
        let messages: Vec<Vec<u8>> = self.flows.told(mss, before).collect();
        for message in messages {
            let chosen = self.sas.iter().position(|entry| entry.sending && entry.sa.permits(&message));
            let Some(chosen) = chosen else { continue };
            // Twice, since nothing shows whether it has arrived.
            for _ in 0..TELLINGS {
                self.carry_packet(chosen, message.len(), |place| place.copy_from_slice(&message));
            }
            self.stats.far_told.add(1);
        }
        self.send();
    }

    /// Sends a probe and tells what became of it.
    #[cold]
    fn probe(&mut self, probe: &Probe) {
        let id = probe.id;
        let event = match self.seal_probe(probe) {
            Err(error) => PlaneEvent::ProbeFailed { id, error },
            Ok(outer_len) => match self.send_probe() {
                Ok(()) => PlaneEvent::ProbeSent { id, outer_len },
                Err(error) if is_too_big(&error) => {
                    self.stats.probes_too_big.add(1);
                    PlaneEvent::ProbeTooBig { id, outer_len }
                }
                Err(error) => PlaneEvent::ProbeFailed { id, error: error.into() },
            },
        };
        self.train.clear();
        (self.events)(event);
    }

    /// Seals a probe into the train, which is empty while changes are applied. The length of its outer datagram.
    fn seal_probe(&mut self, probe: &Probe) -> Result<u16, ProbeError> {
        let packet = &probe.packet;
        let chosen = self.sas.iter().position(|entry| entry.sending && entry.sa.permits(packet));
        let chosen = chosen.ok_or(ProbeError::NoSa)?;
        let entry = &mut self.sas[chosen];
        let peer = entry.peer.map_or_else(|| self.socket.peer_addr(), Ok)?;
        let headers = outer_headers(peer);
        let esp_len = match probe.outer_len {
            Some(wanted) => {
                let limit = usize::from(wanted).checked_sub(headers);
                limit
                    .and_then(|limit| entry.sa.padded_len(packet.len(), limit))
                    .ok_or(ProbeError::DoesNotFit)?
            }
            None => entry.sa.sealed_len(packet.len()),
        };
        let outer_len = u16::try_from(headers + esp_len).map_err(|_| ProbeError::DoesNotFit)?;
        let headroom = entry.sa.headroom();
        let slot = self.train.slot().get_mut(..esp_len).ok_or(ProbeError::DoesNotFit)?;
        slot[headroom..headroom + packet.len()].copy_from_slice(packet);
        let sealed_len = entry.sa.seal_padded(slot, packet.len(), esp_len)?;
        self.train.add(sealed_len, entry.peer);
        self.report_low_sequence(chosen);
        Ok(outer_len)
    }

    fn send_probe(&mut self) -> io::Result<()> {
        let (train, wakeup) = (&self.train, self.source.inbox.wakeup());
        self.socket.send_train(train.bytes(), train.stride(), train.peer(), wakeup)?;
        self.stats.writes.add(1);
        self.stats.packets_written.add(1);
        self.stats.probes.add(1);
        self.stats.last.set(Instant::now());
        Ok(())
    }

    /// Tells of an ICMP message that quotes a packet of one of the SAs.
    #[cold]
    fn judge_too_big(&self, mtu: u16, quote: Quote) {
        let of_sa =
            |entry: &OutboundEntry| entry.sa.spi().0 == quote.spi && quote.is_recent(entry.sa.sequence());
        let quoted_is_ours = self.sas.iter().any(of_sa);
        (self.events)(PlaneEvent::IcmpTooBig { mtu, quoted_is_ours });
    }

    /// Sends on this SA from now on, wherever several carry a packet.
    fn prefer(&mut self, spi_in: EspSpi) {
        if let Some(index) = self.sas.iter().position(|entry| entry.spi_in == spi_in) {
            let mut entry = self.sas.remove(index);
            entry.sending = true;
            self.sas.insert(0, entry);
        }
    }
}
