//! A VPN client for tests: the engine's initiator, ESP and a TCP/IP stack, over real UDP sockets.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use evenkeel_gateway::config::GatewayConfig;
use evenkeel_gateway::server::{Ready, Server};
use evenkeel_ipsec::crypto::{EspProposals, IkeProposals, SigningKey, UnixTime};
use evenkeel_ipsec::esp::{InboundSa, OutboundSa};
use evenkeel_ipsec::ike::{
    ChildInstalled, ClientConfig, Configuration, Event, Failure, Framing, LocalAuth, MigrationRefusal, Path,
    PeerAuth, Session, Timers,
};
use evenkeel_ipsec::wire::{Encapsulated, EspSpi, Id, TrafficSelector, classify};
use tokio::net::UdpSocket;
use tokio::sync::oneshot;

use super::ClientStack;
use super::streams::ClientStream;

/// Ends a test that would otherwise wait for ever.
const PATIENCE: Duration = Duration::from_secs(30);

/// A gateway that serves on loopback until it is dropped.
pub struct RunningGateway {
    pub ready: Ready,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl RunningGateway {
    /// Starts it on a thread of its own, with ports that the system chooses.
    pub fn start(mut config: GatewayConfig) -> Self {
        config.listen.addresses = vec![IpAddr::from([127, 0, 0, 1])];
        config.listen.ike_port = 0;
        config.listen.nat_port = 0;
        let (ready_sender, ready) = std::sync::mpsc::channel();
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let server = Server::start(config).unwrap();
                ready_sender.send(server.ready().clone()).unwrap();
                // Dropping the sender stops it too.
                server.run(async { drop(stopped.await) }).await;
            });
        });
        Self { ready: ready.recv_timeout(PATIENCE).unwrap(), stop: Some(stop), thread: Some(thread) }
    }
}

impl Drop for RunningGateway {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
            && !std::thread::panicking()
        {
            panic!("the gateway panicked");
        }
    }
}

/// What most tests want of a client.
pub fn client_config(auth: LocalAuth, peer_auth: PeerAuth) -> ClientConfig {
    ClientConfig {
        local_id: Id::Fqdn("client.practice".into()),
        remote_id: Some(Id::Fqdn("gateway.practice".into())),
        auth,
        peer_auth,
        ike: IkeProposals::modern(),
        esp: EspProposals::modern(),
        ts_local: vec![TrafficSelector::any_v4(), TrafficSelector::any_v6()],
        ts_remote: vec![TrafficSelector::any_v4(), TrafficSelector::any_v6()],
        request_ipv4: true,
        request_ipv6: true,
        addresses: Vec::new(),
        initial_contact: false,
        mobike: true,
        timers: Timers::default(),
        fragment_size: 1280,
        legacy_sha1: false,
    }
}

/// One CHILD SA of the client.
struct Child {
    inbound: InboundSa,
    outbound: OutboundSa,
    sending: bool,
    age: usize,
}

/// A connected client.
pub struct TunnelClient {
    pub session: Session,
    pub stack: Option<ClientStack>,
    pub assigned: Configuration,
    pub closed: Option<Failure>,
    pub refused: Vec<String>,
    pub installed: usize,
    pub ike_rekeys: usize,
    pub reauthentication_due: bool,
    migrated: Option<Result<(), MigrationRefusal>>,
    children: BTreeMap<EspSpi, Child>,
    signing_key: Option<SigningKey>,
    /// `None` along a stream.
    bare: Option<UdpSocket>,
    encapsulated: Encapsulating,
    pub init_path: Path,
    pub nat_path: Path,
}

impl TunnelClient {
    /// Starts to connect.
    pub async fn connect(gateway: &Ready, config: ClientConfig, signing_key: Option<SigningKey>) -> Self {
        let (bare, init_path) = socket(gateway.ike[0], Framing::Bare).await;
        let (encapsulated, nat_path) = socket(gateway.nat[0], Framing::NonEspMarker).await;
        Self::start(Some(bare), Encapsulating::Udp(encapsulated), init_path, nat_path, config, signing_key)
    }

    /// Starts to connect along a stream.
    pub fn connect_along(
        stream: ClientStream,
        config: ClientConfig,
        signing_key: Option<SigningKey>,
    ) -> Self {
        let path = stream.path;
        Self::start(None, Encapsulating::Stream(stream), path, path, config, signing_key)
    }

    fn start(
        bare: Option<UdpSocket>,
        encapsulated: Encapsulating,
        init_path: Path,
        nat_path: Path,
        config: ClientConfig,
        signing_key: Option<SigningKey>,
    ) -> Self {
        let mut seed = [0; 32];
        aws_lc_rs::rand::fill(&mut seed).unwrap();
        let wall = UnixTime(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs());
        let session = Session::connect(Arc::new(config), init_path, nat_path, seed, wall, Instant::now());
        Self {
            session,
            stack: None,
            assigned: Configuration::default(),
            closed: None,
            refused: Vec::new(),
            installed: 0,
            ike_rekeys: 0,
            reauthentication_due: false,
            migrated: None,
            children: BTreeMap::new(),
            signing_key,
            bare,
            encapsulated,
            init_path,
            nat_path,
        }
    }

    /// Runs until `done` gives a value, in real time.
    #[track_caller]
    pub fn run<T>(&mut self, done: impl FnMut(&mut Self) -> Option<T>) -> impl Future<Output = T> {
        let caller = std::panic::Location::caller();
        async move {
            tokio::time::timeout(PATIENCE, self.run_until(done))
                .await
                .unwrap_or_else(|_| panic!("{caller}: the test waits for what does not come"))
        }
    }

    /// Runs until there is an inner network to talk over.
    #[track_caller]
    pub fn established(&mut self) -> impl Future<Output = ()> {
        self.run(|client| {
            assert!(client.closed.is_none(), "{:?}", client.closed);
            (client.installed > 0).then_some(())
        })
    }

    /// Runs until the session is over.
    #[track_caller]
    pub fn ended(&mut self) -> impl Future<Output = Failure> {
        self.run(|client| client.closed.take())
    }

    pub fn stack(&mut self) -> &mut ClientStack {
        self.stack.as_mut().expect("an inner network")
    }

    /// The client's packets come from another port from here on, as behind a NAT that lost its mapping. The engine
    /// does not know.
    pub async fn lose_mapping(&mut self) {
        self.lose_mapping_to(self.nat_path.remote).await;
    }

    /// The same with the gateway at another address.
    pub async fn lose_mapping_to(&mut self, gateway: SocketAddr) {
        let (socket, _) = socket(gateway, Framing::NonEspMarker).await;
        self.encapsulated = Encapsulating::Udp(socket);
    }

    /// Everything goes along this stream from here on; one that was used before is closed.
    pub fn move_to(&mut self, stream: ClientStream) {
        self.encapsulated = Encapsulating::Stream(stream);
    }

    /// Goes to another port and tells the gateway with MOBIKE; returns what it answers.
    pub async fn migrate(&mut self) -> Result<(), MigrationRefusal> {
        let (socket, path) = socket(self.nat_path.remote, Framing::NonEspMarker).await;
        (self.encapsulated, self.nat_path) = (Encapsulating::Udp(socket), path);
        self.session.migrate(path, Instant::now()).unwrap();
        self.run(|client| client.migrated.take()).await
    }

    /// Inbound SPIs of the CHILD SAs, oldest first.
    pub fn spis(&self) -> Vec<EspSpi> {
        let mut children: Vec<_> = self.children.iter().map(|(spi, child)| (child.age, *spi)).collect();
        children.sort_unstable();
        children.into_iter().map(|(_, spi)| spi).collect()
    }

    async fn run_until<T>(&mut self, mut done: impl FnMut(&mut Self) -> Option<T>) -> T {
        let (mut bare, mut encapsulated) = ([0; 65_536], vec![0; 65_536]);
        loop {
            self.pump().await;
            if let Some(result) = done(self) {
                self.pump().await;
                return result;
            }
            let now = Instant::now();
            let session = self.session.poll_timeout().map(|(at, _)| at);
            let stack = self.stack.as_mut().and_then(|stack| stack.poll_delay(now)).map(|delay| now + delay);
            let due = session.into_iter().chain(stack).min().unwrap_or(now + PATIENCE);
            tokio::select! {
                Ok(length) = receive(self.bare.as_ref(), &mut bare) => {
                    self.session.handle_datagram(self.init_path, &bare[..length], Instant::now());
                }
                Ok(length) = self.encapsulated.socket().recv(&mut encapsulated) => {
                    self.take(&mut encapsulated[..length]);
                }
                () = tokio::time::sleep_until(due.into()) => self.session.handle_timeout(Instant::now()),
            }
        }
    }

    fn take(&mut self, datagram: &mut [u8]) {
        let now = Instant::now();
        match classify(datagram) {
            Encapsulated::Ike(message) => self.session.handle_datagram(self.nat_path, message, now),
            Encapsulated::Esp(_) => {
                let spi = EspSpi(u32::from_be_bytes(*datagram.first_chunk().unwrap()));
                let Some(child) = self.children.get_mut(&spi) else { return };
                if let Ok(opened) = child.inbound.open(datagram) {
                    self.session.handle_esp_received(now);
                    if let Some(stack) = &mut self.stack {
                        stack.device.queue_received(opened.packet);
                    }
                }
            }
            Encapsulated::Keepalive | Encapsulated::Runt => {}
        }
    }

    async fn pump(&mut self) {
        let now = Instant::now();
        while let Some(event) = self.session.poll_event() {
            self.handle_event(event, now);
        }
        while let Some(transmit) = self.session.poll_transmit() {
            let socket = match (transmit.path.framing, &self.bare) {
                (Framing::Bare, Some(bare)) => bare,
                (Framing::Bare, None) => continue,
                (Framing::NonEspMarker | Framing::Stream, _) => self.encapsulated.socket(),
            };
            // A gateway that is gone shows as an ICMP error here; the engine finds out by itself.
            let _ = socket.send(&transmit.payload).await;
        }
        let Some(stack) = &mut self.stack else { return };
        stack.poll(now);
        while let Some(packet) = stack.device.pop_transmitted() {
            let child =
                self.children.values_mut().filter(|child| child.sending).max_by_key(|child| child.age);
            let Some(child) = child else { continue };
            let mut slot = vec![0; child.outbound.sealed_len(packet.len())];
            let headroom = child.outbound.headroom();
            slot[headroom..headroom + packet.len()].copy_from_slice(&packet);
            if child.outbound.seal(&mut slot, packet.len()).is_ok() {
                let _ = self.encapsulated.socket().send(&slot).await;
            }
        }
    }

    fn handle_event(&mut self, event: Event, now: Instant) {
        match event {
            Event::SignAuth(request) => {
                let key = self.signing_key.as_ref().expect("a key to sign with");
                let signature = key.sign(request.choice, &request.octets).map_err(drop);
                self.session.provide_signature(signature, now);
            }
            Event::Configured(assigned) => {
                let addresses: Vec<_> = assigned.addresses.iter().map(|(address, _)| *address).collect();
                self.stack = Some(ClientStack::new(&addresses, 1400, now));
                self.assigned = assigned;
            }
            Event::ChildInstalled(child) => {
                let ChildInstalled { info, inbound, outbound, send_now, .. } = *child;
                self.installed += 1;
                let child = Child { inbound, outbound, sending: send_now, age: self.installed };
                self.children.insert(info.spi_in, child);
            }
            Event::ChildSendOn { spi_in } => {
                if let Some(child) = self.children.get_mut(&spi_in) {
                    child.sending = true;
                }
            }
            Event::ChildRemoved { spi_in, .. } => drop(self.children.remove(&spi_in)),
            Event::ChildRefused(notify) => self.refused.push(notify.to_string()),
            Event::RekeyFailed(failed) => self.refused.push(failed.notify.to_string()),
            Event::IkeRekeyed(_) => self.ike_rekeys += 1,
            Event::Closed(failure) => self.closed = Some(failure),
            Event::ReauthenticationDue { .. } => self.reauthentication_due = true,
            Event::Migrated { .. } => self.migrated = Some(Ok(())),
            Event::MigrationRefused { refusal, .. } => self.migrated = Some(Err(refusal)),
            Event::Established(_)
            | Event::PathChanged(_)
            | Event::MappingChanged
            | Event::PathChecked { .. }
            | Event::PathUnreachable { .. }
            | Event::DelayedCheck { .. } => {}
        }
    }
}

/// What carries everything but the first exchange.
enum Encapsulating {
    Udp(UdpSocket),
    Stream(ClientStream),
}

impl Encapsulating {
    fn socket(&self) -> &UdpSocket {
        match self {
            Self::Udp(socket) => socket,
            Self::Stream(stream) => &stream.socket,
        }
    }
}

async fn receive(socket: Option<&UdpSocket>, buffer: &mut [u8]) -> std::io::Result<usize> {
    match socket {
        Some(socket) => socket.recv(buffer).await,
        None => std::future::pending().await,
    }
}

async fn socket(gateway: SocketAddr, framing: Framing) -> (UdpSocket, Path) {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    // Room for a TCP window: what is lost here costs a retransmission timeout.
    socket2::SockRef::from(&socket).set_recv_buffer_size(4 << 20).unwrap();
    socket.connect(gateway).await.unwrap();
    let path = Path { local: socket.local_addr().unwrap(), remote: gateway, framing };
    (socket, path)
}
