//! Ctrl-C as something to wait for.

use std::{
    sync::mpsc::{self, Receiver},
    thread,
    time::Duration,
};

use anyhow::Context;
use nix::sys::signal::{SigSet, Signal};

/// Learns of Ctrl-C and of a request to end.
pub(crate) struct Interrupt(Receiver<()>);

impl Interrupt {
    /// From here on those signals end nothing by themselves. Call this before any thread is started, since threads
    /// inherit the mask.
    pub(crate) fn catch() -> anyhow::Result<Self> {
        let signals: SigSet = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP].into_iter().collect();
        signals.thread_block().context("holding signals back")?;
        let (caught, interrupts) = mpsc::channel();
        thread::spawn(move || while signals.wait().is_ok() && caught.send(()).is_ok() {});
        Ok(Self(interrupts))
    }

    /// Waits this long, or until the signal comes; says whether it came.
    pub(crate) fn within(&self, time: Duration) -> bool {
        self.0.recv_timeout(time).is_ok()
    }
}
