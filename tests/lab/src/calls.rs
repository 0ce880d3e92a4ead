//! Traffic that the office begins: numbered datagrams to a client, for as long as a test wants to know whether they get in.

use std::{
    net::{IpAddr, SocketAddr, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::Context;

use crate::{Host, wait};

/// Where the client listens.
const PORT: u16 = 7070;

/// A host that calls, and one that is called.
pub struct Calls {
    stop: Arc<AtomicBool>,
    caller: JoinHandle<Vec<Instant>>,
    called: JoinHandle<Vec<(u32, Instant)>>,
}

/// What has become of the calls.
#[derive(Debug)]
pub struct Record {
    /// How many there were.
    pub sent: u32,
    /// When each was made.
    pub made: Vec<Instant>,
    /// Which of them arrived, counted from 0, and when; in the order of their arrival.
    pub arrived: Vec<(u32, Instant)>,
}

impl Calls {
    /// Calls `to` by its address `address` every so often from `from`, whether it answers or not.
    pub fn start(from: &Host, to: &Host, address: IpAddr, every: Duration) -> anyhow::Result<Self> {
        let any: IpAddr = if address.is_ipv4() { [0; 4].into() } else { [0; 16].into() };
        let receiver = to.run(|| UdpSocket::bind((any, PORT))).context("listening for calls")?;
        receiver.set_read_timeout(Some(Duration::from_millis(50)))?;
        let sender = from.run(|| UdpSocket::bind((any, 0))).context("calling")?;
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, ended) = (Arc::clone(&stop), Arc::clone(&stop));
        let target = SocketAddr::from((address, PORT));
        let caller = thread::spawn(move || {
            let (mut number, mut made) = (0_u32, Vec::new());
            while !stopped.load(Ordering::Relaxed) {
                // There may be no way to it for the moment, which is what is being found out.
                let _ = sender.send_to(&number.to_be_bytes(), target);
                made.push(Instant::now());
                number += 1;
                thread::sleep(every);
            }
            made
        });
        let called = thread::spawn(move || {
            let (mut arrived, mut buffer) = (Vec::new(), [0; 4]);
            loop {
                match receiver.recv(&mut buffer) {
                    Ok(4) => arrived.push((u32::from_be_bytes(buffer), Instant::now())),
                    Ok(_) => {}
                    // Once nobody calls any more, silence is the end.
                    Err(_) if ended.load(Ordering::Relaxed) => return arrived,
                    Err(_) => {}
                }
            }
        });
        Ok(Self { stop, caller, called })
    }

    /// Ends the calls and says what has become of them.
    pub fn end(self) -> anyhow::Result<Record> {
        self.stop.store(true, Ordering::Relaxed);
        let ended = || (self.caller.is_finished() && self.called.is_finished()).then_some(());
        wait::until("the calls to end", Duration::from_secs(10), ended)?;
        let made = self.caller.join().ok().context("a panic")?;
        let arrived = self.called.join().ok().context("a panic")?;
        Ok(Record { sent: u32::try_from(made.len())?, made, arrived })
    }
}

impl Record {
    /// How many calls did not arrive.
    pub fn missing(&self) -> usize {
        let numbers: std::collections::BTreeSet<_> = self.arrived.iter().map(|(number, _)| number).collect();
        usize::try_from(self.sent).unwrap_or(usize::MAX).saturating_sub(numbers.len())
    }

    /// How long after `moment` the first call arrived that was made after it.
    pub fn resumed(&self, moment: Instant) -> Option<Duration> {
        let first = self.arrived.iter().find(|(number, at)| {
            *at > moment && self.made.get(*number as usize).is_some_and(|made| *made > moment)
        });
        first.map(|(_, at)| at.saturating_duration_since(moment))
    }

    /// The longest time without a call that arrived, between the first and the last that did.
    pub fn longest_gap(&self) -> Duration {
        let gaps = self.arrived.windows(2).map(|pair| pair[1].1.saturating_duration_since(pair[0].1));
        gaps.max().unwrap_or_default()
    }
}
