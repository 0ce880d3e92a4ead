//! Which stream stands behind which UDP address.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use evenkeel_ipsec::ike::{Framing, Path};

/// The open streams: the path of each by the address of its relay's socket, and the other way round.
#[derive(Clone)]
pub(crate) struct StreamTable {
    /// The gateway's UDP socket, which all relays are connected to.
    user: SocketAddr,
    open: Arc<Mutex<BTreeMap<SocketAddr, Path>>>,
}

/// A stream is in the table until this is dropped.
pub(super) struct Entry {
    table: StreamTable,
    relay: SocketAddr,
}

impl StreamTable {
    pub(super) fn new(user: SocketAddr) -> Self {
        Self { user, open: Arc::default() }
    }

    pub(super) fn enter(&self, relay: SocketAddr, path: Path) -> Entry {
        self.lock().insert(relay, path);
        Entry { table: self.clone(), relay }
    }

    /// The path that a datagram from `remote` came along, if that is the socket of a stream.
    pub(crate) fn path_of(&self, remote: SocketAddr) -> Option<Path> {
        self.lock().get(&remote).copied()
    }

    /// The path over loopback to the stream of this path; `None` when that has ended.
    pub(crate) fn relay_of(&self, path: &Path) -> Option<Path> {
        // A handful at most; a bound of 128.
        let open = self.lock();
        let (relay, _) = open.iter().find(|(_, stream)| *stream == path)?;
        Some(Path { local: self.user, remote: *relay, framing: Framing::NonEspMarker })
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<SocketAddr, Path>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.table.lock().remove(&self.relay);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_found_both_ways_until_it_ends() {
        let address = |text: &str| text.parse::<SocketAddr>().unwrap();
        let table = StreamTable::new(address("127.0.0.1:4500"));
        let path = Path {
            local: address("198.51.100.10:443"),
            remote: address("192.0.2.1:50000"),
            framing: Framing::Stream,
        };
        let relay = address("127.0.0.1:60000");
        let entry = table.enter(relay, path);
        assert_eq!(table.path_of(relay), Some(path));
        let over_loopback =
            Path { local: address("127.0.0.1:4500"), remote: relay, framing: Framing::NonEspMarker };
        assert_eq!(table.relay_of(&path), Some(over_loopback));
        let same_ports_over_udp = Path { framing: Framing::NonEspMarker, ..path };
        assert_eq!(table.relay_of(&same_ports_over_udp), None);
        drop(entry);
        assert_eq!((table.path_of(relay), table.relay_of(&path)), (None, None));
    }
}
