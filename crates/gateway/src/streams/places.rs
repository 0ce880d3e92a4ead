//! How many streams there may be.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Streams in all, those without a prefix yet included. Each takes up to four descriptors and, once it has begun,
/// about a megabyte when it is busy.
pub(super) const MAX_STREAMS: usize = 128;
/// Streams from one address: a client has one, two while it reconnects; a NAT may have several clients behind it.
pub(super) const MAX_STREAMS_OF_ADDRESS: usize = 32;

/// The places that are taken, by the clients' addresses.
#[derive(Clone, Default)]
pub(super) struct Places(Arc<Mutex<BTreeMap<IpAddr, usize>>>);

/// A place, until it is dropped.
pub(super) struct Place {
    places: Places,
    ip: IpAddr,
}

impl Places {
    /// A place for a stream from `ip`, if there is one.
    pub(super) fn take(&self, ip: IpAddr) -> Option<Place> {
        let mut taken = self.lock();
        let of_address = taken.get(&ip).copied().unwrap_or(0);
        if taken.values().sum::<usize>() >= MAX_STREAMS || of_address >= MAX_STREAMS_OF_ADDRESS {
            return None;
        }
        taken.insert(ip, of_address + 1);
        Some(Place { places: self.clone(), ip })
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<IpAddr, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.lock();
        match taken.get_mut(&self.ip) {
            Some(count) if *count > 1 => *count -= 1,
            Some(_) | None => drop(taken.remove(&self.ip)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(last: u8) -> IpAddr {
        [192, 0, 2, last].into()
    }

    #[test]
    fn one_address_cannot_take_every_place() {
        let places = Places::default();
        let held: Vec<_> = std::iter::from_fn(|| places.take(ip(1))).collect();
        assert_eq!(held.len(), MAX_STREAMS_OF_ADDRESS);
        assert!(places.take(ip(2)).is_some(), "another one still can");
    }

    #[test]
    fn places_are_bounded_in_all_and_given_back() {
        let places = Places::default();
        let mut held: Vec<_> = (1..=200).filter_map(|last| places.take(ip(last))).collect();
        assert_eq!(held.len(), MAX_STREAMS);
        drop(held.pop());
        assert!(places.take(ip(201)).is_some());
        held.clear();
        assert!(places.lock().is_empty());
    }
}
