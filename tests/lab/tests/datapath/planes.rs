//! Data planes with static keys. Their sockets are all on one host, the wire; each has its device on a host of its own.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::{Arc, Mutex, PoisonError, mpsc},
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use evenkeel_datapath::{ChildSas, DataPlane, DataPlaneConfig, MssClamp, PeerAddress, PlaneEvent};
use evenkeel_ipsec::{
    crypto::{Encr, EspSuite, KeyBits, Secret},
    esp::{EspKeys, InboundSa, OutboundSa, SaCounters, SelectorPair},
    wire::{EspSpi, TrafficSelector},
};
use evenkeel_lab::{Host, wait};
use evenkeel_platform::{
    socket::{UdpOptions, UdpSocket},
    tun::{Tun, TunConfig},
};

use crate::relay::Relay;

/// Inner MTU of all ends.
const MTU: u16 = 1400;

/// Inner addresses of an end.
pub(crate) struct Addresses {
    pub(crate) v4: Ipv4Addr,
    pub(crate) v6: Ipv6Addr,
}

const fn addresses(host: u8) -> Addresses {
    Addresses { v4: Ipv4Addr::new(10, 99, 0, host), v6: Ipv6Addr::new(0xfd99, 0, 0, 0, 0, 0, 0, host as u16) }
}

pub(crate) const LEFT: Addresses = addresses(1);
pub(crate) const RIGHT: Addresses = addresses(2);
pub(crate) const BOB: Addresses = addresses(3);

/// What an end makes use of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    Offload,
    Plain,
}

/// The host that all sockets are on.
pub(crate) struct Wire(Host);

/// One end of a tunnel.
pub(crate) struct End {
    pub(crate) host: Host,
    pub(crate) plane: DataPlane,
    pub(crate) tun: Tun,
    pub(crate) socket: UdpSocket,
    pub(crate) spi_in: EspSpi,
    pub(crate) peer: PeerAddress,
    pub(crate) counters_in: Arc<SaCounters>,
    events: Mutex<mpsc::Receiver<PlaneEvent>>,
}

impl End {
    /// An end without SAs, whose device is on `host`; its socket may be elsewhere.
    pub(crate) fn new(
        host: Host,
        addresses: &Addresses,
        kind: Kind,
        socket: UdpSocket,
    ) -> anyhow::Result<Self> {
        let offload = kind == Kind::Offload;
        let config = TunConfig { name: Some("tun0".to_owned()), mtu: MTU, offload };
        let tun = host.run(|| Tun::open(&config)).context("opening the TUN device")?;
        if tun.has_offload() != offload {
            bail!("the TUN device's offloads are not as asked for");
        }
        host.ip(&format!(
            "addr add {}/24 dev tun0\naddr add {}/64 dev tun0 nodad",
            addresses.v4, addresses.v6
        ))?;
        await_address(&host, addresses.v6)?;
        // Bounded, so that an event allocates nothing; nobody needs the thousandth.
        let (sender, events) = mpsc::sync_channel(1000);
        let config = DataPlaneConfig {
            mss: MssClamp::for_mtu(MTU),
            events: Box::new(move |event| drop(sender.try_send(event))),
        };
        Ok(Self {
            plane: DataPlane::start(tun.clone(), socket.clone(), config)?,
            host,
            tun,
            socket,
            spi_in: EspSpi(0),
            peer: PeerAddress::Connected,
            counters_in: Arc::default(),
            events: Mutex::new(events),
        })
    }

    /// Waits for an event.
    pub(crate) fn event(&self, wanted: impl Fn(&PlaneEvent) -> bool) -> anyhow::Result<PlaneEvent> {
        let deadline = Instant::now() + Duration::from_secs(10);
        let events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let event = events.recv_timeout(left).context("waiting for an event")?;
            if wanted(&event) {
                return Ok(event);
            }
        }
    }

    /// Waits for events until `enough` of them are there; all that came until then.
    pub(crate) fn events(&self, enough: impl Fn(&[PlaneEvent]) -> bool) -> anyhow::Result<Vec<PlaneEvent>> {
        let mut all = Vec::new();
        while !enough(&all) {
            let event = self.event(|_| true);
            all.push(event.with_context(|| format!("so far: {all:?}; {:?}", self.plane.snapshot()))?);
        }
        Ok(all)
    }

    /// Waits until something arrived on this SA.
    pub(crate) fn await_seen(&self, spi: EspSpi) -> anyhow::Result<()> {
        self.event(|event| matches!(event, PlaneEvent::EspSeen { spi_in } if *spi_in == spi)).map(|_| ())
    }
}

impl Wire {
    pub(crate) fn new() -> anyhow::Result<Self> {
        Host::new("wire").map(Self)
    }

    /// Two ends with an SA between them.
    pub(crate) fn pair(&self, left: Kind, right: Kind) -> anyhow::Result<(End, End)> {
        let (mut left, mut right) = (self.end("left", &LEFT, left)?, self.end("right", &RIGHT, right)?);
        let (to_right, to_left) = (right.socket.local_addr()?, left.socket.local_addr()?);
        join(&mut left, &mut right, PeerAddress::Fixed(to_right), PeerAddress::Fixed(to_left))?;
        Ok((left, right))
    }

    /// Two ends that see of each other only what a relay lets through.
    pub(crate) fn pair_through(
        &self,
        relay: impl Fn(&Host, SocketAddr, SocketAddr) -> anyhow::Result<Relay>,
        left: Kind,
        right: Kind,
    ) -> anyhow::Result<(End, End)> {
        let (mut left, mut right) = (self.end("left", &LEFT, left)?, self.end("right", &RIGHT, right)?);
        let relay = relay(&self.0, left.socket.local_addr()?, right.socket.local_addr()?)?;
        let (to_right, to_left) = (PeerAddress::Fixed(relay.for_left), PeerAddress::Fixed(relay.for_right));
        join(&mut left, &mut right, to_right, to_left)?;
        Ok((left, right))
    }

    /// An end without SAs on a new host.
    pub(crate) fn end(&self, name: &str, addresses: &Addresses, kind: Kind) -> anyhow::Result<End> {
        self.end_on(Host::new(name)?, addresses, kind)
    }

    /// An end without SAs.
    pub(crate) fn end_on(&self, host: Host, addresses: &Addresses, kind: Kind) -> anyhow::Result<End> {
        End::new(host, addresses, kind, self.socket(kind)?)
    }

    /// A socket on the wire.
    pub(crate) fn socket(&self, kind: Kind) -> anyhow::Result<UdpSocket> {
        let options = UdpOptions { offload: kind == Kind::Offload, ..UdpOptions::default() };
        self.0.run(|| UdpSocket::bind((Ipv4Addr::LOCALHOST, 0).into(), &options)).context("opening a socket")
    }
}

/// Waits until the system takes packets to this address of its own, which for IPv6 it does a moment after having accepted
/// the command.
pub(crate) fn await_address(host: &Host, address: Ipv6Addr) -> anyhow::Result<()> {
    wait::until("the address is in use", Duration::from_secs(5), || {
        let routes = host.output("ip", &["-6", "route", "show", "table", "local"]).ok()?;
        routes.contains(&format!("local {address} ")).then_some(())
    })
}

/// Sets up an SA between two ends.
pub(crate) fn join(
    left: &mut End,
    right: &mut End,
    to_right: PeerAddress,
    to_left: PeerAddress,
) -> anyhow::Result<()> {
    (left.spi_in, right.spi_in) = (EspSpi(0x0101_0101), EspSpi(0x0202_0202));
    (left.peer, right.peer) = (to_right, to_left);
    let (child, counters) = sas(left.spi_in, right.spi_in, &LEFT, &RIGHT, left.peer, true, 0)?;
    left.plane.install(child);
    left.counters_in = counters;
    let (child, counters) = sas(right.spi_in, left.spi_in, &RIGHT, &LEFT, right.peer, true, 0)?;
    right.plane.install(child);
    right.counters_in = counters;
    Ok(())
}

/// One end's CHILD SA, and the counters of what it receives. `generation` makes keys: each SA has its own.
pub(crate) fn sas(
    spi_in: EspSpi,
    spi_out: EspSpi,
    local: &Addresses,
    remote: &Addresses,
    peer: PeerAddress,
    send_now: bool,
    generation: u32,
) -> anyhow::Result<(ChildSas, Arc<SaCounters>)> {
    let suite = EspSuite { encr: Encr::AesGcm16(KeyBits::Bits256), integ: None, esn: true };
    let keys = |spi: EspSpi| {
        let mut key = [0x5a; 36];
        key[..4].copy_from_slice(&spi.0.to_be_bytes());
        key[4..8].copy_from_slice(&generation.to_be_bytes());
        EspKeys { encr: Secret::new(key), integ: Secret::new([]) }
    };
    let selectors = SelectorPair { local: exactly(local), remote: exactly(remote) };
    let counters = Arc::<SaCounters>::default();
    let inbound = InboundSa::new(spi_in, suite, &keys(spi_in), &selectors, Arc::clone(&counters))?;
    let outbound = OutboundSa::new(spi_out, suite, &keys(spi_out), [0; 32], &selectors, Arc::default())?;
    Ok((ChildSas { inbound, outbound, send_now, peer }, counters))
}

fn exactly(addresses: &Addresses) -> Vec<TrafficSelector> {
    [IpAddr::from(addresses.v4), addresses.v6.into()]
        .map(|address| TrafficSelector {
            protocol: 0,
            start_port: 0,
            end_port: u16::MAX,
            start: address,
            end: address,
        })
        .to_vec()
}
