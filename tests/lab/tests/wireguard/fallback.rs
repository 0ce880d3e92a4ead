//! The product's end: the profile's keys, the daemon's handshake, the plane between device and socket.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    sync::{Mutex, PoisonError, mpsc},
    time::{Duration, Instant},
};

use anyhow::Context;
use evenkeel_daemon::wireguard::{self, HandshakeError};
use evenkeel_datapath::{
    MssClamp,
    wireguard::{Established, WireGuardEvent, WireGuardPlane, inner_mtu},
};
use evenkeel_lab::{
    Host, Nat, Network, Topology,
    topology::GATEWAY_V4,
    traffic,
    wireguard_go::{CLIENT, INSIDE, Keys, PORT, WireGuardGo},
};
use evenkeel_platform::{
    socket::{UdpOptions, UdpSocket},
    tun::{Tun, TunConfig},
};
use evenkeel_profile::{FileProblem, parse_toml};

/// A client behind a NAT, wireguard-go on the gateway, and an office behind it that serves.
pub(crate) fn network() -> anyhow::Result<Network> {
    let network = Topology::behind(Nat::preserving()).build()?;
    traffic::serve(&network.server)?;
    Ok(network)
}

/// What a profile for the lab's peer says beside the keys.
pub(crate) struct Peer<'k> {
    pub(crate) private_key: &'k str,
    pub(crate) public_key: &'k str,
    pub(crate) preshared_key: Option<&'k str>,
    pub(crate) allowed_ips: &'k str,
}

/// A socket of the client's to the peer.
pub(crate) fn socket(client: &Host) -> anyhow::Result<UdpSocket> {
    client.run(|| -> anyhow::Result<_> {
        let options = UdpOptions { mark: Some(0x656b), ..UdpOptions::default() };
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0).into(), &options).context("a socket")?;
        socket.connect(SocketAddr::from((GATEWAY_V4, PORT))).context("the peer's address")?;
        Ok(socket)
    })
}

/// Does the handshake that a profile asks for.
pub(crate) fn connect(
    client: &Host,
    peer: &Peer<'_>,
    within: Duration,
) -> anyhow::Result<Result<Established, HandshakeError>> {
    let Peer { private_key, public_key, preshared_key, allowed_ips } = peer;
    let preshared_key = preshared_key.map(|key| format!("preshared_key = \"{key}\"\n")).unwrap_or_default();
    let text = format!(
        "name = \"Lab\"\ngateway = \"{GATEWAY_V4}\"\n[auth]\nmethod = \"psk\"\n\
         [wireguard]\nendpoint = \"{GATEWAY_V4}:{PORT}\"\npublic_key = \"{public_key}\"\n\
         private_key = \"{private_key}\"\n{preshared_key}addresses = [\"{CLIENT}/32\"]\nallowed_ips = [{allowed_ips}]\n"
    );
    let mut no_files = |_: &str| ("none".into(), Err(FileProblem::NotAFile));
    let loaded = parse_toml(Path::new("lab.toml"), text.as_bytes(), None, &mut no_files)?;
    let peer = loaded.profile.wireguard.context("the profile's peer")?;
    let config = wireguard::peer_config(&peer, &loaded.secrets)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    Ok(runtime.block_on(wireguard::connect(config, socket(client)?, within)))
}

/// The client with its device up.
pub(crate) struct Client<'n> {
    pub(crate) host: &'n Host,
    pub(crate) plane: WireGuardPlane,
    events: Mutex<mpsc::Receiver<WireGuardEvent>>,
}

impl<'n> Client<'n> {
    /// Starts the plane; `offload` says whether its device exchanges superpackets.
    pub(crate) fn start(host: &'n Host, established: Established, offload: bool) -> anyhow::Result<Self> {
        let mtu = inner_mtu(1500, GATEWAY_V4.into());
        let config = TunConfig { name: Some("tun0".to_owned()), mtu, offload };
        let tun = host.run(|| Tun::open(&config)).context("opening the TUN device")?;
        host.ip(&format!(
            "address add {CLIENT}/32 dev tun0\nroute add 10.10.0.0/16 dev tun0\nroute add {INSIDE}/32 dev tun0"
        ))?;
        // Bounded, so that an event allocates nothing; nobody needs the thousandth.
        let (sender, events) = mpsc::sync_channel(1000);
        let events_to = Box::new(move |event| drop(sender.try_send(event)));
        let plane = established.start(tun, MssClamp::for_mtu(mtu), events_to)?;
        Ok(Self { host, plane, events: Mutex::new(events) })
    }

    /// A client of a peer that has just been started with this key pair, allowed to reach the office alone.
    pub(crate) fn of(
        network: &'n Network,
        client: &Keys,
        peer: &Keys,
        offload: bool,
    ) -> anyhow::Result<Self> {
        let peer = Peer {
            private_key: &client.private,
            public_key: &peer.public,
            preshared_key: None,
            allowed_ips: "\"10.10.0.0/16\"",
        };
        let established = connect(network.client(), &peer, wireguard::HANDSHAKE_TIMEOUT)??;
        Self::start(network.client(), established, offload)
    }

    /// Waits for an event.
    pub(crate) fn event(
        &self,
        limit: Duration,
        wanted: impl Fn(&WireGuardEvent) -> bool,
    ) -> anyhow::Result<WireGuardEvent> {
        let deadline = Instant::now() + limit;
        let events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let event = events.recv_timeout(left).with_context(|| format!("{:?}", self.plane.snapshot()))?;
            if wanted(&event) {
                return Ok(event);
            }
        }
    }
}

/// Key pairs of client and peer, and the peer running.
pub(crate) fn peer_of(network: &Network) -> anyhow::Result<(Keys, Keys, WireGuardGo<'_>)> {
    let (client, peer) = (Keys::generate()?, Keys::generate()?);
    let running = WireGuardGo::start(&network.gateway, &peer, &client.public, None)?;
    Ok((client, peer, running))
}
