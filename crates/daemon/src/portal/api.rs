//! The captive portal API (RFC 8908): a question by https to the address that the network named.

use std::io;
use std::sync::Arc;

use evenkeel_ipc::ApiOutcome;
use evenkeel_profile::WebUrl;
use serde::Deserialize;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::client::Resumption;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{self, ClientConfig, RootCertStore};

use super::response::Response;

/// The media type of an answer (RFC 8908 §5), also what we say that we accept.
pub(super) const MEDIA_TYPE: &str = "application/captive+json";

/// What a network says that has no portal (RFC 8910 §2).
pub(super) const UNRESTRICTED: &str = "urn:ietf:params:capport:unrestricted";

/// What the network has said about its API, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Named {
    /// It has no portal.
    Unrestricted,
    /// Where to ask.
    At(WebUrl),
}

/// What a URI from DHCP or a router advertisement means; nothing unless it is https (RFC 8908 §4.1).
pub(super) fn named(uri: &str) -> Option<Named> {
    if uri.eq_ignore_ascii_case(UNRESTRICTED) {
        return Some(Named::Unrestricted);
    }
    uri.parse().ok().filter(WebUrl::is_secure).map(Named::At)
}

/// RFC 8908 §5. Keys that are not known are ignored, as it says.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Document {
    captive: bool,
    user_portal_url: Option<String>,
    venue_info_url: Option<String>,
    seconds_remaining: Option<u64>,
}

/// What a whole response says.
pub(super) fn read(response: &Response) -> ApiOutcome {
    let Some(head) = response.head().filter(|_| response.is_complete()) else { return ApiOutcome::Malformed };
    let kind = head.content_type.as_deref().and_then(|kind| kind.split(';').next()).map(str::trim);
    if head.status != 200 || head.encoded || kind != Some(MEDIA_TYPE) {
        return ApiOutcome::Malformed;
    }
    let Ok(document) = serde_json::from_slice::<Document>(response.body()) else {
        return ApiOutcome::Malformed;
    };
    // Both "MUST be" pages by https (RFC 8908 §5).
    let page = |url: Option<String>| url.and_then(|url| url.parse().ok()).filter(WebUrl::is_secure);
    ApiOutcome::Answered {
        captive: document.captive,
        user_portal_url: page(document.user_portal_url),
        venue_info_url: page(document.venue_info_url),
        seconds_remaining: document.seconds_remaining,
    }
}

/// TLS that trusts `roots`, remembers no session, and shows no certificate. `None` if there is nobody to trust.
pub(super) fn tls(roots: Vec<Vec<u8>>) -> Option<TlsConnector> {
    let mut store = RootCertStore::empty();
    store.add_parsable_certificates(roots.into_iter().map(CertificateDer::from));
    if store.is_empty() {
        return None;
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().ok()?;
    let mut config = builder.with_root_certificates(store).with_no_client_auth();
    config.resumption = Resumption::disabled();
    Some(TlsConnector::from(Arc::new(config)))
}

/// Who the server must prove to be.
pub(super) fn server_name(url: &WebUrl) -> Option<ServerName<'static>> {
    ServerName::try_from(url.host().as_str().to_owned()).ok()
}

/// What a failed handshake means.
pub(super) fn failed(error: &io::Error) -> ApiOutcome {
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match tls {
        Some(rustls::Error::InvalidCertificate(_)) => ApiOutcome::Untrusted,
        Some(_) => ApiOutcome::Malformed,
        None => ApiOutcome::Unreachable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(head: &str, body: &str) -> ApiOutcome {
        let mut response = Response::default();
        let text = format!("{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        response.push(text.as_bytes()).unwrap();
        read(&response)
    }

    const HEAD: &str = "HTTP/1.1 200 OK\r\nCache-Control: private\r\nContent-Type: application/captive+json";

    #[test]
    fn the_answer_of_the_rfc_is_understood() {
        // RFC 8908 §6.
        let body = r#"{ "captive": true, "user-portal-url": "https://example.org/portal.html" }"#;
        let outcome = ApiOutcome::Answered {
            captive: true,
            user_portal_url: "https://example.org/portal.html".parse().ok(),
            venue_info_url: None,
            seconds_remaining: None,
        };
        assert_eq!(answer(HEAD, body), outcome);
        let body = r#"{ "captive": false, "user-portal-url": "https://example.org/portal.html",
            "venue-info-url": "https://flight.example.com/entertainment", "seconds-remaining": 326,
            "can-extend-session": true }"#;
        let outcome = ApiOutcome::Answered {
            captive: false,
            user_portal_url: "https://example.org/portal.html".parse().ok(),
            venue_info_url: "https://flight.example.com/entertainment".parse().ok(),
            seconds_remaining: Some(326),
        };
        assert_eq!(answer(&format!("{HEAD}; charset=utf-8"), body), outcome);
    }

    #[test]
    fn what_is_no_answer_is_malformed() {
        let captive = r#"{"captive":true}"#;
        for (head, body) in [
            (HEAD, ""),
            (HEAD, "[]"),
            (HEAD, r#"{"captive":"yes"}"#),
            (HEAD, r#"{"user-portal-url":"https://example.org/"}"#),
            (HEAD, r#"{"captive":true,"seconds-remaining":-1}"#),
            ("HTTP/1.1 200 OK\r\nContent-Type: text/html", captive),
            ("HTTP/1.1 200 OK", captive),
            ("HTTP/1.1 404 No\r\nContent-Type: application/captive+json", captive),
            ("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Type: application/captive+json", captive),
        ] {
            assert_eq!(answer(head, body), ApiOutcome::Malformed, "{head} {body}");
        }
        assert_eq!(answer(HEAD, &"[".repeat(60_000)), ApiOutcome::Malformed);
    }

    #[test]
    fn pages_that_may_not_be_opened_are_left_out() {
        for page in
            ["javascript:alert(1)", "http://example.org/", "file:///etc/passwd", "https://a@b.example/"]
        {
            let body = format!(r#"{{"captive":true,"user-portal-url":"{page}","venue-info-url":"{page}"}}"#);
            let outcome = ApiOutcome::Answered {
                captive: true,
                user_portal_url: None,
                venue_info_url: None,
                seconds_remaining: None,
            };
            assert_eq!(answer(HEAD, &body), outcome, "{page}");
        }
    }

    #[test]
    fn only_https_and_the_urn_are_taken_from_the_network() {
        assert_eq!(named(UNRESTRICTED), Some(Named::Unrestricted));
        let url = "https://portal.example.com/api";
        assert_eq!(named(url), Some(Named::At(url.parse().unwrap())));
        for uri in
            ["http://portal.example.com/api", "portal.example.com", "", "urn:ietf:params:capport:other"]
        {
            assert_eq!(named(uri), None, "{uri}");
        }
    }
}
