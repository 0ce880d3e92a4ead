//! Web addresses, as strict as what is opened in a browser or connected to on somebody else's word has to be.
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::Host;

/// An `http` or `https` URL (RFC 3986) of at most [`WebUrl::MAX`] printable ASCII characters, without user information.
///
/// A network may say it, and a person may be asked to open it: it can neither name another scheme, nor hide what host
/// it leads to, nor carry anything that a terminal would act on.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct WebUrl {
    text: String,
    secure: bool,
    host: Host,
    port: u16,
    /// Where path and query begin, in bytes.
    target: usize,
}

/// Why a text is no such URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum WebUrlError {
    /// Another scheme, or none.
    #[error("this is no web address; allowed: http://HOST/PATH or https://HOST/PATH")]
    Scheme,
    /// Longer than any that is meant.
    #[error("the URL is too long; allowed: at most {} characters", WebUrl::MAX)]
    TooLong,
    /// A control character, a space, or one that is not ASCII.
    #[error("the URL has a character that must be percent-encoded; allowed: printable ASCII")]
    Character,
    /// `USER@HOST`, which makes one host look like another.
    #[error("the URL carries a user name; allowed: only host and port before the path")]
    UserInformation,
    /// No host, or a malformed one.
    #[error(
        "the URL has no usable host; allowed: a DNS name in ASCII, an IPv4 address, an IPv6 address in brackets"
    )]
    Host,
    /// A port that is none.
    #[error("the URL has no usable port; allowed: 1 to 65535")]
    Port,
}

impl WebUrl {
    /// Longest URL, in bytes.
    pub const MAX: usize = 2048;

    /// The whole URL.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether it is `https`.
    pub fn is_secure(&self) -> bool {
        self.secure
    }

    /// The host; an IPv6 address without its brackets.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// The port, the scheme's own where none is named.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Path and query for a request line (RFC 9112 §3.2.1): begins with `/`, has no fragment.
    pub fn target(&self) -> String {
        let rest = self.text.get(self.target..).unwrap_or_default();
        let rest = rest.split('#').next().unwrap_or_default();
        if rest.starts_with('/') { rest.to_owned() } else { format!("/{rest}") }
    }

    /// The authority for a `Host` header (RFC 9112 §3.2): the port only where it is not the scheme's own.
    pub fn authority(&self) -> String {
        let host = bracketed(&self.host);
        if self.port == standard_port(self.secure) { host } else { format!("{host}:{}", self.port) }
    }

    /// `http://HOST/PATH` on port 80; `None` if `path` does not make a URL.
    pub fn plain(host: &Host, path: &str) -> Option<Self> {
        format!("http://{}{path}", bracketed(host)).parse().ok()
    }

    /// Whether both lead to the same page, whatever else they tell it: scheme, host, port and path are the same.
    pub fn is_same_page(&self, other: &Self) -> bool {
        self.secure == other.secure
            && self.host == other.host
            && self.port == other.port
            && self.path() == other.path()
    }

    /// The part of [`Self::target`] before its query.
    fn path(&self) -> String {
        let mut target = self.target();
        if let Some(query) = target.find('?') {
            target.truncate(query);
        }
        target
    }

    /// What `reference` means on this page (RFC 3986 §5.2, without dot segments).
    ///
    /// # Errors
    /// When that is no URL that this type allows.
    pub fn join(&self, reference: &str) -> Result<Self, WebUrlError> {
        let head = reference.split(['/', '?', '#']).next().unwrap_or_default();
        if head.contains(':') {
            return reference.parse();
        }
        let scheme = if self.secure { "https:" } else { "http:" };
        if reference.starts_with("//") {
            return format!("{scheme}{reference}").parse();
        }
        let origin = format!("{scheme}//{}", self.authority());
        if reference.starts_with('/') {
            return format!("{origin}{reference}").parse();
        }
        let path = self.path();
        let folder = path.rfind('/').and_then(|end| path.get(..=end)).unwrap_or("/");
        format!("{origin}{folder}{reference}").parse()
    }
}

fn bracketed(host: &Host) -> String {
    if host.ip().is_some_and(|ip| ip.is_ipv6()) { format!("[{host}]") } else { host.to_string() }
}

const fn standard_port(secure: bool) -> u16 {
    if secure { 443 } else { 80 }
}

/// Printable ASCII but for what ends a URL in running text or is a separator to some readers only.
fn is_allowed(byte: u8) -> bool {
    byte.is_ascii_graphic() && !matches!(byte, b'"' | b'<' | b'>' | b'\\' | b'`')
}

impl TryFrom<String> for WebUrl {
    type Error = WebUrlError;

    fn try_from(text: String) -> Result<Self, WebUrlError> {
        if text.len() > Self::MAX {
            return Err(WebUrlError::TooLong);
        }
        let (scheme, rest) = text.split_once("://").ok_or(WebUrlError::Scheme)?;
        let secure = match scheme {
            _ if scheme.eq_ignore_ascii_case("http") => false,
            _ if scheme.eq_ignore_ascii_case("https") => true,
            _ => return Err(WebUrlError::Scheme),
        };
        if !text.bytes().all(is_allowed) {
            return Err(WebUrlError::Character);
        }
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        if authority.contains('@') {
            return Err(WebUrlError::UserInformation);
        }
        let (host, port) = match authority.strip_prefix('[') {
            Some(inner) => {
                let (address, port) = inner.split_once(']').ok_or(WebUrlError::Host)?;
                let address: Ipv6Addr = address.parse().map_err(|_| WebUrlError::Host)?;
                (IpAddr::from(address).to_string(), port.strip_prefix(':').or(port.is_empty().then_some("")))
            }
            None => match authority.split_once(':') {
                Some((host, port)) => (host.to_owned(), Some(port)),
                None => (authority.to_owned(), Some("")),
            },
        };
        let host = Host::try_from(host).map_err(|_| WebUrlError::Host)?;
        let port = match port.ok_or(WebUrlError::Port)? {
            "" => standard_port(secure),
            digits if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                digits.parse().ok().filter(|port| *port != 0).ok_or(WebUrlError::Port)?
            }
            _ => return Err(WebUrlError::Port),
        };
        let target = scheme.len() + "://".len() + authority.len();
        Ok(Self { secure, host, port, target, text })
    }
}

impl FromStr for WebUrl {
    type Err = WebUrlError;

    fn from_str(text: &str) -> Result<Self, WebUrlError> {
        Self::try_from(text.to_owned())
    }
}

impl From<WebUrl> for String {
    fn from(url: WebUrl) -> Self {
        url.text
    }
}

impl fmt::Display for WebUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> WebUrl {
        text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn a_url_comes_apart_as_a_request_needs_it() {
        for (text, secure, host, port, target, authority) in [
            ("http://a.example", false, "a.example", 80, "/", "a.example"),
            ("HTTPS://A.example:443/x?y=1#z", true, "a.example", 443, "/x?y=1", "a.example"),
            ("http://a.example:8080?q", false, "a.example", 8080, "/?q", "a.example:8080"),
            ("http://[2001:DB8::1]:81/", false, "2001:db8::1", 81, "/", "[2001:db8::1]:81"),
            ("http://192.0.2.1/{a|b}", false, "192.0.2.1", 80, "/{a|b}", "192.0.2.1"),
        ] {
            let url = url(text);
            assert_eq!((url.is_secure(), url.host().as_str(), url.port()), (secure, host, port), "{text}");
            assert_eq!((url.target().as_str(), url.authority().as_str()), (target, authority), "{text}");
            assert_eq!(url.to_string(), text);
        }
    }

    #[test]
    fn what_could_mislead_or_act_is_refused() {
        let long = format!("http://a.example/{}", "x".repeat(WebUrl::MAX));
        for (text, why) in [
            ("javascript:alert(1)", WebUrlError::Scheme),
            ("javascript://a.example/%0aalert(1)", WebUrlError::Scheme),
            ("file:///etc/passwd", WebUrlError::Scheme),
            ("a.example/", WebUrlError::Scheme),
            ("", WebUrlError::Scheme),
            (&long, WebUrlError::TooLong),
            ("http://a.example/\u{1b}[2J", WebUrlError::Character),
            ("http://a.example/ b", WebUrlError::Character),
            ("http://a.example/\"", WebUrlError::Character),
            ("http://b\u{fc}cher.example/", WebUrlError::Character),
            ("http://a.example\\@b.example/", WebUrlError::Character),
            ("http://bank.example@b.example/", WebUrlError::UserInformation),
            ("http:///x", WebUrlError::Host),
            ("http://a..b/", WebUrlError::Host),
            ("http://[::1/", WebUrlError::Host),
            ("http://[::1]x/", WebUrlError::Port),
            ("http://a.example:0/", WebUrlError::Port),
            ("http://a.example:65536/", WebUrlError::Port),
            ("http://a.example:+80/", WebUrlError::Port),
        ] {
            assert_eq!(text.parse::<WebUrl>(), Err(why), "{text:?}");
        }
    }

    #[test]
    fn references_mean_what_a_browser_would_take_them_for() {
        let base = url("http://a.example:8080/x/y?z");
        for (reference, meant) in [
            ("https://b.example/", "https://b.example/"),
            ("//b.example/p", "http://b.example/p"),
            ("/login", "http://a.example:8080/login"),
            ("login?u=http://c.example/", "http://a.example:8080/x/login?u=http://c.example/"),
        ] {
            assert_eq!(base.join(reference).map(String::from).as_deref(), Ok(meant), "{reference}");
        }
        assert_eq!(base.join("javascript:alert(1)"), Err(WebUrlError::Scheme));
        assert_eq!(base.join("file:///etc/passwd"), Err(WebUrlError::Scheme));
    }

    #[test]
    fn a_page_is_the_same_whatever_else_it_is_told() {
        let page = url("http://a.example/login?nonce=1");
        for same in
            ["http://A.example:80/login?nonce=2", "HTTP://a.example/login", "http://a.example/login#x"]
        {
            assert!(page.is_same_page(&url(same)), "{same}");
        }
        for other in [
            "https://a.example/login?nonce=1",
            "http://b.example/login?nonce=1",
            "http://a.example:8080/login?nonce=1",
            "http://a.example/login/?nonce=1",
            "http://a.example/?login",
        ] {
            assert!(!page.is_same_page(&url(other)), "{other}");
        }
        assert!(url("http://a.example").is_same_page(&url("http://a.example/?q")));
    }

    #[test]
    fn a_plain_url_of_any_host_can_be_made() {
        for (host, made) in [
            ("vpn.example.com", "http://vpn.example.com/x"),
            ("192.0.2.1", "http://192.0.2.1/x"),
            ("2001:db8::1", "http://[2001:db8::1]/x"),
        ] {
            let host: Host = host.parse().expect("a host");
            assert_eq!(WebUrl::plain(&host, "/x").map(String::from).as_deref(), Some(made));
        }
    }
}
