//! A small HTTP/1.1 server.
//!
//! | request | answer |
//! |---|---|
//! | `GET /` | a page that says where one is |
//! | `GET /bytes/N` | `N` bytes of [`content`], their SHA-256 in the header `X-Content-SHA256` |
//! | `GET /sha256/N` | that SHA-256 as text |
//! | `POST /upload` | the length and the SHA-256 of what was sent, a line each |
//!
//! `HEAD` works wherever `GET` does. Connections are kept open as HTTP/1.1 says.

mod request;

use std::fmt::Write as _;

use aws_lc_rs::digest;
use smoltcp::socket::tcp;

use self::request::{BodyLength, Method, Request, Target};
use super::content::{self, DigestCache, DigestJob, Sha256};
use super::service::{Progress, read_to_end, send_room};

/// The header that carries the body's SHA-256.
pub const DIGEST_HEADER: &str = "X-Content-SHA256";
/// The longest `/bytes/N`: enough for an hour's download, and bounded.
pub const MAX_BYTES: u64 = 1 << 36;

/// A request head larger than this is refused.
const MAX_HEAD: usize = 8 * 1024;
const MAX_HEADERS: usize = 64;
/// Bytes moved in one step.
const STEP: usize = 16 * 1024;

const PAGE: &str = "<!doctype html>\n<title>Evenkeel practice gateway</title>\n\
    <h1>It works</h1>\n\
    <p>This page came through the tunnel from the Evenkeel practice gateway's inner network.\n\
    Not for production.</p>\n";

/// What the connections of one server share.
#[derive(Default)]
pub(super) struct Shared {
    digests: DigestCache,
}

/// One connection.
#[derive(Default)]
pub(super) struct Http {
    input: Vec<u8>,
    output: Output,
    state: State,
    /// Whether the connection ends after the current answer.
    last: bool,
}

/// Bytes of an answer's head (or of a whole short answer) that wait for room.
#[derive(Default)]
struct Output {
    bytes: Vec<u8>,
    sent: usize,
}

#[derive(Default)]
enum State {
    /// Reading a request's head.
    #[default]
    Head,
    /// Computing the digest that the answer's head needs.
    Digest { job: DigestJob, answer: DigestAnswer },
    /// Streaming the body of `/bytes/N`.
    Body { offset: u64, length: u64 },
    /// Reading an uploaded body.
    Upload { context: digest::Context, remaining: u64, length: u64 },
    /// Sending what is left, then closing.
    Closing,
}

/// What is answered once a digest is known.
#[derive(Clone, Copy)]
enum DigestAnswer {
    /// The bytes themselves, or just their header.
    Bytes { head_only: bool },
    /// The digest as text.
    Text { head_only: bool },
}

impl Http {
    /// Moves bytes between the socket and this connection.
    pub(super) fn drive(&mut self, socket: &mut tcp::Socket<'_>, shared: &mut Shared) -> Progress {
        loop {
            self.output.flush(socket);
            if !self.output.is_empty() {
                return Progress::Waiting;
            }
            let step = match &mut self.state {
                State::Head => self.read_head(socket, shared),
                State::Digest { .. } => return self.advance_digest(shared),
                State::Body { offset, length } => {
                    if stream_body(socket, offset, *length) {
                        Step::Answered
                    } else {
                        Step::Wait
                    }
                }
                State::Upload { .. } => self.read_upload(socket),
                State::Closing => {
                    socket.close();
                    Step::Wait
                }
            };
            match step {
                Step::Continue => {}
                Step::Wait => return Progress::Waiting,
                Step::Answered if self.last => self.state = State::Closing,
                Step::Answered => self.state = State::Head,
            }
        }
    }

    fn read_head(&mut self, socket: &mut tcp::Socket<'_>, shared: &Shared) -> Step {
        let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut request = httparse::Request::new(&mut headers);
        match request.parse(&self.input) {
            Ok(httparse::Status::Complete(length)) => {
                let request = Request::new(&request);
                self.input.drain(..length);
                self.answer(request, shared)
            }
            Ok(httparse::Status::Partial) if self.input.len() > MAX_HEAD => {
                self.refuse("431 Request Header Fields Too Large")
            }
            Ok(httparse::Status::Partial) => {
                if receive(socket, &mut self.input, STEP) > 0 {
                    return Step::Continue;
                }
                if read_to_end(socket) {
                    socket.close();
                }
                Step::Wait
            }
            Err(_) => self.refuse("400 Bad Request"),
        }
    }

    fn answer(&mut self, request: Request, shared: &Shared) -> Step {
        self.last = request.close;
        let head_only = request.method == Method::Head;
        match (request.method, request.target) {
            (Method::Get | Method::Head, Target::Page) => {
                self.output.answer("200 OK", "text/html; charset=utf-8", PAGE, head_only, self.last);
                Step::Answered
            }
            (Method::Get | Method::Head, Target::Bytes(length)) => {
                self.begin_digest(length, DigestAnswer::Bytes { head_only }, shared)
            }
            (Method::Get | Method::Head, Target::Sha256(length)) => {
                self.begin_digest(length, DigestAnswer::Text { head_only }, shared)
            }
            (Method::Post, Target::Upload) => self.begin_upload(request.body, request.expects_continue),
            (Method::Get | Method::Head, Target::Unknown) => {
                self.output.answer("404 Not Found", "text/plain", "not found\n", head_only, self.last);
                Step::Answered
            }
            (Method::Get | Method::Head, Target::Upload) | (Method::Post | Method::Other, _) => {
                self.refuse("405 Method Not Allowed")
            }
        }
    }

    /// Answers with an error and closes: what follows on the connection can't be told apart any more.
    fn refuse(&mut self, status: &str) -> Step {
        self.output.answer(status, "text/plain", &format!("{status}\n"), false, true);
        self.state = State::Closing;
        Step::Continue
    }

    fn begin_digest(&mut self, length: u64, answer: DigestAnswer, shared: &Shared) -> Step {
        match shared.digests.find(length) {
            Some(digest) => self.answer_digest(length, digest, answer),
            None => {
                self.state = State::Digest { job: DigestJob::new(length), answer };
                Step::Continue
            }
        }
    }

    fn advance_digest(&mut self, shared: &mut Shared) -> Progress {
        let State::Digest { job, answer } = &mut self.state else { return Progress::Waiting };
        if let Some(digest) = job.advance() {
            let (length, answer) = (job.length(), *answer);
            shared.digests.insert(length, digest);
            match self.answer_digest(length, digest, answer) {
                Step::Answered if self.last => self.state = State::Closing,
                Step::Answered => self.state = State::Head,
                Step::Continue | Step::Wait => {}
            }
        }
        Progress::Busy
    }

    fn answer_digest(&mut self, length: u64, digest: Sha256, answer: DigestAnswer) -> Step {
        let digest = content::hex(&digest);
        match answer {
            DigestAnswer::Text { head_only } => {
                self.output.answer("200 OK", "text/plain", &format!("{digest}\n"), head_only, self.last);
                Step::Answered
            }
            DigestAnswer::Bytes { head_only } => {
                let extra = format!("{DIGEST_HEADER}: {digest}\r\n");
                self.output.head("200 OK", "application/octet-stream", length, &extra, self.last);
                if head_only {
                    return Step::Answered;
                }
                self.state = State::Body { offset: 0, length };
                Step::Continue
            }
        }
    }

    fn begin_upload(&mut self, body: BodyLength, expects_continue: bool) -> Step {
        let length = match body {
            BodyLength::Known(length) => length,
            BodyLength::Missing => return self.refuse("411 Length Required"),
            BodyLength::Malformed => return self.refuse("400 Bad Request"),
        };
        if expects_continue {
            self.output.bytes.extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
        }
        let context = digest::Context::new(&digest::SHA256);
        self.state = State::Upload { context, remaining: length, length };
        Step::Continue
    }

    fn read_upload(&mut self, socket: &mut tcp::Socket<'_>) -> Step {
        let State::Upload { context, remaining, length } = &mut self.state else { return Step::Wait };
        // What arrived together with the head comes first.
        let buffered = usize::try_from(*remaining).unwrap_or(usize::MAX).min(self.input.len());
        context.update(&self.input[..buffered]);
        self.input.drain(..buffered);
        *remaining -= buffered as u64;

        while *remaining > 0 {
            let received = socket.recv(|data| {
                let count = usize::try_from(*remaining).unwrap_or(usize::MAX).min(data.len());
                context.update(&data[..count]);
                (count, count)
            });
            match received {
                Ok(count) if count > 0 => *remaining -= count as u64,
                Ok(_) | Err(_) => {
                    if read_to_end(socket) {
                        socket.close();
                    }
                    return Step::Wait;
                }
            }
        }
        let body = format!("{length}\n{}\n", content::hex(&content::finish(context.clone())));
        self.output.answer("200 OK", "text/plain", &body, false, self.last);
        Step::Answered
    }
}

/// What one turn of the state machine came to.
enum Step {
    /// The state changed; go on.
    Continue,
    /// Nothing more to do until the network moves.
    Wait,
    /// The answer is complete (though perhaps not sent yet).
    Answered,
}

impl Output {
    fn is_empty(&self) -> bool {
        self.sent == self.bytes.len()
    }

    fn flush(&mut self, socket: &mut tcp::Socket<'_>) {
        if let Ok(count) = socket.send_slice(&self.bytes[self.sent..]) {
            self.sent += count;
        }
        if self.is_empty() {
            self.bytes.clear();
            self.sent = 0;
        }
    }

    fn answer(&mut self, status: &str, kind: &str, body: &str, head_only: bool, last: bool) {
        self.head(status, kind, body.len() as u64, "", last);
        if !head_only {
            self.bytes.extend_from_slice(body.as_bytes());
        }
    }

    fn head(&mut self, status: &str, kind: &str, length: u64, extra: &str, last: bool) {
        let connection = if last { "Connection: close\r\n" } else { "" };
        let mut head = String::new();
        // Writing to a String doesn't fail.
        let _ = write!(
            head,
            "HTTP/1.1 {status}\r\nServer: evenkeel-practice-gateway\r\nContent-Type: {kind}\r\n\
             Content-Length: {length}\r\n{extra}{connection}\r\n"
        );
        self.bytes.extend_from_slice(head.as_bytes());
    }
}

/// Fills the socket's send buffer; returns whether the whole body is in it.
fn stream_body(socket: &mut tcp::Socket<'_>, offset: &mut u64, length: u64) -> bool {
    let mut step = [0; STEP];
    while *offset < length {
        // Bounded by the step.
        let count = (length - *offset).min(send_room(socket).min(STEP) as u64) as usize;
        content::fill(*offset, &mut step[..count]);
        match socket.send_slice(&step[..count]) {
            Ok(sent) if sent > 0 => *offset += sent as u64,
            Ok(_) | Err(_) => return false,
        }
    }
    true
}

fn receive(socket: &mut tcp::Socket<'_>, into: &mut Vec<u8>, limit: usize) -> usize {
    let received = socket.recv(|data| {
        let count = data.len().min(limit);
        into.extend_from_slice(&data[..count]);
        (count, count)
    });
    received.unwrap_or(0)
}
