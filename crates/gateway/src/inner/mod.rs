//! The network behind the gateway, in user mode.
//!
//! [`InnerNet`] is a TCP/IP stack (smoltcp) without a device: IP packets that came out of ESP go in, IP packets
//! for ESP come out. It answers:
//!
//! | what | where |
//! |---|---|
//! | ping | ICMP and ICMPv6 echo, any size up to 16 KiB |
//! | echo | TCP and UDP port 7 |
//! | discard | TCP port 9 |
//! | DNS | UDP and TCP port 53, see [`dns`] |
//! | HTTP | TCP port 80, see [`http`] |
//!
//! It reads no clock: every call takes `now`. Call [`InnerNet::handle_packet`] for each packet that arrived, then
//! [`InnerNet::poll`], then [`InnerNet::poll_packet`] until it returns `None`, then [`InnerNet::poll_timeout`].

pub mod content;
pub mod device;
pub mod dns;
pub mod http;
mod pool;
mod service;

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use smoltcp::iface::{Config, Interface, PollResult, SocketHandle, SocketSet};
use smoltcp::socket::udp;
use smoltcp::time::Instant as NetInstant;
use smoltcp::wire::{HardwareAddress, IpCidr};

use self::device::QueueDevice;
use self::dns::Zone;
use self::pool::TcpPool;
use self::service::ServiceKind;

/// TCP ports that are served, and by what.
const TCP_PORTS: [(u16, ServiceKind); 4] =
    [(7, ServiceKind::Echo), (9, ServiceKind::Discard), (53, ServiceKind::Dns), (80, ServiceKind::Http)];

/// smoltcp's compile-time bound on interface addresses (feature `iface-max-addr-count-8`).
pub const MAX_ADDRESSES: usize = 8;

/// What the inner network looks like.
#[derive(Clone, Debug)]
pub struct InnerConfig {
    /// Addresses that answer: unicast, at most [`MAX_ADDRESSES`]. Others are ignored.
    pub addresses: Vec<IpAddr>,
    /// Answer on every other address too, as if the whole Internet were this one machine. It shows that a full
    /// tunnel takes traffic for foreign addresses.
    pub any_address: bool,
    /// Largest packet that the inner network sends, in bytes.
    pub mtu: usize,
    /// TCP connections at the same time; beyond that the one idle for longest makes room.
    pub max_connections: usize,
    /// What DNS knows.
    pub zone: Zone,
}

impl Default for InnerConfig {
    fn default() -> Self {
        Self {
            addresses: Vec::new(),
            any_address: false,
            mtu: 1500,
            max_connections: 256,
            zone: Zone::default(),
        }
    }
}

/// The inner network; see the module documentation for the order of calls.
pub struct InnerNet {
    /// smoltcp counts time from here.
    epoch: Instant,
    interface: Interface,
    device: QueueDevice,
    sockets: SocketSet<'static>,
    tcp: TcpPool,
    udp_echo: SocketHandle,
    udp_dns: SocketHandle,
    zone: Zone,
    /// A service has work left that does not wait for the network.
    busy: bool,
}

impl InnerNet {
    /// Builds the network. `seed` makes TCP sequence numbers and IP identifications.
    #[must_use]
    pub fn new(config: InnerConfig, seed: u64, now: Instant) -> Self {
        let mut device = QueueDevice::new(config.mtu);
        let mut interface_config = Config::new(HardwareAddress::Ip);
        interface_config.random_seed = seed;
        let mut interface = Interface::new(interface_config, &mut device, NetInstant::ZERO);
        configure_addresses(&mut interface, &config);

        let mut sockets = SocketSet::new(Vec::new());
        let udp_echo = sockets.add(bound_udp_socket(7));
        let udp_dns = sockets.add(bound_udp_socket(53));
        let tcp = TcpPool::new(&TCP_PORTS, config.max_connections, &mut sockets);

        Self {
            epoch: now,
            interface,
            device,
            sockets,
            tcp,
            udp_echo,
            udp_dns,
            zone: config.zone,
            busy: false,
        }
    }

    /// Takes one IP packet that a client sent. Packets that are no valid IP, or not for us, are dropped.
    pub fn handle_packet(&mut self, packet: &[u8], now: Instant) {
        let now = self.net_time(now);
        self.device.queue_received(packet);
        self.interface.poll_ingress_single(now, &mut self.device, &mut self.sockets);
        // A SYN turns its port's listener into a connection; the next SYN needs another listener, and may be the
        // very next packet.
        self.tcp.refill_listeners(&mut self.sockets, now);
    }

    /// Lets the services work and produces packets; bounded work per call.
    pub fn poll(&mut self, now: Instant) {
        let now = self.net_time(now);
        self.interface.poll_maintenance(now);
        self.echo_datagrams();
        self.answer_queries();
        self.busy = self.tcp.drive(&mut self.sockets, &self.zone, now);
        while self.interface.poll_egress(now, &mut self.device, &mut self.sockets) != PollResult::None {}
    }

    /// The next IP packet for a client.
    #[must_use]
    pub fn poll_packet(&mut self) -> Option<Vec<u8>> {
        self.device.pop_transmitted()
    }

    /// When [`Self::poll`] wants to be called even if no packet arrives.
    #[must_use]
    pub fn poll_timeout(&mut self, now: Instant) -> Option<Instant> {
        if self.busy {
            return Some(now);
        }
        let delay = self.interface.poll_delay(self.net_time(now), &self.sockets)?;
        Some(now + Duration::from(delay))
    }

    /// Number of TCP connections open at the moment.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.tcp.open_connections(&self.sockets)
    }

    fn echo_datagrams(&mut self) {
        let socket = self.sockets.get_mut::<udp::Socket<'_>>(self.udp_echo);
        while let Ok((data, meta)) = socket.recv() {
            let data = data.to_vec();
            // A full send buffer drops the answer, as any network may.
            if socket.send_slice(&data, meta).is_err() {
                break;
            }
        }
    }

    fn answer_queries(&mut self) {
        let socket = self.sockets.get_mut::<udp::Socket<'_>>(self.udp_dns);
        while let Ok((query, meta)) = socket.recv() {
            let Some(answer) = self.zone.answer(query) else { continue };
            if socket.send_slice(&answer, meta).is_err() {
                break;
            }
        }
    }

    fn net_time(&self, now: Instant) -> NetInstant {
        let elapsed = now.saturating_duration_since(self.epoch);
        NetInstant::from_micros(i64::try_from(elapsed.as_micros()).unwrap_or(i64::MAX))
    }
}

/// Whether an interface can have the address; smoltcp panics on others.
pub(crate) fn is_unicast(address: IpAddr) -> bool {
    let broadcast = address == IpAddr::V4(Ipv4Addr::BROADCAST);
    !(address.is_multicast() || address.is_unspecified() || broadcast)
}

/// Gives the interface its addresses as host routes: nothing is on-link, so that no client's address is ever taken
/// for a subnet broadcast.
fn configure_addresses(interface: &mut Interface, config: &InnerConfig) {
    interface.update_ip_addrs(|addresses| {
        for address in config.addresses.iter().filter(|address| is_unicast(**address)).take(MAX_ADDRESSES) {
            let prefix = if address.is_ipv4() { 32 } else { 128 };
            // Cannot fail: `take` keeps within the capacity.
            let _ = addresses.push(IpCidr::new((*address).into(), prefix));
        }
    });
    // Point-to-point: the next hop is never looked up. Being one of our own addresses makes it the route that
    // smoltcp's AnyIP accepts foreign destinations for.
    for address in &config.addresses {
        let routes = interface.routes_mut();
        // Cannot fail: two default routes fit in a table of four.
        let _ = match address {
            IpAddr::V4(v4) => routes.add_default_ipv4_route(*v4),
            IpAddr::V6(v6) => routes.add_default_ipv6_route(*v6),
        };
    }
    interface.set_any_ip(config.any_address);
}

fn bound_udp_socket(port: u16) -> udp::Socket<'static> {
    let buffer = || udp::PacketBuffer::new(vec![udp::PacketMetadata::EMPTY; 64], vec![0; 64 * 1024]);
    let mut socket = udp::Socket::new(buffer(), buffer());
    // Fails only for port 0 or a socket that is bound already.
    let bound = socket.bind(port);
    debug_assert!(bound.is_ok());
    socket
}
