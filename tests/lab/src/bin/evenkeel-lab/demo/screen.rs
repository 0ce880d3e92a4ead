//! The live status: redrawn in place on a terminal, once and then as one line a second elsewhere.

use std::{
    fmt::Display,
    io::{IsTerminal, stdout},
    time::Instant,
};

use evenkeel_ipc::{State, Status};

pub(super) struct Screen {
    in_place: bool,
    lines: usize,
    /// When the last status was shown and how many bytes it had, received and sent.
    last: Option<(Instant, (u64, u64))>,
}

impl Screen {
    pub(super) fn new() -> Self {
        Self { in_place: stdout().is_terminal(), lines: 0, last: None }
    }

    pub(super) fn show(&mut self, status: &Status, page: Option<&anyhow::Result<String>>) {
        let (received, sent) = status.bytes();
        let (down, up) = self.rates((received, sent));
        let moved = format!(
            "{} received ({}/s), {} sent ({}/s)",
            amount(received),
            amount(down),
            amount(sent),
            amount(up)
        );
        if !self.in_place && self.lines > 0 {
            println!("{moved}");
            return;
        }
        let text = describe(status, &moved, page);
        if self.in_place && self.lines > 0 {
            // Back to the first line of what was shown last, and erase from there.
            print!("\u{1b}[{}A\u{1b}[J", self.lines);
        }
        self.lines = text.lines().count();
        print!("{text}");
    }

    /// Bytes a second since the last time; zero at first and after a rekey, which starts new counters.
    fn rates(&mut self, bytes: (u64, u64)) -> (u64, u64) {
        let at = Instant::now();
        let Some((then, before)) = self.last.replace((at, bytes)) else { return (0, 0) };
        let rate = |now: u64, before: u64| {
            let seconds = at.duration_since(then).as_secs_f64();
            (now.saturating_sub(before) as f64 / seconds) as u64
        };
        (rate(bytes.0, before.0), rate(bytes.1, before.1))
    }
}

fn describe(status: &Status, moved: &str, page: Option<&anyhow::Result<String>>) -> String {
    let mut rows = vec![("state", state(status.state).to_owned())];
    if let Some(ike) = &status.ike_sa {
        let nat = match (ike.nat_local, ike.nat_remote) {
            (true, true) => "NAT at both ends",
            (true, false) => "NAT at our end",
            (false, true) => "NAT at the gateway's end",
            (false, false) => "no NAT",
        };
        rows.push(("gateway", format!("{} ({})", ike.remote, ike.peer_id)));
        rows.push(("from", format!("{}, {nat}", ike.local)));
        rows.push(("IKE SA", ike.proposal.clone()));
    }
    for child in &status.child_sas {
        rows.push(("CHILD SA", format!("{}, {} === {}", child.suite, join(&child.ts_i), join(&child.ts_r))));
    }
    rows.push(("addresses", join(&status.addresses)));
    rows.push(("DNS", join(&status.dns)));
    rows.push(("moved", moved.to_owned()));
    match page {
        Some(Ok(headline)) => rows.push(("page", format!("\"{headline}\" fetched through the tunnel"))),
        Some(Err(error)) => rows.push(("page", format!("not fetched: {error:#}"))),
        None => {}
    }
    let body: String = rows.iter().map(|(name, value)| format!("  {name:<10} {value}\n")).collect();
    format!("\n{body}\n  Ctrl-C disconnects and ends.\n")
}

fn state(state: State) -> &'static str {
    match state {
        State::Off => "off",
        State::Resolving => "looking up the gateway's name",
        State::Connecting => "connecting",
        State::Authenticating => "authenticating",
        State::Configuring => "configuring",
        State::Connected => "connected",
        State::Reconnecting => "reconnecting",
        State::Disconnecting => "disconnecting",
        State::Failed => "failed",
    }
}

fn join(items: &[impl Display]) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// Bytes for people: three digits and a unit.
fn amount(bytes: u64) -> String {
    let units = [("GB", 1e9), ("MB", 1e6), ("kB", 1e3)];
    match units.iter().find(|(_, size)| bytes as f64 >= *size) {
        Some((unit, size)) => format!("{:.1} {unit}", bytes as f64 / size),
        None => format!("{bytes} B"),
    }
}
