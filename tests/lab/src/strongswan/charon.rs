//! Starting charon, feeding it, and asking it.

use std::{fs, process::Command, time::Duration};

use anyhow::Context;
use nix::sys::signal::Signal;

use super::Config;
use crate::{Host, exec::Daemon};

/// Where Debian and Ubuntu put it.
const CHARON: &str = "/usr/lib/ipsec/charon";

/// charon's own settings. `kernel-libipsec`, the data path in user space, must stand before `kernel-netlink`. Clients that
/// are refused leave half-open SAs behind, which would get their address blocked after five.
const STRONGSWAN_CONF: &str = "charon {
  load = aes sha1 sha2 md5 mgf1 random nonce x509 revocation constraints pubkey pkcs1 pkcs7 pkcs8 pem openssl gcm curve25519 chapoly kdf hmac kernel-libipsec kernel-netlink socket-default vici updown eap-identity eap-mschapv2 eap-md5 counters attr
  retransmit_timeout = 1.0
  retransmit_base = 1.4
  retransmit_tries = 5
  block_threshold = 100
  filelog {
    stderr {
      default = 1
      ike = 2
      cfg = 2
      knl = 1
      flush_line = yes
      time_format = %T
      time_add_ms = yes
    }
  }
  plugins {
    kernel-libipsec {
      allow_peer_ts = yes
    }
  }
EXTRA
}
";

/// A charon that runs.
pub struct Charon<'h> {
    host: &'h Host,
    daemon: Daemon,
    config: Config,
    settings: String,
}

impl<'h> Charon<'h> {
    /// Starts charon on `host` and loads `config`.
    pub fn start(host: &'h Host, config: Config) -> anyhow::Result<Self> {
        Self::start_with(host, config, "")
    }

    /// Like [`Self::start`], with more lines for the `charon` section of `strongswan.conf`.
    pub fn start_with(host: &'h Host, config: Config, settings: &str) -> anyhow::Result<Self> {
        let swanctl = host.folder().join("swanctl");
        fs::create_dir_all(&swanctl).context("creating swanctl's folder")?;
        host.link_etc("swanctl", &swanctl)?;
        let daemon = launch(host, settings)?;
        let mut charon = Self { host, daemon, config, settings: settings.to_owned() };
        charon.when_ready()?;
        charon.load()?;
        Ok(charon)
    }

    /// Kills it without a word to its peers and starts it anew.
    pub fn restart(self) -> anyhow::Result<Self> {
        let Self { host, daemon, config, settings } = self;
        daemon.end(Signal::SIGKILL, Duration::from_secs(5))?;
        // What a dead charon leaves behind would keep the next from starting.
        for left in ["/run/charon.pid", "/run/charon.vici"] {
            host.run(|| fs::remove_file(left)).with_context(|| format!("removing {left}"))?;
        }
        let daemon = launch(host, &settings)?;
        let mut charon = Self { host, daemon, config, settings };
        charon.when_ready()?;
        charon.load()?;
        Ok(charon)
    }

    /// Loads another configuration; SAs that exist stay.
    pub fn reconfigure(&mut self, config: Config) -> anyhow::Result<()> {
        self.config = config;
        self.load()
    }

    /// Runs swanctl.
    pub fn swanctl(&self, args: &[&str]) -> anyhow::Result<String> {
        self.host.output("swanctl", args)
    }

    /// The SAs, in swanctl's raw notation.
    pub fn sas(&self) -> anyhow::Result<String> {
        self.swanctl(&["--list-sas", "--raw"])
    }

    /// The ports that the peers' packets come from, after translation.
    pub fn remote_ports(&self) -> anyhow::Result<Vec<u16>> {
        let sas = self.sas()?;
        let ports = sas.split_whitespace().filter_map(|word| word.strip_prefix("remote-port="));
        ports.map(|port| port.parse().with_context(|| format!("a port in {sas}"))).collect()
    }

    /// Waits until the list of SAs is as `wanted` says.
    pub fn wait_for_sas(
        &mut self,
        what: &str,
        limit: Duration,
        wanted: impl Fn(&str) -> bool,
    ) -> anyhow::Result<String> {
        let host = self.host;
        self.daemon.wait_for(what, limit, || {
            let sas = host.output("swanctl", &["--list-sas", "--raw"]).ok()?;
            wanted(&sas).then_some(sas)
        })
    }

    /// Everything that it has logged.
    pub fn log(&self) -> String {
        self.daemon.log()
    }

    /// The process.
    pub fn daemon(&mut self) -> &mut Daemon {
        &mut self.daemon
    }

    fn when_ready(&mut self) -> anyhow::Result<()> {
        let host = self.host;
        self.daemon.wait_for("charon's socket", Duration::from_secs(15), || {
            host.run(|| std::os::unix::net::UnixStream::connect("/run/charon.vici")).ok().map(drop)
        })
    }

    /// Writes the files that `swanctl` reads, and has it read them.
    fn load(&self) -> anyhow::Result<()> {
        let folder = self.host.folder().join("swanctl");
        let write = |name: String, content: &str| -> anyhow::Result<()> {
            let file = folder.join(name);
            fs::create_dir_all(file.parent().unwrap_or(&folder)).context("creating a folder")?;
            fs::write(&file, content).with_context(|| format!("writing {}", file.display()))
        };
        for (number, authority) in self.config.authorities.iter().enumerate() {
            write(format!("x509ca/authority-{number}.pem"), authority)?;
        }
        for (number, identity) in self.config.identities.iter().enumerate() {
            write(format!("x509/identity-{number}.pem"), &identity.certificate)?;
            write(format!("private/identity-{number}.pem"), &identity.key)?;
            for (at, issuer) in identity.intermediates.iter().enumerate() {
                write(format!("x509ca/identity-{number}-issuer-{at}.pem"), issuer)?;
            }
        }
        write("swanctl.conf".to_owned(), &self.config.to_string())?;
        fs::copy(folder.join("swanctl.conf"), self.host.folder().join("swanctl.conf")).context("a copy")?;
        self.swanctl(&["--load-all", "--noprompt", "--clear"])?;
        Ok(())
    }
}

fn launch(host: &Host, settings: &str) -> anyhow::Result<Daemon> {
    let conf = host.folder().join("strongswan.conf");
    fs::write(&conf, STRONGSWAN_CONF.replace("EXTRA", settings)).context("writing strongswan.conf")?;
    let mut command = Command::new(CHARON);
    command.env("STRONGSWAN_CONF", &conf);
    Daemon::start(host, "charon", command)
}
