//! A page whose answer tells whether a portal is in between, and what each answer is. No IO.

use evenkeel_ipc::{HttpOutcome, PortalPage, Redirection};
use evenkeel_platform::network_hints::ConnectivityCheck;
use evenkeel_profile::{Host, ProbeAnswer, ProbePage, WebUrl};

use super::response::{Head, Response};

/// The path on the gateway that is asked for. Few hosts have it: one that serves pages of its own says 404, while a
/// portal answers everything alike.
pub(super) const GATEWAY_PATH: &str = "/connectivity-check";

/// A page to ask for.
#[derive(Clone, Debug)]
pub(super) struct Page {
    pub(super) kind: PortalPage,
    pub(super) url: WebUrl,
    answer: Answer,
    /// Further names of the host's owner.
    names: Vec<Host>,
}

#[derive(Clone, Debug)]
enum Answer {
    /// Whatever a host says that may not even serve pages.
    Unknown,
    Status(u16),
    /// Status 200 and this body, white space around it aside.
    Body(String),
    /// What NetworkManager takes for an answer: a body that begins so, or a field that says so.
    Beginning(String),
}

impl Page {
    /// The gateway's. `names`: what else it is known by.
    pub(super) fn of_gateway(gateway: &Host, names: Vec<Host>) -> Option<Self> {
        let url = WebUrl::plain(gateway, GATEWAY_PATH)?;
        Some(Self { kind: PortalPage::Gateway, url, answer: Answer::Unknown, names })
    }

    /// The profile's.
    pub(super) fn of_profile(page: &ProbePage) -> Self {
        let answer = match page.answer() {
            ProbeAnswer::Status(status) => Answer::Status(*status),
            ProbeAnswer::Body(body) => Answer::Body(body.clone()),
        };
        Self { kind: PortalPage::Profile, url: page.url().clone(), answer, names: Vec::new() }
    }

    /// The system's, if it is one that a portal can answer.
    pub(super) fn of_system(check: &ConnectivityCheck) -> Option<Self> {
        let url: WebUrl = check.uri.parse().ok().filter(|url: &WebUrl| !url.is_secure())?;
        let answer = Answer::Beginning(check.response.clone());
        Some(Self { kind: PortalPage::System, url, answer, names: Vec::new() })
    }

    /// The request (RFC 9112 §3). Nothing in it tells who or what asks.
    pub(super) fn request(&self) -> String {
        request(&self.url, "*/*")
    }

    /// What a response is, as soon as more of it could not change that.
    pub(super) fn judge(&self, response: &Response) -> Option<HttpOutcome> {
        let head = response.head()?;
        let status = head.status;
        Some(match status {
            511 => HttpOutcome::AuthenticationRequired,
            301 | 302 | 303 | 307 | 308 => self.redirect(head),
            200..=299 => return self.judge_success(head, response),
            _ => HttpOutcome::Status { status },
        })
    }

    /// What a response is that did not go on.
    pub(super) fn judge_unfinished(&self, response: &Response) -> HttpOutcome {
        let unknown = matches!(self.answer, Answer::Unknown);
        match response.head() {
            Some(head) if unknown => {
                HttpOutcome::Page { status: head.status, html: is_html(head, response.body()) }
            }
            Some(_) | None => HttpOutcome::Silent,
        }
    }

    fn judge_success(&self, head: &Head, response: &Response) -> Option<HttpOutcome> {
        let status = head.status;
        let (body, over) = (response.body(), response.is_full());
        let right = match &self.answer {
            Answer::Unknown => {
                let known = head.content_type.is_some() || !body.trim_ascii_start().is_empty() || over;
                return known.then(|| HttpOutcome::Page { status, html: is_html(head, body) });
            }
            Answer::Status(expected) if *expected == status => Some(true),
            // Proxies turn 204 into an empty 200; portals have something to say.
            Answer::Status(204) if status == 200 => empty(body, over),
            Answer::Status(_) => Some(false),
            Answer::Body(_) | Answer::Beginning(_) if head.encoded => Some(false),
            Answer::Body(expected) if status == 200 => is(body, over, expected),
            Answer::Body(_) => Some(false),
            Answer::Beginning(_) if head.online || status == 204 => Some(true),
            Answer::Beginning(expected) if expected.is_empty() => empty(body, over),
            Answer::Beginning(expected) => begins(body, over, expected),
        };
        right.map(|right| {
            if right {
                HttpOutcome::Expected { status }
            } else {
                HttpOutcome::Page { status, html: is_html(head, body) }
            }
        })
    }

    fn redirect(&self, head: &Head) -> HttpOutcome {
        let to = head.location.as_deref().and_then(|location| self.url.join(location).ok());
        let towards = to.as_ref().map_or(Redirection::Unusable, |to| self.towards(to));
        HttpOutcome::Redirect { status: head.status, to, towards }
    }

    fn towards(&self, to: &WebUrl) -> Redirection {
        let (own, other) = (self.url.host(), to.host());
        if is_same(own, other) {
            return if to.is_secure() { Redirection::SameHostSecure } else { Redirection::SameHost };
        }
        let related = |name: &Host| is_same(name, other) || share_domain(name, other);
        if related(own) || self.names.iter().any(related) {
            Redirection::Related
        } else {
            Redirection::Elsewhere
        }
    }
}

/// A request for `url` with nothing in it that HTTP does not ask for, but what we accept.
pub(super) fn request(url: &WebUrl, accept: &str) -> String {
    format!(
        "GET {} HTTP/1.1\r\nHost: {}\r\nAccept: {accept}\r\nConnection: close\r\n\r\n",
        url.target(),
        url.authority()
    )
}

fn is_same(one: &Host, other: &Host) -> bool {
    one == other || one.ip().is_some_and(|ip| other.ip() == Some(ip))
}

/// Whether both names lie in the domain that one of them is an immediate member of. Top-level domains don't count.
pub(super) fn share_domain(one: &Host, other: &Host) -> bool {
    let within = |name: &Host, other: &Host| {
        let Some((_, domain)) = name.as_str().split_once('.') else { return false };
        let inside = other.as_str().strip_suffix(domain);
        domain.contains('.') && inside.is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    };
    one.ip().is_none() && other.ip().is_none() && (within(one, other) || within(other, one))
}

fn is_html(head: &Head, body: &[u8]) -> bool {
    match &head.content_type {
        Some(kind) => kind.contains("html"),
        None => body.trim_ascii_start().starts_with(b"<"),
    }
}

fn empty(body: &[u8], over: bool) -> Option<bool> {
    if body.is_empty() { over.then_some(true) } else { Some(false) }
}

/// `None` while it may still become so.
fn begins(body: &[u8], over: bool, expected: &str) -> Option<bool> {
    let expected = expected.as_bytes();
    if body.starts_with(expected) {
        Some(true)
    } else if expected.starts_with(body) && !over {
        None
    } else {
        Some(false)
    }
}

fn is(body: &[u8], over: bool, expected: &str) -> Option<bool> {
    let (body, expected) = (body.trim_ascii_start(), expected.trim().as_bytes());
    match body.strip_prefix(expected) {
        Some(rest) if !rest.trim_ascii_start().is_empty() => Some(false),
        Some(_) => over.then_some(true),
        None if expected.starts_with(body) && !over => None,
        None => Some(false),
    }
}

#[cfg(test)]
#[path = "page_tests.rs"]
mod tests;
