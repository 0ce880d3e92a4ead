//! A tunnel, its operating system, a NAT, and gateways, on a virtual clock.

#[path = "world_gateways.rs"]
pub(crate) mod gateways;
#[path = "world_paths.rs"]
mod paths;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::nat::{NetworkId, Translator};
use evenkeel_ipsec::crypto::{Rng, Secret, UnixTime};
use evenkeel_ipsec::esp::{InboundSa, OutboundSa};
use evenkeel_ipsec::ike::{
    ClientConfig, Framing, LocalAuth, Path, PeerAuth, Responder, Session, SessionId, Timers, Transmit,
};
use evenkeel_ipsec::wire::{Envelope, EspSpi, Exchange, Id, TrafficSelector};
use evenkeel_netprofile::ladder::Transport;
use evenkeel_netprofile::memory::NetworkProfile;
use evenkeel_netprofile::mtu::{Direction, ProbeId, ProbeStyle};
use evenkeel_tunnel::{
    Activity, Command, ConfigureError, Event, InnerNetwork, OpenedPath, Overrides, PathError, PathEvent,
    PathId, PeerNetwork, ResolveError, SizeProbe, Status, Tunnel, TunnelConfig, TunnelState, Way,
};
use gateways::{esp_proposals, ike_proposals, responder_naming};
use paths::{STREAM_PORTS, opened, port_of, stream, strip};

pub(crate) const WALL: UnixTime = UnixTime(1_790_000_000);
const LATENCY: Duration = Duration::from_millis(20);
/// How long the owner waits for a WireGuard peer's answer.
const HANDSHAKE: Duration = Duration::from_secs(4);

pub(crate) fn gateway(number: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(198, 51, 100, number))
}

/// The address of a WireGuard peer, which is not the gateway.
pub(crate) const PEER: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 20));

/// What is unusual about this world.
pub(crate) struct Setup {
    pub(crate) seed: u8,
    pub(crate) psk: &'static str,
    pub(crate) behind_nat: bool,
    pub(crate) timers: Timers,
    /// Addresses that the gateway's name has, and whether a gateway is there.
    pub(crate) addresses: Vec<(IpAddr, bool)>,
    pub(crate) fallbacks: Vec<Transport>,
    /// The WireGuard peer to fall back to, at [`PEER`].
    pub(crate) peer: Option<PeerNetwork>,
    /// What is known of the network.
    pub(crate) profile: NetworkProfile,
    /// Whether the gateway names a server, which can be asked.
    pub(crate) names_server: bool,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            seed: 1,
            psk: "a psk",
            behind_nat: true,
            timers: Timers { ike_rekey: None, child_rekey: None, ..Timers::default() },
            addresses: vec![(gateway(10), true)],
            fallbacks: Vec::new(),
            peer: None,
            profile: NetworkProfile::default(),
            names_server: true,
        }
    }
}

pub(crate) struct World {
    pub(crate) now: Instant,
    pub(crate) tunnel: Tunnel,
    pub(crate) gateways: BTreeMap<IpAddr, Responder>,
    /// What happened, in order, in few words.
    pub(crate) trace: Vec<String>,
    pub(crate) statuses: Vec<Status>,
    pub(crate) keepalives: Vec<Instant>,
    pub(crate) datagrams_sent: u32,
    /// The last IKE_AUTH request over UDP, whatever became of it.
    pub(crate) last_auth: Option<Transmit>,
    /// What the client's access network has carried, both ways.
    pub(crate) carried: Carried,
    /// The data plane.
    pub(crate) installed: BTreeMap<EspSpi, (InboundSa, OutboundSa)>,
    pub(crate) sending: Option<EspSpi>,
    pub(crate) activity: Activity,
    /// The operating system.
    pub(crate) network: Option<Arc<InnerNetwork>>,
    /// Everything that it has been configured with.
    pub(crate) networks: Vec<Arc<InnerNetwork>>,
    pub(crate) resolver: Result<Vec<IpAddr>, ResolveError>,
    pub(crate) unroutable: BTreeSet<IpAddr>,
    /// The gateway's ports that the network lets nothing through to.
    pub(crate) blocked: BTreeSet<u16>,
    /// The same, of UDP alone.
    pub(crate) blocked_udp: BTreeSet<u16>,
    /// The gateway takes no IKE_SA_INIT on UDP/4500.
    pub(crate) deaf_to_init_on_4500: bool,
    /// A filter that knows IKE from ESP.
    pub(crate) esp_in_udp_is_dropped: bool,
    /// Whoever takes streams closes each soon after, as a web server does that is sent no HTTP.
    pub(crate) streams_are_closed: bool,
    /// Ports that streams open on never, without a word.
    pub(crate) silent: BTreeSet<u16>,
    /// Whoever takes streams never says anything.
    pub(crate) streams_are_deaf: bool,
    /// What becomes of a handshake with the WireGuard peer.
    pub(crate) handshake: Result<(), PathError>,
    pub(crate) peer_resolver: Result<Vec<IpAddr>, ResolveError>,
    /// How long the look-up of its name takes.
    pub(crate) peer_lookup: Duration,
    peer_paths: BTreeSet<PathId>,
    /// The peer's path that the data plane uses.
    pub(crate) peer_in_use: Option<PathId>,
    replies: BTreeMap<(Instant, u64), Command>,
    streams: BTreeSet<PathId>,
    closings: BTreeMap<(Instant, u64), PathId>,
    in_stream: bool,
    /// The translator.
    pub(crate) nat: Translator,
    opened: u16,
    /// What the path carries, there and back.
    pub(crate) path_mtu: (u16, u16),
    /// What the system takes the way there to carry.
    pub(crate) known_mtu: u16,
    /// Whether the DNS server inside answers.
    pub(crate) answers_probes: bool,
    pub(crate) probes: u32,
    /// Every probe, in order.
    pub(crate) asked: Vec<SizeProbe>,
    echoes: BTreeMap<(Instant, u64), ProbeId>,
    /// Where the client is.
    network_id: NetworkId,
    /// Whether it is nowhere.
    offline: bool,
    paths: BTreeSet<PathId>,
    pub(crate) configure: Result<(), ConfigureError>,
    started: Instant,
    /// How long the machine has slept, of which its own clock knows nothing.
    asleep: Duration,
    /// When packets of the tunnel's last left, by the machine's clock.
    sent: Option<Instant>,
    /// Per mille of datagrams that are lost.
    pub(crate) loss: u32,
    /// How long they take, each way.
    pub(crate) latency: Duration,
    pub(crate) behind_nat: bool,
    rng: Rng,
    flights: BTreeMap<(Instant, u64), Flight>,
    sequence: u64,
}

/// Datagrams, and their bytes with the headers of IPv4 and UDP.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(crate) struct Carried {
    pub(crate) datagrams: u64,
    pub(crate) bytes: u64,
}

impl Carried {
    const HEADERS: u64 = 20 + 8;

    fn add(&mut self, payload: &[u8]) {
        self.datagrams += 1;
        self.bytes += Self::HEADERS + payload.len() as u64;
    }
}

struct Flight {
    to_gateway: bool,
    gateway: IpAddr,
    path: Path,
    payload: Vec<u8>,
}

impl World {
    #[expect(clippy::disallowed_methods, reason = "virtual time has to start somewhere")]
    pub(crate) fn new(setup: Setup) -> Self {
        let now = Instant::now();
        let client = ClientConfig {
            local_id: Id::Email("alice@example.org".into()),
            remote_id: Some(Id::Fqdn("vpn.example.org".into())),
            auth: LocalAuth::Psk(Secret::new(setup.psk)),
            peer_auth: PeerAuth::Psk(Secret::new(setup.psk)),
            ike: ike_proposals(),
            esp: esp_proposals(),
            ts_local: vec![TrafficSelector::any_v4()],
            ts_remote: vec![TrafficSelector::any_v4()],
            request_ipv4: true,
            request_ipv6: false,
            addresses: Vec::new(),
            initial_contact: false,
            mobike: true,
            timers: setup.timers,
            fragment_size: 1280,
            legacy_sha1: false,
        };
        let config = TunnelConfig {
            client: Arc::new(client),
            identify_by_address: false,
            overrides: Overrides::default(),
            fallbacks: setup.fallbacks,
            peer: setup.peer,
        };
        let live = setup.addresses.iter().filter(|(_, alive)| *alive);
        Self {
            now,
            tunnel: Tunnel::new(config, setup.profile, [setup.seed; 32], WALL, now),
            gateways: live
                .map(|(address, _)| (*address, responder_naming(setup.names_server, setup.seed, now)))
                .collect(),
            trace: Vec::new(),
            statuses: Vec::new(),
            keepalives: Vec::new(),
            datagrams_sent: 0,
            last_auth: None,
            carried: Carried::default(),
            installed: BTreeMap::new(),
            sending: None,
            activity: Activity::default(),
            network: None,
            networks: Vec::new(),
            resolver: Ok(setup.addresses.iter().map(|(address, _)| *address).collect()),
            unroutable: BTreeSet::new(),
            blocked: BTreeSet::new(),
            blocked_udp: BTreeSet::new(),
            deaf_to_init_on_4500: false,
            esp_in_udp_is_dropped: false,
            handshake: Ok(()),
            peer_resolver: Ok(vec![PEER]),
            peer_lookup: Duration::ZERO,
            peer_paths: BTreeSet::new(),
            peer_in_use: None,
            replies: BTreeMap::new(),
            streams: BTreeSet::new(),
            silent: BTreeSet::new(),
            streams_are_closed: false,
            streams_are_deaf: false,
            closings: BTreeMap::new(),
            in_stream: false,
            nat: Translator::default(),
            opened: 0,
            path_mtu: (1500, 1500),
            known_mtu: 1500,
            answers_probes: true,
            probes: 0,
            asked: Vec::new(),
            echoes: BTreeMap::new(),
            network_id: NetworkId { inside: 1, outside: 9 },
            offline: false,
            paths: BTreeSet::new(),
            configure: Ok(()),
            started: now,
            asleep: Duration::ZERO,
            sent: None,
            loss: 0,
            latency: LATENCY,
            behind_nat: setup.behind_nat,
            rng: Rng::from_seed([setup.seed ^ 0xff; 32]),
            flights: BTreeMap::new(),
            sequence: 0,
        }
    }

    pub(crate) fn command(&mut self, command: Command) {
        self.tunnel.handle_command(command, self.local_now());
        self.drain();
    }

    /// Lets virtual time pass until `done`, at most for `limit`. Whether it came to that.
    pub(crate) fn run_until(&mut self, limit: Duration, mut done: impl FnMut(&Self) -> bool) -> bool {
        let deadline = self.now + limit;
        loop {
            if done(self) {
                return true;
            }
            let flight = self.flights.first_key_value().map(|((at, _), _)| *at);
            let own = self.tunnel.poll_timeout().map(|(at, _)| at + self.asleep);
            let others = self.gateways.values().filter_map(|gateway| Some(gateway.poll_timeout()?.0)).min();
            let echo = self.echoes.first_key_value().map(|((at, _), _)| *at);
            let closing = self.closings.first_key_value().map(|((at, _), _)| *at);
            let reply = self.replies.first_key_value().map(|((at, _), _)| *at);
            let next = [flight, own, others, echo, closing, reply].into_iter().flatten().min();
            let Some(next) = next.filter(|at| *at <= deadline) else {
                self.now = deadline;
                return done(self);
            };
            self.now = self.now.max(next);
            self.step();
        }
    }

    pub(crate) fn run_for(&mut self, time: Duration) {
        self.run_until(time, |_| false);
    }

    pub(crate) fn connect(&mut self) {
        self.command(Command::Connect);
        assert!(self.run_until(Duration::from_secs(30), Self::is_up), "not up: {:?}", self.tunnel.status());
    }

    pub(crate) fn state(&self) -> TunnelState {
        self.tunnel.status().state
    }

    pub(crate) fn is_up(&self) -> bool {
        self.state() == TunnelState::Up
    }

    pub(crate) fn is_waiting(&self) -> bool {
        matches!(self.state(), TunnelState::Waiting { .. })
    }

    /// The client is somewhere else from here on, and is told so.
    pub(crate) fn attach(&mut self, inside: u8, outside: u8) {
        self.network_id = NetworkId { inside, outside };
        self.nat = Translator::forgetting_after(self.nat.lifetime);
        self.offline = false;
        self.path_event(PathEvent::NetworkChanged);
    }

    /// The client loses its network, and is told so.
    pub(crate) fn detach(&mut self) {
        self.offline = true;
        self.path_event(PathEvent::NetworkChanged);
    }

    /// What the machine's own clock says.
    fn local_now(&self) -> Instant {
        self.now - self.asleep
    }

    /// The machine sleeps for so long while the world goes on, and is told so when it wakes.
    pub(crate) fn sleep(&mut self, time: Duration) {
        let wake = self.now + time;
        // Whatever is on its way to it is lost.
        self.flights.retain(|_, flight| flight.to_gateway);
        self.echoes.clear();
        loop {
            let next = self.gateways.values().filter_map(|gateway| Some(gateway.poll_timeout()?.0)).min();
            let Some(next) = next.filter(|at| *at <= wake) else { break };
            self.now = self.now.max(next);
            for gateway in self.gateways.values_mut() {
                if gateway.poll_timeout().is_some_and(|(at, _)| at <= self.now) {
                    gateway.handle_timeout(self.now);
                }
                while gateway.poll_transmit().is_some() {}
            }
        }
        (self.now, self.asleep) = (wake, self.asleep + time);
        self.path_event(PathEvent::Woke);
    }

    /// A program on this machine sends something through the tunnel.
    pub(crate) fn send_inside(&mut self) {
        let path = self.tunnel.ike_sa().unwrap().path;
        self.nat.outside(path.local.port(), self.now);
        let now = self.local_now();
        let before = self.sent.replace(now);
        self.activity = Activity { sent: Some(now), carried: self.activity.carried + 1, ..self.activity };
        if let Some(silence) = before.map(|before| now - before) {
            self.command(Command::SentAfterSilence(silence));
        }
    }

    /// Whether what the gateway sends gets to where the tunnel listens.
    pub(crate) fn is_reached(&self) -> bool {
        let inside = |seen: &SocketAddr| self.nat.leads_to(seen.port(), self.now);
        let ours = self.tunnel.ike_sa().map(|ike| ike.path.local.port());
        self.is_up() && self.seen().iter().any(|seen| seen.ip() == self.outside() && inside(seen) == ours)
    }

    /// The data plane has seen traffic.
    pub(crate) fn tell_activity(&mut self) {
        self.tunnel.handle_activity(self.activity, self.local_now());
        self.drain();
    }

    pub(crate) fn path_event(&mut self, event: PathEvent) {
        self.tunnel.handle_path_event(event, self.local_now());
        self.drain();
    }

    /// Where the gateway sends to, session by session.
    fn seen(&self) -> Vec<SocketAddr> {
        let sessions = self.gateways.values().flat_map(Responder::sessions);
        sessions.filter_map(|(_, session)| session.info()).map(|ike| ike.path.remote).collect()
    }

    /// Where the gateway sends to the client whose session is the only one.
    pub(crate) fn seen_by_gateway(&self) -> SocketAddr {
        let seen = self.seen();
        assert_eq!(seen.len(), 1, "{seen:?}");
        seen[0]
    }

    pub(crate) fn is_seen_outside(&self) -> bool {
        self.seen().iter().any(|seen| seen.ip() == self.outside())
    }

    /// The address that the gateway should see.
    pub(crate) fn outside(&self) -> IpAddr {
        self.network_id.outside()
    }

    /// A stream is reset.
    pub(crate) fn reset_stream(&mut self) {
        let path = *self.paths.first().unwrap();
        self.paths.remove(&path);
        self.command(Command::PathLost { path, error: PathError::Closed });
    }

    pub(crate) fn open_paths(&self) -> usize {
        self.paths.len()
    }

    /// Whether nothing is left of the tunnel on this machine.
    pub(crate) fn is_clean(&self) -> bool {
        let unconfigured = self.network.is_none() && self.peer_in_use.is_none();
        unconfigured && self.installed.is_empty() && self.sending.is_none() && self.paths.is_empty()
    }

    pub(crate) fn cause(&self) -> String {
        self.tunnel.status().cause.map(|cause| cause.to_string()).unwrap_or_default()
    }

    pub(crate) fn responder(&mut self) -> &mut Responder {
        self.gateways.values_mut().next().unwrap()
    }

    /// IKE SAs that never authenticated.
    pub(crate) fn half_open(&self) -> usize {
        let sessions = self.gateways.values().flat_map(Responder::sessions);
        sessions.filter(|(_, session)| session.is_half_open()).count()
    }

    pub(crate) fn session_ids(&self) -> Vec<SessionId> {
        let authenticated = |gateway: &Responder| {
            gateway
                .sessions()
                .filter(|(_, session)| !session.is_half_open())
                .map(|(id, _)| id)
                .collect::<Vec<_>>()
        };
        self.gateways.values().flat_map(authenticated).collect()
    }

    /// Something that the gateway's session does by itself.
    pub(crate) fn gateway_does(&mut self, act: impl Fn(&mut Session, Instant)) {
        let now = self.now;
        for id in self.session_ids() {
            self.responder().with_session(id, |session| act(session, now));
        }
        self.drain();
    }

    /// The gateway loses its memory, as by a restart.
    pub(crate) fn gateway_restarts(&mut self) {
        for id in self.session_ids() {
            self.responder().forget(id);
        }
    }

    fn step(&mut self) {
        while let Some(entry) = self.closings.first_entry().filter(|entry| entry.key().0 <= self.now) {
            let path = entry.remove();
            if self.paths.remove(&path) {
                self.command(Command::PathLost { path, error: PathError::Closed });
            }
        }
        while let Some(entry) = self.echoes.first_entry().filter(|entry| entry.key().0 <= self.now) {
            let id = entry.remove();
            self.command(Command::ProbeAnswered(id));
        }
        while let Some(entry) = self.replies.first_entry().filter(|entry| entry.key().0 <= self.now) {
            let command = entry.remove();
            if let Command::PathOpened { path, result: Err(_) } = &command {
                self.paths.remove(path);
            }
            self.command(command);
        }
        while let Some(entry) = self.flights.first_entry() {
            if entry.key().0 > self.now {
                break;
            }
            let Flight { to_gateway, gateway, path, payload } = entry.remove();
            if to_gateway {
                if let Some(responder) = self.gateways.get_mut(&gateway) {
                    responder.handle_datagram(path, &payload, self.now);
                }
            } else if !self.offline {
                self.tunnel.handle_datagram(path, &payload, self.local_now());
            }
            self.drain();
        }
        for gateway in self.gateways.values_mut() {
            if gateway.poll_timeout().is_some_and(|(at, _)| at <= self.now) {
                gateway.handle_timeout(self.now);
            }
        }
        if self.tunnel.poll_timeout().is_some_and(|(at, _)| at <= self.local_now()) {
            self.tunnel.handle_activity(self.activity, self.local_now());
            self.tunnel.handle_timeout(self.local_now());
        }
        self.drain();
    }

    fn drain(&mut self) {
        while let Some(transmit) = self.tunnel.poll_transmit() {
            self.datagrams_sent += 1;
            self.send_to_gateway(transmit.path, transmit.payload);
        }
        while let Some(event) = self.tunnel.poll_event() {
            self.act(event);
            while let Some(transmit) = self.tunnel.poll_transmit() {
                self.send_to_gateway(transmit.path, transmit.payload);
            }
        }
        let mut answers = Vec::new();
        for (address, gateway) in &mut self.gateways {
            while let Some(transmit) = gateway.poll_transmit() {
                answers.push((*address, transmit));
            }
            while gateway.poll_event().is_some() {}
        }
        for (address, transmit) in answers {
            let Path { local, remote, framing } = transmit.path;
            if self.behind_nat && remote.ip() != self.network_id.outside() {
                continue;
            }
            let inside = if self.behind_nat {
                let Some(port) = self.nat.inside(remote.port(), self.now) else { continue };
                SocketAddr::new(self.network_id.client(), port)
            } else {
                remote
            };
            let path = Path { local: inside, remote: local, framing };
            self.carried.add(&transmit.payload);
            self.launch(Flight {
                to_gateway: false,
                gateway: address,
                path,
                payload: strip(framing, transmit.payload),
            });
        }
    }

    fn send_to_gateway(&mut self, path: Path, payload: Vec<u8>) {
        if path.local.ip() != self.network_id.client() || self.offline {
            return;
        }
        let outside =
            SocketAddr::new(self.network_id.outside(), self.nat.outside(path.local.port(), self.now));
        self.carried.add(&payload);
        if payload == [0xff] {
            self.keepalives.push(self.now);
            return;
        }
        let over_udp = path.local.port() < STREAM_PORTS || path.local.port() > 40_000;
        if !over_udp && (self.streams_are_closed || self.streams_are_deaf) {
            return;
        }
        let message = strip(path.framing, payload.clone());
        let exchange = Envelope::parse(&message).ok().map(|envelope| envelope.header.exchange);
        if over_udp && exchange == Some(Exchange::IkeAuth) {
            self.last_auth = Some(Transmit { path, payload: payload.clone() });
        }
        let blocked = if over_udp { &self.blocked_udp } else { &self.blocked };
        if blocked.contains(&path.remote.port()) {
            return;
        }
        let init = exchange == Some(Exchange::IkeSaInit);
        if self.deaf_to_init_on_4500 && over_udp && path.remote.port() == 4500 && init {
            return;
        }
        let seen_as = if self.behind_nat { outside } else { path.local };
        let at_gateway = Path { local: path.remote, remote: seen_as, framing: path.framing };
        self.launch(Flight {
            to_gateway: true,
            gateway: path.remote.ip(),
            path: at_gateway,
            payload: strip(path.framing, payload),
        });
    }

    fn launch(&mut self, flight: Flight) {
        if self.rng.u32() % 1000 < self.loss {
            return;
        }
        self.sequence += 1;
        self.flights.insert((self.now + self.latency, self.sequence), flight);
    }

    fn act(&mut self, event: Event) {
        match event {
            Event::Status(status) => {
                self.trace.push(format!("state {}", name_of(status.state)));
                self.statuses.push(status);
            }
            Event::ResolveGateway => {
                self.trace.push("resolve".into());
                assert!(self.network.is_none(), "a name is looked up while DNS points into the tunnel");
                self.answer(Command::Resolved(self.resolver.clone()));
            }
            Event::ResolvePeer => {
                assert!(self.network.is_none(), "a name is looked up while DNS points into the tunnel");
                self.reply_after(self.peer_lookup, Command::PeerResolved(self.peer_resolver.clone()));
            }
            Event::OpenPath { path, way: Way { gateway, transport: Transport::WireGuard } } => {
                self.trace.push(format!("open {gateway} WireGuard"));
                self.peer_paths.insert(path);
                self.paths.insert(path);
                let (after, result) = if self.offline {
                    (Duration::ZERO, Err(PathError::NoRoute))
                } else {
                    let silent = self.handshake == Err(PathError::Silent);
                    (if silent { HANDSHAKE } else { 2 * LATENCY }, self.handshake)
                };
                let result = result.map(|()| self.peer_opened(gateway));
                self.reply_after(after, Command::PathOpened { path, result });
            }
            Event::RebindPath { path } => {
                self.trace.push("rebind".into());
                assert_eq!(self.peer_in_use, Some(path), "another path than the one in use");
                if self.offline {
                    return self.answer(Command::Rebound { path, result: Err(PathError::NoRoute) });
                }
                let result = Ok(self.peer_opened(PEER));
                self.answer(Command::Rebound { path, result });
                if self.handshake.is_ok() {
                    self.reply_after(2 * LATENCY, Command::PeerAnswers { path });
                }
            }
            Event::OpenPath { path, way: Way { gateway, transport } } => {
                let udp = transport == Transport::Udp4500;
                self.trace.push(if udp {
                    format!("open {gateway}")
                } else {
                    format!("open {gateway} {transport:?}")
                });
                if !udp && self.silent.contains(&port_of(transport)) {
                    self.paths.insert(path);
                    return;
                }
                let result = if self.offline || self.unroutable.contains(&gateway) {
                    Err(PathError::NoRoute)
                } else if udp {
                    self.opened = (self.opened + 1) % 1000;
                    let path = opened(self.network_id.client(), gateway, self.opened);
                    let wall = UnixTime(WALL.0 + (self.now - self.started).as_secs());
                    Ok(OpenedPath { path_mtu: self.known_mtu, wall, ..path })
                } else if self.blocked.contains(&port_of(transport)) {
                    Err(PathError::Closed)
                } else {
                    self.opened = (self.opened + 1) % 1000;
                    if self.streams_are_closed {
                        self.sequence += 1;
                        self.closings.insert((self.now + 2 * self.latency, self.sequence), path);
                    }
                    Ok(stream(self.network_id.client(), gateway, port_of(transport), self.opened))
                };
                if !udp {
                    self.streams.insert(path);
                }
                if result.is_ok() {
                    self.paths.insert(path);
                }
                self.answer(Command::PathOpened { path, result });
            }
            Event::UsePath { path } => {
                assert!(self.paths.contains(&path), "a closed path is used");
                self.in_stream = self.streams.contains(&path);
                let peer = self.peer_paths.contains(&path);
                self.trace.push(if peer { "use peer" } else { "use" }.into());
                self.peer_in_use = peer.then_some(path);
            }
            Event::ClosePath { path } => {
                assert!(self.paths.remove(&path), "closed what is not open");
                self.peer_in_use.take_if(|used| *used == path);
            }
            Event::SendProbe(asked @ SizeProbe { probe, cut_to, .. }) => {
                self.probes += 1;
                self.asked.push(asked);
                // AES-GCM in UDP over IPv4 adds at least 62 bytes.
                let request = cut_to.map_or(probe.size, |longest| longest + 62);
                let fits = match (probe.id.direction, probe.style) {
                    (Direction::Uplink, ProbeStyle::Padded) => probe.size <= self.path_mtu.0,
                    (Direction::Uplink, ProbeStyle::Echo) => {
                        probe.size <= self.path_mtu.0.min(self.path_mtu.1)
                    }
                    (Direction::Downlink, _) => request <= self.path_mtu.0 && probe.size <= self.path_mtu.1,
                };
                let passes = self.in_stream || !self.esp_in_udp_is_dropped;
                if fits && passes && self.answers_probes && !self.offline && self.sending.is_some() {
                    self.sequence += 1;
                    self.echoes.insert((self.now + 2 * self.latency, self.sequence), probe.id);
                }
            }
            Event::SignAuth { .. } => panic!("nothing to sign with"),
            Event::InstallChild(child) => {
                self.trace.push("install".into());
                let spi_in = child.info.spi_in;
                self.installed.insert(spi_in, (child.inbound, child.outbound));
                if child.send_now {
                    self.sending = Some(spi_in);
                }
            }
            Event::SendOn { spi_in } => {
                assert!(self.installed.contains_key(&spi_in));
                self.sending = Some(spi_in);
            }
            Event::RemoveChild { spi_in, .. } => {
                self.trace.push("remove".into());
                assert!(self.installed.remove(&spi_in).is_some(), "removed what was not installed");
                if self.sending == Some(spi_in) {
                    self.sending = None;
                }
            }
            Event::Configure(inner) => {
                self.trace.push("configure".into());
                let carries = self.sending.is_some() || self.peer_in_use.is_some();
                assert!(carries, "routes lead into a tunnel that carries nothing");
                if self.configure.is_ok() {
                    self.networks.push(Arc::clone(&inner));
                    self.network = Some(inner);
                }
                self.answer(Command::Configured(self.configure));
            }
            Event::Unconfigure => {
                self.trace.push("unconfigure".into());
                self.network = None;
                self.answer(Command::Unconfigured);
            }
        }
    }

    fn reply_after(&mut self, time: Duration, command: Command) {
        self.sequence += 1;
        self.replies.insert((self.now + time, self.sequence), command);
    }

    fn peer_opened(&mut self, peer: IpAddr) -> OpenedPath {
        self.opened = (self.opened + 1) % 1000;
        let local = SocketAddr::new(self.network_id.client(), 50_000 + self.opened);
        let path = Path { local, remote: SocketAddr::new(peer, 51_820), framing: Framing::NonEspMarker };
        OpenedPath { init: path, nat: path, path_mtu: 1500, wall: WALL }
    }

    fn answer(&mut self, command: Command) {
        self.tunnel.handle_command(command, self.local_now());
    }
}

fn name_of(state: TunnelState) -> &'static str {
    match state {
        TunnelState::Off => "off",
        TunnelState::Resolving => "resolving",
        TunnelState::Connecting { .. } => "connecting",
        TunnelState::Authenticating { .. } => "authenticating",
        TunnelState::Configuring => "configuring",
        TunnelState::Up => "up",
        TunnelState::Waiting { .. } => "waiting",
        TunnelState::Closing => "closing",
        TunnelState::Failed => "failed",
    }
}
