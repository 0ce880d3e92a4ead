//! The connection at one moment, as a person wants to see it: first whether bytes move, then the rest.
use std::collections::BTreeMap;

use anstyle::Style;
use evenkeel_ipc::{ChildSa, IkeSa, State, Status, Target, Timestamp, Transport, WireguardPeer};

use super::unit::{bytes, count, duration};
use super::{BAD, BOLD, Canvas, GOOD, Page, UNSURE};
use crate::escape::plain;
use crate::explain;

/// Traffic now, in bytes a second; known only to one who watches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rates {
    pub(crate) received: u64,
    pub(crate) sent: u64,
}

/// Something came or went this recently: traffic flows.
const RECENT_S: u64 = 10;

/// Draws a status.
pub(crate) fn status(status: &Status, rates: Option<Rates>, now: Timestamp, canvas: Canvas) -> String {
    let mut page = Page::new(canvas, "Algorithms".len());
    let age = now.unix().saturating_sub(status.since.unix());
    let (mark, style, text) = headline(status, age, canvas);
    page.heading(mark, style, &text);
    if let Some(portal) = &status.portal {
        page.field("Sign in", &explain::sign_in(portal));
    } else if let Some(cause) = &status.cause {
        page.reasons(&match status.state {
            State::Failed => explain::explanation(cause, status),
            State::Off
            | State::Resolving
            | State::Connecting
            | State::Authenticating
            | State::Configuring
            | State::Connected
            | State::Reconnecting
            | State::Disconnecting => {
                let explanation = explain::explanation(cause, status);
                explain::Explanation::new("", explanation.what, "")
            }
        });
    }
    connection(&mut page, status, rates, now);
    page.finish()
}

fn headline(status: &Status, age: u64, canvas: Canvas) -> (&'static str, Style, String) {
    let to = status.profile.as_ref().map_or_else(String::new, |name| format!(" to {}", plain(name.as_str())));
    let dash = canvas.pick("–", "-");
    let dots = canvas.pick("…", "...");
    let (on, busy, off, failed) =
        (canvas.pick("●", "*"), canvas.pick("◐", "~"), canvas.pick("○", "o"), canvas.pick("✗", "x"));
    match status.state {
        State::Resolving | State::Connecting | State::Reconnecting if status.portal.is_some() => {
            (busy, UNSURE, format!("Connecting{to}: waiting for somebody to sign in to this network{dots}"))
        }
        State::Off => (off, BOLD, "Not connected".to_owned()),
        State::Resolving => (busy, UNSURE, format!("Connecting{to}: looking up the gateway{dots}")),
        State::Connecting => (busy, UNSURE, format!("Connecting{to}: reaching the gateway{dots}")),
        State::Authenticating => (busy, UNSURE, format!("Connecting{to}: signing in{dots}")),
        State::Configuring => (busy, UNSURE, format!("Connecting{to}: setting up the tunnel{dots}")),
        // The daemon tells others that there is a connection and nothing else about it.
        State::Connected if status.profile.is_none() && status.ike_sa.is_none() => {
            (on, BOLD, format!("Another user of this machine is connected, for {}", duration(age)))
        }
        State::Connected => {
            let (style, movement) = movement(status);
            let by = if status.wireguard.is_some() { " by a fallback" } else { "" };
            (on, style, format!("Connected{to}{by} for {} {dash} {movement}", duration(age)))
        }
        State::Reconnecting => (busy, UNSURE, format!("Reconnecting{to}, for {} now{dots}", duration(age))),
        State::Disconnecting => (busy, UNSURE, format!("Disconnecting{dots}")),
        State::Failed => {
            let what = status.cause.as_ref().map(|cause| explain::explanation(cause, status).what);
            let what = what.unwrap_or_else(|| "The connection failed.".to_owned());
            (
                failed,
                BAD,
                match status.target {
                    Target::Connected | Target::Disconnected => format!("Not connected{to}: {what}"),
                },
            )
        }
    }
}

/// Whether bytes move. "Connected" alone is never good news.
fn movement(status: &Status) -> (Style, String) {
    let recent = |ago: Option<u64>| ago.is_some_and(|s| s <= RECENT_S);
    match (status.received_ago_s, status.sent_ago_s) {
        (None, None) if status.bytes() == (0, 0) => (BOLD, "no traffic yet".to_owned()),
        (None, None) => (BOLD, "traffic has flowed".to_owned()),
        (received, sent) if recent(received) && recent(sent) => (GOOD, "bytes move both ways".to_owned()),
        (received, sent) if recent(received) && !recent(sent) => (GOOD, "bytes arrive".to_owned()),
        (Some(received), sent) if recent(sent) => {
            (UNSURE, format!("we send, but nothing has come back for {}", duration(received)))
        }
        (None, sent) if recent(sent) => (UNSURE, "we send, but nothing has come back yet".to_owned()),
        (received, sent) => {
            let quiet = [received, sent].into_iter().flatten().min().unwrap_or_default();
            (BOLD, format!("quiet for {}", duration(quiet)))
        }
    }
}

/// Traffic first, then what a colleague asks for, then what support asks for.
fn connection(page: &mut Page, status: &Status, rates: Option<Rates>, now: Timestamp) {
    let before = page.text.len();
    page.blank();
    let newest = status.child_sas.last();
    if let Some(fallback) = explain::on_wireguard(status) {
        page.field("Fallback", &fallback);
    }
    let networks = newest.map(|sa| &sa.ts_r).or(status.wireguard.as_ref().map(|peer| &peer.allowed_ips));
    if let Some(networks) = networks {
        traffic(page, status, rates);
        let list: Vec<_> = networks.iter().map(|network| plain(network)).collect();
        page.field("Networks", &list.join(", "));
    }
    if !status.addresses.is_empty() {
        let list: Vec<_> = status.addresses.iter().map(|a| a.ip.to_string()).collect();
        page.field("Address", &list.join(", "));
    }
    if !status.dns.is_empty() {
        let servers: Vec<_> = status.dns.iter().map(ToString::to_string).collect();
        let domains: Vec<_> = status.domains.iter().map(|d| plain(d)).collect();
        let scope = if domains.is_empty() { String::new() } else { format!(" for {}", domains.join(", ")) };
        page.field("DNS", &format!("{}{scope}", servers.join(", ")));
    }
    if page.text.len() > before + 1 {
        page.blank();
    }
    if let Some(text) = status.network.as_ref().and_then(super::network::in_the_way) {
        page.field("Network", &text);
    }
    if let Some(sa) = &status.ike_sa {
        let peer = plain(&sa.peer_id);
        match &status.gateway {
            Some(gateway) if gateway.as_str() != peer => {
                page.field("Gateway", &format!("{gateway}, proven to be {peer}"));
            }
            Some(_) | None => page.field("Gateway", &peer),
        }
        page.field("Path", &path(sa, page.canvas));
        page.field("Algorithms", &algorithms(sa, newest));
        if let Some(warning) = explain::legacy_in_use(status) {
            page.field("Warning", &warning);
        }
    }
    if let Some(peer) = &status.wireguard {
        let arrow = page.canvas.pick("→", "->");
        page.field("Path", &format!("{} {arrow} {} over WireGuard", peer.local, peer.remote));
        if let Some(last) = peer.last_handshake {
            page.field("Handshake", &format!("{} ago", duration(now.unix().saturating_sub(last.unix()))));
        }
    }
    if let Some(text) = rekey(status.ike_sa.as_ref(), newest) {
        page.field("Next rekey", &text);
    }
    if let Some(text) = dropped(status) {
        page.field("Dropped", &text);
    }
    let tuning = [
        status.mtu.map(|mtu| format!("MTU {mtu}")),
        status.keepalive_s.map(|s| format!("NAT keepalive every {s} s")),
        status.round_trips.map(|n| format!("up in {n} round trips")),
    ];
    let tuning: Vec<_> = tuning.into_iter().flatten().collect();
    if !tuning.is_empty() {
        page.field("Details", &tuning.join(", "));
    }
    // Nothing to tell leaves no gap behind.
    page.text.truncate(page.text.trim_end().len());
    page.text.push('\n');
}

fn path(sa: &IkeSa, canvas: Canvas) -> String {
    let transport = match sa.transport {
        Transport::Udp => "UDP",
        Transport::Tcp => "TCP",
    };
    let nat = match (sa.nat_local, sa.nat_remote) {
        (false, false) => "no NAT",
        (true, false) => "you are behind NAT",
        (false, true) => "the gateway is behind NAT",
        (true, true) => "both ends are behind NAT",
    };
    format!("{} {} {} over {transport}, {nat}", sa.local, canvas.pick("→", "->"), sa.remote)
}

fn traffic(page: &mut Page, status: &Status, rates: Option<Rates>) {
    let packets = |of_sa: fn(&ChildSa) -> u64, of_peer: fn(&WireguardPeer) -> u64| {
        let peer = status.wireguard.as_deref().map(of_peer);
        status.child_sas.iter().map(of_sa).chain(peer).fold(0, u64::saturating_add)
    };
    let line = |bytes_total, packets: u64, ago: Option<u64>, rate: Option<u64>| {
        let plural = if packets == 1 { "" } else { "s" };
        let when = match (rate, ago) {
            (Some(rate), _) if rate > 0 => format!(", {}/s now", bytes(rate)),
            (_, Some(0 | 1)) => ", just now".to_owned(),
            (_, Some(ago)) => format!(", last {} ago", duration(ago)),
            (_, None) => String::new(),
        };
        match packets {
            0 => "nothing yet".to_owned(),
            packets => format!("{} in {} packet{plural}{when}", bytes(bytes_total), count(packets)),
        }
    };
    let (bytes_in, bytes_out) = status.bytes();
    let packets_in = packets(|sa| sa.packets_in, |peer| peer.packets_in);
    let packets_out = packets(|sa| sa.packets_out, |peer| peer.packets_out);
    page.field("Received", &line(bytes_in, packets_in, status.received_ago_s, rates.map(|r| r.received)));
    page.field("Sent", &line(bytes_out, packets_out, status.sent_ago_s, rates.map(|r| r.sent)));
}

/// Packets that were lost on our side, by reason.
fn dropped(status: &Status) -> Option<String> {
    let mut drops: BTreeMap<&str, u64> = BTreeMap::new();
    let of_peer = status.wireguard.as_ref().into_iter().flat_map(|peer| &peer.drops);
    for (reason, number) in status.child_sas.iter().flat_map(|sa| &sa.drops).chain(of_peer) {
        let sum = drops.entry(reason).or_default();
        *sum = sum.saturating_add(*number);
    }
    let list: Vec<_> = drops
        .into_iter()
        // Dummies carry nothing; what an SA refused is counted by the SA under its own reason.
        .filter(|(reason, number)| *number > 0 && !["dummy", "open", "seal"].contains(reason))
        .map(|(reason, number)| format!("{} {}", count(number), in_words(reason)))
        .collect();
    (!list.is_empty()).then(|| list.join(", "))
}

fn in_words(reason: &str) -> String {
    let known = match reason {
        "no_sa" => "that no SA carries",
        "replay" => "received twice",
        "too_old" => "received too late",
        "integrity" => "damaged or forged",
        "malformed" | "runt" => "malformed",
        "bad_inner" => "with broken contents",
        "selector" => "outside the agreed networks",
        "exhausted" => "waiting for new keys",
        "too_big" => "too big",
        "send" => "that the system would not send",
        "unknown_spi" => "of an SA unknown here",
        "write" => "that the tunnel device would not take",
        other => return plain(other),
    };
    known.to_owned()
}

fn algorithms(sa: &IkeSa, child: Option<&ChildSa>) -> String {
    match child {
        Some(child) => format!("{} (ESP), {} (IKE)", plain(&child.suite), plain(&sa.proposal)),
        None => format!("{} (IKE)", plain(&sa.proposal)),
    }
}

fn rekey(ike: Option<&IkeSa>, child: Option<&ChildSa>) -> Option<String> {
    let child = child.and_then(|sa| sa.rekey_in_s).map(|s| format!("ESP in {}", duration(s)));
    let ike = ike.and_then(|sa| sa.rekey_in_s).map(|s| format!("IKE in {}", duration(s)));
    let parts: Vec<_> = [child, ike].into_iter().flatten().collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}

#[cfg(test)]
#[path = "status_tests.rs"]
mod tests;
