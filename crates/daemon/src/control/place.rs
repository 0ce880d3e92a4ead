//! The network that we are on, what is known of it, and what becomes of what is learned there.
//!
//! Between two networks, while the next one has no name yet, what is measured is nobody's: it is neither the last
//! network's nor, for all that is known, the next one's.

use std::time::{Duration, Instant};

use evenkeel_netprofile::memory::NetworkProfile;
use evenkeel_netprofile::time::UnixSeconds;
use evenkeel_platform::network_identity::NetworkIdentity;
use tokio::task::JoinHandle;

use super::wall_clock;
use crate::networks::{Memory, Present};

/// What is learned while connected is written at most this often: a crash costs the last minute's learning.
const KEEP_EVERY: Duration = Duration::from_secs(60);

/// The memory, and where in it we are.
pub(super) struct Place {
    memory: Memory,
    present: Option<(NetworkIdentity, Present)>,
    /// We may have left it, and are nowhere that has a name.
    left: bool,
    kept: Option<Instant>,
    writing: Option<JoinHandle<()>>,
}

impl Place {
    pub(super) fn new(memory: Memory) -> Self {
        Self { memory, present: None, left: false, kept: None, writing: None }
    }

    /// Whether that is where we were already. If so, what is learned is this network's as before.
    pub(super) fn stays(&mut self, identity: &NetworkIdentity) -> bool {
        let same = self.present.as_ref().is_some_and(|(here, _)| here == identity);
        self.left &= !same;
        same
    }

    /// We may be elsewhere, on a network that has no name yet or on none: what is learned until one has is not kept.
    pub(super) fn leave(&mut self) {
        self.left = true;
    }

    /// We are here. Returns what is known of it, if that is elsewhere than before.
    ///
    /// Where more has become known of the network that we were on already, what is being learned there goes on: beginning anew
    /// would take from connections what was measured a moment ago. What is remembered of it is better than either. A name
    /// that the network had while less was known of it is given up.
    pub(super) fn arrive(&mut self, identity: NetworkIdentity) -> Option<NetworkProfile> {
        let (present, profile) = self.memory.visit(&identity, now());
        let known = profile != NetworkProfile::default();
        // Not its label: every local user may read what is logged while nobody is connected.
        tracing::info!(known, "on a network");
        let goes_on = self.present.as_ref().is_some_and(|(was, before)| {
            let completed = identity.completes(was);
            if completed {
                self.memory.rename(before, &present, now());
            }
            // Without a fingerprint a label says nothing: half the world's is 192.168.1.0/24.
            let same = before.fingerprint.is_some() && before.fingerprint == present.fingerprint;
            same || (completed && !known)
        });
        self.present = Some((identity, present));
        self.left = false;
        self.write();
        (!goes_on).then_some(profile)
    }

    /// The network that we are on, or were last.
    pub(super) fn present(&self) -> Option<&Present> {
        self.present.as_ref().map(|(_, present)| present)
    }

    /// What is known of it.
    pub(super) fn profile(&mut self) -> NetworkProfile {
        let Some((identity, _)) = &self.present else { return NetworkProfile::default() };
        self.memory.visit(identity, now()).1
    }

    /// Keeps what was learned here, unless we have [left](Self::leave).
    pub(super) fn keep(&mut self, learned: &NetworkProfile) {
        if let Some((_, present)) = self.present.as_ref().filter(|_| !self.left) {
            self.memory.learn(present, learned, now());
        }
        self.kept = Some(Instant::now());
        self.write();
    }

    /// Whether it is time to [`keep`](Self::keep) what was learned while connected.
    pub(super) fn is_due(&self) -> bool {
        self.kept.is_none_or(|kept| kept.elapsed() >= KEEP_EVERY)
    }

    /// Everything that is remembered.
    pub(super) fn memory(&self) -> &Memory {
        &self.memory
    }

    /// Forgets what `forget` says, and then does `done`, told whether that is on disk.
    pub(super) fn forget(
        &mut self,
        forget: impl FnOnce(&mut Memory),
        done: impl FnOnce(bool) + Send + 'static,
    ) {
        forget(&mut self.memory);
        match self.memory.unsaved() {
            Some(save) => self.writing = Some(tokio::task::spawn_blocking(move || done(save.write()))),
            None => done(true),
        }
    }

    /// Waits until everything is on disk.
    pub(super) async fn finish(mut self) {
        self.write();
        if let Some(writing) = self.writing.take() {
            // What went wrong has been logged.
            let _ = writing.await;
        }
    }

    /// Has the disk follow, where waiting for it holds nobody up.
    fn write(&mut self) {
        if let Some(save) = self.memory.unsaved() {
            let write = move || {
                // What went wrong has been logged.
                let _ = save.write();
            };
            self.writing = Some(tokio::task::spawn_blocking(write));
        }
    }
}

fn now() -> UnixSeconds {
    UnixSeconds(wall_clock().0)
}

#[cfg(test)]
mod tests {
    use evenkeel_netprofile::memory::LearnedMtu;
    use tempfile::TempDir;

    use super::*;
    use crate::networks::tests::cafe;

    fn learned(size: u16) -> NetworkProfile {
        NetworkProfile { uplink: Some(LearnedMtu { size, at: now() }), ..NetworkProfile::default() }
    }

    fn place() -> (TempDir, Place) {
        let folder = tempfile::tempdir().unwrap();
        let memory = Memory::open(folder.path(), now());
        (folder, Place::new(memory))
    }

    fn remembered(place: &Place) -> Vec<Option<u16>> {
        place.memory().list().iter().map(|(_, network)| network.profile.uplink.map(|mtu| mtu.size)).collect()
    }

    #[tokio::test]
    async fn what_is_learned_before_the_next_network_has_a_name_is_nobodys() {
        let (_folder, mut place) = place();
        place.arrive(cafe());
        place.keep(&learned(1400));
        place.leave();
        place.keep(&learned(1280));
        assert_eq!(remembered(&place), [Some(1400)]);
        // It was the same network, only slow to be named.
        assert!(place.stays(&cafe()));
        place.keep(&learned(1380));
        assert_eq!(remembered(&place), [Some(1380)]);
        place.leave();
        let hotel = NetworkIdentity { gateway_mac: Some([2, 0, 0, 0, 0, 2]), ..cafe() };
        assert_eq!(place.arrive(hotel), Some(NetworkProfile::default()));
        place.keep(&learned(1300));
        assert_eq!(place.memory().list().len(), 2);
    }

    #[tokio::test]
    async fn more_of_the_same_network_neither_begins_anew_nor_leaves_a_second_entry() {
        let (_folder, mut place) = place();
        let whole = NetworkIdentity { dhcp_domain: Some("cafe.example".to_owned()), ..cafe() };
        assert_eq!(place.arrive(cafe()), Some(NetworkProfile::default()));
        place.keep(&learned(1400));
        assert_eq!(place.arrive(whole.clone()), None, "what is being learned was taken from the connection");
        assert_eq!(remembered(&place), [Some(1400)], "it is remembered by the name that it has");
        place.keep(&learned(1380));
        assert_eq!(remembered(&place), [Some(1380)]);

        // On the next visit, too, of which the beginning is not worth more than what is remembered.
        let elsewhere = NetworkIdentity { gateway_mac: Some([2, 0, 0, 0, 0, 2]), ..cafe() };
        place.arrive(elsewhere);
        place.arrive(cafe());
        place.keep(&learned(1280));
        assert_eq!(place.arrive(whole).and_then(|known| known.uplink).map(|mtu| mtu.size), Some(1380));
        assert_eq!(remembered(&place), [Some(1380)]);
    }

    #[tokio::test]
    async fn networks_that_can_not_be_told_apart_by_name_are_not_one_for_that() {
        let (_folder, mut place) = place();
        let nameless = |host: &str| NetworkIdentity {
            gateway_mac: None,
            ssid: None,
            subnet: Some((host.parse().unwrap(), 24)),
            ..cafe()
        };
        assert_eq!(place.arrive(nameless("192.168.1.50")), Some(NetworkProfile::default()));
        assert_eq!(place.present().unwrap().label.as_str(), "192.168.1.0/24");
        let other = place.arrive(nameless("192.168.1.77"));
        assert_eq!(other, Some(NetworkProfile::default()), "what was measured there is taken along");
    }

    #[tokio::test]
    async fn what_could_not_be_forgotten_on_disk_is_tried_again() {
        let (folder, mut place) = place();
        place.arrive(cafe());
        place.keep(&learned(1400));
        let fingerprint = place.present().unwrap().fingerprint.unwrap();
        // Nothing can be put in the place of a folder that is not empty.
        let file = folder.path().join("networks.json");
        place.writing.take().unwrap().await.unwrap();
        std::fs::remove_file(&file).unwrap();
        std::fs::create_dir_all(file.join("in the way")).unwrap();
        assert!(!forgotten(&mut place, |memory| _ = memory.forget(fingerprint)).await);
        assert!(place.memory().is_behind());
        assert!(!forgotten(&mut place, |memory| _ = memory.forget(fingerprint)).await, "it is still there");
        std::fs::remove_dir_all(&file).unwrap();
        assert!(forgotten(&mut place, |memory| _ = memory.forget(fingerprint)).await);
        assert!(!place.memory().is_behind());
        assert!(!std::fs::read_to_string(&file).unwrap().contains("Cafe"));
    }

    /// Whether it is gone from the disk, too.
    async fn forgotten(place: &mut Place, forget: impl FnOnce(&mut Memory)) -> bool {
        let (sender, receiver) = tokio::sync::oneshot::channel();
        place.forget(forget, |is_written| sender.send(is_written).unwrap());
        receiver.await.unwrap()
    }
}
