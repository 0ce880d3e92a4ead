//! Data over TCP, with its SHA-256 checked at the far end, and small questions over UDP.
//!
//! The server speaks one line: `GET N` answers N pseudo-random bytes and their SHA-256, `GET N R` no more than R bytes a
//! second of them, `PUT N` takes N bytes and answers their SHA-256, `PEER` answers the address that the server sees. Without a number, `GET` sends zeros until the client has enough, and
//! `PUT` takes whatever comes until the client is done and answers how many bytes that were.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{IpAddr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};
use aws_lc_rs::digest::{Context as Hash, Digest, SHA256};

use crate::Host;

/// The server's TCP port, and its UDP port, where it echoes.
pub const PORT: u16 = 8080;

/// How long a stream may take to get up to speed before its rate is measured.
const WARM_UP: Duration = Duration::from_secs(1);

/// No single read or write may hang longer: after a path that was gone for twenty seconds, TCP tries again within another
/// ten.
const STALL: Duration = Duration::from_secs(45);

/// Serves on `host` until the test's process ends.
pub fn serve(host: &Host) -> anyhow::Result<()> {
    let (listener, echo) = host.run(|| -> anyhow::Result<_> {
        let any = SocketAddr::from((Ipv6Addr::UNSPECIFIED, PORT));
        Ok((
            TcpListener::bind(any).context("the server's TCP port")?,
            UdpSocket::bind(any).context("the server's UDP port")?,
        ))
    })?;
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // A client that goes away in the middle is the client's test to judge.
            thread::spawn(move || answer(stream));
        }
    });
    thread::spawn(move || {
        let mut buffer = [0; 65535];
        while let Ok((length, from)) = echo.recv_from(&mut buffer) {
            let _ = echo.send_to(&buffer[..length], from);
        }
    });
    Ok(())
}

fn answer(mut stream: TcpStream) -> anyhow::Result<()> {
    stream.set_read_timeout(Some(STALL))?;
    stream.set_write_timeout(Some(STALL))?;
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    match line.split_whitespace().collect::<Vec<_>>().as_slice() {
        ["GET", length] => {
            let digest = send(&mut stream, length.parse()?)?;
            stream.write_all(digest.as_ref())?;
        }
        ["GET", length, rate] => {
            let mut paced = Paced::new(stream.try_clone()?, rate.parse()?);
            let digest = send(&mut paced, length.parse()?)?;
            stream.write_all(digest.as_ref())?;
        }
        ["PUT", length] => {
            let digest = receive(&mut reader, length.parse()?)?;
            stream.write_all(digest.as_ref())?;
        }
        ["GET"] => {
            let zeros = vec![0; 128 * 1024];
            while stream.write_all(&zeros).is_ok() {}
        }
        ["PUT"] => {
            let mut block = vec![0; 128 * 1024];
            let mut total = 0_u64;
            loop {
                match reader.read(&mut block)? {
                    0 => break,
                    got => total += got as u64,
                }
            }
            stream.write_all(&total.to_be_bytes())?;
        }
        ["PEER"] => writeln!(stream, "{}", stream.peer_addr()?.ip().to_canonical())?,
        _ => bail!("the server knows no {line:?}"),
    }
    Ok(())
}

/// Downloads `length` bytes on `host` and checks them against the server's SHA-256.
pub fn download(host: &Host, server: IpAddr, length: u64) -> anyhow::Result<Duration> {
    answered(host, server, length, &format!("GET {length}"))
}

/// Like [`download`], in one stream of at most `rate` bytes a second.
pub fn download_slowly(host: &Host, server: IpAddr, length: u64, rate: u32) -> anyhow::Result<Duration> {
    answered(host, server, length, &format!("GET {length} {rate}"))
}

fn answered(host: &Host, server: IpAddr, length: u64, request: &str) -> anyhow::Result<Duration> {
    host.run(|| -> anyhow::Result<_> {
        let mut stream = connect(server)?;
        let started = Instant::now();
        writeln!(stream, "{request}")?;
        let got = receive(&mut stream, length).context("downloading")?;
        check_digest(&mut stream, &got)?;
        Ok(started.elapsed())
    })
    .with_context(|| format!("{} downloading {length} bytes from {server}", host.name()))
}

/// Uploads `length` bytes from `host` and checks that the server got them.
pub fn upload(host: &Host, server: IpAddr, length: u64) -> anyhow::Result<Duration> {
    host.run(|| -> anyhow::Result<_> {
        let mut stream = connect(server)?;
        let started = Instant::now();
        writeln!(stream, "PUT {length}")?;
        let sent = send(&mut stream, length).context("uploading")?;
        check_digest(&mut stream, &sent)?;
        Ok(started.elapsed())
    })
    .with_context(|| format!("{} uploading {length} bytes to {server}", host.name()))
}

/// Bits per second of one TCP stream from the server to `host`, after a second in which it gets up to speed.
pub fn download_rate(host: &Host, server: IpAddr, time: Duration) -> anyhow::Result<f64> {
    host.run(|| -> anyhow::Result<_> {
        let mut stream = connect(server)?;
        writeln!(stream, "GET")?;
        let mut block = vec![0; 128 * 1024];
        let mut read_for = |time: Duration| -> anyhow::Result<f64> {
            let (started, mut total) = (Instant::now(), 0);
            while started.elapsed() < time {
                total += stream.read(&mut block)?;
            }
            Ok(total as f64 * 8.0 / started.elapsed().as_secs_f64())
        };
        read_for(WARM_UP)?;
        read_for(time)
    })
}

/// Bits per second of one TCP stream from `host` to the server, as counted by the server.
pub fn upload_rate(host: &Host, server: IpAddr, time: Duration) -> anyhow::Result<f64> {
    host.run(|| -> anyhow::Result<_> {
        let mut stream = connect(server)?;
        writeln!(stream, "PUT")?;
        let zeros = vec![0; 128 * 1024];
        let started = Instant::now();
        while started.elapsed() < time {
            stream.write_all(&zeros)?;
        }
        stream.shutdown(Shutdown::Write)?;
        let mut total = [0; 8];
        stream.read_exact(&mut total)?;
        Ok(u64::from_be_bytes(total) as f64 * 8.0 / started.elapsed().as_secs_f64())
    })
}

/// The address under which the server sees `host`.
pub fn seen_as(host: &Host, server: IpAddr) -> anyhow::Result<IpAddr> {
    host.run(|| -> anyhow::Result<_> {
        let mut stream = connect(server)?;
        writeln!(stream, "PEER")?;
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line)?;
        line.trim().parse().with_context(|| format!("the server answered {line:?}"))
    })
}

/// Sends one datagram of `length` bytes and waits for its echo; `None` if none came in time.
pub fn echo(
    host: &Host,
    server: IpAddr,
    length: usize,
    patience: Duration,
) -> anyhow::Result<Option<Duration>> {
    host.run(|| -> anyhow::Result<_> {
        let any: SocketAddr = if server.is_ipv4() { "0.0.0.0:0".parse()? } else { "[::]:0".parse()? };
        let socket = UdpSocket::bind(any)?;
        socket.connect((server, PORT))?;
        socket.set_read_timeout(Some(patience))?;
        let started = Instant::now();
        socket.send(&vec![0x55; length])?;
        let mut buffer = vec![0; length + 1];
        Ok(socket.recv(&mut buffer).ok().filter(|&got| got == length).map(|_| started.elapsed()))
    })
}

/// Whether a TCP connection to the server can be made at all.
pub fn reaches(host: &Host, server: IpAddr, patience: Duration) -> bool {
    host.run(|| TcpStream::connect_timeout(&(server, PORT).into(), patience).is_ok())
}

pub(crate) fn connect(server: IpAddr) -> anyhow::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&(server, PORT).into(), STALL).context("connecting")?;
    stream.set_read_timeout(Some(STALL))?;
    stream.set_write_timeout(Some(STALL))?;
    Ok(stream)
}

/// Lets so many bytes a second through, on average since the start.
struct Paced<W> {
    inner: W,
    rate: u32,
    started: Instant,
    written: u64,
}

impl<W: Write> Paced<W> {
    fn new(inner: W, rate: u32) -> Self {
        Self { inner, rate, started: Instant::now(), written: 0 }
    }
}

impl<W: Write> Write for Paced<W> {
    fn write(&mut self, data: &[u8]) -> std::io::Result<usize> {
        let due = Duration::from_secs_f64(self.written as f64 / f64::from(self.rate));
        thread::sleep(due.saturating_sub(self.started.elapsed()));
        let written = self.inner.write(data)?;
        self.written += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.inner.flush()
    }
}

/// Sends `length` bytes that no compression or repetition can fake, and returns their SHA-256.
fn send(stream: &mut impl Write, length: u64) -> anyhow::Result<Digest> {
    let mut hash = Hash::new(&SHA256);
    let mut state = 0x9e37_79b9_7f4a_7c15_u64 ^ length;
    let mut block = vec![0; 64 * 1024];
    let mut left = length;
    while left > 0 {
        for word in block.chunks_exact_mut(8) {
            // xorshift64: only has to differ from byte to byte and place to place.
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            word.copy_from_slice(&state.to_be_bytes());
        }
        let part = &block[..block.len().min(usize::try_from(left).unwrap_or(usize::MAX))];
        hash.update(part);
        stream.write_all(part)?;
        left -= part.len() as u64;
    }
    Ok(hash.finish())
}

pub(crate) fn receive(stream: &mut impl Read, length: u64) -> anyhow::Result<Digest> {
    let mut hash = Hash::new(&SHA256);
    let mut block = vec![0; 64 * 1024];
    let mut left = length;
    while left > 0 {
        let most = block.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let got =
            stream.read(&mut block[..most]).with_context(|| format!("{left} of {length} bytes to go"))?;
        ensure!(got > 0, "the stream ended {left} bytes early");
        hash.update(&block[..got]);
        left -= got as u64;
    }
    Ok(hash.finish())
}

pub(crate) fn check_digest(stream: &mut impl Read, ours: &Digest) -> anyhow::Result<()> {
    let mut theirs = [0; 32];
    stream.read_exact(&mut theirs).context("reading the SHA-256")?;
    ensure!(ours.as_ref() == theirs, "the data was damaged on its way: SHA-256 differs");
    Ok(())
}
