//! The network that we are on, what is known of it, and what becomes of what is learned there.

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
    kept: Option<Instant>,
    writing: Option<JoinHandle<()>>,
}

impl Place {
    pub(super) fn new(memory: Memory) -> Self {
        Self { memory, present: None, kept: None, writing: None }
    }

    /// Whether that is where we are.
    pub(super) fn is(&self, identity: &NetworkIdentity) -> bool {
        self.present.as_ref().is_some_and(|(here, _)| here == identity)
    }

    /// We are here. Returns what is known of it, if that is elsewhere than before.
    ///
    /// Where more has become known of the network that we were on already, what is being learned there goes on: beginning anew
    /// would take from connections what was measured a moment ago. What is remembered of it is better than either.
    pub(super) fn arrive(&mut self, identity: NetworkIdentity) -> Option<NetworkProfile> {
        let (present, profile) = self.memory.visit(&identity, now());
        let known = profile != NetworkProfile::default();
        tracing::info!(network = %present.label, known, "on a network");
        let before = self.present.replace((identity, present));
        self.write();
        let goes_on = before.zip(self.present.as_ref()).is_some_and(|((was, before), (is, present))| {
            before == *present || (!known && before.fingerprint.is_none() && is.completes(&was))
        });
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

    /// Keeps what was learned here.
    pub(super) fn keep(&mut self, learned: &NetworkProfile) {
        if let Some((_, present)) = &self.present {
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
