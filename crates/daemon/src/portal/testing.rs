//! Networks of straw for tests: hosts anywhere, in memory, so that nothing takes time but what is waited for on purpose.
//! Tests run with the clock stopped between timers.

use std::collections::BTreeMap;
use std::future::{Future, pending};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use evenkeel_platform::network_hints::{Connectivity, ConnectivityCheck, NetworkHints};
use evenkeel_profile::{Host, ProbeAnswer, ProbePage};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::sync::mpsc;

use super::{Connector, NameError, PortalConfig};

pub(super) const GATEWAY: &str = "198.51.100.10";
pub(super) const PROBE: &str = "198.51.100.80";
pub(super) const CHECK: &str = "198.51.100.81";
pub(super) const API: &str = "10.0.0.1";

/// What somebody at an address does.
#[derive(Clone)]
pub(super) enum There {
    /// A server that takes connections here.
    Server(mpsc::UnboundedSender<DuplexStream>),
    Refuses,
    Silent,
}

/// The names and addresses of a network.
#[derive(Default)]
pub(super) struct Network {
    names: BTreeMap<String, Vec<IpAddr>>,
    hosts: Mutex<BTreeMap<SocketAddr, There>>,
    hints: NetworkHints,
    hints_after: Duration,
    roots: Vec<Vec<u8>>,
    pub(super) connections: AtomicUsize,
    pub(super) asked: Mutex<Vec<SocketAddr>>,
}

impl Network {
    /// A gateway, a page for profiles, a page of the system's check and an API, and nobody at any of them.
    pub(super) fn new() -> Self {
        let mut network = Self::default();
        for (name, address) in [
            ("vpn.corp.example", GATEWAY),
            ("probe.example", PROBE),
            ("check.example.net", CHECK),
            ("api.hotel.example", API),
        ] {
            network = network.name(name, &[address]);
        }
        network
    }

    pub(super) fn name(mut self, name: &str, addresses: &[&str]) -> Self {
        let addresses = addresses.iter().map(|address| address.parse().unwrap()).collect();
        self.names.insert(name.to_owned(), addresses);
        self
    }

    pub(super) fn without(mut self, name: &str) -> Self {
        self.names.remove(name);
        self
    }

    pub(super) fn host(self, address: &str, port: u16, there: There) -> Self {
        self.put(address, port, there);
        self
    }

    pub(super) fn put(&self, address: &str, port: u16, there: There) {
        self.hosts.lock().unwrap().insert(SocketAddr::new(address.parse().unwrap(), port), there);
    }

    pub(super) fn api(mut self, uri: &str, root: Vec<u8>) -> Self {
        self.hints.portal_apis.push(uri.to_owned());
        self.roots.push(root);
        self
    }

    /// The system says what the network has said only after this time.
    pub(super) fn hints_after(mut self, after: Duration) -> Self {
        self.hints_after = after;
        self
    }

    pub(super) fn check(mut self, connectivity: Connectivity) -> Self {
        self.hints.check = Some(ConnectivityCheck {
            uri: "http://check.example.net/".to_owned(),
            response: "NetworkManager is online".to_owned(),
            connectivity,
        });
        self
    }
}

impl Connector for Arc<Network> {
    type Stream = DuplexStream;

    async fn connect(&self, remote: SocketAddr, timeout: Duration) -> io::Result<DuplexStream> {
        self.connections.fetch_add(1, Ordering::Relaxed);
        self.asked.lock().unwrap().push(remote);
        let there = self.hosts.lock().unwrap().get(&remote).cloned().unwrap_or(There::Silent);
        match there {
            There::Server(server) => {
                let (ours, theirs) = duplex(BUFFER);
                server.send(theirs).map_err(|_| io::ErrorKind::ConnectionRefused)?;
                Ok(ours)
            }
            There::Refuses => Err(io::ErrorKind::ConnectionRefused.into()),
            There::Silent => match tokio::time::timeout(timeout, pending()).await {
                Ok(never) => never,
                Err(_) => Err(io::ErrorKind::TimedOut.into()),
            },
        }
    }

    async fn resolve(&self, host: &Host) -> Result<Vec<IpAddr>, NameError> {
        self.names.get(host.as_str()).cloned().ok_or(NameError::NotFound)
    }

    async fn hints(&self) -> NetworkHints {
        tokio::time::sleep(self.hints_after).await;
        self.hints.clone()
    }

    fn roots(&self) -> Vec<Vec<u8>> {
        self.roots.clone()
    }
}

/// Bytes that are under way in one direction.
const BUFFER: usize = 1 << 16;

/// Somebody who listens, and whom to connect to.
pub(super) fn listen() -> (mpsc::UnboundedReceiver<DuplexStream>, There) {
    let (sender, listener) = mpsc::unbounded_channel();
    (listener, There::Server(sender))
}

/// A server that does `serve` with each connection after having read a request's head.
pub(super) fn server<F>(serve: impl Fn(DuplexStream) -> F + Send + 'static) -> There
where
    F: Future<Output = ()> + Send + 'static,
{
    let (mut listener, there) = listen();
    tokio::spawn(async move {
        while let Some(mut stream) = listener.recv().await {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                match stream.read_u8().await {
                    Ok(byte) => head.push(byte),
                    Err(_) => break,
                }
            }
            tokio::spawn(serve(stream));
        }
    });
    there
}

/// A server that answers everything with `response` and hangs up.
pub(super) fn says(response: impl Into<Vec<u8>>) -> There {
    says_after(Duration::ZERO, response)
}

/// The same, after having thought about it.
pub(super) fn says_after(delay: Duration, response: impl Into<Vec<u8>>) -> There {
    let response: Arc<[u8]> = response.into().into();
    server(move |mut stream| {
        let response = Arc::clone(&response);
        async move {
            tokio::time::sleep(delay).await;
            // A client that has seen enough may be gone.
            let _ = stream.write_all(&response).await;
        }
    })
}

pub(super) fn redirect(location: &str) -> String {
    format!("HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n")
}

pub(super) fn ok(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

pub(super) fn config(page: bool) -> PortalConfig {
    let page = page.then(|| {
        let answer = ProbeAnswer::Body("success".to_owned());
        ProbePage::new("http://probe.example/x".parse().unwrap(), answer).unwrap()
    });
    PortalConfig { gateway: "vpn.corp.example".parse().unwrap(), names: Vec::new(), page, never: Vec::new() }
}
