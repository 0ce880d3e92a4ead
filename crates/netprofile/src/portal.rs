//! Whether a captive portal stands between us and the Internet: the verdict, not the probing.
//!
//! [`verdict`] is a pure function of what a probe brought ([`Evidence`]) and of what it should have brought
//! ([`Expectation`]). Everything in the evidence may be a lie, so a portal needs a positive sign: an answer that the real
//! host would not give. An error page, a slow proxy or a dead host is none.

mod url;

use std::net::IpAddr;

pub use url::sanitise;

/// What the probe's host says when nobody is in between.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Expectation<'a> {
    /// A check made for this: its status, and the beginning of its body (empty for a 204).
    Answer {
        /// The HTTP status.
        status: u16,
        /// What the body begins with; empty for "no body at all".
        body: &'a [u8],
    },
    /// The gateway's own host, of whose Web pages nothing is known: any error or page may be its own.
    OwnHost,
}

/// What the HTTP probe brought.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HttpAnswer<'a> {
    /// The status.
    pub status: u16,
    /// The `Location` header, as it came.
    pub location: Option<&'a str>,
    /// The beginning of the body. `Via` and `X-Cache` headers are not asked for: a proxy that passes on the right
    /// answer is no portal, and one that does not is judged by its answer.
    pub body: &'a [u8],
}

/// What the resolver of this network says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DnsAnswers<'a> {
    /// Addresses for the probe's host.
    pub host: &'a [IpAddr],
    /// Addresses for a name that does not exist.
    pub nonexistent: &'a [IpAddr],
}

impl DnsAnswers<'_> {
    /// Every name leads to the same place. A resolver that only sells error pages sends the real name elsewhere.
    fn are_hijacked(self) -> bool {
        self.nonexistent.iter().any(|address| self.host.contains(address))
    }
}

/// What the network's captive portal API says (RFC 8908), whose address came by DHCP or RA (RFC 8910).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ApiAnswer<'a> {
    /// The `captive` key.
    pub captive: bool,
    /// The `user-portal-url` key.
    pub user_portal_url: Option<&'a str>,
}

/// Everything that probing brought. `None` is "not measured" or "no answer".
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Evidence<'a> {
    /// The answer to `GET http://host/`.
    pub http: Option<HttpAnswer<'a>>,
    /// What the resolver says.
    pub dns: Option<DnsAnswers<'a>>,
    /// Whether a TLS server at the host's address showed a certificate for another name.
    pub tls_name_mismatch: Option<bool>,
    /// What the captive portal API says.
    pub api: Option<ApiAnswer<'a>>,
}

/// The verdict.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PortalVerdict {
    /// The expected answer came, or the network itself says that the way is free.
    None,
    /// A portal wants a person.
    Portal {
        /// Where to, if it said so: `http` or `https`, printable ASCII, at most 2,048 bytes, without user information.
        /// Otherwise opening the probe's own URL leads there.
        url: Option<String>,
    },
    /// Neither is shown.
    Inconclusive,
}

/// Judges a probe of `http://host/`.
///
/// A redirect to another host, a 200 with the wrong body, a 511 (RFC 6585 §6) and an API that says so are portals. The
/// right answer is none, whoever passed it on. Error statuses, redirects within the host and silence show nothing, but
/// where every name resolves to one address, a redirect within the host or a certificate for another name is the
/// portal's own.
#[must_use]
pub fn verdict(host: &str, evidence: &Evidence<'_>, expected: Expectation<'_>) -> PortalVerdict {
    let hijacked = evidence.dns.is_some_and(DnsAnswers::are_hijacked);
    let by_http =
        evidence.http.map_or(PortalVerdict::Inconclusive, |answer| of_http(host, answer, expected, hijacked));
    let by_api = match evidence.api {
        Some(ApiAnswer { captive: true, user_portal_url }) => {
            PortalVerdict::Portal { url: user_portal_url.and_then(sanitise) }
        }
        Some(ApiAnswer { captive: false, .. }) => PortalVerdict::None,
        None => PortalVerdict::Inconclusive,
    };
    match (by_api, by_http) {
        (PortalVerdict::Portal { url: None }, portal @ PortalVerdict::Portal { .. }) => portal,
        (portal @ PortalVerdict::Portal { .. }, _) | (_, portal @ PortalVerdict::Portal { .. }) => portal,
        (PortalVerdict::None, _) | (_, PortalVerdict::None) => PortalVerdict::None,
        (PortalVerdict::Inconclusive, PortalVerdict::Inconclusive) => {
            if hijacked && evidence.tls_name_mismatch == Some(true) {
                PortalVerdict::Portal { url: None }
            } else {
                PortalVerdict::Inconclusive
            }
        }
    }
}

fn of_http(host: &str, answer: HttpAnswer<'_>, expected: Expectation<'_>, hijacked: bool) -> PortalVerdict {
    match answer.status {
        511 => PortalVerdict::Portal { url: answer.location.and_then(|to| url::resolve(host, to)) },
        301 | 302 | 303 | 307 | 308 => redirect(host, answer.location, hijacked),
        status => match expected {
            Expectation::Answer { status: right, body }
                if status == right && body_matches(answer.body, body) =>
            {
                PortalVerdict::None
            }
            Expectation::Answer { .. } if status == 200 && !answer.body.is_empty() => {
                PortalVerdict::Portal { url: None }
            }
            Expectation::OwnHost if status == 200 && hijacked => PortalVerdict::Portal { url: None },
            Expectation::Answer { .. } | Expectation::OwnHost => PortalVerdict::Inconclusive,
        },
    }
}

fn body_matches(body: &[u8], expected: &[u8]) -> bool {
    if expected.is_empty() { body.is_empty() } else { body.starts_with(expected) }
}

fn redirect(host: &str, location: Option<&str>, hijacked: bool) -> PortalVerdict {
    let target = location.and_then(|to| url::resolve(host, to));
    let Some(target) = target else { return PortalVerdict::Inconclusive };
    let elsewhere = url::host(&target).is_some_and(|other| !are_related(host, other));
    if elsewhere || hijacked {
        PortalVerdict::Portal { url: Some(target) }
    } else {
        PortalVerdict::Inconclusive
    }
}

/// The same host, or one with and one without `www.`: sites redirect between these by themselves.
fn are_related(a: &str, b: &str) -> bool {
    let bare = |name: &str| {
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        name.strip_prefix("www.").map_or_else(|| name.clone(), str::to_owned)
    };
    bare(a) == bare(b)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    const HOST: &str = "check.example.net";
    const NO_CONTENT: Expectation<'_> = Expectation::Answer { status: 204, body: b"" };
    const SUCCESS: Expectation<'_> = Expectation::Answer { status: 200, body: b"success\n" };

    fn http(status: u16, location: Option<&str>, body: &[u8], expected: Expectation<'_>) -> PortalVerdict {
        let answer = HttpAnswer { status, location, body };
        verdict(HOST, &Evidence { http: Some(answer), ..Evidence::default() }, expected)
    }

    fn portal(url: &str) -> PortalVerdict {
        PortalVerdict::Portal { url: Some(url.to_owned()) }
    }

    const UNNAMED: PortalVerdict = PortalVerdict::Portal { url: None };

    #[test]
    fn the_expected_answer_is_no_portal_whoever_passed_it_on() {
        assert_eq!(http(204, None, b"", NO_CONTENT), PortalVerdict::None);
        assert_eq!(http(200, None, b"success\n", SUCCESS), PortalVerdict::None);
        assert_eq!(http(200, None, b"success\n<!-- squid -->", SUCCESS), PortalVerdict::None);
    }

    #[test]
    fn a_redirect_to_another_host_is_a_portal_with_its_address() {
        for status in [301, 302, 303, 307, 308] {
            for expected in [NO_CONTENT, SUCCESS, Expectation::OwnHost] {
                let to = Some("http://login.hotel.example/start?mac=1");
                assert_eq!(http(status, to, b"", expected), portal("http://login.hotel.example/start?mac=1"));
            }
        }
        assert_eq!(http(302, Some("//10.0.0.1/login"), b"", NO_CONTENT), portal("http://10.0.0.1/login"));
    }

    #[test]
    fn a_redirect_within_the_host_shows_nothing() {
        for to in ["https://check.example.net/", "/other", "http://WWW.check.example.net/", "next"] {
            assert_eq!(http(301, Some(to), b"", Expectation::OwnHost), PortalVerdict::Inconclusive, "{to}");
        }
        assert_eq!(http(302, None, b"", NO_CONTENT), PortalVerdict::Inconclusive);
    }

    #[test]
    fn a_200_with_the_wrong_body_is_a_portal() {
        assert_eq!(http(200, None, b"<html>Welcome to Hotel", NO_CONTENT), UNNAMED);
        assert_eq!(http(200, None, b"<html>Welcome to Hotel", SUCCESS), UNNAMED);
        assert_eq!(
            http(200, None, b"", SUCCESS),
            PortalVerdict::Inconclusive,
            "an empty page invites nobody"
        );
    }

    #[test]
    fn a_511_is_a_portal() {
        assert_eq!(http(511, None, b"<html>", Expectation::OwnHost), UNNAMED);
        let to = Some("https://login.example/");
        assert_eq!(http(511, to, b"", NO_CONTENT), portal("https://login.example/"));
    }

    #[test]
    fn error_pages_are_no_portal() {
        for status in [400, 401, 403, 404, 407, 500, 502, 503, 504, 0, 999] {
            for expected in [NO_CONTENT, SUCCESS, Expectation::OwnHost] {
                assert_eq!(http(status, None, b"<html>", expected), PortalVerdict::Inconclusive, "{status}");
            }
        }
    }

    #[test]
    fn the_gateways_own_page_is_no_portal() {
        assert_eq!(http(200, None, b"<html>It works!", Expectation::OwnHost), PortalVerdict::Inconclusive);
    }

    #[test]
    fn the_api_is_believed_about_captivity_and_not_against_a_redirect() {
        let api = |captive, user_portal_url| Some(ApiAnswer { captive, user_portal_url });
        let says = |api, http| verdict(HOST, &Evidence { api, http, ..Evidence::default() }, NO_CONTENT);
        let redirect = Some(HttpAnswer { status: 302, location: Some("http://a.example/"), body: b"" });
        let free = Some(HttpAnswer { status: 204, location: None, body: b"" });
        assert_eq!(says(api(true, Some("https://p.example/")), free), portal("https://p.example/"));
        assert_eq!(says(api(true, Some("javascript:alert(1)")), None), UNNAMED);
        assert_eq!(says(api(true, None), redirect), portal("http://a.example/"));
        assert_eq!(says(api(false, None), None), PortalVerdict::None);
        assert_eq!(says(api(false, None), redirect), portal("http://a.example/"));
        assert_eq!(says(None, None), PortalVerdict::Inconclusive);
    }

    #[test]
    fn where_all_names_lead_to_one_address_what_is_served_there_is_the_portal() {
        let portal_address = [IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1))];
        let real = [IpAddr::V4(Ipv4Addr::new(198, 51, 100, 7))];
        let says = |nonexistent, http, tls| {
            let dns = Some(DnsAnswers { host: &portal_address, nonexistent });
            let evidence = Evidence { http, dns, tls_name_mismatch: tls, api: None };
            verdict(HOST, &evidence, Expectation::OwnHost)
        };
        let page = Some(HttpAnswer { status: 200, location: None, body: b"<html>" });
        let inside = Some(HttpAnswer { status: 302, location: Some("/login"), body: b"" });
        assert_eq!(says(&portal_address, page, None), UNNAMED);
        assert_eq!(says(&portal_address, inside, None), portal("http://check.example.net/login"));
        assert_eq!(says(&portal_address, None, Some(true)), UNNAMED);
        assert_eq!(says(&portal_address, None, None), PortalVerdict::Inconclusive);
        assert_eq!(says(&real, page, Some(true)), PortalVerdict::Inconclusive, "a provider's error page");
        assert_eq!(says(&[], page, None), PortalVerdict::Inconclusive);
    }
}
