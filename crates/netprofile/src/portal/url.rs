//! Addresses that a portal names. They are shown to a person and given to a browser, so little is allowed.

/// Longest URL that is passed on, in bytes.
const LONGEST: usize = 2048;

/// The URL if it may be shown and opened: absolute, `http` or `https`, printable ASCII without quotes, angle brackets
/// and backslashes, a host, no user information (`http://bank.example@portal/` misleads), at most 2,048 bytes.
#[must_use]
pub fn sanitise(url: &str) -> Option<String> {
    let harmless = |byte: u8| byte.is_ascii_graphic() && !b"\"'<>\\^`{|}".contains(&byte);
    let valid = url.len() <= LONGEST && url.bytes().all(harmless) && host(url).is_some();
    valid.then(|| url.to_owned())
}

/// The target of a `Location` header of an answer to `http://host/` (RFC 9110 §10.2.2), sanitised.
pub(super) fn resolve(base_host: &str, location: &str) -> Option<String> {
    let location = location.trim();
    if location.is_empty() {
        return None;
    }
    let has_scheme = location
        .find(':')
        .is_some_and(|colon| location.get(..colon).is_some_and(|scheme| !scheme.contains(['/', '?', '#'])));
    if has_scheme {
        sanitise(location)
    } else if let Some(rest) = location.strip_prefix("//") {
        sanitise(&format!("http://{rest}"))
    } else {
        sanitise(&format!("http://{base_host}/{}", location.trim_start_matches('/')))
    }
}

/// The host of an absolute `http` or `https` URL, without port and, for IPv6, with brackets.
pub(super) fn host(url: &str) -> Option<&str> {
    let (scheme, rest) = url.split_once("://")?;
    if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
        return None;
    }
    let authority = rest.split(['/', '?', '#']).next()?;
    let (host, port) = match authority.rfind(']') {
        Some(bracket) => authority.split_at_checked(bracket + 1)?,
        None => authority.split_at_checked(authority.find(':').unwrap_or(authority.len()))?,
    };
    let port_is_fine =
        port.is_empty() || port.strip_prefix(':').is_some_and(|port| port.parse::<u16>().is_ok());
    let inner = host.strip_prefix('[').and_then(|inner| inner.strip_suffix(']'));
    let host_is_fine = match inner {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => {
            !host.is_empty()
                && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte))
        }
    };
    (port_is_fine && host_is_fine).then_some(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_addresses_pass_unchanged() {
        for url in [
            "http://login.example/",
            "https://login.example:8443/a?b=c&d=%20#e",
            "HTTP://10.0.0.1",
            "http://[fd00::1]:8080/x",
        ] {
            assert_eq!(sanitise(url).as_deref(), Some(url));
        }
    }

    #[test]
    fn what_could_mislead_or_run_is_refused() {
        for url in [
            "",
            "javascript:alert(1)",
            "file:///etc/passwd",
            "data:text/html,x",
            "ftp://a.example/",
            "http://",
            "http:///path",
            "http://user@a.example/",
            "http://bank.example:443@a.example/",
            "http://a.example/\r\nSet-Cookie: a",
            "http://a.example/\u{202e}moc",
            "http://a.example/\" onclick=",
            "http://a.example:99999/",
            "http://[::zz]/",
            "http://b\u{fc}cher.example/",
            "//a.example/",
        ] {
            assert_eq!(sanitise(url), None, "{url:?}");
        }
        let long = format!("http://a.example/{}", "a".repeat(LONGEST));
        assert_eq!(sanitise(&long), None);
    }

    #[test]
    fn a_location_is_resolved_against_the_probe() {
        let resolved = |to| resolve("check.example", to);
        assert_eq!(resolved("/login?a=b:c").as_deref(), Some("http://check.example/login?a=b:c"));
        assert_eq!(resolved("login").as_deref(), Some("http://check.example/login"));
        assert_eq!(resolved("//p.example/x").as_deref(), Some("http://p.example/x"));
        assert_eq!(resolved(" https://p.example/ ").as_deref(), Some("https://p.example/"));
        assert_eq!(resolved("javascript:alert(1)"), None);
        assert_eq!(resolved("  "), None);
    }
}
