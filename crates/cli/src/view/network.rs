//! The networks that are remembered, and the one under a connection.
use evenkeel_ipc::{
    Blockage, Carrier, LearnedNetwork, Measured, NatLifetime, NetworkStatus, PathMtu, RememberedNetwork,
    Timestamp, Verdict, Verdicts,
};

use super::unit::duration;
use super::{BOLD, Canvas, Page, table};
use crate::escape::plain;

/// One line a network, or on a narrow terminal one block.
pub(crate) fn network_list(networks: &[RememberedNetwork], now: Timestamp, canvas: Canvas) -> String {
    let dash = canvas.pick("–", "-");
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| dash.to_owned());
    let rows: Vec<[String; 7]> = networks
        .iter()
        .map(|network| {
            [
                plain(&network.label),
                last_seen(network, now),
                or_dash(keepalive(network)),
                or_dash(path_mtu(network.learned.path_mtu)),
                or_dash(named(&network.learned.verdicts, Verdict::Blocked)),
                or_dash(network.transport.map(|carrier| name_of(carrier).to_owned())),
                network.id.to_string(),
            ]
        })
        .collect();
    let heads = ["NETWORK", "LAST SEEN", "KEEPALIVE", "MTU", "BLOCKED", "USES", "ID"];
    if let Some(text) = table(heads, &rows, canvas) {
        return text;
    }
    let mut page = Page::new(canvas, "Keepalive".len());
    for [label, seen, keepalive, mtu, blocked, carrier, id] in &rows {
        page.heading("", BOLD, label);
        let labels = ["Last seen", "Keepalive", "MTU", "Blocked", "Uses", "ID"];
        for (label, value) in labels.iter().zip([seen, keepalive, mtu, blocked, carrier, id]) {
            page.field(label, value);
        }
    }
    page.finish()
}

/// Everything that is remembered of a network.
pub(crate) fn network_details(network: &RememberedNetwork, now: Timestamp, canvas: Canvas) -> String {
    let unmeasured = || "not measured".to_owned();
    let LearnedNetwork { nat, nat_lifetime_s, path_mtu: mtu, verdicts } = &network.learned;
    let mut page = Page::new(canvas, "Last seen".len());
    page.heading("", BOLD, &plain(&network.label));
    page.field("ID", &network.id.to_string());
    page.field("Last seen", &last_seen(network, now));
    page.field("Uses", network.transport.map_or("nothing yet", name_of));
    page.field(
        "NAT",
        match nat {
            Some(true) => "yes",
            Some(false) => "no",
            None => "not measured",
        },
    );
    if let Some(lifetime) = nat_lifetime_s {
        page.field("Mappings", &mappings(*lifetime));
    }
    page.field("Keepalive", &keepalive(network).map_or_else(unmeasured, |every| format!("every {every}")));
    page.field("MTU", &path_mtu(*mtu).unwrap_or_else(unmeasured));
    page.field("Open", &named(verdicts, Verdict::Open).unwrap_or_else(unmeasured));
    page.field("Blocked", &named(verdicts, Verdict::Blocked).unwrap_or_else(|| "nothing known".to_owned()));
    if let Some(millis) = network.connect_ms {
        page.field("Connects", &format!("in {}", moment(millis)));
    }
    if let Some(seen) = network.portal_seen {
        page.field("Portal", &format!("seen {} ago", duration(now.unix().saturating_sub(seen.unix()))));
    }
    page.finish()
}

/// What there is to say of the network under a connection: nothing while UDP is free.
pub(super) fn in_the_way(network: &NetworkStatus) -> Option<String> {
    let carrier = network.transport.filter(|_| network.fallback).map(name_of);
    let blocked = network.blockage.map(|blockage| match blockage {
        Blockage::Udp4500Blocked => "UDP/4500 is blocked here",
        Blockage::UdpBlocked => "UDP is blocked here",
        Blockage::EspBlocked => "ESP is blocked here",
        Blockage::NothingAnswers => "nothing gets through to the gateway",
    });
    let text = match (blocked, carrier) {
        (None, None) => return None,
        (Some(blocked), None) => blocked.to_owned(),
        (Some(blocked), Some(carrier)) => format!("{blocked}, so {carrier} is used"),
        (None, Some(carrier)) => format!("{carrier} is used in place of UDP"),
    };
    Some(match &network.label {
        Some(label) => format!("{} ({text})", plain(label)),
        None => text,
    })
}

fn last_seen(network: &RememberedNetwork, now: Timestamp) -> String {
    if network.present {
        return "here".to_owned();
    }
    format!("{} ago", duration(now.unix().saturating_sub(network.last_seen.unix())))
}

/// A time of which fractions of a second are of interest.
fn moment(millis: u32) -> String {
    match millis {
        0..1000 => format!("{millis} ms"),
        1000..10_000 => format!("{}.{} s", millis / 1000, millis % 1000 / 100),
        _ => duration((millis / 1000).into()),
    }
}

fn keepalive(network: &RememberedNetwork) -> Option<String> {
    network.keepalive_s.map(|seconds| duration(seconds.into()))
}

fn mappings(lifetime: NatLifetime) -> String {
    let seconds = |seconds: u32| duration(seconds.into());
    match (lifetime.lower.map(seconds), lifetime.upper.map(seconds)) {
        (Some(lower), Some(upper)) => format!("survive {lower} of silence, not {upper}"),
        (Some(lower), None) => format!("survive {lower} of silence"),
        (None, Some(upper)) => format!("do not survive {upper} of silence"),
        (None, None) => "not measured".to_owned(),
    }
}

fn path_mtu(mtu: PathMtu) -> Option<String> {
    match (mtu.up, mtu.down) {
        (Some(up), Some(down)) if up != down => Some(format!("{up} up, {down} down")),
        (Some(size), _) | (None, Some(size)) => Some(size.to_string()),
        (None, None) => None,
    }
}

/// What has this verdict.
fn named(verdicts: &Verdicts, wanted: Verdict) -> Option<String> {
    let all: [(&str, Option<Measured>); 7] = [
        ("UDP/500", verdicts.udp500),
        ("UDP/4500", verdicts.udp4500),
        ("ESP", verdicts.esp_in_udp),
        (name_of(Carrier::Tcp4500), verdicts.tcp4500),
        (name_of(Carrier::Tcp443), verdicts.tcp443),
        (name_of(Carrier::Tls443), verdicts.tls443),
        (name_of(Carrier::Wireguard), verdicts.wireguard),
    ];
    let has = all.iter().filter(|(_, measured)| measured.is_some_and(|m| m.verdict == wanted));
    let names: Vec<&str> = has.map(|(name, _)| *name).collect();
    (!names.is_empty()).then(|| names.join(", "))
}

fn name_of(carrier: Carrier) -> &'static str {
    match carrier {
        Carrier::Udp => "UDP",
        Carrier::Tcp4500 => "TCP/4500",
        Carrier::Tcp443 => "TCP/443",
        Carrier::Tls443 => "TLS/443",
        Carrier::Wireguard => "WireGuard",
    }
}

#[cfg(test)]
#[path = "network_tests.rs"]
mod tests;
