//! What changes on the network under the tunnel: bursts of the system's events, told as one.

use std::collections::BTreeSet;
use std::future::pending;
use std::time::{Duration, Instant};

use evenkeel_platform::net_events::{NetEvent, NetEvents};

/// A link that comes up, its addresses and its routes are told one by one: what follows within this time is the same
/// change. A person waits for the sum of this and one round trip.
const BURST: Duration = Duration::from_millis(50);

/// Changes are told at most this often: something that flaps is not asked after each time.
const PAUSE: Duration = Duration::from_millis(500);

/// Watches the network.
pub(super) struct Surroundings {
    events: Option<NetEvents>,
    /// Our own devices, by index: what happens to them is our own doing.
    own: BTreeSet<u32>,
    /// When a change is told.
    due: Option<Instant>,
    told: Option<Instant>,
}

impl Surroundings {
    /// Starts to watch, or says in the log why not.
    pub(super) fn watch() -> Self {
        let events = NetEvents::open();
        let events = events.inspect_err(|error| tracing::warn!(%error, "changes of the network go unseen"));
        Self { events: events.ok(), own: BTreeSet::new(), due: None, told: None }
    }

    /// Waits for a change. `device` is ours. Cancel safe.
    pub(super) async fn changed(&mut self, device: Option<&str>) {
        loop {
            tokio::select! {
                event = next(&mut self.events) => match event {
                    Some(event) => self.note(&event, device, Instant::now()),
                    None => {
                        tracing::warn!("changes of the network go unseen from here on");
                        self.events = None;
                    }
                },
                () = until(self.due) => {
                    self.due = None;
                    self.told = Some(Instant::now());
                    return;
                }
            }
        }
    }

    fn note(&mut self, event: &NetEvent, device: Option<&str>, now: Instant) {
        let ours = match event {
            NetEvent::Link { index, name, up } => {
                let ours = device == Some(name) || self.own.contains(index);
                if ours && *up {
                    self.own.insert(*index);
                }
                ours
            }
            NetEvent::Address { index } => self.own.contains(index),
            NetEvent::DefaultRoute | NetEvent::Overrun => false,
        };
        if !ours && self.due.is_none() {
            let earliest = self.told.map_or(now, |told| told + PAUSE);
            self.due = Some((now + BURST).max(earliest));
        }
    }
}

async fn next(events: &mut Option<NetEvents>) -> Option<NetEvent> {
    match events {
        Some(events) => events.next().await,
        None => pending().await,
    }
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn surroundings() -> Surroundings {
        Surroundings { events: None, own: BTreeSet::new(), due: None, told: None }
    }

    fn link(index: u32, name: &str) -> NetEvent {
        NetEvent::Link { index, name: name.to_owned(), up: true }
    }

    #[test]
    fn a_burst_is_told_once_and_soon() {
        let (mut around, now) = (surroundings(), Instant::now());
        for event in [link(2, "wlan0"), NetEvent::Address { index: 2 }, NetEvent::DefaultRoute] {
            around.note(&event, None, now);
        }
        assert_eq!(around.due, Some(now + BURST));
    }

    #[test]
    fn what_flaps_is_told_at_most_twice_a_second() {
        let (mut around, now) = (surroundings(), Instant::now());
        around.told = Some(now);
        around.note(&NetEvent::DefaultRoute, None, now + Duration::from_millis(1));
        assert_eq!(around.due, Some(now + PAUSE));
    }

    #[test]
    fn our_own_device_is_no_news() {
        let (mut around, now) = (surroundings(), Instant::now());
        around.note(&link(7, "evenkeel0"), Some("evenkeel0"), now);
        around.note(&NetEvent::Address { index: 7 }, Some("evenkeel0"), now);
        around.note(&NetEvent::Link { index: 7, name: String::new(), up: false }, None, now);
        assert_eq!(around.due, None);
        around.note(&NetEvent::Address { index: 2 }, Some("evenkeel0"), now);
        assert!(around.due.is_some());
    }
}
