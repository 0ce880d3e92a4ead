//! A request's head, reduced to what the server acts on.

use super::MAX_BYTES;

/// What matters of a request's head.
pub(super) struct Request {
    pub(super) method: Method,
    pub(super) target: Target,
    pub(super) body: BodyLength,
    pub(super) expects_continue: bool,
    pub(super) close: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Method {
    Get,
    Head,
    Post,
    Other,
}

#[derive(Clone, Copy)]
pub(super) enum Target {
    Page,
    Bytes(u64),
    Sha256(u64),
    Upload,
    Unknown,
}

#[derive(Clone, Copy)]
pub(super) enum BodyLength {
    Known(u64),
    Missing,
    Malformed,
}

impl Request {
    pub(super) fn new(request: &httparse::Request<'_, '_>) -> Self {
        let method = match request.method {
            Some("GET") => Method::Get,
            Some("HEAD") => Method::Head,
            Some("POST") => Method::Post,
            Some(_) | None => Method::Other,
        };
        let header = |name: &str| {
            let found = request.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name))?;
            std::str::from_utf8(found.value).ok()
        };
        let body = match header("Content-Length").map(str::parse) {
            Some(Ok(length)) => BodyLength::Known(length),
            Some(Err(_)) => BodyLength::Malformed,
            None => BodyLength::Missing,
        };
        // An unexpected body would be read as the next request.
        let stray_body = method != Method::Post && matches!(body, BodyLength::Known(1..));
        let asked_to_close = header("Connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
        Self {
            method,
            target: request.path.map_or(Target::Unknown, Target::new),
            body,
            expects_continue: header("Expect")
                .is_some_and(|value| value.eq_ignore_ascii_case("100-continue")),
            close: asked_to_close || stray_body || request.version == Some(0),
        }
    }
}

impl Target {
    fn new(path: &str) -> Self {
        let number = |text: &str| text.parse().ok().filter(|&length| length <= MAX_BYTES);
        match path {
            "/" | "/index.html" => Self::Page,
            "/upload" => Self::Upload,
            path => {
                let bytes = path.strip_prefix("/bytes/").and_then(number).map(Self::Bytes);
                let digest = path.strip_prefix("/sha256/").and_then(number).map(Self::Sha256);
                bytes.or(digest).unwrap_or(Self::Unknown)
            }
        }
    }
}
