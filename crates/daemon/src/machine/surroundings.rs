//! What changes on the network under the tunnel: bursts of the system's events, told as one.

use std::collections::{BTreeSet, VecDeque};
use std::future::pending;
use std::time::{Duration, Instant};

use evenkeel_platform::net_events::{NetEvent, NetEvents};

use crate::timer::until;

/// A link that comes up, its addresses and its routes are told one by one: what follows within this time is the same
/// change. A person waits for the sum of this and one round trip.
const BURST: Duration = Duration::from_millis(50);

/// So many changes may be told within [`WINDOW`], twice a second on average: something that flaps is not asked after each
/// time. A cable that is pulled while another network is being joined is several in a row, of which none should wait.
const TOLD_AT_ONCE: usize = 4;
/// See [`TOLD_AT_ONCE`].
const WINDOW: Duration = Duration::from_secs(2);

/// Watches the network.
pub(super) struct Surroundings {
    events: Option<NetEvents>,
    /// Our own devices, by index: what happens to them is our own doing.
    own: BTreeSet<u32>,
    /// When a change is told.
    due: Option<Instant>,
    /// The last that were told, oldest first.
    told: VecDeque<Instant>,
}

impl Surroundings {
    /// Starts to watch, or says in the log why not.
    pub(super) fn watch() -> Self {
        let events = NetEvents::open();
        let events = events.inspect_err(|error| tracing::warn!(%error, "changes of the network go unseen"));
        Self { events: events.ok(), own: BTreeSet::new(), due: None, told: VecDeque::new() }
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
                    self.note_told(Instant::now());
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
            let full = self.told.len() >= TOLD_AT_ONCE;
            let earliest = self.told.front().filter(|_| full).map_or(now, |oldest| *oldest + WINDOW);
            self.due = Some((now + BURST).max(earliest));
        }
    }

    fn note_told(&mut self, now: Instant) {
        if self.told.len() == TOLD_AT_ONCE {
            self.told.pop_front();
        }
        self.told.push_back(now);
    }
}

async fn next(events: &mut Option<NetEvents>) -> Option<NetEvent> {
    match events {
        Some(events) => events.next().await,
        None => pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn surroundings() -> Surroundings {
        Surroundings { events: None, own: BTreeSet::new(), due: None, told: VecDeque::new() }
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
    fn a_few_changes_in_a_row_are_told_at_once_and_what_flaps_twice_a_second() {
        let (mut around, start) = (surroundings(), Instant::now());
        let (mut now, mut told) = (start, Vec::new());
        while now < start + 10 * WINDOW {
            around.note(&NetEvent::DefaultRoute, None, now);
            now = around.due.take().unwrap();
            around.note_told(now);
            told.push(now - start);
        }
        let several: Vec<Duration> = (1..=4).map(|number| number * BURST).collect();
        assert_eq!(told[..TOLD_AT_ONCE], several);
        assert!(told.len() <= 11 * TOLD_AT_ONCE, "{} times in {:?}", told.len(), 10 * WINDOW);
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
