//! Profiles, in a list and in full.
use evenkeel_ipc::{Ownership, ProfileDetails, ProfileSummary, Timestamp};
use evenkeel_profile::{Auth, Certificate, Profile, Trust};

use super::unit::duration;
use super::{BOLD, Canvas, Page, table};
use crate::escape::plain;

/// One line a profile, the columns as wide as they must be; on a narrow terminal one block a profile.
pub(crate) fn profile_list(profiles: &[ProfileSummary], canvas: Canvas) -> String {
    let rows: Vec<[String; 4]> = profiles
        .iter()
        .map(|p| {
            [
                plain(p.name.as_str()),
                plain(p.gateway.as_str()),
                p.method.as_str().to_owned(),
                standing(p).to_owned(),
            ]
        })
        .collect();
    let heads = ["NAME", "GATEWAY", "METHOD", ""];
    if let Some(text) = table(heads, &rows, canvas) {
        return text;
    }
    let mut page = Page::new(canvas, "Gateway".len());
    for [name, gateway, method, standing] in &rows {
        page.heading("", BOLD, name);
        page.field("Gateway", gateway);
        page.field("Method", method);
        if !standing.is_empty() {
            page.field("", standing);
        }
    }
    page.finish()
}

fn standing(profile: &ProfileSummary) -> &'static str {
    match (profile.ownership, profile.active) {
        (Ownership::Own, true) => "in use",
        (Ownership::Own, false) => "",
        (Ownership::Managed, true) => "managed, in use",
        (Ownership::Managed, false) => "managed",
        (Ownership::Other, true) => "another user's, in use",
        (Ownership::Other, false) => "another user's",
    }
}

/// Everything that a profile says.
pub(crate) fn profile_details(details: &ProfileDetails, now: u64, canvas: Canvas) -> String {
    let ProfileDetails { summary, profile, secret_stored } = details;
    let mut page = Page::new(canvas, "Certificate".len());
    page.heading("", BOLD, &plain(profile.name.as_str()));
    let ports = [profile.gateway_ports.udp.map(|p| format!(", UDP port {p}"))];
    let ports: String = ports.into_iter().flatten().collect();
    page.field("Gateway", &format!("{}{ports}", plain(profile.gateway.as_str())));
    page.field("Fallback", &fallback(profile));
    page.field("Must prove", &plain(profile.remote_id.as_str()));
    authentication(&mut page, profile, *secret_stored, now);
    tunnel(&mut page, profile);
    algorithms(&mut page, profile);
    if !standing(summary).is_empty() {
        page.field("Standing", standing(summary));
    }
    page.finish()
}

/// What is tried where UDP does not get through.
fn fallback(profile: &Profile) -> String {
    let port = |port: &u16| format!("{port}{}", if profile.fallback.is_tls(*port) { " in TLS" } else { "" });
    match profile.tcp_ports().as_slice() {
        [] => "none".to_owned(),
        ports => format!("TCP {}", ports.iter().map(port).collect::<Vec<_>>().join(", then ")),
    }
}

fn authentication(page: &mut Page, profile: &Profile, secret_stored: bool, now: u64) {
    let stored = if secret_stored { "stored" } else { "asked for at each connect" };
    match &profile.auth {
        Auth::EapMschapv2 { identity, trust } => {
            page.field(
                "You are",
                &format!("{}, by password (EAP-MSCHAPv2), {stored}", plain(identity.as_str())),
            );
            trusted(page, trust, now);
        }
        Auth::Certificate { chain, trust } => {
            if let Some(leaf) = chain.as_slice().first() {
                page.field("Certificate", &certificate(leaf, now));
            }
            trusted(page, trust, now);
        }
        Auth::Psk => page.field("You are", &format!("proven by the pre-shared key, {stored}")),
    }
    if let Some(id) = &profile.local_id {
        page.field("Local ID", &plain(id.as_str()));
    }
}

fn trusted(page: &mut Page, trust: &Trust, now: u64) {
    const SHOWN: usize = 5;
    for (row, ca) in trust.ca().iter().take(SHOWN).enumerate() {
        page.field(if row == 0 { "Trusts" } else { "" }, &certificate(ca, now));
    }
    if let Some(more) = trust.ca().len().checked_sub(SHOWN).filter(|more| *more > 0) {
        page.field("", &format!("and {more} more"));
    }
    if trust.system() {
        page.field(
            if trust.ca().is_empty() { "Trusts" } else { "" },
            "the certificate authorities of this system",
        );
    }
}

/// Whose certificate and until when; soon to expire it says so in days.
fn certificate(certificate: &Certificate, now: u64) -> String {
    const SOON_S: u64 = 30 * 86_400;
    let end = certificate.not_after();
    let validity = match end.checked_sub(now) {
        None => "EXPIRED".to_owned(),
        Some(left) if left < SOON_S => format!("expires in {}", duration(left)),
        Some(_) => {
            let date = Timestamp::from_unix(end).to_string();
            format!("valid until {}", date.split('T').next().unwrap_or_default())
        }
    };
    format!("{}, {validity}", plain(&certificate.subject()))
}

fn tunnel(page: &mut Page, profile: &Profile) {
    let tunnel = &profile.tunnel;
    let join = |list: Vec<String>| list.join(", ");
    if tunnel.remote_ts.is_empty() {
        page.field("Networks", "what the gateway offers");
    } else {
        page.field("Networks", &join(tunnel.remote_ts.iter().map(ToString::to_string).collect()));
    }
    if !tunnel.local_ts.is_empty() {
        page.field("Local", &join(tunnel.local_ts.iter().map(ToString::to_string).collect()));
    }
    if !tunnel.dns.is_empty() {
        page.field("DNS", &join(tunnel.dns.iter().map(ToString::to_string).collect()));
    }
    if !tunnel.domains.is_empty() {
        page.field("Domains", &join(tunnel.domains.iter().map(|d| plain(d.as_str())).collect()));
    }
    if let Some(mtu) = tunnel.mtu {
        page.field("MTU", &mtu.to_string());
    }
}

fn algorithms(page: &mut Page, profile: &Profile) {
    let list = |proposals: &[evenkeel_profile::Proposal]| {
        proposals.iter().map(|p| plain(p.as_str())).collect::<Vec<_>>().join(", ")
    };
    if !profile.ike.proposals.is_empty() {
        page.field("IKE", &list(&profile.ike.proposals));
    }
    if !profile.esp.proposals.is_empty() {
        page.field("ESP", &list(&profile.esp.proposals));
    }
    if profile.legacy {
        page.field("Legacy", "SHA-1 and MODP-1024 allowed");
    }
    let timers = [
        profile.timers.ike_rekey_s.map(|s| format!("IKE rekey after {}", duration(s.into()))),
        profile.timers.child_rekey_s.map(|s| format!("ESP rekey after {}", duration(s.into()))),
        profile.timers.dpd_s.map(|s| format!("gateway asked after {} of silence", duration(s.into()))),
    ];
    let timers: Vec<_> = timers.into_iter().flatten().collect();
    if !timers.is_empty() {
        page.field("Timers", &timers.join(", "));
    }
}

#[cfg(test)]
mod tests {
    use evenkeel_profile::{Host, Method, ProfileName};
    use unicode_width::UnicodeWidthStr;

    use super::*;

    fn summary(name: &str, ownership: Ownership, active: bool) -> ProfileSummary {
        ProfileSummary {
            name: name.parse::<ProfileName>().expect("name"),
            gateway: "vpn.example.com".parse::<Host>().expect("host"),
            method: Method::Psk,
            ownership,
            active,
        }
    }

    fn list(width: usize) -> String {
        let profiles =
            [summary("東京", Ownership::Own, true), summary("Headquarters", Ownership::Managed, false)];
        let text = profile_list(&profiles, Canvas { width, unicode: true });
        anstream::adapter::strip_str(&text).to_string()
    }

    #[test]
    fn a_list_is_aligned_by_columns_not_by_characters() {
        let expected = "\
NAME          GATEWAY          METHOD
東京          vpn.example.com  psk     in use
Headquarters  vpn.example.com  psk     managed
";
        assert_eq!(list(80), expected);
    }

    #[test]
    fn a_list_on_a_narrow_terminal_becomes_blocks() {
        let text = list(40);
        assert!(
            text.starts_with("東京\n  Gateway  vpn.example.com\n  Method   psk\n           in use\n"),
            "{text}"
        );
        assert!(text.lines().all(|line| line.width() <= 40), "{text}");
    }

    #[test]
    fn certificates_say_until_when() {
        let pem = include_str!("../../../profile/tests/data/alice.crt");
        let alice = Certificate::try_from(pem.to_owned()).expect("certificate");
        let end = alice.not_after();
        let day = Timestamp::from_unix(end).to_string();
        let day = day.split('T').next().expect("a date");
        assert_eq!(certificate(&alice, 0), format!("CN=alice, valid until {day}"));
        assert_eq!(certificate(&alice, end - 3 * 86_400), "CN=alice, expires in 3 d");
        assert_eq!(certificate(&alice, end + 1), "CN=alice, EXPIRED");
    }
}
