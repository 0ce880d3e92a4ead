//! A download that goes on while a test does something to the network, and when its bytes arrived.

use std::{
    io::{Read, Write},
    net::{IpAddr, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};

use crate::{
    Host,
    traffic::{self, check_digest, receive},
    wait,
};

/// No download of a test goes on for longer.
const LONGEST: Duration = Duration::from_secs(120);

/// One TCP stream from a server of [`traffic::serve`].
pub struct Download {
    arrived: Arc<AtomicU64>,
    reader: JoinHandle<anyhow::Result<Vec<Instant>>>,
}

/// When something of a download arrived, in order. Its SHA-256 was right.
#[derive(Debug)]
pub struct Arrivals(Vec<Instant>);

impl Download {
    /// Begins to download `length` bytes, of which the server sends at most `rate` a second.
    pub fn start(host: &Host, server: IpAddr, length: u64, rate: u32) -> anyhow::Result<Self> {
        let mut stream = host.run(|| traffic::connect(server))?;
        writeln!(stream, "GET {length} {rate}")?;
        let arrived = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&arrived);
        let reader = thread::spawn(move || {
            let mut reader = Timed { stream, counted, moments: vec![Instant::now()] };
            let digest = receive(&mut reader, length).context("downloading")?;
            check_digest(&mut reader.stream, &digest)?;
            Ok(reader.moments)
        });
        Ok(Self { arrived, reader })
    }

    /// How many bytes have arrived so far.
    pub fn arrived(&self) -> u64 {
        self.arrived.load(Ordering::Relaxed)
    }

    /// Waits until so many bytes have arrived.
    pub fn wait_for(&self, bytes: u64, limit: Duration) -> anyhow::Result<()> {
        wait::until(&format!("{bytes} bytes"), limit, || {
            (self.arrived() >= bytes || self.reader.is_finished()).then_some(())
        })?;
        ensure!(self.arrived() >= bytes, "the download ended after {} bytes", self.arrived());
        Ok(())
    }

    /// Waits for its end.
    pub fn end(self) -> anyhow::Result<Arrivals> {
        wait::until("the end of the download", LONGEST, || self.reader.is_finished().then_some(()))
            .with_context(|| format!("after {} bytes", self.arrived()))?;
        Ok(Arrivals(self.reader.join().ok().context("a panic")??))
    }
}

impl Arrivals {
    /// The longest time in which nothing arrived.
    pub fn longest_gap(&self) -> Duration {
        let gaps = self.0.windows(2).map(|pair| pair[1].saturating_duration_since(pair[0]));
        gaps.max().unwrap_or_default()
    }
}

/// Notes when something arrives.
struct Timed {
    stream: TcpStream,
    counted: Arc<AtomicU64>,
    moments: Vec<Instant>,
}

impl Read for Timed {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let got = self.stream.read(buffer)?;
        self.counted.fetch_add(got as u64, Ordering::Relaxed);
        self.moments.push(Instant::now());
        Ok(got)
    }
}
