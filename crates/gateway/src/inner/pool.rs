//! TCP connections: a listener for each served port, and sockets that are made when needed and used again.

use std::collections::BTreeMap;

use smoltcp::iface::{SocketHandle, SocketSet};
use smoltcp::socket::tcp;
use smoltcp::time::{Duration, Instant};

use super::dns::Zone;
use super::http::Shared;
use super::service::{Progress, Service, ServiceKind};

/// Each direction's buffer: a window large enough for 100 Mbit/s at 20 ms.
const BUFFER: usize = 256 * 1024;
/// A peer that acknowledges nothing for this long is gone. Generous, since a client may lose its network and come
/// back to the same connections.
const PEER_TIMEOUT: Duration = Duration::from_secs(600);

/// One port that accepts connections.
struct Port {
    number: u16,
    kind: ServiceKind,
    /// The socket that waits for the next SYN. `None` when the pool was exhausted.
    listener: Option<SocketHandle>,
}

/// One accepted connection.
struct Connection {
    service: Service,
    last_active: Instant,
}

/// All TCP sockets. Each is either some port's listener, or in `connections`, or idle.
pub(super) struct TcpPool {
    ports: Vec<Port>,
    connections: BTreeMap<SocketHandle, Connection>,
    idle: Vec<SocketHandle>,
    max_connections: usize,
    shared: Shared,
}

impl TcpPool {
    pub(super) fn new(
        ports: &[(u16, ServiceKind)],
        max_connections: usize,
        sockets: &mut SocketSet<'static>,
    ) -> Self {
        let ports = ports.iter().map(|&(number, kind)| Port { number, kind, listener: None }).collect();
        let mut pool = Self {
            ports,
            connections: BTreeMap::new(),
            idle: Vec::new(),
            max_connections: max_connections.max(1),
            shared: Shared::default(),
        };
        pool.refill_listeners(sockets, Instant::ZERO);
        pool
    }

    /// Turns listeners that got their SYN into connections and gives their ports new listeners.
    pub(super) fn refill_listeners(&mut self, sockets: &mut SocketSet<'static>, now: Instant) {
        for index in 0..self.ports.len() {
            let Port { number, kind, listener } = self.ports[index];
            if let Some(handle) = listener {
                if sockets.get::<tcp::Socket<'_>>(handle).is_listening() {
                    continue;
                }
                let connection = Connection { service: Service::new(kind), last_active: now };
                self.connections.insert(handle, connection);
            }
            let handle = self.idle_socket(sockets);
            let socket = sockets.get_mut::<tcp::Socket<'_>>(handle);
            // Fails only for port 0 or an open socket, and idle ones are closed.
            let listening = socket.listen(number).is_ok();
            debug_assert!(listening);
            self.ports[index].listener = Some(handle);
        }
    }

    /// Lets each connection's service work. Returns whether one of them wants another turn soon.
    pub(super) fn drive(&mut self, sockets: &mut SocketSet<'static>, zone: &Zone, now: Instant) -> bool {
        let mut busy = false;
        let mut closed = Vec::new();
        for (&handle, connection) in &mut self.connections {
            let socket = sockets.get_mut::<tcp::Socket<'_>>(handle);
            // A socket that refused its handshake goes back to listening or to closed, both are no connection.
            if !socket.is_open() || socket.is_listening() {
                closed.push(handle);
                continue;
            }
            let before = (socket.recv_queue(), socket.send_queue());
            busy |= connection.service.drive(socket, zone, &mut self.shared) == Progress::Busy;
            if before != (socket.recv_queue(), socket.send_queue()) {
                connection.last_active = now;
            }
        }
        for handle in closed {
            self.retire(sockets, handle);
        }
        busy
    }

    pub(super) fn open_connections(&self, sockets: &SocketSet<'static>) -> usize {
        self.connections.keys().filter(|&&handle| sockets.get::<tcp::Socket<'_>>(handle).is_active()).count()
    }

    /// A closed socket: a used one, a new one, or beyond the bound the one that is missed least.
    fn idle_socket(&mut self, sockets: &mut SocketSet<'static>) -> SocketHandle {
        if self.connections.len() > self.max_connections
            && let Some(victim) = self.least_missed(sockets)
        {
            self.retire(sockets, victim);
        }
        self.idle.pop().unwrap_or_else(|| sockets.add(new_socket()))
    }

    /// Sockets that only wait out TIME-WAIT first, then the connection that was quiet for longest.
    fn least_missed(&self, sockets: &SocketSet<'static>) -> Option<SocketHandle> {
        self.connections
            .iter()
            .min_by_key(|&(&handle, connection)| {
                (sockets.get::<tcp::Socket<'_>>(handle).is_active(), connection.last_active)
            })
            .map(|(&handle, _)| handle)
    }

    fn retire(&mut self, sockets: &mut SocketSet<'static>, handle: SocketHandle) {
        self.connections.remove(&handle);
        sockets.get_mut::<tcp::Socket<'_>>(handle).abort();
        self.idle.push(handle);
    }
}

fn new_socket() -> tcp::Socket<'static> {
    let mut socket =
        tcp::Socket::new(tcp::SocketBuffer::new(vec![0; BUFFER]), tcp::SocketBuffer::new(vec![0; BUFFER]));
    socket.set_timeout(Some(PEER_TIMEOUT));
    // Services write whole answers; waiting for more only adds a round trip.
    socket.set_nagle_enabled(false);
    socket
}
