//! Two of these make a tunnel without IKE, to measure what the data plane does: static keys, so for nothing else.
//!
//! ```text
//! static_tunnel --tun ek0 --local 192.0.2.1:4500 --peer 192.0.2.2:4500 --side a [--plain] [--mtu 1438]
//! ```
//!
//! The other end is `--side b`. The device gets no address. Each line on standard input prints the counters; its end
//! ends the tunnel.

use std::io::BufRead;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use evenkeel_datapath::{ChildSas, DataPlane, DataPlaneConfig, MssClamp, PeerAddress};
use evenkeel_ipsec::crypto::{Encr, EspSuite, KeyBits, Secret};
use evenkeel_ipsec::esp::{EspKeys, InboundSa, OutboundSa, SelectorPair};
use evenkeel_ipsec::wire::{EspSpi, TrafficSelector};
use evenkeel_platform::socket::{UdpOptions, UdpSocket};
use evenkeel_platform::tun::{Tun, TunConfig};

type Failure = Box<dyn std::error::Error>;

struct Arguments {
    tun: String,
    local: SocketAddr,
    peer: SocketAddr,
    first: bool,
    offload: bool,
    mtu: u16,
}

impl Arguments {
    fn parse() -> Result<Self, Failure> {
        let arguments: Vec<String> = std::env::args().collect();
        let value = |name: &str| {
            let at = arguments.iter().position(|argument| argument == name)?;
            arguments.get(at + 1).cloned()
        };
        let needed = |name: &str| value(name).ok_or_else(|| format!("{name} is missing"));
        Ok(Self {
            tun: needed("--tun")?,
            local: needed("--local")?.parse()?,
            peer: needed("--peer")?.parse()?,
            first: needed("--side")? == "a",
            offload: !arguments.iter().any(|argument| argument == "--plain"),
            mtu: value("--mtu").map_or(Ok(1438), |mtu| mtu.parse())?,
        })
    }
}

fn keys(of_first: bool) -> EspKeys {
    EspKeys { encr: Secret::new([if of_first { 0x11 } else { 0x22 }; 36]), integ: Secret::new([]) }
}

fn everything() -> Vec<TrafficSelector> {
    let any = |start: IpAddr, end: IpAddr| TrafficSelector {
        protocol: 0,
        start_port: 0,
        end_port: u16::MAX,
        start,
        end,
    };
    vec![
        any(Ipv4Addr::UNSPECIFIED.into(), Ipv4Addr::BROADCAST.into()),
        any(Ipv6Addr::UNSPECIFIED.into(), Ipv6Addr::from_bits(u128::MAX).into()),
    ]
}

#[expect(clippy::print_stdout, clippy::print_stderr, reason = "its output is for a person")]
fn main() -> Result<(), Failure> {
    let arguments = Arguments::parse()?;
    let tun = Tun::open(&TunConfig {
        name: Some(arguments.tun.clone()),
        mtu: arguments.mtu,
        offload: arguments.offload,
    })?;
    let options = UdpOptions { offload: arguments.offload, ..UdpOptions::default() };
    let socket = UdpSocket::bind(arguments.local, &options)?;
    socket.connect(arguments.peer)?;

    let suite = EspSuite { encr: Encr::AesGcm16(KeyBits::Bits256), integ: None, esn: true };
    let selectors = SelectorPair { local: everything(), remote: everything() };
    let (mine, theirs) = (arguments.first, !arguments.first);
    let spi = |of_first: bool| EspSpi(if of_first { 0x1001 } else { 0x1002 });
    let inbound = InboundSa::new(spi(mine), suite, &keys(theirs), &selectors, Arc::default())?;
    let outbound = OutboundSa::new(spi(theirs), suite, &keys(mine), [0; 32], &selectors, Arc::default())?;

    let config = DataPlaneConfig {
        mss: MssClamp::for_mtu(arguments.mtu),
        events: Box::new(|event| eprintln!("{event:?}")),
    };
    let plane = DataPlane::start(tun, socket.clone(), config)?;
    plane.install(ChildSas { inbound, outbound, send_now: true, peer: PeerAddress::Connected });
    println!("ready {:?}", socket.abilities());
    for _ in std::io::stdin().lock().lines() {
        println!("{:?}", plane.snapshot());
    }
    println!("{:?}", plane.snapshot());
    Ok(())
}
