//! A daemon on a machine of straw: real server, permissions, profiles, control task and IKE engine; no sockets, no
//! devices. The gateway is a responder inside the machine.

use std::collections::VecDeque;
use std::future::pending;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use evenkeel_daemon::access::{Caller, Ownership};
use evenkeel_daemon::control::{Control, ControlHandle, Fault, Machine, MachineEvent, Reach};
use evenkeel_daemon::logging::LogRing;
use evenkeel_daemon::networks::Memory;
use evenkeel_daemon::portal::PortalConfig;
use evenkeel_daemon::profiles::Profiles;
use evenkeel_daemon::server::{Services, serve_client};
use evenkeel_datapath::wireguard::WireGuardStats;
use evenkeel_ipc::{Client, Notification, Request, State, Status};
use evenkeel_ipsec::crypto::{EspProposals, IkeProposals, Secret as KeyMaterial, UnixTime};
use evenkeel_ipsec::ike::{
    ChildInstalled, Framing, Path, PeerPolicy, Pool, Responder, ResponderAuth, ResponderConfig, Timers,
    Transmit,
};
use evenkeel_ipsec::wire::{EspSpi, Id, NON_ESP_MARKER, TrafficSelector};
use evenkeel_netprofile::ladder::Transport;
use evenkeel_netprofile::time::UnixSeconds;
use evenkeel_platform::user::UserId;
use evenkeel_profile::{Host, Profile, ProfileName, Secret, Secrets};
use evenkeel_tunnel::{
    Activity, ConfigureError, InnerNetwork, OpenedPath, PathError, PathId, SizeProbe, Way,
};
use tempfile::TempDir;
use tokio::io::DuplexStream;
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;

pub(crate) const PSK: &str = "a psk";
const GATEWAY: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 10));
const PEER: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 20));
const WALL: UnixTime = UnixTime(1_790_000_000);
/// Longer than anything here takes on the slowest machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// What a test sees and steers of the machine.
#[derive(Default)]
pub(crate) struct Strings {
    /// What the machine was told to do, in order.
    pub(crate) journal: Mutex<Vec<&'static str>>,
    /// How configuring the network ends.
    pub(crate) configure: Mutex<Option<Fault<ConfigureError>>>,
    /// That the network takes its time to be restored: until a test says [`MachineEvent::Unconfigured`].
    pub(crate) restores_slowly: Mutex<bool>,
    /// That nothing inside the tunnel answers a probe.
    pub(crate) swallows_probes: Mutex<bool>,
    /// The MTU of every path; 1500 without.
    pub(crate) path_mtu: Mutex<Option<u16>>,
    /// How opening a path ends.
    pub(crate) open: Mutex<Option<Fault<PathError>>>,
    /// How a handshake with the WireGuard peer ends.
    pub(crate) handshake: Mutex<Option<Fault<PathError>>>,
    /// The path to it, once it has answered.
    pub(crate) peer: Mutex<Option<PathId>>,
    /// That nothing passes between us and the gateway.
    pub(crate) silent: Mutex<bool>,
    /// Something for the control task to hear.
    pub(crate) say: Mutex<VecDeque<MachineEvent>>,
    said: Notify,
}

impl Strings {
    pub(crate) fn journal(&self) -> Vec<&'static str> {
        self.journal.lock().unwrap().clone()
    }

    pub(crate) fn say(&self, event: MachineEvent) {
        self.say.lock().unwrap().push_back(event);
        self.said.notify_one();
    }

    /// Waits until the machine has been told this, so many times in all.
    pub(crate) async fn told(&self, what: &str, times: usize) {
        let deadline = Instant::now() + PATIENCE;
        while self.journal().iter().filter(|told| **told == what).count() < times {
            assert!(Instant::now() < deadline, "never told to {what}: {:?}", self.journal());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    fn note(&self, what: &'static str) {
        self.journal.lock().unwrap().push(what);
    }
}

struct StrawMachine {
    strings: Arc<Strings>,
    responder: Responder,
    queue: VecDeque<MachineEvent>,
    /// The path to the WireGuard peer, once that has answered.
    peer: Option<PathId>,
}

fn peer_opened(port: u16) -> OpenedPath {
    let local = SocketAddr::new(Ipv4Addr::new(192, 168, 1, 5).into(), port);
    let path = Path { local, remote: SocketAddr::new(PEER, 51_820), framing: Framing::NonEspMarker };
    OpenedPath { init: path, nat: path, path_mtu: 1500, wall: WALL }
}

fn path(port: u16, framing: Framing) -> Path {
    let local = SocketAddr::new(Ipv4Addr::new(192, 168, 1, 5).into(), 40_000 + port % 1000);
    Path { local, remote: SocketAddr::new(GATEWAY, port), framing }
}

impl StrawMachine {
    fn path_mtu(&self) -> u16 {
        self.strings.path_mtu.lock().unwrap().unwrap_or(1500)
    }
}

impl Machine for StrawMachine {
    fn resolve(&mut self, _host: &Host) {
        self.strings.note("resolve");
        self.queue.push_back(MachineEvent::Resolved(Ok(vec![GATEWAY])));
    }

    fn resolve_peer(&mut self, _host: &Host) {
        self.strings.note("resolve peer");
        self.queue.push_back(MachineEvent::PeerResolved(Ok(vec![PEER])));
    }

    fn open_path(&mut self, id: PathId, way: Way, reach: &Reach) {
        if way.transport == Transport::WireGuard {
            self.strings.note("open peer");
            assert_eq!((way.gateway, reach.peer.as_ref().unwrap().endpoint.port()), (PEER, 51_820));
            let result = match self.strings.handshake.lock().unwrap().clone() {
                Some(fault) => Err(fault),
                None => Ok(peer_opened(7)),
            };
            self.peer = result.is_ok().then_some(id);
            *self.strings.peer.lock().unwrap() = self.peer;
            self.queue.push_back(MachineEvent::PathOpened { path: id, result });
            return;
        }
        self.strings.note("open");
        let result = match self.strings.open.lock().unwrap().clone() {
            Some(fault) => Err(fault),
            None => Ok(OpenedPath {
                init: path(500, Framing::Bare),
                nat: path(reach.udp.nat, Framing::NonEspMarker),
                path_mtu: self.path_mtu(),
                wall: WALL,
            }),
        };
        self.queue.push_back(MachineEvent::PathOpened { path: id, result });
    }

    fn use_path(&mut self, path: PathId) -> Result<(), Fault<PathError>> {
        self.strings.note(if self.peer == Some(path) { "use peer" } else { "use" });
        Ok(())
    }

    fn rebind_path(&mut self, path: PathId) -> Result<OpenedPath, Fault<PathError>> {
        assert_eq!(Some(path), self.peer);
        self.strings.note("rebind");
        Ok(peer_opened(8))
    }

    fn close_path(&mut self, path: PathId) {
        if self.peer.take_if(|peer| *peer == path).is_some() {
            self.strings.note("close peer");
        }
    }

    fn send(&mut self, transmit: &Transmit) {
        if *self.strings.silent.lock().unwrap() {
            return;
        }
        let now = Instant::now();
        let Path { local, remote, framing } = transmit.path;
        let message = match framing {
            Framing::Bare => &transmit.payload[..],
            Framing::NonEspMarker | Framing::Stream => {
                transmit.payload.strip_prefix(&NON_ESP_MARKER[..]).unwrap_or_default()
            }
        };
        self.responder.handle_datagram(Path { local: remote, remote: local, framing }, message, now);
        while let Some(answer) = self.responder.poll_transmit() {
            let Path { local, remote, framing } = answer.path;
            let message = match framing {
                Framing::Bare => answer.payload,
                Framing::NonEspMarker | Framing::Stream => {
                    answer.payload.strip_prefix(&NON_ESP_MARKER[..]).unwrap().to_vec()
                }
            };
            let path = Path { local: remote, remote: local, framing };
            self.queue.push_back(MachineEvent::Received { path, message });
        }
        while self.responder.poll_event().is_some() {}
    }

    fn probe(&mut self, probe: &SizeProbe) {
        // Everything that the path has room for passes, and everything is answered.
        let passes = probe.probe.size <= self.path_mtu();
        if passes && !*self.strings.swallows_probes.lock().unwrap() {
            self.queue.push_back(MachineEvent::ProbeAnswered(probe.probe.id));
        }
    }

    fn install(&mut self, _child: ChildInstalled) {
        self.strings.note("install");
    }

    fn send_on(&mut self, _spi_in: EspSpi) {}

    fn remove(&mut self, _spi_in: EspSpi) {
        self.strings.note("remove");
    }

    fn configure(&mut self, _inner: Arc<InnerNetwork>) {
        self.strings.note("configure");
        let fault = self.strings.configure.lock().unwrap().clone();
        self.queue.push_back(MachineEvent::Configured(fault.map_or(Ok(()), Err)));
    }

    fn unconfigure(&mut self) {
        self.strings.note("unconfigure");
        if !*self.strings.restores_slowly.lock().unwrap() {
            self.queue.push_back(MachineEvent::Unconfigured);
        }
    }

    fn look_for_portal(&mut self, _config: PortalConfig) {
        self.strings.note("look");
    }

    fn forget_portal(&mut self) {
        self.strings.note("forget");
    }

    fn activity(&mut self) -> Activity {
        Activity::default()
    }

    fn drops(&self) -> Vec<(&'static str, u64)> {
        Vec::new()
    }

    fn wireguard(&self) -> Option<WireGuardStats> {
        self.peer.map(|_| WireGuardStats {
            bytes_received: 5,
            bytes_sent: 6,
            handshakes: 1,
            ..Default::default()
        })
    }

    fn close(&mut self) {
        self.strings.note("close");
    }

    async fn next_event(&mut self) -> MachineEvent {
        loop {
            if let Some(event) = self.queue.pop_front() {
                return event;
            }
            let said = self.strings.say.lock().unwrap().pop_front();
            match said {
                Some(event) => return event,
                None => self.strings.said.notified().await,
            }
        }
    }
}

fn responder() -> Responder {
    let config = ResponderConfig {
        local_id: Id::Fqdn("vpn.example".into()),
        auth: ResponderAuth::Psk,
        peers: PeerPolicy { psks: vec![(None, KeyMaterial::new(PSK))], ..PeerPolicy::default() },
        ike: IkeProposals::modern(),
        esp: EspProposals::modern(),
        ts_local: vec![TrafficSelector::from_cidr(Ipv4Addr::new(10, 10, 0, 0).into(), 16).unwrap()],
        pool: Pool {
            v4: Some((Ipv4Addr::new(10, 9, 0, 1), 100)),
            dns: vec![Ipv4Addr::new(10, 10, 0, 1).into()],
            ..Pool::default()
        },
        timers: Timers::default(),
        cookie_threshold: usize::MAX,
        fragment_size: 1280,
        legacy_sha1: false,
    };
    Responder::new(config, [3; 32], WALL, Instant::now())
}

/// A running daemon.
pub(crate) struct Daemon {
    pub(crate) strings: Arc<Strings>,
    pub(crate) log: LogRing,
    services: Arc<Services>,
    stop: Option<oneshot::Sender<()>>,
    control: JoinHandle<()>,
    folders: [TempDir; 2],
}

impl Daemon {
    /// With Alice's profile "Lab" and the managed profile "Corp".
    pub(crate) fn start() -> Self {
        let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let (mut profiles, _) = Profiles::open(folders[0].path(), folders[1].path(), UserId::Uid(0)).unwrap();
        let alice = caller(ALICE);
        let secrets = Secrets { psk: Some(Secret::new(PSK)), ..Secrets::default() };
        profiles.import(&alice, Ownership::User(alice.user.clone()), profile("Lab"), &secrets).unwrap();
        profiles.import(&caller(ROOT), Ownership::Managed, profile("Corp"), &secrets).unwrap();

        let strings = Arc::<Strings>::default();
        let machine = StrawMachine {
            strings: Arc::clone(&strings),
            responder: responder(),
            queue: VecDeque::new(),
            peer: None,
        };
        let memory = Memory::open(folders[1].path(), UnixSeconds(WALL.0));
        let log = LogRing::default();
        let (handle, end) = ControlHandle::pair();
        let (stop, stopped) = oneshot::channel();
        let control = Control::new(machine, end, log.clone(), || Some([9; 32]), memory);
        let control = tokio::spawn(control.run(async move {
            // Dropped without a word: the test is over.
            if stopped.await.is_err() {
                pending::<()>().await;
            }
        }));
        let services = Services::new(profiles, handle, log.clone());
        Self { strings, log, services, stop: Some(stop), control, folders }
    }

    /// A bare connection of Bob's, and the task that serves it.
    pub(crate) fn raw_client(&self) -> (DuplexStream, JoinHandle<()>) {
        self.stream(BOB)
    }

    fn stream(&self, uid: u32) -> (DuplexStream, JoinHandle<()>) {
        let (client, server) = tokio::io::duplex(1 << 12);
        (client, tokio::spawn(serve_client(server, caller(uid), Arc::clone(&self.services))))
    }

    pub(crate) async fn client(&self, uid: u32) -> Client<DuplexStream> {
        Client::connect(self.stream(uid).0, "test").await.unwrap()
    }

    /// Connects as this user and waits until it is so.
    pub(crate) async fn connected(&self, uid: u32, profile: &str) -> Client<DuplexStream> {
        let mut client = self.client(uid).await;
        client.perform(connect(profile)).await.unwrap();
        wait_for(&mut client, State::Connected).await;
        client
    }

    /// As on SIGTERM. Returns the state folder.
    pub(crate) async fn stop(mut self) -> TempDir {
        self.stop.take().unwrap().send(()).unwrap();
        timeout(PATIENCE, &mut self.control).await.unwrap().unwrap();
        let [_, state] = self.folders;
        state
    }

    /// What is on disk of networks.
    pub(crate) fn remembered(&self) -> String {
        std::fs::read_to_string(self.memory_file()).unwrap()
    }

    /// Where that is.
    pub(crate) fn memory_file(&self) -> PathBuf {
        self.folders[1].path().join("networks.json")
    }
}

pub(crate) const ALICE: u32 = 1000;
pub(crate) const BOB: u32 = 1001;
pub(crate) const ROOT: u32 = 0;

pub(crate) fn caller(uid: u32) -> Caller {
    Caller { user: UserId::Uid(uid), administrator: uid == ROOT }
}

pub(crate) fn name(text: &str) -> ProfileName {
    text.parse().unwrap()
}

pub(crate) fn connect(profile: &str) -> Request {
    Request::Connect { name: name(profile), secret: None }
}

pub(crate) fn profile(name: &str) -> Profile {
    serde_json::from_value(serde_json::json!({
        "name": name, "gateway": "198.51.100.10", "remote_id": "vpn.example", "auth": { "method": "psk" },
        "local_id": "alice@example.org",
    }))
    .unwrap()
}

/// Why a path can't be opened.
pub(crate) fn unreachable() -> Fault<PathError> {
    let cause = evenkeel_ipc::Cause::NetworkUnreachable { remote: SocketAddr::new(GATEWAY, 4500) };
    Fault { error: PathError::NoRoute, cause }
}

/// Watches until the state is so.
pub(crate) async fn wait_for(client: &mut Client<DuplexStream>, state: State) -> Status {
    wait_until(client, &format!("{state:?}"), |status| status.state == state).await
}

/// Watches until the status is so.
pub(crate) async fn wait_until(
    client: &mut Client<DuplexStream>,
    what: &str,
    is_so: impl Fn(&Status) -> bool,
) -> Status {
    let watching = async {
        let mut status = client.status(true).await.unwrap();
        while !is_so(&status) {
            let Some(Notification::Status(next)) = client.next_notification().await.unwrap() else {
                panic!("the daemon closed");
            };
            status = next;
        }
        status
    };
    timeout(PATIENCE, watching).await.unwrap_or_else(|_| panic!("never {what}"))
}
