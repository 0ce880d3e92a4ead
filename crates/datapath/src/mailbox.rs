//! Changes for a thread that is busy with packets, or asleep.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};

use evenkeel_platform::wakeup::Wakeup;

/// The control plane's end.
pub(crate) struct Mailbox<T> {
    sender: Sender<T>,
    generation: Arc<AtomicU64>,
    wakeup: Wakeup,
}

/// The thread's end.
pub(crate) struct Inbox<T> {
    receiver: Receiver<T>,
    generation: Arc<AtomicU64>,
    seen: u64,
    wakeup: Wakeup,
}

/// A mailbox and its inbox; `wakeup` is what the thread waits with.
pub(crate) fn mailbox<T>(wakeup: Wakeup) -> (Mailbox<T>, Inbox<T>) {
    let (sender, receiver) = mpsc::channel();
    let generation = Arc::new(AtomicU64::new(0));
    let inbox = Inbox { receiver, generation: Arc::clone(&generation), seen: 0, wakeup: wakeup.clone() };
    (Mailbox { sender, generation, wakeup }, inbox)
}

impl<T> Clone for Mailbox<T> {
    fn clone(&self) -> Self {
        Self {
            sender: self.sender.clone(),
            generation: Arc::clone(&self.generation),
            wakeup: self.wakeup.clone(),
        }
    }
}

impl<T> Mailbox<T> {
    /// Hands a change over. A thread that has ended takes none, and needs none.
    pub(crate) fn post(&self, change: T) {
        if self.sender.send(change).is_ok() {
            self.generation.fetch_add(1, Ordering::Release);
            self.wakeup.wake();
        }
    }
}

impl<T> Inbox<T> {
    /// Is there anything new? One load, for between batches.
    #[inline]
    pub(crate) fn has_news(&self) -> bool {
        self.generation.load(Ordering::Relaxed) != self.seen
    }

    /// The next change.
    pub(crate) fn next(&mut self) -> Option<T> {
        if self.has_news() {
            // In this order, a change posted meanwhile either is received here or leaves the generation ahead.
            self.wakeup.clear();
            self.seen = self.generation.load(Ordering::Acquire);
        }
        self.receiver.try_recv().ok()
    }

    /// What the thread waits with.
    pub(crate) const fn wakeup(&self) -> &Wakeup {
        &self.wakeup
    }
}
