//! GotaTun, a WireGuard implementation in user space, at both ends: what benchmarks stand beside.

use std::{
    io::{Read, Write},
    net::SocketAddr,
    os::unix::net::UnixStream,
    path::Path,
    process::Command,
    time::Duration,
};

use anyhow::{Context, ensure};
use aws_lc_rs::{
    agreement::{PrivateKey, X25519},
    encoding::{AsBigEndian, Curve25519SeedBin},
};

use crate::{Host, exec::Daemon};

/// The port of the end that is called.
const PORT: u16 = 51820;
/// GotaTun's own default.
const MTU: u16 = 1420;

/// One end of a tunnel.
struct End<'h> {
    host: &'h Host,
    key: PrivateKey,
    daemon: Daemon,
}

/// A tunnel between two hosts; the first calls. `10.20.0.1` is the caller's address in it.
pub struct Tunnel {
    _ends: [Daemon; 2],
}

impl Tunnel {
    /// Builds it. The caller sends `10.10.0.0/16` into it.
    pub fn build(program: &Path, caller: &Host, called: &Host, at: SocketAddr) -> anyhow::Result<Self> {
        let (mut caller, mut called) = (End::start(program, caller)?, End::start(program, called)?);
        let address = SocketAddr::new(at.ip(), PORT);
        let calls = format!("endpoint={address}\nallowed_ip=10.10.0.0/16\n");
        caller.configure(None, &called.public_key()?, &calls)?;
        called.configure(Some(PORT), &caller.public_key()?, "allowed_ip=10.20.0.1/32\n")?;
        caller.host.ip(&format!(
            "address add 10.20.0.1/32 dev tun0\nlink set tun0 mtu {MTU} up\nroute add 10.10.0.0/16 dev tun0"
        ))?;
        called.host.ip(&format!("link set tun0 mtu {MTU} up\nroute add 10.20.0.0/24 dev tun0"))?;
        Ok(Self { _ends: [caller.daemon, called.daemon] })
    }
}

impl<'h> End<'h> {
    fn start(program: &Path, host: &'h Host) -> anyhow::Result<Self> {
        let mut command = Command::new(program);
        command.args(["--foreground", "--disable-drop-privileges", "--verbosity", "error", "tun0"]);
        let daemon = Daemon::start(host, "gotatun", command)?;
        let key = PrivateKey::generate(&X25519).ok().context("a WireGuard key")?;
        Ok(Self { host, key, daemon })
    }

    fn public_key(&self) -> anyhow::Result<String> {
        Ok(hex(self.key.compute_public_key().ok().context("a WireGuard key")?.as_ref()))
    }

    /// Speaks the WireGuard configuration protocol: lines of `key=value`, an empty line, an `errno`.
    fn configure(&mut self, listen: Option<u16>, peer: &str, peer_lines: &str) -> anyhow::Result<()> {
        let secret: Curve25519SeedBin<'_> = self.key.as_be_bytes().ok().context("a WireGuard key")?;
        let listen = listen.map(|port| format!("listen_port={port}\n")).unwrap_or_default();
        let request = format!(
            "set=1\nprivate_key={}\n{listen}replace_peers=true\npublic_key={peer}\nreplace_allowed_ips=true\n{peer_lines}\n",
            hex(secret.as_ref())
        );
        let host = self.host;
        let socket = self.daemon.wait_for("gotatun's socket", Duration::from_secs(10), || {
            host.run(|| UnixStream::connect("/run/wireguard/tun0.sock")).ok()
        })?;
        (&socket).write_all(request.as_bytes()).context("configuring gotatun")?;
        socket.set_read_timeout(Some(Duration::from_secs(5))).context("a time limit")?;
        let mut answer = vec![0; 256];
        let length = (&socket).read(&mut answer).context("gotatun's answer")?;
        let answer = String::from_utf8_lossy(&answer[..length]);
        ensure!(answer.contains("errno=0"), "gotatun answered {answer:?}");
        Ok(())
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
