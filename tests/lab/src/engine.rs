//! A client that is our engine and two UDP sockets, no more: no TUN device, no routes, no daemon.
//!
//! Fast enough to try every suite and every way to fail against one charon. Data through the CHILD SA is datagrams made by
//! hand, sealed and opened by the very SAs that the engine installs.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr, UdpSocket},
    sync::{Arc, mpsc},
    thread,
    time::{Duration, Instant, SystemTime},
};

use anyhow::{Context, bail, ensure};
use etherparse::{PacketBuilder, SlicedPacket, TransportSlice};
use evenkeel_ipsec::{
    crypto::{EspProposals, IkeProposals, Secret, SigningKey, UnixTime},
    ike::{
        ChildInstalled, ClientConfig, Configuration, Event, Failure, Framing, LocalAuth, Mapping, Path,
        PeerAuth, Session, Timers,
    },
    wire::{Encapsulated, EspSpi, TrafficSelector, classify},
};

use crate::{Host, traffic};

/// A session with its sockets, and the SAs that it has installed.
pub struct EngineClient {
    session: Session,
    /// The port of the first exchange, the port of all others, and those that were opened since.
    sockets: Vec<Socket>,
    arrived: mpsc::Sender<(Path, Vec<u8>)>,
    arrivals: mpsc::Receiver<(Path, Vec<u8>)>,
    key: Option<SigningKey>,
    children: BTreeMap<EspSpi, ChildInstalled>,
    /// The CHILD SA to send on, by its inbound SPI.
    sending: Option<EspSpi>,
    /// Inner packets that came out of CHILD SAs.
    inner: Vec<Vec<u8>>,
    configuration: Configuration,
    path_checks: Vec<(Path, Option<Mapping>)>,
    /// Everything that the session has reported, and when.
    history: Vec<(Duration, String)>,
    started: Instant,
    failure: Option<Failure>,
    next_port: u16,
}

struct Socket {
    socket: UdpSocket,
    path: Path,
}

impl Socket {
    /// A socket on `host` from `local` (any port) to `remote`, with a thread that hands over what arrives.
    fn open(
        host: &Host,
        local: IpAddr,
        remote: SocketAddr,
        framing: Framing,
        arrived: &mpsc::Sender<(Path, Vec<u8>)>,
    ) -> anyhow::Result<Self> {
        let socket = host.run(|| -> anyhow::Result<_> {
            let socket = UdpSocket::bind((local, 0)).context("a UDP socket")?;
            socket.connect(remote).context("the gateway's address")?;
            Ok(socket)
        })?;
        let local = socket.local_addr().context("our own address")?;
        let path = Path { local, remote, framing };
        let (receiver, arrived) = (socket.try_clone().context("sharing the socket")?, arrived.clone());
        thread::spawn(move || {
            let mut buffer = vec![0; 65535];
            // ECONNREFUSED is what a gateway that is being restarted answers with; it passes.
            loop {
                if let Ok(length) = receiver.recv(&mut buffer)
                    && arrived.send((path, buffer[..length].to_vec())).is_err()
                {
                    return;
                }
            }
        });
        Ok(Self { socket, path })
    }
}

impl EngineClient {
    /// Starts to connect from `host`. `key` signs when the configuration names a certificate.
    pub fn start(
        host: &Host,
        gateway: IpAddr,
        config: ClientConfig,
        key: Option<SigningKey>,
    ) -> anyhow::Result<Self> {
        let (arrived, arrivals) = mpsc::channel();
        let any = match gateway {
            IpAddr::V4(_) => IpAddr::from([0; 4]),
            IpAddr::V6(_) => IpAddr::from([0; 16]),
        };
        let init = Socket::open(host, any, (gateway, 500).into(), Framing::Bare, &arrived)?;
        let nat = Socket::open(host, any, (gateway, 4500).into(), Framing::NonEspMarker, &arrived)?;
        let session =
            Session::connect(Arc::new(config), init.path, nat.path, seed()?, wall()?, Instant::now());
        Ok(Self {
            session,
            sockets: vec![init, nat],
            arrived,
            arrivals,
            key,
            children: BTreeMap::new(),
            sending: None,
            inner: Vec::new(),
            configuration: Configuration::default(),
            path_checks: Vec::new(),
            history: Vec::new(),
            started: Instant::now(),
            failure: None,
            next_port: 20_000,
        })
    }

    /// Connects; an error if the session ends instead.
    pub fn connect(
        host: &Host,
        gateway: IpAddr,
        config: ClientConfig,
        key: Option<SigningKey>,
    ) -> anyhow::Result<Self> {
        let mut client = Self::start(host, gateway, config, key)?;
        client.wait("a CHILD SA", Duration::from_secs(15), |client| client.sending)?;
        Ok(client)
    }

    /// Tries to connect and returns why it failed; an error if it did not.
    pub fn refused(
        host: &Host,
        gateway: IpAddr,
        config: ClientConfig,
        key: Option<SigningKey>,
    ) -> anyhow::Result<Failure> {
        let mut client = Self::start(host, gateway, config, key)?;
        client.wait_for_end(Duration::from_secs(20))
    }

    /// The session, to be asked.
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// What the gateway has assigned.
    pub fn configuration(&self) -> &Configuration {
        &self.configuration
    }

    /// The CHILD SA that is sent on.
    pub fn child(&self) -> anyhow::Result<&ChildInstalled> {
        let spi = self.sending.context("no CHILD SA is sent on")?;
        self.children.get(&spi).context("the CHILD SA that is sent on is not installed")
    }

    /// Opens another socket to the gateway's NAT-traversal port, from this address of `host`.
    pub fn open_path(&mut self, host: &Host, local: IpAddr, gateway: IpAddr) -> anyhow::Result<Path> {
        let socket = Socket::open(host, local, (gateway, 4500).into(), Framing::NonEspMarker, &self.arrived)?;
        let path = socket.path;
        self.sockets.push(socket);
        Ok(path)
    }

    /// Path tests that were answered, with what the gateway saw of our address.
    pub fn path_checks(&self) -> &[(Path, Option<Mapping>)] {
        &self.path_checks
    }

    /// Asks the session to do something.
    pub fn command(&mut self, command: impl FnOnce(&mut Session, Instant)) -> anyhow::Result<()> {
        command(&mut self.session, Instant::now());
        self.drain()
    }

    /// Runs the session until `found` finds something.
    pub fn wait<T>(
        &mut self,
        what: &str,
        limit: Duration,
        mut found: impl FnMut(&mut Self) -> Option<T>,
    ) -> anyhow::Result<T> {
        let deadline = Instant::now() + limit;
        self.drain()?;
        loop {
            if let Some(found) = found(self) {
                return Ok(found);
            }
            if let Some(failure) = &self.failure {
                bail!("the session ended while waiting for {what}: {failure} ({failure:?})\n{}", self.told());
            }
            if Instant::now() >= deadline {
                bail!("waited {} s in vain for {what}\n{}", limit.as_secs(), self.told());
            }
            self.turn(deadline)?;
        }
    }

    /// Runs the session until it is over.
    pub fn wait_for_end(&mut self, limit: Duration) -> anyhow::Result<Failure> {
        let deadline = Instant::now() + limit;
        self.drain()?;
        loop {
            if let Some(failure) = self.failure.take() {
                return Ok(failure);
            }
            ensure!(Instant::now() < deadline, "the session goes on\n{}", self.told());
            self.turn(deadline)?;
        }
    }

    /// Says goodbye and waits for the answer.
    pub fn close(&mut self) -> anyhow::Result<()> {
        self.command(|session, now| session.close(now))?;
        let end = self.wait_for_end(Duration::from_secs(5))?;
        ensure!(matches!(end, Failure::LocalClose), "closing ended with {end:?}");
        Ok(())
    }

    /// Keeps datagrams going to the echo server, a few at a time, until `enough`; an error if one gets lost.
    pub fn load_until(
        &mut self,
        what: &str,
        server: IpAddr,
        limit: Duration,
        mut enough: impl FnMut(&Self) -> bool,
    ) -> anyhow::Result<u32> {
        let deadline = Instant::now() + limit;
        let mut echoes = 0;
        while !enough(self) {
            ensure!(Instant::now() < deadline, "{echoes} echoes came, but not {what}\n{}", self.told());
            let payloads: Vec<Vec<u8>> =
                (1..=8).map(|number| vec![number; 64 * usize::from(number)]).collect();
            let sent = payloads.iter().map(|payload| Ok((self.send(server, payload)?, payload)));
            for (port, payload) in sent.collect::<anyhow::Result<Vec<_>>>()? {
                let what = format!("echo {echoes} while waiting for {what}");
                self.wait(&what, Duration::from_secs(5), |client| client.take_echo(server, port, payload))?;
                echoes += 1;
            }
        }
        Ok(echoes)
    }

    /// How often the session has reported something that begins with `event`.
    pub fn told_of(&self, event: &str) -> usize {
        self.history.iter().filter(|(_when, told)| told.starts_with(event)).count()
    }

    /// Sends datagrams of these sizes to the echo server and waits for each to come back, through the CHILD SA.
    pub fn exchange(&mut self, server: IpAddr, sizes: &[usize]) -> anyhow::Result<()> {
        for &size in sizes {
            let payload: Vec<u8> = (0..size).map(|at| (at % 251) as u8).collect();
            let port = self.send(server, &payload)?;
            self.wait(&format!("the echo of {size} bytes"), Duration::from_secs(5), |client| {
                client.take_echo(server, port, &payload)
            })?;
        }
        Ok(())
    }

    /// Seals one datagram for the echo server and sends it; returns its source port.
    pub fn send(&mut self, server: IpAddr, payload: &[u8]) -> anyhow::Result<u16> {
        let mut assigned = self.configuration.addresses.iter().map(|(address, _)| *address);
        let ours = assigned.rfind(|address| address.is_ipv4() == server.is_ipv4());
        let ours = ours.with_context(|| format!("no address to talk to {server} from"))?;
        self.next_port = self.next_port.wrapping_add(1).max(20_000);
        let packet = udp_packet((ours, self.next_port), (server, traffic::PORT), payload)?;

        let spi = self.sending.context("no CHILD SA to send on")?;
        let child = self.children.get_mut(&spi).context("no CHILD SA to send on")?;
        let headroom = child.outbound.headroom();
        let mut slot = vec![0; headroom + packet.len() + child.outbound.max_trailer()];
        slot[headroom..headroom + packet.len()].copy_from_slice(&packet);
        let length = child.outbound.seal(&mut slot, packet.len())?;
        let path = self.session.info().context("no IKE SA")?.path;
        self.socket(path).context("no socket for ESP")?.send(&slot[..length]).context("sending ESP")?;
        Ok(self.next_port)
    }

    /// Removes the echo of `payload` from what came out of the tunnel, if it is there.
    fn take_echo(&mut self, server: IpAddr, port: u16, payload: &[u8]) -> Option<()> {
        let at = self.inner.iter().position(|packet| is_echo(packet, server, port, payload))?;
        self.inner.swap_remove(at);
        Some(())
    }

    /// One turn of the loop: the next datagram, or the next timer, whichever comes first.
    fn turn(&mut self, deadline: Instant) -> anyhow::Result<()> {
        let wake = self.session.poll_timeout().map_or(deadline, |(at, _why)| at.min(deadline));
        match self.arrivals.recv_timeout(wake.saturating_duration_since(Instant::now())) {
            Ok((path, datagram)) => self.receive(path, datagram),
            Err(mpsc::RecvTimeoutError::Timeout) => self.session.handle_timeout(Instant::now()),
            Err(mpsc::RecvTimeoutError::Disconnected) => bail!("both receivers have ended"),
        }
        self.drain()
    }

    fn receive(&mut self, path: Path, mut datagram: Vec<u8>) {
        let now = Instant::now();
        match (path.framing, classify(&datagram)) {
            (Framing::Bare, _) => self.session.handle_datagram(path, &datagram, now),
            (Framing::NonEspMarker | Framing::Stream, Encapsulated::Ike(message)) => {
                self.session.handle_datagram(path, message, now);
            }
            (Framing::NonEspMarker | Framing::Stream, Encapsulated::Esp(esp)) => {
                let spi = esp.first_chunk().map(|spi| EspSpi(u32::from_be_bytes(*spi)));
                let Some(child) = spi.and_then(|spi| self.children.get_mut(&spi)) else { return };
                if let Ok(opened) = child.inbound.open(&mut datagram) {
                    self.inner.push(opened.packet.to_vec());
                    self.session.handle_esp_received(now);
                }
            }
            (Framing::NonEspMarker | Framing::Stream, Encapsulated::Keepalive | Encapsulated::Runt) => {}
        }
    }

    /// Carries out everything that the session wants.
    fn drain(&mut self) -> anyhow::Result<()> {
        loop {
            while let Some(transmit) = self.session.poll_transmit() {
                let socket = self.socket(transmit.path).context("a path without a socket")?;
                // A refused or lost datagram is what retransmission is for.
                let _ = socket.send(&transmit.payload);
            }
            let Some(event) = self.session.poll_event() else { return Ok(()) };
            self.history.push((self.started.elapsed(), format!("{event:?}")));
            self.act(event);
        }
    }

    fn socket(&self, path: Path) -> Option<&UdpSocket> {
        self.sockets.iter().find(|socket| socket.path == path).map(|socket| &socket.socket)
    }

    fn act(&mut self, event: Event) {
        match event {
            Event::SignAuth(request) => {
                let signed = self
                    .key
                    .as_ref()
                    .ok_or(())
                    .and_then(|key| key.sign(request.choice, &request.octets).map_err(|_| ()));
                self.session.provide_signature(signed, Instant::now());
            }
            Event::Configured(configuration) => self.configuration = configuration,
            Event::ChildInstalled(child) => {
                if child.send_now {
                    self.sending = Some(child.info.spi_in);
                }
                self.children.insert(child.info.spi_in, *child);
            }
            Event::ChildSendOn { spi_in } => self.sending = Some(spi_in),
            Event::ChildRemoved { spi_in, .. } => {
                self.children.remove(&spi_in);
                self.sending = self.sending.filter(|sending| *sending != spi_in);
            }
            Event::PathChecked { path, mapping, .. } => self.path_checks.push((path, mapping)),
            Event::Closed(failure) => self.failure = Some(failure),
            Event::Established(_)
            | Event::IkeRekeyed(_)
            | Event::RekeyFailed(_)
            | Event::ChildRefused(_)
            | Event::PathChanged(_)
            | Event::Migrated { .. }
            | Event::MigrationRefused { .. }
            | Event::MappingChanged
            | Event::PathUnreachable { .. }
            | Event::DelayedCheck { .. }
            | Event::ReauthenticationDue { .. } => {}
        }
    }

    fn told(&self) -> String {
        let lines = self.history.iter().map(|(when, told)| format!("{:.3} s: {told}\n", when.as_secs_f64()));
        let now = format!("{:.3} s: now", self.started.elapsed().as_secs_f64());
        lines.chain([now]).collect()
    }
}

/// An inner UDP datagram.
fn udp_packet(from: (IpAddr, u16), to: (IpAddr, u16), payload: &[u8]) -> anyhow::Result<Vec<u8>> {
    let builder = match (from.0, to.0) {
        (IpAddr::V4(from), IpAddr::V4(to)) => PacketBuilder::ipv4(from.octets(), to.octets(), 64),
        (IpAddr::V6(from), IpAddr::V6(to)) => PacketBuilder::ipv6(from.octets(), to.octets(), 64),
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => bail!("two address families"),
    };
    let mut packet = Vec::new();
    builder.udp(from.1, to.1).write(&mut packet, payload).context("building a packet")?;
    Ok(packet)
}

/// Whether `packet` is the server's echo of `payload` to `port`.
fn is_echo(packet: &[u8], server: IpAddr, port: u16, payload: &[u8]) -> bool {
    let Ok(sliced) = SlicedPacket::from_ip(packet) else { return false };
    let Some(TransportSlice::Udp(udp)) = sliced.transport else { return false };
    let from = sliced.net.as_ref().and_then(|net| {
        let v4 = net.ipv4_ref().map(|ip| IpAddr::from(ip.header().source_addr()));
        v4.or_else(|| net.ipv6_ref().map(|ip| IpAddr::from(ip.header().source_addr())))
    });
    from == Some(server) && udp.destination_port() == port && udp.payload() == payload
}

/// What a session may draw randomness from.
fn seed() -> anyhow::Result<[u8; 32]> {
    let mut seed = [0; 32];
    aws_lc_rs::rand::fill(&mut seed).ok().context("random bytes")?;
    Ok(seed)
}

fn wall() -> anyhow::Result<UnixTime> {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).context("a clock before 1970")?;
    Ok(UnixTime(since.as_secs()))
}

/// A configuration that offers everything, for a gateway named `vpn.lab.example` with the office network behind it.
pub fn config(local_id: &str, auth: LocalAuth, peer_auth: PeerAuth) -> anyhow::Result<ClientConfig> {
    Ok(ClientConfig {
        local_id: local_id.parse().ok().context("an IKE identity")?,
        remote_id: Some("vpn.lab.example".parse().ok().context("an IKE identity")?),
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
    })
}

/// [`config`] with a pre-shared key at both ends.
pub fn psk_config(local_id: &str, psk: &str) -> anyhow::Result<ClientConfig> {
    config(local_id, LocalAuth::Psk(Secret::new(psk)), PeerAuth::Psk(Secret::new(psk)))
}
