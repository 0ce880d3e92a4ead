//! An HTTP/1.1 response (RFC 9112) as it arrives, from somebody who may be hostile. No IO.
//!
//! Everything is bounded: the head, its fields, the body that is kept, and all that is read in total. Nothing is decoded
//! but `chunked`, so that nothing grows.

use std::mem;

/// Bytes of a head.
pub(super) const MAX_HEAD: usize = 16 << 10;
/// Bytes of a body that are kept.
pub(super) const MAX_BODY: usize = 64 << 10;
/// Bytes that are read of one response, framing and interim responses included.
pub(super) const MAX_RECEIVED: usize = 128 << 10;
/// Fields of a head.
const MAX_FIELDS: usize = 100;
/// Interim (1xx) responses before the final one.
const MAX_INTERIM: usize = 4;
/// Bytes of a chunk's first line.
const MAX_CHUNK_LINE: usize = 256;

/// What came is no HTTP response, or exceeds what one needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no HTTP response")]
pub(super) struct Malformed;

/// The head, as far as it matters here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) status: u16,
    /// `Location`; what is no UTF-8 in it makes it no URL.
    pub(super) location: Option<String>,
    /// `Content-Type` in lower case.
    pub(super) content_type: Option<String>,
    /// A proxy has put its name to it: `Via`, `X-Cache`, `X-Squid-Error`.
    pub(super) proxied: bool,
    /// The body is compressed, though we asked for nothing of the kind.
    pub(super) encoded: bool,
    /// `X-NetworkManager-Status: online`, by which servers of NetworkManager's check answer.
    pub(super) online: bool,
}

/// A response under way.
#[derive(Debug, Default)]
pub(super) struct Response {
    head: Option<Head>,
    body: Vec<u8>,
    complete: bool,
    framing: Framing,
    /// What arrived and could not be taken apart yet.
    pending: Vec<u8>,
    received: usize,
    interim: usize,
}

#[derive(Debug, Default)]
enum Framing {
    /// The head is not over.
    #[default]
    Head,
    /// So many bytes.
    Length(u64),
    /// RFC 9112 §7.1.
    Chunked(Chunk),
    /// Until the connection ends.
    UntilEnd,
}

#[derive(Debug)]
enum Chunk {
    Size,
    Data(u64),
    DataEnd,
    Trailer,
}

impl Response {
    /// The head, once it is there.
    pub(super) fn head(&self) -> Option<&Head> {
        self.head.as_ref()
    }

    /// What is there of the body.
    pub(super) fn body(&self) -> &[u8] {
        &self.body
    }

    /// Whether the body is whole.
    pub(super) fn is_complete(&self) -> bool {
        self.complete
    }

    /// Whether more would not be kept.
    pub(super) fn is_full(&self) -> bool {
        self.complete || self.body.len() >= MAX_BODY || self.received >= MAX_RECEIVED
    }

    /// Takes what has arrived.
    ///
    /// # Errors
    /// When that can't be a response.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<(), Malformed> {
        self.received = self.received.saturating_add(bytes.len());
        self.pending.extend_from_slice(bytes);
        while matches!(self.framing, Framing::Head) {
            // A head can end only where a line does; a few bytes are enough to see that something is no response.
            if !bytes.contains(&b'\n') && self.pending.len() > 32 && self.pending.len() <= MAX_HEAD {
                return Ok(());
            }
            if !self.parse_head()? {
                return Ok(());
            }
        }
        self.take_body()
    }

    /// The connection has ended.
    ///
    /// # Errors
    /// When the response was not over.
    pub(super) fn end(&mut self) -> Result<(), Malformed> {
        match self.framing {
            Framing::UntilEnd => self.complete = true,
            Framing::Head | Framing::Length(_) | Framing::Chunked(_) => {}
        }
        if self.complete || self.is_full() { Ok(()) } else { Err(Malformed) }
    }

    /// Whether a head was taken off what is pending.
    fn parse_head(&mut self) -> Result<bool, Malformed> {
        let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
        let mut response = httparse::Response::new(&mut fields);
        let length = match response.parse(&self.pending) {
            Ok(httparse::Status::Complete(length)) if length <= MAX_HEAD => length,
            Ok(httparse::Status::Partial) if self.pending.len() < MAX_HEAD => return Ok(false),
            Ok(_) | Err(_) => return Err(Malformed),
        };
        let status = response.code.ok_or(Malformed)?;
        // RFC 9110 §15.2: any number of interim responses may come first; §15.2.2: 101 only who asked for it.
        if (100..200).contains(&status) {
            self.interim += 1;
            if self.interim > MAX_INTERIM || status == 101 {
                return Err(Malformed);
            }
            self.pending.drain(..length);
            return Ok(!self.pending.is_empty());
        }
        let (head, framing) = read_fields(status, response.headers)?;
        self.pending.drain(..length);
        self.head = Some(head);
        self.framing = framing;
        Ok(true)
    }

    fn take_body(&mut self) -> Result<(), Malformed> {
        loop {
            if self.complete {
                self.pending.clear();
                return Ok(());
            }
            match &mut self.framing {
                Framing::Head => return Ok(()),
                Framing::UntilEnd => {
                    let pending = mem::take(&mut self.pending);
                    keep(&mut self.body, &pending);
                    return Ok(());
                }
                Framing::Length(left) => {
                    let taken = take(&mut self.pending, left);
                    keep(&mut self.body, &taken);
                    self.complete = *left == 0;
                    if !self.complete {
                        return Ok(());
                    }
                }
                Framing::Chunked(chunk) => match chunk {
                    Chunk::Size => match httparse::parse_chunk_size(&self.pending) {
                        Ok(httparse::Status::Complete((line, size))) if line <= MAX_CHUNK_LINE => {
                            self.pending.drain(..line);
                            *chunk = if size == 0 { Chunk::Trailer } else { Chunk::Data(size) };
                        }
                        Ok(httparse::Status::Partial) if self.pending.len() < MAX_CHUNK_LINE => return Ok(()),
                        Ok(_) | Err(_) => return Err(Malformed),
                    },
                    Chunk::Data(left) => {
                        let taken = take(&mut self.pending, left);
                        keep(&mut self.body, &taken);
                        if *left != 0 {
                            return Ok(());
                        }
                        *chunk = Chunk::DataEnd;
                    }
                    Chunk::DataEnd => match self.pending.get(..2) {
                        Some(b"\r\n") => {
                            self.pending.drain(..2);
                            *chunk = Chunk::Size;
                        }
                        Some(_) => return Err(Malformed),
                        None => return Ok(()),
                    },
                    // Nothing in a trailer matters to us, nor whether it comes.
                    Chunk::Trailer => self.complete = true,
                },
            }
        }
    }
}

/// Takes up to `left` bytes off the front.
fn take(pending: &mut Vec<u8>, left: &mut u64) -> Vec<u8> {
    let count = usize::try_from(*left).unwrap_or(usize::MAX).min(pending.len());
    *left = left.saturating_sub(u64::try_from(count).unwrap_or(u64::MAX));
    pending.drain(..count).collect()
}

fn keep(body: &mut Vec<u8>, bytes: &[u8]) {
    let room = MAX_BODY.saturating_sub(body.len()).min(bytes.len());
    body.extend_from_slice(bytes.get(..room).unwrap_or_default());
}

fn read_fields(status: u16, fields: &[httparse::Header<'_>]) -> Result<(Head, Framing), Malformed> {
    let all = |name: &'static str| {
        fields.iter().filter(move |field| field.name.eq_ignore_ascii_case(name)).map(|field| field.value)
    };
    let text = |name| all(name).next().map(|value| String::from_utf8_lossy(value).trim().to_owned());
    let head = Head {
        status,
        location: text("location"),
        content_type: text("content-type").map(|value| value.to_ascii_lowercase()),
        proxied: ["via", "x-cache", "x-cache-lookup", "x-squid-error"]
            .into_iter()
            .any(|name| all(name).next().is_some()),
        encoded: text("content-encoding").is_some_and(|coding| !coding.eq_ignore_ascii_case("identity")),
        online: text("x-networkmanager-status").is_some_and(|value| value == "online"),
    };
    // RFC 9112 §6.3.
    let framing = if matches!(status, 204 | 304) {
        Framing::Length(0)
    } else if let Some(coding) = text("transfer-encoding") {
        let last = coding.rsplit(',').next().unwrap_or_default().trim();
        if last.eq_ignore_ascii_case("chunked") { Framing::Chunked(Chunk::Size) } else { Framing::UntilEnd }
    } else {
        let mut lengths = all("content-length").map(|value| {
            let digits = std::str::from_utf8(value)
                .ok()
                .map(str::trim)
                .filter(|text| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()));
            digits.and_then(|digits| digits.parse::<u64>().ok()).ok_or(Malformed)
        });
        match lengths.next().transpose()? {
            None => Framing::UntilEnd,
            Some(length) if lengths.all(|other| other == Ok(length)) => Framing::Length(length),
            Some(_) => return Err(Malformed),
        }
    };
    Ok((head, framing))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(bytes: &[u8]) -> Result<Response, Malformed> {
        let mut response = Response::default();
        response.push(bytes)?;
        response.end()?;
        Ok(response)
    }

    /// What a response comes to when it arrives at once, and byte by byte.
    fn both_ways(bytes: &[u8]) -> Option<(u16, Vec<u8>, bool)> {
        let seen = |response: &Response| {
            (response.head().unwrap().status, response.body().to_vec(), response.is_complete())
        };
        let at_once = whole(bytes).ok().map(|response| seen(&response));
        let mut dripping = Response::default();
        let dripped = bytes.iter().try_for_each(|byte| dripping.push(&[*byte])).and_then(|()| dripping.end());
        assert_eq!(dripped.ok().map(|()| seen(&dripping)), at_once);
        at_once
    }

    #[test]
    fn bodies_are_framed_as_their_heads_say() {
        for (response, status, body) in [
            ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokRUBBISH", 200, "ok"),
            ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\ncontent-length: 2\r\n\r\nok", 200, "ok"),
            ("HTTP/1.0 200\r\n\r\nuntil the end", 200, "until the end"),
            ("HTTP/1.1 204 No Content\r\n\r\nRUBBISH", 204, ""),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;x=y\r\nok\r\n1\r\n!\r\n0\r\n\r\n",
                200,
                "ok!",
            ),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\nContent-Length: 9\r\n\r\n0\r\n\r\n",
                200,
                "",
            ),
            (
                "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n",
                404,
                "",
            ),
        ] {
            let expected = Some((status, body.as_bytes().to_vec(), true));
            assert_eq!(both_ways(response.as_bytes()), expected, "{response:?}");
        }
    }

    #[test]
    fn what_is_no_response_is_refused() {
        for bytes in [
            &b"SSH-2.0-OpenSSH_9.2\r\n"[..],
            b"\x16\x03\x01\x02\x00",
            b"",
            b"HTTP/1.1 200 OK\r\nno end",
            b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\ncut",
            b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n12345",
            b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nrubbish\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nokXX",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n",
            b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
            b"HTTP/1.1 20 OK\r\n\r\n",
        ] {
            assert_eq!(both_ways(bytes), None, "{}", String::from_utf8_lossy(bytes));
        }
        let interim = "HTTP/1.1 100 Continue\r\n\r\n".repeat(MAX_INTERIM + 1);
        assert_eq!(both_ways(interim.as_bytes()), None);
        let lines =
            format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;{}", "x".repeat(MAX_CHUNK_LINE));
        assert_eq!(both_ways(lines.as_bytes()), None);
    }

    /// Pushes `piece` after `start` until it is refused or full, and returns how many bytes that took.
    fn endless(start: &[u8], piece: &[u8]) -> (Response, usize, bool) {
        let mut response = Response::default();
        let mut pushed = start.len();
        let mut refused = response.push(start).is_err();
        while !refused && !response.is_full() {
            refused = response.push(piece).is_err();
            pushed += piece.len();
            assert!(pushed < 1 << 20, "no bound");
        }
        (response, pushed, refused)
    }

    #[test]
    fn what_has_no_end_is_cut_off() {
        let (_, pushed, refused) = endless(b"HTTP/1.1 200 OK\r\nX-A: ", b"xxxxxxxxxxxxxxxx");
        assert!(refused && pushed <= MAX_HEAD + 16, "{pushed}");
        let (_, pushed, refused) = endless(b"HTTP/1.1 200 OK\r\n", b"X: y\r\n");
        assert!(refused && pushed <= 1024, "{pushed}");
        let (_, pushed, refused) = endless(b"", b"\r\n");
        assert!(refused && pushed <= MAX_HEAD + 2, "{pushed}");
        let (response, pushed, refused) = endless(b"HTTP/1.1 200 OK\r\n\r\n", &[b'x'; 1000]);
        assert!(!refused && pushed <= MAX_BODY + 2000 && response.body().len() == MAX_BODY, "{pushed}");
        // Chunks of one byte cost six of framing.
        let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        let (response, pushed, refused) = endless(chunked, b"1\r\nx\r\n");
        assert!(!refused && pushed <= MAX_RECEIVED + 6 && response.body().len() < MAX_BODY, "{pushed}");
    }

    #[test]
    fn the_fields_that_matter_are_read() {
        let response = whole(
            b"HTTP/1.1 302 Found\r\nLOCATION:  http://a.example/\xff \r\nContent-Type: Text/HTML\r\nVia: 1.1 squid\r\n\
              Content-Encoding: gzip\r\nX-NetworkManager-Status: online\r\nContent-Length: 0\r\n\r\n",
        );
        let head = response.unwrap().head().unwrap().clone();
        let expected = Head {
            status: 302,
            location: Some("http://a.example/\u{fffd}".to_owned()),
            content_type: Some("text/html".to_owned()),
            proxied: true,
            encoded: true,
            online: true,
        };
        assert_eq!(head, expected);
    }
}
