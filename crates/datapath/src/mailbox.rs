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
    woken: bool,
    wakeup: Wakeup,
}

/// A mailbox and its inbox; `wakeup` is what the thread waits with.
pub(crate) fn mailbox<T>(wakeup: Wakeup) -> (Mailbox<T>, Inbox<T>) {
    let (sender, receiver) = mpsc::channel();
    let generation = Arc::new(AtomicU64::new(0));
    let inbox = Inbox {
        receiver,
        generation: Arc::clone(&generation),
        seen: 0,
        woken: false,
        wakeup: wakeup.clone(),
    };
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
            // The generation last: whoever sees it also finds the signal set, and takes both back together. The other
            // way round, the signal could be set after its change was applied, and would end every wait from then on.
            self.wakeup.wake();
            self.generation.fetch_add(1, Ordering::Release);
        }
    }
}

impl<T> Inbox<T> {
    /// Is there anything new? One load, for between batches.
    #[inline]
    pub(crate) fn has_news(&self) -> bool {
        self.woken || self.generation.load(Ordering::Acquire) != self.seen
    }

    /// A wait was ended by the wakeup, perhaps before the generation tells of the change.
    pub(crate) const fn note_woken(&mut self) {
        self.woken = true;
    }

    /// The next change.
    pub(crate) fn next(&mut self) -> Option<T> {
        if self.has_news() {
            self.woken = false;
            self.seen = self.generation.load(Ordering::Acquire);
            // Cleared before looking: a change posted from here on sets it again.
            self.wakeup.clear();
        }
        self.receiver.try_recv().ok()
    }

    /// What the thread waits with.
    pub(crate) const fn wakeup(&self) -> &Wakeup {
        &self.wakeup
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::thread;

    use evenkeel_platform::socket::{ReceiveBatch, UdpOptions, UdpSocket};

    use super::*;

    #[test]
    fn every_change_arrives_and_no_signal_is_left_behind() {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0).into(), &UdpOptions::default()).unwrap();
        let mut batch = ReceiveBatch::new();
        for round in 0..200 {
            let (mailbox, mut inbox) = mailbox(Wakeup::new().unwrap());
            let poster = thread::spawn(move || (0..20).for_each(|change| mailbox.post(change)));
            let mut received = Vec::new();
            while received.len() < 20 {
                if inbox.has_news() {
                    received.extend(std::iter::from_fn(|| inbox.next()));
                } else if !socket.wait_readable(inbox.wakeup()).unwrap() {
                    inbox.note_woken();
                }
            }
            assert_eq!(received, (0..20).collect::<Vec<_>>());
            poster.join().unwrap();
            while inbox.has_news() {
                assert_eq!(inbox.next(), None);
            }
            // A datagram ends the next wait, not a signal that nobody took back.
            socket.send(b"x", Some(socket.local_addr().unwrap())).unwrap();
            assert!(socket.wait_readable(inbox.wakeup()).unwrap(), "round {round}");
            socket.try_receive(&mut batch).unwrap();
            assert_eq!(batch.len(), 1);
        }
    }
}
