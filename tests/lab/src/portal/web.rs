//! The router's web servers, and the page in the Internet.

use std::{
    io::{Read, Write},
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    sync::Arc,
    thread,
};

use anyhow::Context;
use rustls::{ServerConfig, ServerConnection, StreamOwned, crypto::aws_lc_rs};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};

use super::{Gate, LOGIN_PAGE, Mode, PORTAL, ROUTER, SECURE_LOGIN_PAGE, STALL, WEB, WORLD};
use crate::{Host, pki::Identity};

const FORM: &str = "<html><form method=\"post\" action=\"/login\"><input name=\"room\"></form></html>";

/// Answers every request on port 80 of `host` with `response`.
pub(super) fn serve_page(host: &Host, response: &str) -> anyhow::Result<()> {
    let response = response.to_owned();
    serve(host, 80, move |_, _| response.clone())
}

/// What comes to the router's port 80, or is redirected there.
pub(super) fn serve_portal(router: &Host, mode: Mode, gate: Arc<Gate>) -> anyhow::Result<()> {
    serve(router, WEB, move |request, client| {
        let host = host_of(request);
        if host != PORTAL && host != ROUTER.to_string() {
            return in_somebodys_name(mode, host, request);
        }
        if request.starts_with("POST /login ") {
            return match gate.open(client) {
                Ok(()) => page(200, "OK", "Welcome"),
                Err(error) => page(500, "Internal Server Error", &format!("{error:#}")),
            };
        }
        page(200, "OK", FORM)
    })
}

fn in_somebodys_name(mode: Mode, host: &str, request: &str) -> String {
    match mode {
        Mode::Redirect | Mode::NamesAndRedirect => {
            format!("HTTP/1.1 302 Found\r\nLocation: {LOGIN_PAGE}\r\nContent-Length: 0\r\n\r\n")
        }
        Mode::Page => page(200, "OK", FORM),
        Mode::Status511 => page(511, "Network Authentication Required", FORM),
        Mode::Proxy => proxied(host, request),
        Mode::Api | Mode::Open => page(404, "Not Found", ""),
    }
}

/// The portal's API (RFC 8908), by https in its own name.
pub(super) fn serve_api(
    router: &Host,
    mode: Mode,
    identity: &Identity,
    gate: Arc<Gate>,
) -> anyhow::Result<()> {
    if mode != Mode::Api {
        return Ok(());
    }
    let chain = vec![CertificateDer::from_pem_slice(identity.certificate.as_bytes())?];
    let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes())?;
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    let config = Arc::new(config);
    each_connection(router, 443, move |stream, client| {
        let mut stream = StreamOwned::new(ServerConnection::new(Arc::clone(&config))?, stream);
        let request = read_head(&mut stream)?;
        let captive = !gate.is_open(client);
        let body = format!("{{\"captive\": {captive}, \"user-portal-url\": \"{SECURE_LOGIN_PAGE}\"}}");
        let head = if request.starts_with("GET /api ") {
            "HTTP/1.1 200 OK\r\nCache-Control: private\r\nContent-Type: application/captive+json"
        } else {
            "HTTP/1.1 404 Not Found"
        };
        write!(stream, "{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len())?;
        stream.conn.send_close_notify();
        stream.flush()?;
        Ok(())
    })
}

/// Fetches the page where it really is, and leaves a proxy's traces in the answer.
fn proxied(host: &str, request: &str) -> String {
    let fetch = || -> anyhow::Result<String> {
        let known = WORLD.iter().find(|(name, _)| *name == host).context("no such host")?;
        let mut origin = TcpStream::connect_timeout(&(known.1, 80).into(), STALL)?;
        origin.set_read_timeout(Some(STALL))?;
        origin.write_all(request.as_bytes())?;
        let mut answer = String::new();
        origin.read_to_string(&mut answer)?;
        Ok(answer)
    };
    let traces = "\r\nVia: 1.1 proxy.hotel.example (squid/5.7)\r\nX-Cache: MISS from proxy.hotel.example\r\n";
    match fetch() {
        Ok(answer) => answer.replacen("\r\n", traces, 1),
        Err(_) => {
            page(503, "Service Unavailable", "<html>ERR_CONNECT_FAIL</html>").replacen("\r\n", traces, 1)
        }
    }
}

fn page(status: u16, reason: &str, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 {status} {reason}\r\nContent-Type: text/html\r\nContent-Length: {length}\r\n\r\n{body}")
}

fn host_of(request: &str) -> &str {
    let host = request.lines().find_map(|line| line.strip_prefix("Host: ")).unwrap_or_default();
    host.split(':').next().unwrap_or_default()
}

fn serve(
    host: &Host,
    port: u16,
    answer: impl Fn(&str, IpAddr) -> String + Send + Sync + 'static,
) -> anyhow::Result<()> {
    each_connection(host, port, move |mut stream, client| {
        let request = read_head(&mut stream)?;
        stream.write_all(answer(&request, client).as_bytes())?;
        Ok(())
    })
}

/// Does `work` with each connection, in a thread that like the listener belongs to `host`.
fn each_connection(
    host: &Host,
    port: u16,
    work: impl Fn(TcpStream, IpAddr) -> anyhow::Result<()> + Send + Sync + 'static,
) -> anyhow::Result<()> {
    host.run(|| -> anyhow::Result<()> {
        let any = SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
        let listener = TcpListener::bind(any).context("a web server's port")?;
        let work = Arc::new(work);
        thread::spawn(move || {
            while let Ok((stream, from)) = listener.accept() {
                let work = Arc::clone(&work);
                thread::spawn(move || -> anyhow::Result<()> {
                    stream.set_read_timeout(Some(STALL))?;
                    stream.set_write_timeout(Some(STALL))?;
                    // A client that goes away in the middle is the client's test to judge.
                    work(stream, from.ip())
                });
            }
        });
        Ok(())
    })
}

fn read_head(stream: &mut impl Read) -> anyhow::Result<String> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && head.len() < 16 << 10 {
        stream.read_exact(&mut byte).context("reading a request")?;
        head.extend_from_slice(&byte);
    }
    Ok(String::from_utf8_lossy(&head).into_owned())
}
