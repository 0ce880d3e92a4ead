//! What the threads share.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::Thread;
use std::time::Instant;

use super::config::{WireGuardEvent, WireGuardEventSink};
use super::session::{Due, Session};
use crate::stats::{Stamp, ThreadStats};

pub(super) struct Shared {
    session: Mutex<Session>,
    pub(super) outbound: ThreadStats,
    pub(super) inbound: ThreadStats,
    pub(super) counts: Counts,
    pub(super) events: WireGuardEventSink,
    /// When data, not a keepalive or a handshake, was last sent.
    pub(super) data_sent: Stamp,
    /// When data last came.
    pub(super) data_received: Stamp,
    pub(super) last_handshake: Stamp,
    pub(super) stop: AtomicBool,
    /// The timers' thread looks every second.
    awake: AtomicBool,
    timers: OnceLock<Thread>,
}

/// Counters that more than one thread adds to. None is touched for each packet.
#[derive(Default)]
pub(super) struct Counts {
    pub(super) bytes_sent: AtomicU64,
    pub(super) bytes_received: AtomicU64,
    pub(super) handshakes: AtomicU64,
    /// Packets sent after having waited for a handshake.
    pub(super) sent_late: AtomicU64,
}

impl Counts {
    pub(super) fn add(counter: &AtomicU64, amount: u64) {
        counter.fetch_add(amount, Ordering::Relaxed);
    }
}

impl Shared {
    pub(super) fn new(session: Session, events: WireGuardEventSink) -> Self {
        let shared = Self {
            session: Mutex::new(session),
            outbound: ThreadStats::default(),
            inbound: ThreadStats::default(),
            counts: Counts::default(),
            events,
            data_sent: Stamp::default(),
            data_received: Stamp::default(),
            last_handshake: Stamp::default(),
            stop: AtomicBool::new(false),
            awake: AtomicBool::new(true),
            timers: OnceLock::new(),
        };
        let now = Instant::now();
        shared.inbound.last.set(now);
        shared.outbound.last.set(now);
        shared.last_handshake.set(now);
        Counts::add(&shared.counts.handshakes, 1);
        shared
    }

    /// The state machine. A thread that panicked with it has ended the plane; the state itself is whole.
    #[inline]
    pub(super) fn session(&self) -> MutexGuard<'_, Session> {
        self.session.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The calling thread is the one to wake.
    pub(super) fn attach_timers(&self, thread: Thread) {
        let _ = self.timers.set(thread);
    }

    /// To be called when there is data, before boringtun has it and again after: its clock must not have stood still, and its
    /// timers must not sleep.
    #[inline]
    pub(super) fn stir(&self) {
        // With the fence in `rest`: either this sees that the timers sleep, or they see the time of the last data.
        fence(Ordering::SeqCst);
        if !self.awake.load(Ordering::Relaxed) {
            self.wake_timers();
        }
    }

    #[cfg(test)]
    pub(super) fn is_awake(&self) -> bool {
        self.awake.load(Ordering::SeqCst)
    }

    #[cold]
    pub(super) fn wake_timers(&self) {
        self.awake.store(true, Ordering::Relaxed);
        self.look_at_timers(Instant::now());
        if let Some(thread) = self.timers.get() {
            thread.unpark();
        }
    }

    /// The timers want to sleep. `false`, and they stay awake, if data has moved in the meantime.
    pub(super) fn rest(&self, is_busy: impl Fn() -> bool) -> bool {
        self.awake.store(false, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        if is_busy() {
            self.awake.store(true, Ordering::Relaxed);
            return false;
        }
        true
    }

    /// Lets boringtun do what is due.
    pub(super) fn look_at_timers(&self, now: Instant) {
        let (due, tell_lost) = {
            let mut session = self.session();
            (session.refresh(), std::mem::take(&mut session.tell_lost))
        };
        if matches!(due, Due::Initiation | Due::Keepalive) {
            self.outbound.last.set(now);
        }
        if tell_lost {
            (self.events)(WireGuardEvent::HandshakeLost);
        }
    }

    /// Begins a handshake, unless one is under way.
    #[cold]
    pub(super) fn ask_again(&self, now: Instant) {
        let mut session = self.session();
        // What is not sent here is lost as on the way: the timers will repeat it.
        if !session.handshaking && session.initiate().is_ok() {
            self.outbound.last.set(now);
        }
    }

    /// Tells of a handshake that was completed.
    #[cold]
    pub(super) fn note_handshake(&self) {
        self.last_handshake.set(Instant::now());
        Counts::add(&self.counts.handshakes, 1);
        (self.events)(WireGuardEvent::Handshake);
    }
}
