//! Two peers, a NAT between them, and a network that loses, repeats and reorders.

use super::ledger::Ledger;
use super::nat::Translator;
use crate::crypto::{EspProposals, IkeProposals, Rng, Secret, SigningKey, UnixTime};
use crate::esp::{InboundSa, OpenError, OutboundSa};
use crate::ike::responder::{PeerPolicy, Pool, Responder, ResponderAuth, ResponderConfig, SessionId};
use crate::ike::{
    ClientConfig, Event, Failure, Framing, IkeSaInfo, LocalAuth, Path, PeerAuth, Session, Timers, defaults,
};
use crate::wire::{EspSpi, Id, NON_ESP_MARKER, TrafficSelector};
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

pub(super) const PSK: &[u8] = b"correct horse battery staple";
pub(super) const WALL: UnixTime = UnixTime(1_790_000_000);

/// Sees direction (true: to the responder) and bytes.
pub(super) type Filter = Box<dyn FnMut(bool, &[u8]) -> bool>;

/// How the network treats datagrams; shares are per mille.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Network {
    pub loss: u32,
    pub duplicates: u32,
    /// Datagrams are delayed by 10 ms and this much more.
    pub latency_ms: u32,
    /// They are delayed further, by up to this much, so that they overtake each other.
    pub jitter_ms: u32,
    /// Before each datagram arrive this many damaged copies: bits turned, cut, or with other header fields.
    pub forgeries: u32,
}

/// What a test wants to be other than usual.
pub(super) struct Options {
    pub seed: u64,
    pub network: Network,
    pub timers: Timers,
    pub ike: IkeProposals,
    pub esp: EspProposals,
    pub responder_ike: IkeProposals,
    pub responder_esp: EspProposals,
    pub client_auth: LocalAuth,
    pub peer_auth: PeerAuth,
    pub responder_auth: ResponderAuth,
    pub peers: PeerPolicy,
    pub client_id: Id,
    pub remote_id: Option<Id>,
    pub cookie_threshold: usize,
    pub mobike: bool,
    pub pool: Pool,
    pub fragment_size: usize,
}

impl Options {
    pub(super) fn psk(seed: u64) -> Self {
        let secret = || Secret::new(PSK);
        // Fast groups and one suite: simulations are about exchanges, other tests about algorithms.
        let ike: IkeProposals = IkeProposals(vec!["aes256gcm16-prfsha256-x25519".parse().unwrap()]);
        let esp: EspProposals = EspProposals(vec!["aes256gcm16".parse().unwrap()]);
        Self {
            seed,
            network: Network { jitter_ms: 5, ..Network::default() },
            timers: Timers { ike_rekey: None, child_rekey: None, dpd_after: None, ..Timers::default() },
            responder_ike: ike.clone(),
            responder_esp: esp.clone(),
            ike,
            esp,
            client_auth: LocalAuth::Psk(secret()),
            peer_auth: PeerAuth::Psk(secret()),
            responder_auth: ResponderAuth::Psk,
            peers: PeerPolicy { psks: vec![(None, secret())], ..PeerPolicy::default() },
            client_id: Id::Email("alice@example.org".into()),
            remote_id: Some(Id::Fqdn("vpn.example.org".into())),
            cookie_threshold: usize::MAX,
            mobike: true,
            pool: Pool { v4: Some((Ipv4Addr::new(10, 9, 0, 1), 100)), ..Pool::default() },
            fragment_size: defaults::FRAGMENT_SIZE,
        }
    }
}

/// One end's CHILD SAs, as a data plane would hold them.
#[derive(Default)]
pub(super) struct Plane {
    pub inbound: BTreeMap<EspSpi, InboundSa>,
    outbound: BTreeMap<EspSpi, OutboundSa>,
    /// Those that may be sent on, the latest last.
    sending: Vec<EspSpi>,
    pub installed: u32,
    pub removed: u32,
}

/// A datagram under way.
#[derive(Clone)]
pub(super) struct Flight {
    pub to_responder: bool,
    /// As its sender sees it.
    pub path: Path,
    pub payload: Vec<u8>,
}

pub(super) struct Pair {
    pub now: Instant,
    pub start: Instant,
    pub client: Session,
    pub responder: Responder,
    pub client_events: Vec<String>,
    pub responder_events: Vec<String>,
    pub client_failure: Option<Failure>,
    pub responder_failure: Option<Failure>,
    pub session: Option<SessionId>,
    pub client_plane: Plane,
    pub responder_plane: Plane,
    pub network: Network,
    pub nat: Translator,
    /// When the NAT carried something for each of the client's addresses, either way.
    pub uses: BTreeMap<SocketAddr, Vec<Instant>>,
    /// The client's address that ESP came to last.
    pub esp_came_to: Option<SocketAddr>,
    /// Signs for the client; without it signing fails.
    pub key: Option<Arc<SigningKey>>,
    /// Datagrams for which this says true are lost.
    pub filter: Option<Filter>,
    /// While set, datagrams in this direction (true: to the responder) wait instead of arriving.
    pub held: [bool; 2],
    pub waiting: Vec<Flight>,
    flights: BTreeMap<(Instant, u64), Flight>,
    sequence: u64,
    rng: Rng,
    pub sent: u64,
    /// What becomes of each datagram, for a test that asks.
    pub ledger: Option<Ledger>,
}

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

impl Pair {
    #[expect(clippy::disallowed_methods, reason = "the virtual clock needs some instant to start from")]
    pub(super) fn new(options: Options) -> Self {
        let now = Instant::now();
        let mut seed = [7; 32];
        seed[..8].copy_from_slice(&options.seed.to_be_bytes());
        let mut rng = Rng::from_seed(seed);
        let config = ClientConfig {
            local_id: options.client_id,
            remote_id: options.remote_id,
            auth: options.client_auth,
            peer_auth: options.peer_auth,
            ike: options.ike,
            esp: options.esp,
            ts_local: vec![TrafficSelector::any_v4(), TrafficSelector::any_v6()],
            ts_remote: vec![TrafficSelector::any_v4(), TrafficSelector::any_v6()],
            request_ipv4: true,
            request_ipv6: false,
            addresses: Vec::new(),
            initial_contact: false,
            mobike: options.mobike,
            timers: options.timers.clone(),
            fragment_size: options.fragment_size,
            legacy_sha1: false,
        };
        let responder = ResponderConfig {
            local_id: Id::Fqdn("vpn.example.org".into()),
            auth: options.responder_auth,
            peers: options.peers,
            ike: options.responder_ike,
            esp: options.responder_esp,
            ts_local: vec![TrafficSelector::from_cidr(Ipv4Addr::new(10, 10, 0, 0).into(), 16).unwrap()],
            pool: options.pool,
            timers: Timers { ike_rekey: None, child_rekey: None, dpd_after: None, ..options.timers },
            cookie_threshold: options.cookie_threshold,
            fragment_size: options.fragment_size,
            legacy_sha1: false,
        };
        let remote = |port| address(&format!("198.51.100.10:{port}"));
        let init = Path { local: address("192.168.1.5:40001"), remote: remote(500), framing: Framing::Bare };
        let nat = Path {
            local: address("192.168.1.5:40002"),
            remote: remote(4500),
            framing: Framing::NonEspMarker,
        };
        let client = Session::connect(Arc::new(config), init, nat, rng.fork(), WALL, now);
        let responder = Responder::new(responder, rng.fork(), WALL, now);
        Self {
            now,
            start: now,
            client,
            responder,
            client_events: Vec::new(),
            responder_events: Vec::new(),
            client_failure: None,
            responder_failure: None,
            session: None,
            client_plane: Plane::default(),
            responder_plane: Plane::default(),
            network: options.network,
            nat: Translator::default(),
            uses: BTreeMap::new(),
            esp_came_to: None,
            key: None,
            filter: None,
            held: [false; 2],
            waiting: Vec::new(),
            flights: BTreeMap::new(),
            sequence: 0,
            rng,
            sent: 0,
            ledger: None,
        }
    }

    /// Runs until `done`, or until nothing more can happen before the deadline. Says whether it was done.
    pub(super) fn run_until(&mut self, limit: Duration, done: impl Fn(&Self) -> bool) -> bool {
        let deadline = self.now + limit;
        loop {
            self.collect();
            if done(self) {
                return true;
            }
            let arrival = self.flights.keys().next().map(|(at, _)| *at);
            let timers = [self.client.poll_timeout(), self.responder.poll_timeout()];
            let wake = timers.into_iter().flatten().map(|(at, _)| at).chain(arrival).min();
            let Some(wake) = wake.filter(|wake| *wake <= deadline) else {
                self.now = deadline;
                return false;
            };
            self.now = self.now.max(wake);
            self.deliver();
            self.client.handle_timeout(self.now);
            self.responder.handle_timeout(self.now);
        }
    }

    pub(super) fn run_for(&mut self, time: Duration) {
        self.run_until(time, |_| false);
    }

    pub(super) fn connect(&mut self) {
        let done = self.run_until(Duration::from_secs(120), |pair| {
            pair.client_failure.is_some()
                || pair.client_plane.installed > 0 && pair.responder_plane.installed > 0
        });
        assert!(done && self.client_failure.is_none(), "not connected: {:?}", self.client_failure);
    }

    /// Lets datagrams that were held go on.
    pub(super) fn release(&mut self) {
        self.held = [false; 2];
        for flight in std::mem::take(&mut self.waiting) {
            self.launch(flight);
        }
    }

    /// Lets the datagrams of one direction go on; those of the other wait.
    pub(super) fn release_direction(&mut self, to_responder: bool) {
        self.held[usize::from(to_responder)] = false;
        let (free, waiting) = std::mem::take(&mut self.waiting)
            .into_iter()
            .partition(|flight| flight.to_responder == to_responder);
        self.waiting = waiting;
        let free: Vec<Flight> = free;
        for flight in free {
            self.launch(flight);
        }
    }

    pub(super) fn with_peer(&mut self, act: impl FnOnce(&mut Session)) {
        let id = self.session.expect("the responder has a session");
        assert!(self.responder.with_session(id, act));
    }

    /// One inner packet each way through ESP; whatever arrives must open.
    pub(super) fn exchange_packets(&mut self) {
        for to_responder in [true, false] {
            let (plane, source, destination) = if to_responder {
                (&mut self.client_plane, [10, 9, 0, 1], [10, 10, 0, 1])
            } else {
                (&mut self.responder_plane, [10, 10, 0, 1], [10, 9, 0, 1])
            };
            let Some(outbound) = plane.sending.last().and_then(|spi| plane.outbound.get_mut(spi)) else {
                continue;
            };
            let inner = inner_packet(source, destination);
            let headroom = outbound.headroom();
            let mut slot = vec![0; headroom + inner.len() + 64];
            slot[headroom..headroom + inner.len()].copy_from_slice(&inner);
            let len = outbound.seal(&mut slot, inner.len()).expect("sealed");
            slot.truncate(len);
            let path = if to_responder {
                self.client.info().expect("established").path
            } else {
                let Some(info) = self.responder_info() else { continue };
                info.path
            };
            self.launch(Flight { to_responder, path, payload: slot });
        }
    }

    /// What the responder knows of the client's IKE SA.
    pub(super) fn responder_info(&self) -> Option<IkeSaInfo> {
        let (_, session) = self.responder.sessions().find(|(id, _)| Some(*id) == self.session)?;
        session.info()
    }

    fn collect(&mut self) {
        while let Some(transmit) = self.client.poll_transmit() {
            self.launch(Flight { to_responder: true, path: transmit.path, payload: transmit.payload });
        }
        while let Some(transmit) = self.responder.poll_transmit() {
            self.launch(Flight { to_responder: false, path: transmit.path, payload: transmit.payload });
        }
        while let Some(event) = self.client.poll_event() {
            self.client_events.push(format!("{event:?}"));
            if let Event::SignAuth(request) = &event {
                let signature = self.key.as_ref().ok_or(());
                let signature =
                    signature.and_then(|key| key.sign(request.choice, &request.octets).map_err(|_| ()));
                self.client.provide_signature(signature, self.now);
                return self.collect();
            }
            if let Event::Closed(failure) = event {
                self.client_failure = Some(failure);
            } else {
                self.client_plane.apply(event);
            }
        }
        while let Some((id, event)) = self.responder.poll_event() {
            self.session = Some(id);
            self.responder_events.push(format!("{event:?}"));
            if let Event::Closed(failure) = event {
                self.responder_failure = Some(failure);
            } else {
                self.responder_plane.apply(event);
            }
        }
    }

    pub(super) fn launch(&mut self, flight: Flight) {
        self.sent += 1;
        if self.held[usize::from(flight.to_responder)] {
            self.waiting.push(flight);
            return;
        }
        if let Some(ledger) = &mut self.ledger {
            ledger.note_sent(flight.to_responder, &flight.payload, self.now);
        }
        if let Some(filter) = &mut self.filter
            && filter(flight.to_responder, &flight.payload)
        {
            return;
        }
        for _ in 0..self.network.forgeries {
            let payload = self.forge(&flight.payload);
            self.sequence += 1;
            let forged = Flight { to_responder: flight.to_responder, path: flight.path, payload };
            self.flights.insert((self.now, self.sequence), forged);
        }
        let copies = 1 + u32::from(self.rng.u32() % 1000 < self.network.duplicates);
        let mut lost = 0;
        for _ in 0..copies {
            if self.rng.u32() % 1000 < self.network.loss {
                lost += 1;
                continue;
            }
            let jitter = self.rng.u32() % self.network.jitter_ms.max(1);
            let delay = 10 + u64::from(self.network.latency_ms + jitter);
            self.sequence += 1;
            let Flight { to_responder, path, ref payload } = flight;
            let copy = Flight { to_responder, path, payload: payload.clone() };
            self.flights.insert((self.now + Duration::from_millis(delay), self.sequence), copy);
        }
        if let Some(ledger) = &mut self.ledger {
            ledger.duplicated += u64::from(copies - 1);
            ledger.lost += lost;
        }
    }

    /// What somebody on the path can do to a datagram without the keys.
    fn forge(&mut self, payload: &[u8]) -> Vec<u8> {
        let mut forged = payload.to_vec();
        let at = |rng: &mut Rng, len: usize| usize::try_from(rng.u64()).unwrap() % len.max(1);
        match self.rng.u32() % 4 {
            0 => forged.truncate(at(&mut self.rng, payload.len())),
            1 => forged.extend([0; 9]),
            2 => {
                // Header fields and the first payloads: where a parser can be misled.
                let index = at(&mut self.rng, payload.len().min(80));
                forged[index] ^= 1 << (self.rng.u32() % 8);
            }
            _ => {
                let index = at(&mut self.rng, payload.len());
                forged[index] = forged[index].wrapping_add(1 + u8::try_from(self.rng.u32() % 255).unwrap());
            }
        }
        forged
    }

    fn deliver(&mut self) {
        while let Some(entry) = self.flights.first_entry().filter(|entry| entry.key().0 <= self.now) {
            let order = entry.key().1;
            let Flight { to_responder, path, payload } = entry.remove();
            if let Some(ledger) = &mut self.ledger {
                ledger.note_delivered(to_responder, &payload, order, self.now);
            }
            let message = match path.framing {
                Framing::Bare => Some(payload.as_slice()),
                Framing::NonEspMarker | Framing::Stream => payload.strip_prefix(&NON_ESP_MARKER),
            };
            let Path { local, remote, framing } = path;
            let translated = if to_responder { self.nat.outward(local) } else { self.nat.inward(remote) };
            let Some(translated) = translated else { continue };
            self.uses.entry(if to_responder { local } else { translated }).or_default().push(self.now);
            match (message, to_responder) {
                (Some(message), true) => {
                    let path = Path { local: remote, remote: translated, framing };
                    self.responder.handle_datagram(path, message, self.now);
                }
                (Some(message), false) => {
                    let path = Path { local: translated, remote: local, framing };
                    self.client.handle_datagram(path, message, self.now);
                }
                // Short or damaged ESP is the business of `esp`'s own tests.
                (None, _) if self.network.forgeries > 0 => {}
                (None, _) => {
                    let plane = if to_responder {
                        &mut self.responder_plane
                    } else {
                        self.esp_came_to = Some(translated);
                        &mut self.client_plane
                    };
                    plane.receive(payload);
                }
            }
            self.collect();
        }
    }
}

impl Plane {
    fn apply(&mut self, event: Event) {
        match event {
            Event::ChildInstalled(child) => {
                self.installed += 1;
                let spi_in = child.info.spi_in;
                self.inbound.insert(spi_in, child.inbound);
                self.outbound.insert(spi_in, child.outbound);
                if child.send_now {
                    self.sending.push(spi_in);
                }
            }
            Event::ChildSendOn { spi_in } => {
                assert!(self.outbound.contains_key(&spi_in), "told to send on an unknown CHILD SA");
                self.sending.push(spi_in);
            }
            Event::ChildRemoved { spi_in, .. } => {
                self.removed += 1;
                assert!(self.inbound.remove(&spi_in).is_some(), "removed twice");
                self.outbound.remove(&spi_in);
                self.sending.retain(|spi| *spi != spi_in);
            }
            Event::SignAuth(_)
            | Event::Established(_)
            | Event::Configured(_)
            | Event::IkeRekeyed(_)
            | Event::RekeyFailed(_)
            | Event::ChildRefused(_)
            | Event::PathChanged(_)
            | Event::Migrated { .. }
            | Event::MigrationRefused { .. }
            | Event::MappingChanged
            | Event::PathChecked { .. }
            | Event::PathUnreachable { .. }
            | Event::DelayedCheck { .. }
            | Event::ReauthenticationDue { .. }
            | Event::Closed(_) => {}
        }
    }

    fn receive(&mut self, mut esp: Vec<u8>) {
        let spi = EspSpi(u32::from_be_bytes(esp[..4].try_into().unwrap()));
        let Some(inbound) = self.inbound.get_mut(&spi) else {
            panic!("ESP on SPI {spi}, which is not installed")
        };
        match inbound.open(&mut esp) {
            // A duplicate is the network's doing.
            Ok(_) | Err(OpenError::Replay | OpenError::TooOld) => {}
            Err(error) => panic!("ESP does not open: {error}"),
        }
    }
}

/// An IPv4 UDP packet without payload.
fn inner_packet(source: [u8; 4], destination: [u8; 4]) -> Vec<u8> {
    let mut packet = vec![0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0];
    packet.extend(source);
    packet.extend(destination);
    packet.extend([0x13, 0x88, 0x13, 0x89, 0, 8, 0, 0]);
    packet
}
