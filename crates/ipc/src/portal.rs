//! What was found out about a captive portal: a verdict, where to log in, and the evidence.
use std::net::IpAddr;

use evenkeel_profile::{Host, WebUrl};
use serde::{Deserialize, Serialize};

/// What one look for a captive portal came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortalReport {
    /// Whether there is one.
    pub verdict: PortalVerdict,
    /// Where to log in, if there is one. The network's word: open it in a browser that trusts it with nothing.
    pub url: Option<WebUrl>,
    /// What the verdict rests on, in the order in which it came. What is not in here was not measured.
    pub evidence: Vec<PortalEvidence>,
    /// Milliseconds that it took.
    pub took_ms: u64,
}

/// Whether a captive portal holds us back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PortalVerdict {
    /// One does.
    Portal,
    /// None does: somebody answered as one who is not a portal.
    NoPortal,
    /// Nobody answered, or nothing that tells anything.
    Inconclusive,
}

/// One measurement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum PortalEvidence {
    /// A page was asked for by plain HTTP.
    Http {
        /// Whose page.
        page: PortalPage,
        /// Which.
        url: WebUrl,
        /// What came back.
        outcome: HttpOutcome,
        /// Whether a proxy in between gave itself away (`Via`, `X-Cache`). No portal for that alone.
        proxied: bool,
        /// Milliseconds that it took.
        took_ms: u64,
    },
    /// A page's host was looked up.
    Dns {
        /// The host.
        host: Host,
        /// What came back.
        outcome: DnsOutcome,
    },
    /// Unrelated names have one and the same address. Supports other evidence, is none by itself.
    DnsHijack {
        /// The address.
        address: IpAddr,
    },
    /// The network's captive portal API was asked (RFC 8908).
    Api {
        /// Where.
        url: WebUrl,
        /// What came back.
        outcome: ApiOutcome,
        /// Milliseconds that it took.
        took_ms: u64,
    },
    /// The network says that it has no portal (RFC 8910 §2, `urn:ietf:params:capport:unrestricted`).
    Unrestricted,
    /// What the system's own connectivity check has found, at some time before.
    System {
        /// What.
        connectivity: SystemConnectivity,
    },
}

/// Whose page was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PortalPage {
    /// The gateway's; whether and what it answers is not known in advance.
    Gateway,
    /// That of the system's own connectivity check.
    System,
    /// The one that the profile names.
    Profile,
}

impl PortalPage {
    /// Whether the right answer is known in advance.
    pub fn answer_is_known(self) -> bool {
        self != Self::Gateway
    }
}

/// What came back for a page.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "result", rename_all = "kebab-case")]
pub enum HttpOutcome {
    /// The right answer.
    Expected {
        /// Its status.
        status: u16,
    },
    /// A redirect (301, 302, 303, 307, 308). It was read, not followed.
    Redirect {
        /// Its status.
        status: u16,
        /// Where to; none where that is no URL that may be opened: another scheme, too long, malformed.
        to: Option<WebUrl>,
        /// How that relates to the page's own host.
        towards: Redirection,
    },
    /// 511 Network Authentication Required (RFC 6585 §6).
    AuthenticationRequired,
    /// Success, but not the right answer; of the gateway, any success.
    Page {
        /// Its status.
        status: u16,
        /// Whether it is a page for people.
        html: bool,
    },
    /// Any other status.
    Status {
        /// Which.
        status: u16,
    },
    /// What came is not HTTP, or has no end, or nothing came before the connection ended.
    NotHttp,
    /// The connection was refused.
    Refused,
    /// There is no way there.
    Unreachable,
    /// No answer, or none that would tell anything, in time.
    Silent,
    /// The name has no address that may be asked: none at all, or only loopback, multicast or our own.
    NoAddress,
}

/// Where a redirect leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Redirection {
    /// To the same host by https.
    SameHostSecure,
    /// To the same host by http.
    SameHost,
    /// To a host of the same owner: the gateway's other name, or one of the same domain.
    Related,
    /// Elsewhere.
    Elsewhere,
    /// To no URL that may be opened.
    Unusable,
}

/// What came back for a name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "result", rename_all = "kebab-case")]
pub enum DnsOutcome {
    /// Addresses.
    Addresses {
        /// How many. Only a few of many are tried.
        count: usize,
        /// Whether one of them is an address of a private network, where portals live, and some offices too.
        private: bool,
        /// Whether all of them may not be asked: loopback, multicast, our own.
        unusable: bool,
    },
    /// The name does not exist.
    NotFound,
    /// No answer in time, or none from the servers.
    Unavailable,
}

/// What came back from a captive portal API.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "result", rename_all = "kebab-case")]
pub enum ApiOutcome {
    /// An answer (RFC 8908 §5).
    Answered {
        /// Whether we are held back.
        captive: bool,
        /// Where to log in.
        user_portal_url: Option<WebUrl>,
        /// Where the place is described.
        venue_info_url: Option<WebUrl>,
        /// For how many seconds we will not be held back.
        seconds_remaining: Option<u64>,
    },
    /// What came is no such answer.
    Malformed,
    /// Its certificate is not that of the host that the network named.
    Untrusted,
    /// It could not be reached.
    Unreachable,
    /// No answer in time.
    Silent,
}

/// What the system's own connectivity check has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SystemConnectivity {
    /// It does not know.
    Unknown,
    /// No network.
    None,
    /// A portal.
    Portal,
    /// A network, but not the Internet.
    Limited,
    /// The Internet.
    Full,
}
