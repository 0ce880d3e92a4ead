//! Starting, steering and stopping the threads.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::{self, JoinHandle};
use std::time::Instant;

use evenkeel_platform::socket::UdpSocket;
use evenkeel_platform::tun::Tun;
use evenkeel_platform::wakeup::Wakeup;

use super::config::{PeerConfig, WireGuardEventSink};
use super::inbound::{Inbound, InboundChange};
use super::outbound::{Outbound, OutboundChange};
use super::session::Session;
use super::shared::Shared;
use super::timers;
use crate::from_tun::FromTun;
use crate::mailbox::{Mailbox, mailbox};
use crate::mss::MssClamp;
use crate::plane::MIN_INNER_MTU;
use crate::stats::{PlaneDrop, PlaneStats};

/// A running WireGuard plane. Changes take effect between two batches of packets; none interrupts traffic.
/// Dropping it stops its threads and waits for them; the peer is not told, since WireGuard has no words for it.
pub struct WireGuardPlane {
    tun: Tun,
    outbound: Mailbox<OutboundChange>,
    inbound: Mailbox<InboundChange>,
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

/// A copy of all counters.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct WireGuardStats {
    /// In the words of the ESP plane: "ESP" is data, "control" are handshakes, and what a session refuses is counted as
    /// [`PlaneDrop::Open`]. There are no probes.
    pub plane: PlaneStats,
    /// Inner bytes sent.
    pub bytes_sent: u64,
    /// Inner bytes received, of allowed packets.
    pub bytes_received: u64,
    /// Handshakes that the peer has answered, the first included.
    pub handshakes: u64,
    /// When the last was: what the peer's being alive rests on while nothing else comes.
    pub last_handshake: Option<Instant>,
}

impl WireGuardPlane {
    pub(super) fn start(
        tun: Tun,
        session: Session,
        config: &PeerConfig,
        mss: MssClamp,
        events: WireGuardEventSink,
    ) -> io::Result<Self> {
        let socket = session.socket.clone();
        socket.coalesce_received();
        let shared = Arc::new(Shared::new(session, events));
        let (outbound, outbound_inbox) = mailbox(Wakeup::new()?);
        let (inbound, inbound_inbox) = mailbox(Wakeup::new()?);
        let allowed = &config.allowed_ips;
        let sender = Outbound::new(
            tun.clone(),
            socket.clone(),
            outbound_inbox,
            Arc::clone(&shared),
            allowed.clone(),
            mss,
        );
        let receiver =
            Inbound::new(tun.clone(), socket, inbound_inbox, Arc::clone(&shared), allowed.clone(), mss);
        let mut plane = Self { tun, outbound, inbound, shared: Arc::clone(&shared), threads: Vec::new() };
        plane.spawn("wg-timers", move || timers::run(&shared))?;
        plane.spawn("wg-outbound", || sender.run())?;
        plane.spawn("wg-inbound", || receiver.run())?;
        Ok(plane)
    }

    fn spawn(&mut self, name: &str, life: impl FnOnce() + Send + 'static) -> io::Result<()> {
        self.threads.push(thread::Builder::new().name(name.to_owned()).spawn(life)?);
        Ok(())
    }

    /// Changes the inner MTU in place: of the device, of what leaves, and the MSS limits of connections that begin from now
    /// on. Less than 576 counts as 576. TCP data that is longer is cut, IPv4 packets without DF are fragmented, and the
    /// senders of all others are told by ICMP.
    ///
    /// # Errors
    /// When the system refuses the device's MTU; the rest holds all the same.
    pub fn set_mtu(&self, mtu: u16) -> io::Result<()> {
        let mtu = mtu.max(MIN_INNER_MTU);
        self.set_inner(MssClamp::for_mtu(mtu), mtu);
        self.tun.set_mtu(mtu)
    }

    /// The same of what leaves and of the MSS limits, while the device has an MTU of its own: it may need a larger one to keep
    /// IPv6.
    pub fn set_inner(&self, mss: MssClamp, mtu: u16) {
        self.outbound.post(OutboundChange::SetMss(mss));
        self.inbound.post(InboundChange::SetMss(mss));
        self.outbound.post(OutboundChange::SetInnerMtu(mtu.max(MIN_INNER_MTU)));
    }

    /// Carries on over another socket, connected to the peer, and tells it so by a handshake: after a change of network.
    ///
    /// # Errors
    /// When the handshake can't be sent; it will be tried again while there is data for the peer.
    pub fn set_socket(&self, socket: UdpSocket) -> io::Result<()> {
        socket.coalesce_received();
        self.shared.session().socket = socket.clone();
        self.inbound.post(InboundChange::SetSocket(socket.clone()));
        self.outbound.post(OutboundChange::SetSocket(socket));
        self.renew()
    }

    /// Begins a handshake, whatever the age of the keys. Its answer, told by
    /// [`Handshake`](super::WireGuardEvent::Handshake), proves the peer to be alive.
    ///
    /// # Errors
    /// When the system does not send it.
    pub fn renew(&self) -> io::Result<()> {
        let sent = self.shared.session().initiate();
        self.shared.outbound.last.set(Instant::now());
        // They repeat it every 5 s.
        self.shared.wake_timers();
        sent
    }

    /// The counters.
    #[must_use]
    pub fn snapshot(&self) -> WireGuardStats {
        let (shared, counts) = (&self.shared, &self.shared.counts);
        let mut plane = PlaneStats::new(&shared.outbound, &shared.inbound);
        plane.outbound.packets_sent += counts.sent_late.load(Ordering::Relaxed);
        if let Some(drops) = plane.drops.get_mut(PlaneDrop::NoSa as usize) {
            *drops += shared.session().in_vain;
        }
        WireGuardStats {
            plane,
            bytes_sent: counts.bytes_sent.load(Ordering::Relaxed),
            bytes_received: counts.bytes_received.load(Ordering::Relaxed),
            handshakes: counts.handshakes.load(Ordering::Relaxed),
            last_handshake: shared.last_handshake.read(),
        }
    }

    /// Stops carrying packets and waits for the threads; the device stays.
    pub fn stop(self) {
        drop(self);
    }
}

impl Drop for WireGuardPlane {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        self.outbound.post(OutboundChange::Stop);
        self.inbound.post(InboundChange::Stop);
        for thread in self.threads.drain(..) {
            // Of the three, the one that is parked.
            thread.thread().unpark();
            if thread.join().is_err() {
                tracing::error!("a WireGuard thread panicked");
            }
        }
    }
}
