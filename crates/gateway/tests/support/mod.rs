//! A client's TCP/IP stack for tests, and a virtual wire between it and the inner network.

#![allow(dead_code, unreachable_pub, reason = "shared by test binaries, each of which uses a part")]

pub mod gateways;
pub mod pki;
pub mod streams;
pub mod tunnel;

use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use evenkeel_gateway::inner::device::QueueDevice;
use evenkeel_gateway::inner::dns::Zone;
use evenkeel_gateway::inner::{InnerConfig, InnerNet};
use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::socket::{icmp, tcp, udp};
use smoltcp::wire::{HardwareAddress, Icmpv4Packet, Icmpv4Repr, Icmpv6Packet, Icmpv6Repr, IpCidr};

pub const GATEWAY_V4: &str = "10.77.0.1";
pub const GATEWAY_V6: &str = "fd77::1";
pub const CLIENT_V4: &str = "10.77.1.2";
pub const CLIENT_V6: &str = "fd77::1:2";

/// Ends a test that would otherwise wait for ever, in virtual time.
const PATIENCE: Duration = Duration::from_secs(120);

pub fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

pub fn inner_config() -> InnerConfig {
    let addresses = vec![ip(GATEWAY_V4), ip(GATEWAY_V6)];
    InnerConfig { zone: Zone::practice(&addresses), addresses, ..InnerConfig::default() }
}

/// A TCP/IP stack in the client's place.
pub struct ClientStack {
    epoch: Instant,
    interface: Interface,
    pub device: QueueDevice,
    pub sockets: SocketSet<'static>,
    next_port: u16,
}

impl ClientStack {
    pub fn new(addresses: &[IpAddr], mtu: usize, now: Instant) -> Self {
        let mut device = QueueDevice::new(mtu);
        let mut interface =
            Interface::new(Config::new(HardwareAddress::Ip), &mut device, smoltcp::time::Instant::ZERO);
        for &address in addresses {
            interface.update_ip_addrs(|own| {
                own.push(IpCidr::new(address.into(), if address.is_ipv4() { 32 } else { 128 })).unwrap();
            });
            match address {
                IpAddr::V4(v4) => interface.routes_mut().add_default_ipv4_route(v4).map(drop),
                IpAddr::V6(v6) => interface.routes_mut().add_default_ipv6_route(v6).map(drop),
            }
            .unwrap();
        }
        Self { epoch: now, interface, device, sockets: SocketSet::new(Vec::new()), next_port: 40_000 }
    }

    fn net_time(&self, now: Instant) -> smoltcp::time::Instant {
        smoltcp::time::Instant::from_micros(i64::try_from((now - self.epoch).as_micros()).unwrap())
    }

    pub fn poll(&mut self, now: Instant) {
        let now = self.net_time(now);
        self.interface.poll(now, &mut self.device, &mut self.sockets);
    }

    pub fn poll_delay(&mut self, now: Instant) -> Option<Duration> {
        let now = self.net_time(now);
        self.interface.poll_delay(now, &self.sockets).map(Into::into)
    }

    pub fn connect(&mut self, to: IpAddr, port: u16) -> SocketHandle {
        let buffer = || tcp::SocketBuffer::new(vec![0; 128 * 1024]);
        let handle = self.sockets.add(tcp::Socket::new(buffer(), buffer()));
        self.next_port += 1;
        let local = self.next_port;
        let socket = self.sockets.get_mut::<tcp::Socket<'_>>(handle);
        socket.connect(self.interface.context(), (to, port), local).unwrap();
        handle
    }

    pub fn tcp(&mut self, handle: SocketHandle) -> &mut tcp::Socket<'static> {
        self.sockets.get_mut(handle)
    }

    pub fn bind_udp(&mut self) -> SocketHandle {
        let buffer = || udp::PacketBuffer::new(vec![udp::PacketMetadata::EMPTY; 8], vec![0; 32 * 1024]);
        let mut socket = udp::Socket::new(buffer(), buffer());
        self.next_port += 1;
        socket.bind(self.next_port).unwrap();
        self.sockets.add(socket)
    }

    pub fn udp(&mut self, handle: SocketHandle) -> &mut udp::Socket<'static> {
        self.sockets.get_mut(handle)
    }

    /// Sends an echo request with `data`; the answer arrives on the returned socket.
    pub fn ping(&mut self, to: IpAddr, data: &[u8]) -> SocketHandle {
        const IDENT: u16 = 0x77;
        let buffer = || icmp::PacketBuffer::new(vec![icmp::PacketMetadata::EMPTY; 4], vec![0; 32 * 1024]);
        let mut socket = icmp::Socket::new(buffer(), buffer());
        socket.bind(icmp::Endpoint::Ident(IDENT)).unwrap();
        let checksums = ChecksumCapabilities::default();
        match to {
            IpAddr::V4(_) => {
                let request = Icmpv4Repr::EchoRequest { ident: IDENT, seq_no: 1, data };
                let room = socket.send(request.buffer_len(), to.into()).unwrap();
                request.emit(&mut Icmpv4Packet::new_unchecked(room), &checksums);
            }
            IpAddr::V6(v6) => {
                let request = Icmpv6Repr::EchoRequest { ident: IDENT, seq_no: 1, data };
                let room = socket.send(request.buffer_len(), to.into()).unwrap();
                let from = self.interface.ipv6_addr().unwrap();
                request.emit(&from, &v6, &mut Icmpv6Packet::new_unchecked(room), &checksums);
            }
        }
        self.sockets.add(socket)
    }

    /// The data of the echo reply, once it has come.
    pub fn pong(&mut self, handle: SocketHandle) -> Option<Vec<u8>> {
        let (message, from) = self.sockets.get_mut::<icmp::Socket<'_>>(handle).recv().ok()?;
        let reply_type = if IpAddr::from(from).is_ipv4() { 0 } else { 129 };
        assert_eq!(message[0], reply_type, "an echo reply");
        Some(message[8..].to_vec())
    }
}

/// Client and inner network on one wire with a virtual clock.
pub struct Wire {
    pub now: Instant,
    pub client: ClientStack,
    pub net: InnerNet,
    /// One way.
    pub delay: Duration,
    /// Drops every Nth packet, both directions counted together.
    pub drop_every: Option<usize>,
    carried: usize,
    to_client: VecDeque<(Instant, Vec<u8>)>,
    to_net: VecDeque<(Instant, Vec<u8>)>,
}

impl Wire {
    pub fn new(config: InnerConfig) -> Self {
        let now = Instant::now();
        Self {
            now,
            client: ClientStack::new(&[ip(CLIENT_V4), ip(CLIENT_V6)], 1400, now),
            net: InnerNet::new(config, 7, now),
            delay: Duration::from_millis(5),
            drop_every: None,
            carried: 0,
            to_client: VecDeque::new(),
            to_net: VecDeque::new(),
        }
    }

    /// Runs until `done` gives a value.
    #[track_caller]
    pub fn run<T>(&mut self, mut done: impl FnMut(&mut ClientStack) -> Option<T>) -> T {
        let deadline = self.now + PATIENCE;
        loop {
            if let Some(result) = done(&mut self.client) {
                return result;
            }
            assert!(self.now < deadline, "the test waits for what does not come");
            self.turn();
        }
    }

    /// Lets `time` pass.
    pub fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.turn();
        }
    }

    fn turn(&mut self) {
        while let Some((_, packet)) = self.to_net.pop_front_if(|(at, _)| *at <= self.now) {
            self.net.handle_packet(&packet, self.now);
        }
        while let Some((_, packet)) = self.to_client.pop_front_if(|(at, _)| *at <= self.now) {
            self.client.device.queue_received(&packet);
        }
        self.net.poll(self.now);
        self.client.poll(self.now);
        let arrival = self.now + self.delay;
        while let Some(packet) = self.net.poll_packet() {
            if !self.lost() {
                self.to_client.push_back((arrival, packet));
            }
        }
        while let Some(packet) = self.client.device.pop_transmitted() {
            if !self.lost() {
                self.to_net.push_back((arrival, packet));
            }
        }
        let next = [
            self.to_client.front().map(|(at, _)| *at),
            self.to_net.front().map(|(at, _)| *at),
            self.net.poll_timeout(self.now),
            self.client.poll_delay(self.now).map(|delay| self.now + delay),
        ];
        let next = next.into_iter().flatten().min().unwrap_or(self.now + Duration::from_secs(1));
        self.now = next.clamp(self.now + Duration::from_micros(50), self.now + Duration::from_secs(1));
    }

    fn lost(&mut self) -> bool {
        self.carried += 1;
        self.drop_every.is_some_and(|every| self.carried.is_multiple_of(every))
    }

    /// Sends `request` over a new connection, closes that side, and reads until the server closes.
    #[track_caller]
    pub fn exchange(&mut self, to: IpAddr, port: u16, request: &[u8]) -> Vec<u8> {
        let handle = self.client.connect(to, port);
        self.exchange_on(handle, request)
    }

    #[track_caller]
    pub fn exchange_on(&mut self, handle: SocketHandle, request: &[u8]) -> Vec<u8> {
        let mut conversation = Conversation::new(handle, request);
        self.run(move |client| conversation.drive(client))
    }
}

/// Sends a request, closes, collects the answer up to the server's close.
pub struct Conversation {
    handle: SocketHandle,
    request: Vec<u8>,
    sent: usize,
    answer: Vec<u8>,
}

impl Conversation {
    pub fn new(handle: SocketHandle, request: &[u8]) -> Self {
        Self { handle, request: request.to_vec(), sent: 0, answer: Vec::new() }
    }

    /// The whole answer once the server has closed.
    pub fn drive(&mut self, client: &mut ClientStack) -> Option<Vec<u8>> {
        let socket = client.tcp(self.handle);
        if socket.may_send() {
            self.sent += socket.send_slice(&self.request[self.sent..]).unwrap();
            if self.sent == self.request.len() {
                socket.close();
            }
        }
        read_available(socket, &mut self.answer);
        let connecting = matches!(socket.state(), tcp::State::SynSent | tcp::State::SynReceived);
        (!connecting && !socket.may_recv()).then(|| std::mem::take(&mut self.answer))
    }
}

/// Appends what has arrived.
pub fn read_available(socket: &mut tcp::Socket<'_>, into: &mut Vec<u8>) {
    while let Ok(count) = socket.recv(|data| {
        into.extend_from_slice(data);
        (data.len(), data.len())
    }) {
        if count == 0 {
            break;
        }
    }
}

/// An HTTP answer taken apart.
pub struct HttpAnswer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl HttpAnswer {
    /// Splits the first answer off `bytes`, if it is complete.
    pub fn take(bytes: &mut Vec<u8>) -> Option<Self> {
        let mut headers = [httparse::EMPTY_HEADER; 16];
        let mut response = httparse::Response::new(&mut headers);
        let httparse::Status::Complete(head) = response.parse(bytes).unwrap() else { return None };
        let headers: Vec<_> = response
            .headers
            .iter()
            .map(|header| {
                (header.name.to_ascii_lowercase(), String::from_utf8(header.value.to_vec()).unwrap())
            })
            .collect();
        let status = response.code.unwrap();
        let length = headers.iter().find(|(name, _)| name == "content-length").map(|(_, value)| value);
        let length: usize = length.map_or(0, |value| value.parse().unwrap());
        if bytes.len() < head + length {
            return None;
        }
        let body = bytes[head..head + length].to_vec();
        bytes.drain(..head + length);
        Some(Self { status, headers, body })
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        let name = name.to_ascii_lowercase();
        self.headers.iter().find(|(own, _)| *own == name).map(|(_, value)| value.as_str())
    }
}
