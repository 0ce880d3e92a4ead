//! Whether the office answers what a client may use to find out how its tunnel does: ping, DNS over UDP and over TCP.

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use etherparse::{IcmpEchoHeader, Icmpv4Header, Icmpv4Type, Ipv4Header};
use nix::sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, socket};

use crate::Host;

/// The name server that the gateway's pool names.
pub const DNS_SERVER: Ipv4Addr = Ipv4Addr::new(10, 10, 0, 53);

/// A header and nothing else: the shortest query there is.
const HEADER: usize = 12;

/// Has `server` be the office's name server: it knows no name, but says so.
pub fn serve_dns(server: &Host) -> anyhow::Result<()> {
    server.ip(&format!("address replace {DNS_SERVER}/16 dev office"))?;
    let (udp, tcp) = server.run(|| -> anyhow::Result<_> {
        Ok((UdpSocket::bind((DNS_SERVER, 53))?, TcpListener::bind((DNS_SERVER, 53))?))
    })?;
    thread::spawn(move || {
        let mut buffer = [0; 65_535];
        while let Ok((length, from)) = udp.recv_from(&mut buffer) {
            if let Some(answer) = answer(&buffer[..length]) {
                let _ = udp.send_to(&answer, from);
            }
        }
    });
    thread::spawn(move || {
        for stream in tcp.incoming().flatten() {
            // Whoever goes away in the middle does not get an answer.
            thread::spawn(move || serve_stream(stream));
        }
    });
    Ok(())
}

/// Has `host` not answer any of it, whatever it serves: as a firewall that drops.
pub fn silence(host: &Host) -> anyhow::Result<()> {
    host.nft(
        "table inet silence {
           chain in {
             type filter hook input priority 0
             icmp type echo-request drop
             icmpv6 type echo-request drop
             udp dport 53 drop
             tcp dport 53 drop
           }
         }",
    )
}

/// Takes [`silence`] back.
pub fn speak(host: &Host) -> anyhow::Result<()> {
    host.nft("table inet silence {}\ndelete table inet silence")
}

/// Whether the name server answers a query of `length` bytes from `host` over UDP in time. The query is padded by what
/// follows its header.
pub fn resolves(host: &Host, length: usize, patience: Duration) -> anyhow::Result<bool> {
    ensure!(length >= HEADER, "no query is shorter than its header");
    host.run(|| -> anyhow::Result<_> {
        let socket = UdpSocket::bind("0.0.0.0:0")?;
        socket.connect((DNS_SERVER, 53))?;
        socket.set_read_timeout(Some(patience))?;
        let mut query = vec![0; length];
        query[..2].copy_from_slice(&[0x4b, 0x45]);
        socket.send(&query)?;
        let mut buffer = [0; 512];
        Ok(socket.recv(&mut buffer).is_ok_and(|got| got >= HEADER && buffer[..2] == query[..2]))
    })
}

/// Whether `address` answers a ping with `length` bytes of data from `host` in time.
pub fn pings(host: &Host, address: Ipv4Addr, length: usize, patience: Duration) -> anyhow::Result<bool> {
    host.run(|| -> anyhow::Result<_> {
        let socket = socket(AddressFamily::Inet, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::Icmp)
            .context("a socket for ICMP")?;
        // To the standard library, a socket is a socket.
        let socket = UdpSocket::from(socket);
        socket.connect((address, 0))?;
        let echo = Icmpv4Type::EchoRequest(IcmpEchoHeader { id: 0x4b45, seq: 1 });
        let data = vec![0x55; length];
        let mut packet = Icmpv4Header::with_checksum(echo, &data).to_bytes().to_vec();
        packet.extend(data);
        socket.send(&packet)?;
        let deadline = Instant::now() + patience;
        let mut buffer = vec![0; 65_535];
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(false);
            }
            socket.set_read_timeout(Some(left))?;
            let Ok(got) = socket.recv(&mut buffer) else { continue };
            // A raw socket gives the IP header too, and whatever else of ICMP comes from there.
            let Ok((_, icmp)) = Ipv4Header::from_slice(&buffer[..got]) else { continue };
            if let Ok((header, rest)) = Icmpv4Header::from_slice(icmp)
                && matches!(header.icmp_type, Icmpv4Type::EchoReply(_))
            {
                return Ok(rest.len() == length);
            }
        }
    })
}

/// NXDOMAIN, the question left out.
fn answer(query: &[u8]) -> Option<Vec<u8>> {
    let header = query.get(..HEADER)?;
    let mut answer = header.to_vec();
    // QR and RD as asked; RA and RCODE 3 (RFC 1035 §4.1.1); no records.
    answer[2] |= 0x80;
    answer[3] = 0x83;
    answer[4..].fill(0);
    Some(answer)
}

fn serve_stream(mut stream: TcpStream) -> anyhow::Result<()> {
    loop {
        let mut length = [0; 2];
        stream.read_exact(&mut length)?;
        let mut query = vec![0; usize::from(u16::from_be_bytes(length))];
        stream.read_exact(&mut query)?;
        let Some(answer) = answer(&query) else { return Ok(()) };
        stream.write_all(&u16::try_from(answer.len())?.to_be_bytes())?;
        stream.write_all(&answer)?;
    }
}
