//! What the threads that read from a TUN device have in common, whatever they seal packets with.

use std::io::{self, IoSlice};
use std::ops::ControlFlow;
use std::thread;
use std::time::{Duration, Instant};

use evenkeel_platform::tun::{Frame, MAX_PACKET, Offload, Tun};

use crate::config::Telling;
use crate::mailbox::Inbox;
use crate::mss::{Checksum, MssClamp};
use crate::oversize::too_big_message;
use crate::segment::Segments;
use crate::stats::{PlaneDrop, ThreadStats};
use crate::throttle::Budget;

/// How often a thread gives way and looks again before it sleeps: under load the next packets are about to
/// come, and sleeping costs more than looking.
pub(crate) const LOOKS_BEFORE_SLEEP: usize = 2;

/// How many senders of this machine are told the inner MTU in which time. They are near and learn at once; the limit is
/// for those that never do.
const TOLD: (u32, Duration) = (64, Duration::from_millis(100));

/// The device, what is told to the thread that reads it, and what packets are held to before they are sealed.
pub(crate) struct Source<C> {
    pub(crate) tun: Tun,
    pub(crate) inbox: Inbox<C>,
    pub(crate) mss: MssClamp,
    /// No longer inner packet than this leaves.
    pub(crate) inner_mtu: usize,
    /// Whether whoever sends longer ones is told so.
    pub(crate) telling: Telling,
    told: Budget,
}

impl<C> Source<C> {
    pub(crate) fn new(tun: Tun, inbox: Inbox<C>, mss: MssClamp) -> Self {
        let told = Budget::new(TOLD.0, TOLD.1);
        Self { tun, inbox, mss, inner_mtu: usize::MAX, telling: Telling::Senders, told }
    }

    /// Lowers the MSS that a frame's packet offers. No superpacket is a SYN.
    #[inline]
    pub(crate) fn limit_mss(&self, packet: &mut [u8], offload: Offload) {
        if offload.segmentation.is_none() {
            let checksum = if offload.checksum.is_some() { Checksum::Partial } else { Checksum::Complete };
            self.mss.apply(packet, checksum);
        }
    }

    /// Tells the sender the inner MTU, and cuts what it sent where that can be done.
    #[cold]
    pub(crate) fn make_fit(&mut self, segments: &mut Segments<'_>, stats: &ThreadStats) -> bool {
        let mtu = u16::try_from(self.inner_mtu).unwrap_or(u16::MAX);
        if self.telling == Telling::Senders
            && let Some(message) = too_big_message(segments.whole(), segments.longest(), mtu)
        {
            self.tell(&message, stats);
        }
        segments.shorten(self.inner_mtu)
    }

    /// Gives a sender of this machine a "packet too big", unless too many were told lately.
    pub(crate) fn tell(&mut self, message: &[u8], stats: &ThreadStats) {
        if self.told.allows(Instant::now())
            && self.tun.write(Offload::default(), &[IoSlice::new(message)]).is_ok()
        {
            stats.too_big_told.add(1);
        }
    }
}

/// A thread that reads from a TUN device. Each is compiled by itself: nothing is looked up per packet.
pub(crate) trait FromTun {
    /// What the control plane may ask for.
    type Change;

    fn source(&mut self) -> &mut Source<Self::Change>;

    fn stats(&self) -> &ThreadStats;

    /// Applies what the inbox holds. Breaks if the thread is to end.
    fn apply_changes(&mut self) -> ControlFlow<()>;

    /// Takes a frame at the beginning of `buffer`; what becomes of it may be collected for a while.
    fn carry(&mut self, buffer: &mut [u8], frame: Frame);

    /// Sends what is collected.
    fn send(&mut self);

    /// Tells that the device is gone, and the thread with it.
    fn tell_stopped(&self, error: io::Error);

    /// The thread's life.
    fn run(mut self)
    where
        Self: Sized,
    {
        let mut buffer = vec![0; MAX_PACKET].into_boxed_slice();
        let mut looks = 0;
        loop {
            if self.source().inbox.has_news() && self.apply_changes().is_break() {
                return;
            }
            let read = match self.source().tun.try_read(&mut buffer) {
                Ok(None) => {
                    // Whatever is collected leaves before this thread rests.
                    self.send();
                    if looks < LOOKS_BEFORE_SLEEP {
                        looks += 1;
                        thread::yield_now();
                        continue;
                    }
                    let source = self.source();
                    source.tun.read(&mut buffer, source.inbox.wakeup())
                }
                read => read,
            };
            match read {
                Ok(Some(frame)) => {
                    looks = 0;
                    self.carry(&mut buffer, frame);
                }
                Ok(None) => self.source().inbox.note_woken(),
                Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                    self.stats().dropped(PlaneDrop::Inconsistent, 1);
                }
                Err(error) => {
                    self.tell_stopped(error);
                    return;
                }
            }
        }
    }
}
