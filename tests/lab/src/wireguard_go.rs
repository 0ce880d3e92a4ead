//! wireguard-go, an implementation of WireGuard in user space that shares no code with ours, as the peer of a fallback.

use std::{fs, net::Ipv4Addr, path::PathBuf, process::Command, time::Duration};

use anyhow::Context;
use nix::sys::signal::Signal;

use crate::{
    Host,
    exec::{self, Daemon},
};

/// Where it listens.
pub const PORT: u16 = 51820;
/// Its address inside.
pub const INSIDE: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 1);
/// The client's address inside.
pub const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 2);

const DEVICE: &str = "wg0";

/// A private key and its public key, in base64.
#[derive(Clone, Debug)]
pub struct Keys {
    /// The private one.
    pub private: String,
    /// The public one.
    pub public: String,
}

impl Keys {
    /// A new pair.
    pub fn generate() -> anyhow::Result<Self> {
        let private = exec::output(Command::new("wg").arg("genkey"))?.trim().to_owned();
        let public = exec::output_of_input(Command::new("wg").arg("pubkey"), &private)?.trim().to_owned();
        Ok(Self { private, public })
    }
}

/// A new pre-shared key.
pub fn preshared_key() -> anyhow::Result<String> {
    Ok(exec::output(Command::new("wg").arg("genpsk"))?.trim().to_owned())
}

/// wireguard-go on a host, with one client that may send from [`CLIENT`] alone.
pub struct WireGuardGo<'h> {
    host: &'h Host,
    config: PathBuf,
    daemon: Daemon,
}

impl<'h> WireGuardGo<'h> {
    /// Starts it.
    pub fn start(host: &'h Host, own: &Keys, client: &str, preshared: Option<&str>) -> anyhow::Result<Self> {
        let config = host.folder().join("wireguard-go.conf");
        let preshared = preshared.map(|key| format!("PresharedKey = {key}\n")).unwrap_or_default();
        let text = format!(
            "[Interface]\nPrivateKey = {}\nListenPort = {PORT}\n\
             [Peer]\nPublicKey = {client}\n{preshared}AllowedIPs = {CLIENT}/32\n",
            own.private
        );
        fs::write(&config, text).context("writing wireguard-go's configuration")?;
        Self::start_with(host, config)
    }

    fn start_with(host: &'h Host, config: PathBuf) -> anyhow::Result<Self> {
        let mut command = Command::new("wireguard-go");
        command.args(["--foreground", DEVICE]).env("LOG_LEVEL", "verbose");
        let mut daemon = Daemon::start(host, "wireguard-go", command)?;
        let file = config.to_string_lossy().into_owned();
        daemon.wait_for("wireguard-go to take its configuration", Duration::from_secs(10), || {
            host.output("wg", &["setconf", DEVICE, &file]).ok()
        })?;
        host.ip(&format!("address add {INSIDE}/24 dev {DEVICE}\nlink set {DEVICE} mtu 1420 up"))?;
        Ok(Self { host, config, daemon })
    }

    /// Kills it, with all that it knows of its client but the keys, and starts it anew.
    pub fn restart(self) -> anyhow::Result<Self> {
        let Self { host, config, daemon } = self;
        daemon.end(Signal::SIGKILL, Duration::from_secs(5))?;
        // The device went with the process.
        Self::start_with(host, config)
    }

    /// Where it last heard its client, as it says itself: `ADDRESS:PORT`.
    pub fn client_endpoint(&self) -> anyhow::Result<String> {
        let line = self.host.output("wg", &["show", DEVICE, "endpoints"])?;
        line.split_whitespace().nth(1).map(str::to_owned).context("wg shows no endpoint")
    }
}
