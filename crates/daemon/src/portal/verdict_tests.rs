use evenkeel_ipc::{DnsOutcome, PortalPage};

use super::*;

const PAGES: [PortalPage; 3] = [PortalPage::Gateway, PortalPage::System, PortalPage::Profile];
const REDIRECTIONS: [Redirection; 5] = [
    Redirection::SameHostSecure,
    Redirection::SameHost,
    Redirection::Related,
    Redirection::Elsewhere,
    Redirection::Unusable,
];

fn url(text: &str) -> WebUrl {
    text.parse().unwrap()
}

fn answered(page: PortalPage, outcome: HttpOutcome) -> PortalEvidence {
    let asked = match page {
        PortalPage::Gateway => "http://vpn.example.com/connectivity-check",
        PortalPage::System => "http://check.example/",
        PortalPage::Profile => "http://probe.example/",
    };
    PortalEvidence::Http { page, url: url(asked), outcome, proxied: false, took_ms: 1 }
}

fn redirect(towards: Redirection) -> HttpOutcome {
    let to = (towards != Redirection::Unusable).then(|| url("http://login.hotel.example/"));
    HttpOutcome::Redirect { status: 302, to, towards }
}

fn api(captive: bool, user_portal_url: Option<&str>) -> PortalEvidence {
    let outcome = ApiOutcome::Answered {
        captive,
        user_portal_url: user_portal_url.map(url),
        venue_info_url: None,
        seconds_remaining: None,
    };
    PortalEvidence::Api { url: url("https://api.hotel.example/"), outcome, took_ms: 1 }
}

/// Every outcome of a page.
fn outcomes() -> Vec<HttpOutcome> {
    let mut all = vec![
        HttpOutcome::Expected { status: 204 },
        HttpOutcome::AuthenticationRequired,
        HttpOutcome::Page { status: 200, html: true },
        HttpOutcome::Page { status: 200, html: false },
        HttpOutcome::NotHttp,
        HttpOutcome::Refused,
        HttpOutcome::Unreachable,
        HttpOutcome::Silent,
        HttpOutcome::NoAddress,
    ];
    all.extend(
        [304, 401, 403, 404, 407, 429, 500, 502, 503, 504].map(|status| HttpOutcome::Status { status }),
    );
    all.extend(REDIRECTIONS.map(redirect));
    all
}

/// The table, written out: what one answer alone comes to.
fn alone(page: PortalPage, outcome: &HttpOutcome) -> PortalVerdict {
    let known = page != PortalPage::Gateway;
    match outcome {
        HttpOutcome::AuthenticationRequired | HttpOutcome::Page { html: true, .. } => PortalVerdict::Portal,
        HttpOutcome::Page { html: false, .. } if known => PortalVerdict::Portal,
        HttpOutcome::Redirect { towards: Redirection::Elsewhere | Redirection::Unusable, .. } => {
            PortalVerdict::Portal
        }
        HttpOutcome::Redirect { towards: Redirection::SameHost, .. } if known => PortalVerdict::Portal,
        HttpOutcome::Page { .. }
        | HttpOutcome::Redirect { .. }
        | HttpOutcome::Expected { .. }
        | HttpOutcome::Status { .. }
        | HttpOutcome::Refused => PortalVerdict::NoPortal,
        HttpOutcome::NotHttp | HttpOutcome::Unreachable | HttpOutcome::Silent | HttpOutcome::NoAddress => {
            PortalVerdict::Inconclusive
        }
    }
}

#[test]
fn each_answer_alone_comes_to_what_the_table_says() {
    assert_eq!(judge(&[]), (PortalVerdict::Inconclusive, None));
    for page in PAGES {
        for outcome in outcomes() {
            let (verdict, login) = judge(&[answered(page, outcome.clone())]);
            assert_eq!(verdict, alone(page, &outcome), "{page:?} {outcome:?}");
            assert_eq!(login.is_some(), verdict == PortalVerdict::Portal, "{page:?} {outcome:?}");
        }
    }
}

#[test]
fn of_two_answers_the_heavier_decides_whichever_came_first() {
    for one in outcomes() {
        for other in outcomes() {
            let first = answered(PortalPage::Gateway, one.clone());
            let second = answered(PortalPage::System, other.clone());
            let (verdict, login) = judge(&[first.clone(), second.clone()]);
            assert_eq!((verdict, login), judge(&[second.clone(), first.clone()]));
            let (gateway, system) = (alone(PortalPage::Gateway, &one), alone(PortalPage::System, &other));
            let expected = if one == HttpOutcome::AuthenticationRequired || system == PortalVerdict::Portal {
                PortalVerdict::Portal
            } else if matches!(other, HttpOutcome::Expected { .. }) {
                PortalVerdict::NoPortal
            } else if gateway == PortalVerdict::Portal {
                PortalVerdict::Portal
            } else if [gateway, system].contains(&PortalVerdict::NoPortal) {
                PortalVerdict::NoPortal
            } else {
                PortalVerdict::Inconclusive
            };
            // The gateway's own "expected" does not occur: nothing is expected of it.
            if !matches!(one, HttpOutcome::Expected { .. }) {
                assert_eq!(verdict, expected, "{one:?} {other:?}");
            }
        }
    }
}

#[test]
fn a_proxy_that_names_itself_changes_nothing() {
    for page in PAGES {
        for outcome in outcomes() {
            let plain = answered(page, outcome);
            let PortalEvidence::Http { page, url, outcome, took_ms, .. } = plain.clone() else { panic!() };
            let proxied = PortalEvidence::Http { page, url, outcome, proxied: true, took_ms };
            assert_eq!(judge(&[plain]), judge(&[proxied]));
        }
    }
}

#[test]
fn the_api_says_where_to_log_in_and_is_believed_when_it_says_captive() {
    let expected = answered(PortalPage::System, HttpOutcome::Expected { status: 204 });
    let redirected = answered(PortalPage::System, redirect(Redirection::Elsewhere));
    let login = "https://login.hotel.example/room";
    let judged = judge(&[redirected.clone(), api(true, Some(login))]);
    assert_eq!(judged, (PortalVerdict::Portal, Some(url(login))));
    // A walled garden may let the check through.
    assert_eq!(judge(&[expected.clone(), api(true, Some(login))]).0, PortalVerdict::Portal);
    assert_eq!(judge(&[api(true, None)]), (PortalVerdict::Portal, None));
    assert_eq!(judge(&[api(false, Some(login))]), (PortalVerdict::NoPortal, None));
    // Who is redirected is held back, whatever the API thinks.
    let judged = judge(&[redirected, api(false, Some(login))]);
    assert_eq!(judged, (PortalVerdict::Portal, Some(url("http://login.hotel.example/"))));
    let gateway = answered(PortalPage::Gateway, redirect(Redirection::Elsewhere));
    assert_eq!(judge(&[gateway, api(false, Some(login))]).0, PortalVerdict::Portal);
    for outcome in [ApiOutcome::Malformed, ApiOutcome::Untrusted, ApiOutcome::Unreachable, ApiOutcome::Silent]
    {
        let useless = PortalEvidence::Api { url: url("https://api.hotel.example/"), outcome, took_ms: 1 };
        assert_eq!(judge(std::slice::from_ref(&useless)).0, PortalVerdict::Inconclusive);
        assert_eq!(judge(&[useless, expected.clone()]).0, PortalVerdict::NoPortal);
    }
    assert_eq!(judge(&[PortalEvidence::Unrestricted]).0, PortalVerdict::NoPortal);
}

#[test]
fn dns_alone_is_no_evidence() {
    let private = DnsOutcome::Addresses { count: 1, private: true, unusable: false };
    let dns = PortalEvidence::Dns { host: "vpn.example.com".parse().unwrap(), outcome: private };
    let hijack = PortalEvidence::DnsHijack { address: "10.0.0.1".parse().unwrap() };
    assert_eq!(judge(&[dns.clone(), hijack.clone()]).0, PortalVerdict::Inconclusive);
    let login = answered(PortalPage::Gateway, redirect(Redirection::SameHost));
    assert_eq!(judge(&[dns, login.clone()]).0, PortalVerdict::NoPortal);
    assert_eq!(judge(&[hijack, login]).0, PortalVerdict::Portal);
}

#[test]
fn the_systems_memory_of_a_portal_counts_until_something_fresher_is_seen() {
    let portal = PortalEvidence::System { connectivity: SystemConnectivity::Portal };
    let silent = answered(PortalPage::System, HttpOutcome::Silent);
    let judged = judge(&[portal.clone(), silent.clone()]);
    assert_eq!(judged, (PortalVerdict::Portal, Some(url("http://check.example/"))));
    let expected = answered(PortalPage::System, HttpOutcome::Expected { status: 200 });
    assert_eq!(judge(&[portal, expected]).0, PortalVerdict::NoPortal);
    for connectivity in [
        SystemConnectivity::Unknown,
        SystemConnectivity::None,
        SystemConnectivity::Limited,
        SystemConnectivity::Full,
    ] {
        let memory = PortalEvidence::System { connectivity };
        assert_eq!(judge(&[memory, silent.clone()]).0, PortalVerdict::Inconclusive);
    }
}

#[test]
fn the_page_to_open_is_the_redirects_else_the_one_that_was_answered_falsely() {
    let elsewhere = answered(PortalPage::Gateway, redirect(Redirection::Elsewhere));
    let page = answered(PortalPage::System, HttpOutcome::Page { status: 200, html: true });
    let unusable = answered(PortalPage::System, redirect(Redirection::Unusable));
    let login = Some(url("http://login.hotel.example/"));
    assert_eq!(judge(&[page.clone(), elsewhere.clone()]).1, login);
    assert_eq!(judge(&[elsewhere, unusable.clone()]).1, login);
    let check = Some(url("http://check.example/"));
    assert_eq!(judge(&[page]).1, check);
    assert_eq!(judge(&[unusable]).1, check);
}
