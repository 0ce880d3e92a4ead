//! Starting, steering and stopping the two threads.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use evenkeel_ipsec::wire::EspSpi;
use evenkeel_platform::socket::UdpSocket;
use evenkeel_platform::tun::Tun;
use evenkeel_platform::wakeup::Wakeup;

use crate::config::{ChildSas, DataPlaneConfig, PeerAddress, Telling};
use crate::from_tun::FromTun;
use crate::inbound::{Inbound, InboundChange, InboundEntry};
use crate::mailbox::{Mailbox, mailbox};
use crate::mss::MssClamp;
use crate::outbound::{Outbound, OutboundChange, OutboundEntry};
use crate::probe::{Probe, WatchSet};
use crate::stats::{PlaneStats, ThreadStats};

/// The least inner MTU: what every IPv4 host takes (RFC 791 §3.1).
pub(crate) const MIN_INNER_MTU: u16 = 576;

/// A running data plane. Changes take effect between two batches of packets; none interrupts traffic.
/// Dropping it stops both threads and waits for them.
///
/// A CHILD SA is named by its inbound SPI, which is ours and so unique; the outbound one is the peer's choice.
pub struct DataPlane {
    outbound: Mailbox<OutboundChange>,
    inbound: Mailbox<InboundChange>,
    outbound_stats: Arc<ThreadStats>,
    inbound_stats: Arc<ThreadStats>,
    threads: Vec<JoinHandle<()>>,
}

impl DataPlane {
    /// Starts carrying packets between `tun` and `socket`, without SAs at first: what the device delivers is
    /// dropped and counted, control messages are handed over.
    ///
    /// Sending on the socket stays open to others; receiving does not, since trains arrive joined from here on.
    ///
    /// # Errors
    /// When the system has no threads or descriptors left.
    pub fn start(tun: Tun, socket: UdpSocket, config: DataPlaneConfig) -> io::Result<Self> {
        take_over(&socket);
        let events = Arc::new(config.events);
        let (outbound_stats, inbound_stats) = (Arc::<ThreadStats>::default(), Arc::<ThreadStats>::default());
        let (outbound, outbound_inbox) = mailbox(Wakeup::new()?);
        let (inbound, inbound_inbox) = mailbox(Wakeup::new()?);
        let sender = Outbound::new(
            tun.clone(),
            socket.clone(),
            outbound_inbox,
            config.mss,
            Arc::clone(&outbound_stats),
            Arc::clone(&events),
        );
        let receiver = Inbound::new(
            tun,
            socket,
            inbound_inbox,
            outbound.clone(),
            config.mss,
            Arc::clone(&inbound_stats),
            events,
        );
        let mut plane = Self { outbound, inbound, outbound_stats, inbound_stats, threads: Vec::new() };
        plane.threads.push(thread::Builder::new().name("esp-outbound".into()).spawn(|| sender.run())?);
        plane.threads.push(thread::Builder::new().name("esp-inbound".into()).spawn(|| receiver.run())?);
        Ok(plane)
    }

    /// Adds a CHILD SA, in place of one with the same inbound SPI. It receives before it sends.
    pub fn install(&self, sas: ChildSas) {
        let spi_in = sas.inbound.spi();
        let (peer, following) = match sas.peer {
            PeerAddress::Connected => (None, None),
            PeerAddress::Fixed(peer) => (Some(peer), None),
            PeerAddress::Following(peer) => (Some(peer), Some(peer)),
        };
        self.inbound.post(InboundChange::Install(Box::new(InboundEntry::new(
            sas.inbound,
            sas.outbound.spi(),
            following,
        ))));
        self.outbound.post(OutboundChange::Install(Box::new(OutboundEntry {
            spi_in,
            sa: sas.outbound,
            peer,
            sending: sas.send_now,
            reported_low: false,
        })));
    }

    /// Sends on this CHILD SA from now on, and before all others that would carry the same packet.
    pub fn send_on(&self, spi_in: EspSpi) {
        self.outbound.post(OutboundChange::SendOn(spi_in));
    }

    /// Forgets a CHILD SA, both directions.
    pub fn remove(&self, spi_in: EspSpi) {
        self.outbound.post(OutboundChange::Remove(spi_in));
        self.inbound.post(InboundChange::Remove(spi_in));
    }

    /// Changes the peer's address of a CHILD SA on an unconnected socket.
    pub fn set_peer(&self, spi_in: EspSpi, peer: SocketAddr) {
        self.outbound.post(OutboundChange::SetPeer(spi_in, peer));
        self.inbound.post(InboundChange::SetPeer(spi_in, peer));
    }

    /// Carries on over another socket: after a change of network, or of the peer that it is connected to.
    pub fn set_socket(&self, socket: UdpSocket) {
        take_over(&socket);
        self.inbound.post(InboundChange::SetSocket(socket.clone()));
        self.outbound.post(OutboundChange::SetSocket(socket));
    }

    /// Changes the MSS limits; for connections that begin from now on.
    pub fn set_mss(&self, mss: MssClamp) {
        self.outbound.post(OutboundChange::SetMss(mss));
        self.inbound.post(InboundChange::SetMss(mss));
    }

    /// Changes the effective inner MTU, which may be lower than the device's: no longer packet than this leaves, except
    /// IPv6 packets of up to 1280 bytes that are no TCP. TCP data is cut to fit, IPv4 packets without DF are fragmented,
    /// and others are dropped. With [`Telling::Senders`] the senders of what is too long are told by ICMP. See the changes
    /// that belong to it, [`set_mss`](Self::set_mss), [`tell_far_ends`](Self::tell_far_ends) and [`Tun::set_mtu`]. At first
    /// there is no limit; less than 576 counts as 576.
    pub fn set_inner_mtu(&self, mtu: u16, telling: Telling) {
        self.outbound.post(OutboundChange::SetInnerMtu(mtu.max(MIN_INNER_MTU), telling));
    }

    /// What arrives may be as long as this and no longer: if that is less than they were told before, or than the MSS limit
    /// that the plane began with, the far ends of the connections that there are are told by ICMP through the tunnel. They
    /// remember it for minutes, so it should be sure.
    pub fn tell_far_ends(&self, mtu: u16) {
        self.outbound.post(OutboundChange::TellFarEnds(MssClamp::for_mtu(mtu.max(MIN_INNER_MTU))));
    }

    /// Tells, by [`SentAfterSilence`](crate::PlaneEvent::SentAfterSilence), of packets that leave when nothing has been sent for
    /// at least `silence`. [`Duration::MAX`] ends that, and is what it starts with.
    pub fn report_sent_after(&self, silence: Duration) {
        self.outbound.post(OutboundChange::ReportSentAfter(silence));
    }

    /// Something was sent on the socket by another than the data plane: IKE, or a NAT keepalive. It ends a silence.
    pub fn note_sent(&self) {
        self.outbound_stats.last.set(Instant::now());
    }

    /// Sends a probe. What becomes of it is told by [`ProbeSent`](crate::PlaneEvent::ProbeSent),
    /// [`ProbeTooBig`](crate::PlaneEvent::ProbeTooBig) or [`ProbeFailed`](crate::PlaneEvent::ProbeFailed). Several
    /// leave in the order of the calls, each in a datagram of its own.
    pub fn probe(&self, probe: Probe) {
        self.outbound.post(OutboundChange::Probe(Box::new(probe)));
    }

    /// Changes which packets are answers to probes, in place of all that were watched for before. A probe that is sent
    /// after this call finds its answer watched for.
    pub fn watch(&self, watches: WatchSet) {
        self.inbound.post(InboundChange::Watch(Box::new(watches)));
    }

    /// The counters.
    #[must_use]
    pub fn snapshot(&self) -> PlaneStats {
        PlaneStats::new(&self.outbound_stats, &self.inbound_stats)
    }
}

/// Prepares a socket for the inbound thread.
fn take_over(socket: &UdpSocket) {
    socket.coalesce_received();
    socket.keep_icmp();
}

impl Drop for DataPlane {
    fn drop(&mut self) {
        self.outbound.post(OutboundChange::Stop);
        self.inbound.post(InboundChange::Stop);
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a data plane thread panicked");
            }
        }
    }
}
