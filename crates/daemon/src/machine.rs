//! The machine as it is: sockets, packet threads, name resolution, routes and DNS, all through `platform`.

mod network;
mod paths;
mod peers;
mod portals;
mod probes;
mod resolver;
mod sleep;
mod streams;
mod surroundings;
mod whereabouts;

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use evenkeel_datapath::wireguard::{WireGuardPlane, WireGuardStats};
use evenkeel_datapath::{
    ChildSas, DataPlane, DataPlaneConfig, EventSink, MssClamp, PeerAddress, PlaneDrop, PlaneEvent, Telling,
};
use evenkeel_ipc::Cause;
use evenkeel_ipsec::ike::{ChildInstalled, Transmit};
use evenkeel_ipsec::wire::EspSpi;
use evenkeel_netprofile::defaults::FIRST_INTERVAL;
use evenkeel_netprofile::ladder::Transport;
use evenkeel_platform::dns::DnsManager;
use evenkeel_platform::routes::RouteManager;
use evenkeel_platform::socket::UdpSocket;
use evenkeel_platform::tun::{Tun, TunConfig};
use evenkeel_profile::{Fallback, Host};
use evenkeel_tunnel::{Activity, InnerNetwork, OpenedPath, PathError, PathId, SizeProbe, Way};
use tokio::sync::mpsc;

use crate::control::{Fault, Machine, MachineEvent, Reach};
use crate::portal::PortalConfig;
use network::NetworkTask;
use paths::Paths;
use peers::Peers;
use portals::Portals;
use probes::Probes;
use resolver::Resolver;
use sleep::Sleep;
use surroundings::Surroundings;
use whereabouts::Whereabouts;

/// Name of the tunnel device, where the system lets us choose.
const DEVICE: &str = "evenkeel0";
/// MTU of the device until the suite is known: what every path takes.
const FIRST_MTU: u16 = 1280;
/// Events of the packet threads that wait for the control task. IKE is a handful of messages; more is a flood, and is
/// lost as in any full receive buffer.
const PLANE_EVENTS: usize = 256;
/// Places among them that IKE messages, which anyone may send, leave free for what the threads say themselves. That is
/// a few events a second at most, and some of it is said once: that a thread has stopped, that sequence numbers run low.
const RESERVED_EVENTS: usize = 64;

/// This machine.
pub struct LocalMachine {
    resolver: Resolver,
    /// For the WireGuard peer's name.
    peer_resolver: Resolver,
    network: NetworkTask,
    surroundings: Surroundings,
    sleep: Sleep,
    portals: Portals,
    whereabouts: Whereabouts,
    paths: Paths,
    peers: Peers,
    /// Paths that were opened, or could not be, and have not been told of yet.
    opened: VecDeque<MachineEvent>,
    device: Option<Device>,
    plane: Option<Plane>,
}

/// The tunnel device. It outlives the packet threads only between two steps of connecting.
struct Device {
    tun: Tun,
    name: String,
}

/// The packet threads. They outlive a change of sockets, so that what goes through the tunnel survives one.
struct Plane {
    plane: DataPlane,
    events: mpsc::Receiver<PlaneEvent>,
    probes: Probes,
}

impl LocalMachine {
    /// Takes over routes and DNS, which an earlier run's leavings have been removed from.
    #[must_use]
    pub fn new(routes: RouteManager, dns: DnsManager) -> Self {
        let mut whereabouts = Whereabouts::default();
        whereabouts.look(None);
        Self {
            resolver: Resolver::default(),
            peer_resolver: Resolver::default(),
            network: NetworkTask::start(routes, dns),
            surroundings: Surroundings::watch(),
            sleep: Sleep::watch(),
            portals: Portals::default(),
            whereabouts,
            paths: Paths::default(),
            peers: Peers::default(),
            opened: VecDeque::new(),
            device: None,
            plane: None,
        }
    }

    fn ensure_device(&mut self) -> Result<(), Fault<PathError>> {
        if self.device.is_none() {
            let tun = open_device().map_err(|error| no_device(&error))?;
            let name = tun.name().map_err(|error| no_device(&error))?;
            self.device = Some(Device { tun, name });
        }
        Ok(())
    }

    fn started(&mut self) -> Option<&mut Plane> {
        self.plane.as_mut()
    }
}

impl Machine for LocalMachine {
    fn resolve(&mut self, host: &Host) {
        self.resolver.ask(host);
    }

    fn resolve_peer(&mut self, host: &Host) {
        self.peer_resolver.ask(host);
    }

    fn open_path(&mut self, path: PathId, way: Way, reach: &Reach) {
        let Way { gateway, transport } = way;
        // A machine without a device need not ask anybody for anything.
        let result = match (self.ensure_device(), transport) {
            (Err(fault), _) => Err(fault),
            (Ok(()), Transport::Udp4500 | Transport::Udp500) => self.paths.open_udp(path, gateway, reach.udp),
            (Ok(()), Transport::Tcp4500) => {
                return self.paths.open_stream(path, SocketAddr::new(gateway, reach.tcp), None);
            }
            (Ok(()), Transport::Tcp443 | Transport::Tls443) => {
                let remote = SocketAddr::new(gateway, Fallback::TLS_PORT);
                return self.paths.open_stream(path, remote, reach.tls.clone());
            }
            (Ok(()), Transport::WireGuard) => match &reach.peer {
                Some(peer) => {
                    let remote = SocketAddr::new(gateway, peer.endpoint.port());
                    match self.peers.open(path, remote, peer) {
                        Ok(()) => return,
                        Err(fault) => Err(fault),
                    }
                }
                None => Err(Fault {
                    error: PathError::Refused,
                    cause: Cause::Internal { detail: "a WireGuard peer that no profile names".to_owned() },
                }),
            },
        };
        self.opened.push_back(MachineEvent::PathOpened { path, result });
    }

    fn use_path(&mut self, path: PathId) -> Result<(), Fault<PathError>> {
        // The device has one reader: whoever read it before is gone when the next begins, and packets wait meanwhile.
        if self.peers.knows(path) {
            self.plane = None;
            self.paths.take_back();
            self.ensure_device()?;
            let Some(device) = &self.device else { return Ok(()) };
            return self.peers.start(path, device.tun.clone());
        }
        self.peers.stop();
        let Some(socket) = self.paths.lend(path) else { return Ok(()) };
        match &self.plane {
            Some(started) => started.plane.set_socket(socket),
            None => {
                self.ensure_device()?;
                let Some(device) = &self.device else { return Ok(()) };
                self.plane = Some(Plane::start(device.tun.clone(), socket)?);
            }
        }
        Ok(())
    }

    fn rebind_path(&mut self, path: PathId) -> Result<OpenedPath, Fault<PathError>> {
        self.peers.rebind(path)
    }

    fn close_path(&mut self, path: PathId) {
        self.paths.close(path);
        self.peers.close(path);
    }

    fn send(&mut self, transmit: &Transmit) {
        self.paths.send(transmit);
        if self.paths.in_use() == Some(transmit.path)
            && let Some(started) = &self.plane
        {
            started.plane.note_sent();
        }
    }

    fn probe(&mut self, probe: &SizeProbe) {
        let Some(started) = self.started() else { return };
        match started.probes.packets(probe) {
            Ok((packets, watches)) => {
                if let Some(watches) = watches {
                    started.plane.watch(watches);
                }
                packets.into_iter().for_each(|packet| started.plane.probe(packet));
            }
            Err(error) => tracing::debug!(%error, ?probe, "no such probe"),
        }
    }

    fn install(&mut self, child: ChildInstalled) {
        let ChildInstalled { inbound, outbound, send_now, .. } = child;
        if let Some(started) = self.started() {
            started.plane.install(ChildSas { inbound, outbound, send_now, peer: PeerAddress::Connected });
        }
    }

    fn send_on(&mut self, spi_in: EspSpi) {
        if let Some(started) = self.started() {
            started.plane.send_on(spi_in);
        }
    }

    fn remove(&mut self, spi_in: EspSpi) {
        if let Some(started) = self.started() {
            started.plane.remove(spi_in);
        }
    }

    fn configure(&mut self, inner: Arc<InnerNetwork>) {
        let Some(device) = &self.device else { return };
        let mss = MssClamp { v4: inner.mss_v4, v6: inner.mss_v6 };
        match (&self.plane, self.peers.plane()) {
            (Some(started), _) => {
                started.plane.set_mss(mss);
                let telling = if inner.whole_is_told { Telling::Senders } else { Telling::Nobody };
                started.plane.set_inner_mtu(inner.whole, telling);
                if let Some(mtu) = inner.from_afar {
                    started.plane.tell_far_ends(mtu);
                }
            }
            (None, Some(plane)) => plane.set_inner(mss, inner.whole),
            (None, None) => return,
        }
        self.network.apply(device.name.clone(), inner);
    }

    fn unconfigure(&mut self) {
        self.network.revert();
    }

    fn look_for_portal(&mut self, config: PortalConfig) {
        self.portals.look(config);
    }

    fn forget_portal(&mut self) {
        self.portals.forget();
    }

    fn activity(&mut self) -> Activity {
        let of_peer = || self.peers.plane().map(|plane| plane.snapshot().plane);
        let stats = self.plane.as_ref().map(|started| started.plane.snapshot()).or_else(of_peer);
        stats.map_or_else(Activity::default, |stats| Activity {
            sent: stats.outbound.last_sent,
            received: stats.inbound.last_received,
            carried: stats.outbound.packets_read.wrapping_add(stats.inbound.packets_written),
        })
    }

    fn wireguard(&self) -> Option<WireGuardStats> {
        self.peers.plane().map(WireGuardPlane::snapshot)
    }

    fn drops(&self) -> Vec<(&'static str, u64)> {
        let Some(started) = &self.plane else { return Vec::new() };
        let stats = started.plane.snapshot();
        // What an SA refused is in the SA's own counters.
        let own = |reason: &PlaneDrop| !matches!(reason, PlaneDrop::Seal | PlaneDrop::Open);
        let counted =
            PlaneDrop::ALL.into_iter().filter(own).map(|reason| (reason.name(), stats.dropped(reason)));
        counted.filter(|(_, count)| *count != 0).collect()
    }

    fn close(&mut self) {
        self.resolver.forget();
        self.peer_resolver.forget();
        self.portals.forget();
        self.paths.close_all();
        self.peers = Peers::default();
        self.opened.clear();
        self.plane = None;
        self.device = None;
    }

    async fn next_event(&mut self) -> MachineEvent {
        loop {
            if let Some(event) = self.opened.pop_front() {
                return event;
            }
            // Asked for anew after each event and each timer.
            if self.sleep.has_slept() {
                return MachineEvent::Woke;
            }
            tokio::select! {
                resolved = self.resolver.answer() => return MachineEvent::Resolved(resolved),
                resolved = self.peer_resolver.answer() => return MachineEvent::PeerResolved(resolved),
                outcome = self.network.outcome() => return outcome,
                () = self.surroundings.changed(self.device.as_ref().map(|device| &*device.name)) => {
                    self.whereabouts.change(self.device.as_ref().map(|device| &*device.name));
                }
                news = self.whereabouts.news() => {
                    return news.map_or(MachineEvent::NetworkChanged, MachineEvent::Network);
                }
                () = self.sleep.woke() => return MachineEvent::Woke,
                report = self.portals.report() => return MachineEvent::Portal(report),
                event = self.paths.next_event() => return event,
                event = self.peers.event() => return event,
                event = plane_event(&mut self.plane) => {
                    if let Some(event) = self.follow_up(event) {
                        return event;
                    }
                }
            }
        }
    }
}

impl LocalMachine {
    /// What the control task hears of an event of the packet threads.
    fn follow_up(&mut self, event: PlaneEvent) -> Option<MachineEvent> {
        match event {
            // The socket is connected: nobody but the gateway's address gets through to here.
            PlaneEvent::Control { message, .. } => {
                let path = self.paths.in_use()?;
                Some(MachineEvent::Received { path, message })
            }
            PlaneEvent::EspSeen { .. } => Some(MachineEvent::EspSeen),
            PlaneEvent::SequenceLow { spi_in } => Some(MachineEvent::SequenceLow { spi_in }),
            PlaneEvent::UnknownSpi { spi, .. } => {
                tracing::debug!(%spi, "ESP for an SA that is not there");
                None
            }
            PlaneEvent::PeerMoved { .. } => None,
            PlaneEvent::TooBig { esp_len, path_mtu } => {
                tracing::debug!(esp_len, path_mtu, "a packet is too long for the path");
                None
            }
            PlaneEvent::ProbeSent { .. }
            | PlaneEvent::ProbeTooBig { .. }
            | PlaneEvent::ProbeFailed { .. } => None,
            PlaneEvent::ProbeReply { packet, .. } => {
                self.plane.as_ref()?.probes.answered(&packet).map(MachineEvent::ProbeAnswered)
            }
            PlaneEvent::IcmpTooBig { mtu, quoted_is_ours } => {
                Some(MachineEvent::TooBig { mtu, quotes_our_packet: quoted_is_ours })
            }
            PlaneEvent::SentAfterSilence { silent_for } => Some(MachineEvent::SentAfterSilence(silent_for)),
            PlaneEvent::Trouble(error) => {
                tracing::debug!(%error, "packets could not be sent or received");
                None
            }
            PlaneEvent::Stopped(error) => {
                Some(MachineEvent::Stopped(Cause::DataPlaneFailed { detail: error.to_string() }))
            }
        }
    }
}

impl Plane {
    fn start(tun: Tun, socket: UdpSocket) -> Result<Self, Fault<PathError>> {
        let mut random = [0; 10];
        aws_lc_rs::rand::fill(&mut random).map_err(|_| Fault {
            error: PathError::NoDataPlane,
            cause: Cause::Internal { detail: "no randomness".to_owned() },
        })?;
        let (sink, events) = event_queue();
        let config = DataPlaneConfig { mss: MssClamp::for_mtu(FIRST_MTU), events: sink };
        let plane = DataPlane::start(tun, socket, config).map_err(|error| Fault {
            error: PathError::NoDataPlane,
            cause: Cause::DataPlaneFailed { detail: error.to_string() },
        })?;
        // A shorter silence every mapping is taken to outlive.
        plane.report_sent_after(FIRST_INTERVAL);
        Ok(Self { plane, events, probes: Probes::new(random) })
    }
}

/// Where the packet threads put their events, and where the control task finds them.
fn event_queue() -> (EventSink, mpsc::Receiver<PlaneEvent>) {
    let (sender, events) = mpsc::channel(PLANE_EVENTS);
    let sink = move |event| {
        let outside = matches!(event, PlaneEvent::Control { .. });
        if !outside || sender.capacity() > RESERVED_EVENTS {
            // Full even so, or closed: nobody is listening.
            let _ = sender.try_send(event);
        }
    };
    (Box::new(sink), events)
}

/// By our name, or by the system's choice where another has it.
fn open_device() -> io::Result<Tun> {
    let named = |name: Option<String>| Tun::open(&TunConfig { name, mtu: FIRST_MTU, offload: true });
    match named(Some(DEVICE.to_owned())) {
        Err(error) if error.kind() == io::ErrorKind::ResourceBusy => named(None),
        result => result,
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the system has more to say than we can name")]
fn no_device(error: &io::Error) -> Fault<PathError> {
    let cause = match error.kind() {
        io::ErrorKind::PermissionDenied => Cause::DaemonNotPermitted { what: "tun".to_owned() },
        io::ErrorKind::Unsupported => Cause::Unsupported { what: "tun".to_owned() },
        _ => Cause::TunUnavailable { detail: error.to_string() },
    };
    Fault { error: PathError::NoDataPlane, cause }
}

async fn plane_event(plane: &mut Option<Plane>) -> PlaneEvent {
    match plane {
        Some(started) => match started.events.recv().await {
            Some(event) => event,
            // The threads are gone, and have said so.
            None => std::future::pending().await,
        },
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_ike_messages_does_not_drown_what_the_threads_say() {
        let (sink, mut events) = event_queue();
        let address = "192.0.2.1:4500".parse().unwrap();
        for _ in 0..10 * PLANE_EVENTS {
            sink(PlaneEvent::Control { from: address, to: address, message: Vec::new() });
        }
        sink(PlaneEvent::SequenceLow { spi_in: EspSpi(1) });
        sink(PlaneEvent::Stopped(io::ErrorKind::NotFound.into()));
        let said: Vec<_> = std::iter::from_fn(|| events.try_recv().ok()).collect();
        assert_eq!(said.len(), PLANE_EVENTS - RESERVED_EVENTS + 2);
        assert!(matches!(said[said.len() - 2], PlaneEvent::SequenceLow { .. }));
        assert!(matches!(said[said.len() - 1], PlaneEvent::Stopped(_)));
    }
}
