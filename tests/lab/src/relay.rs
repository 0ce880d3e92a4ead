//! A path with delay, jitter, loss, reordering, a rate and an MTU, in user space: not every kernel has netem.
//!
//! ```text
//!  clients ── inside ┐                          ┌ outside ── gateway
//!                    ├ relay-up0 ▶ a thread ▶ ──┤
//!                    └── ◀ a thread ◀ relay-down0 ┘
//! ```
//!
//! A router hands what comes in on one side to a TUN device instead of forwarding it; a thread keeps each packet for as
//! long as the path is long and gives it back by the same device, and from there the router forwards it as ever. So the path
//! carries whatever IP carries, and its MTU is the device's: the router itself sends ICMP errors, or cuts what may be cut.

mod line;

use std::{sync::Arc, thread, time::Duration};

use anyhow::Context;
use evenkeel_platform::{
    tun::{Tun, TunConfig},
    wakeup::Wakeup,
};

use crate::Host;
use line::Line;

/// MTU of a path that is not narrow.
const WIDE: u16 = 1500;

/// Which way packets go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// From the clients.
    Up,
    /// To the clients.
    Down,
}

/// How a path treats what goes one way. The default is a path like a cable.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Conditions {
    /// How long every packet takes.
    pub delay: Duration,
    /// By how much more a packet may take; each draws its own part. Order is kept.
    pub jitter: Duration,
    /// How many in a thousand packets are lost.
    pub lost_per_mille: u32,
    /// How many in a thousand packets arrive twice.
    pub doubled_per_mille: u32,
    /// How many in a thousand packets are held back by [`late`](Self::late), so that others overtake them.
    pub late_per_mille: u32,
    /// See [`late_per_mille`](Self::late_per_mille).
    pub late: Duration,
    /// Bytes a second; what comes faster waits.
    pub rate: Option<u64>,
    /// How many bytes may wait for the rate; the rest is dropped at the end of the queue.
    pub queue: u64,
}

impl Default for Conditions {
    fn default() -> Self {
        Self {
            delay: Duration::ZERO,
            jitter: Duration::ZERO,
            lost_per_mille: 0,
            doubled_per_mille: 0,
            late_per_mille: 0,
            late: Duration::from_millis(20),
            rate: None,
            queue: 256 << 10,
        }
    }
}

impl Conditions {
    /// A path that is so long, one way.
    pub fn delayed(delay: Duration) -> Self {
        Self { delay, ..Self::default() }
    }

    /// A path that loses so many in a thousand packets.
    pub fn losing(lost_per_mille: u32) -> Self {
        Self { lost_per_mille, ..Self::default() }
    }
}

/// What has become of the packets that went one way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Packets that came to the path.
    pub arrived: u64,
    /// Packets that were given back to the router.
    pub forwarded: u64,
    /// Packets that were lost by chance.
    pub lost: u64,
    /// Packets that found the queue full.
    pub overflowed: u64,
    /// Packets that were held back.
    pub held_back: u64,
}

/// A path through a router. Dropping it makes the router forward by itself again.
pub struct Relay<'h> {
    router: &'h Host,
    up: Direction,
    down: Direction,
}

impl<'h> Relay<'h> {
    /// Puts the path between two interfaces of a router, the clients' side first.
    pub fn between(router: &'h Host, inside: &str, outside: &str) -> anyhow::Result<Self> {
        // Packets come back from another device than the one that leads to their source.
        for scope in ["all", "default"] {
            router.sysctl(&format!("ipv4/conf/{scope}/rp_filter"), "0")?;
        }
        let up = Direction::open(router, "relay-up0", inside, 101)?;
        let down = Direction::open(router, "relay-down0", outside, 102)?;
        Ok(Self { router, up, down })
    }

    /// Has packets that come from here on treated like this. What is on its way stays on its way.
    pub fn set(&self, way: Way, conditions: Conditions) {
        self.direction(way).line.lock().conditions = conditions;
    }

    /// [`set`](Self::set) for both ways.
    pub fn set_both(&self, conditions: Conditions) {
        self.set(Way::Up, conditions);
        self.set(Way::Down, conditions);
    }

    /// Lets packets of at most so many bytes through. Of longer ones that may not be cut, ICMP tells the sender, unless
    /// [`eat_errors`](Self::eat_errors) says otherwise.
    pub fn narrow(&self, way: Way, mtu: u16) -> anyhow::Result<()> {
        let device = self.direction(way).device;
        self.router.ip(&format!("link set {device} mtu {mtu}")).map(drop)
    }

    /// Lets packets of every usual length through.
    pub fn widen(&self, way: Way) -> anyhow::Result<()> {
        self.narrow(way, WIDE)
    }

    /// Whether the router's ICMP errors about packets that are too long get lost.
    pub fn eat_errors(&self, eaten: bool) -> anyhow::Result<()> {
        eat_errors(self.router, eaten)
    }

    /// What has become of the packets so far.
    pub fn counts(&self, way: Way) -> Counts {
        self.direction(way).line.lock().counts
    }

    fn direction(&self, way: Way) -> &Direction {
        match way {
            Way::Up => &self.up,
            Way::Down => &self.down,
        }
    }
}

/// Whether `router`'s own ICMP errors about packets that are too long get lost.
pub(crate) fn eat_errors(router: &Host, eaten: bool) -> anyhow::Result<()> {
    let rules = if eaten {
        "icmp type destination-unreachable icmp code frag-needed drop\nicmpv6 type packet-too-big drop"
    } else {
        ""
    };
    router.nft(&format!(
        "table inet eat {{}}
         delete table inet eat
         table inet eat {{
           chain out {{
             type filter hook output priority 0
             {rules}
           }}
         }}"
    ))
}

impl Drop for Relay<'_> {
    fn drop(&mut self) {
        for direction in [&self.up, &self.down] {
            // The router may be going away itself.
            let _ = direction.rules(self.router, "del");
            direction.line.close();
            direction.wakeup.wake();
        }
    }
}

/// One way through the path.
struct Direction {
    device: &'static str,
    from: String,
    table: u32,
    line: Arc<Line>,
    wakeup: Wakeup,
}

impl Direction {
    fn open(router: &Host, device: &'static str, from: &str, table: u32) -> anyhow::Result<Self> {
        let config = TunConfig { name: Some(device.to_owned()), mtu: WIDE, offload: false };
        let tun = router.run(|| Tun::open(&config)).with_context(|| format!("opening {device}"))?;
        let wakeup = Wakeup::new().context("a wakeup")?;
        let direction = Self { device, from: from.to_owned(), table, line: Arc::default(), wakeup };
        router.ip(&format!(
            "route add default dev {device} table {table}\nroute add ::/0 dev {device} table {table}"
        ))?;
        direction.rules(router, "add")?;
        let (reader, writer) = (tun.clone(), tun);
        let (line, wakeup) = (Arc::clone(&direction.line), direction.wakeup.clone());
        thread::spawn(move || line.fill(&reader, &wakeup));
        let line = Arc::clone(&direction.line);
        thread::spawn(move || line.empty(&writer));
        Ok(direction)
    }

    fn rules(&self, router: &Host, action: &str) -> anyhow::Result<()> {
        let table = self.table.to_string();
        for family in ["-4", "-6"] {
            router.output(
                "ip",
                &[family, "rule", action, "priority", "100", "iif", &self.from, "table", &table],
            )?;
        }
        Ok(())
    }
}
