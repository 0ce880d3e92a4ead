//! Just enough of an HTTP client to fetch a page through a tunnel.

use std::{
    io::{Read, Write},
    net::{IpAddr, TcpStream},
    time::Duration,
};

use anyhow::{Context, ensure};

use crate::Host;

/// No connection, read or write may hang longer.
const STALL: Duration = Duration::from_secs(10);

/// The body of `http://SERVER/PATH`, fetched on `host`.
pub fn fetch(host: &Host, server: IpAddr, path: &str) -> anyhow::Result<Vec<u8>> {
    let answer = host.run(|| -> anyhow::Result<_> {
        let mut stream = TcpStream::connect_timeout(&(server, 80).into(), STALL).context("connecting")?;
        stream.set_read_timeout(Some(STALL))?;
        stream.set_write_timeout(Some(STALL))?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: {server}\r\nConnection: close\r\n\r\n")?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).context("reading the answer")?;
        Ok(answer)
    })?;
    let head = answer.windows(4).position(|window| window == b"\r\n\r\n").context("an answer without end")?;
    ensure!(answer.starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(&answer[..head]));
    Ok(answer[head + 4..].to_vec())
}
