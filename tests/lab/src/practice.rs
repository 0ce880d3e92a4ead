//! The practice gateway on a host.

use std::{fs, net::IpAddr, path::PathBuf, process::Command, time::Duration};

use anyhow::{Context, ensure};
use nix::sys::signal::Signal;

use crate::{
    Host, Network,
    exec::{Daemon, output, workspace_program},
    office::{ALICE, GATEWAY, Office, PASSWORD, PSK},
    pki::{Identity, Key},
};

/// The address of the machine in the network behind a gateway that was made by [`PracticeGateway::demo`].
pub const INNER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 77, 0, 1));

/// A practice gateway that runs.
pub struct PracticeGateway<'h> {
    host: &'h Host,
    daemon: Daemon,
}

impl<'h> PracticeGateway<'h> {
    /// One with fresh certificates and one user, reachable at `address`.
    pub fn demo(host: &'h Host, address: IpAddr) -> anyhow::Result<Self> {
        let folder = folder(host);
        let mut command = Command::new(workspace_program("evenkeel-gateway")?);
        command.arg("--demo").arg(&folder).args(["--listen", &address.to_string()]);
        Self::start(host, command)
    }

    /// Like [`Self::demo`], but in front of the host's own network, through a TUN device: what benchmarks measure.
    pub fn demo_with_tun(host: &'h Host, address: IpAddr) -> anyhow::Result<Self> {
        let mut command = Command::new(workspace_program("evenkeel-gateway")?);
        command.arg("--demo").arg(folder(host)).args([
            "--listen",
            &address.to_string(),
            "--tun",
            "practice0",
        ]);
        Self::start_with_tun(host, command)
    }

    /// The office's, with a TUN device: it has the office's key or, with `identity`, a certificate and takes the office's
    /// certificates and Alice's password.
    pub fn of_office(
        host: &'h Host,
        address: IpAddr,
        office: &Office,
        identity: Option<&Identity>,
    ) -> anyhow::Result<Self> {
        let folder = folder(host);
        fs::create_dir_all(&folder).context("creating the gateway's folder")?;
        let write = |name: &str, content: &str| {
            fs::write(folder.join(name), content).with_context(|| format!("writing {name}"))
        };
        let proof = match identity {
            None => format!("[clients]\npsk = [{{ secret = \"{PSK}\" }}]"),
            Some(identity) => {
                write("gateway.crt", &identity.certificate)?;
                write("gateway.key", &identity.key)?;
                write("ca.crt", &office.root.certificate())?;
                format!(
                    r#"certificate = "gateway.crt"
key = "gateway.key"
[clients]
ca = ["ca.crt"]
eap = [{{ name = "{ALICE}", password = "{PASSWORD}" }}]"#
                )
            }
        };
        write(
            "gateway.toml",
            &format!(
                r#"[identity]
id = "{GATEWAY}"
{proof}
[assign]
v4 = "10.77.1.0/24"
dns = ["{INNER}"]
subnets = ["10.77.0.0/16", "10.10.0.0/16"]
"#
            ),
        )?;
        let mut command = Command::new(workspace_program("evenkeel-gateway")?);
        command.arg("--config").arg(folder.join("gateway.toml"));
        command.args(["--listen", &address.to_string(), "--tun", "practice0"]);
        Self::start_with_tun(host, command)
    }

    /// The office's with its key, where the network has its gateway.
    pub fn in_place(network: &'h Network) -> anyhow::Result<Self> {
        Self::of_office(&network.gateway, network.gateway_address(), &Office::new(Key::P256)?, None)
    }

    fn start_with_tun(host: &'h Host, command: Command) -> anyhow::Result<Self> {
        let gateway = Self::start(host, command)?;
        host.ip(&format!(
            "address replace {INNER}/32 dev lo\nlink set practice0 up\nroute replace 10.77.1.0/24 dev practice0"
        ))?;
        Ok(gateway)
    }

    /// Kills it without a word to its clients, changes its configuration, and starts it anew.
    pub fn restart(self, change: impl FnOnce(String) -> String) -> anyhow::Result<Self> {
        let host = self.kill()?;
        let config = folder(host).join("gateway.toml");
        let text = fs::read_to_string(&config).context("reading the gateway's configuration")?;
        fs::write(&config, change(text)).context("writing the gateway's configuration")?;
        Self::start_again(host)
    }

    /// Kills it without a word to its clients.
    pub fn kill(self) -> anyhow::Result<&'h Host> {
        self.daemon.end(Signal::SIGKILL, Duration::from_secs(5))?;
        Ok(self.host)
    }

    /// Starts what was made by [`Self::demo`] and killed.
    pub fn start_again(host: &'h Host) -> anyhow::Result<Self> {
        let mut command = Command::new(workspace_program("evenkeel-gateway")?);
        command.arg("--config").arg(folder(host).join("gateway.toml"));
        Self::start(host, command)
    }

    fn start(host: &'h Host, mut command: Command) -> anyhow::Result<Self> {
        let ready = host.folder().join("gateway.ready");
        // One that ran here before has left it.
        if ready.exists() {
            fs::remove_file(&ready).context("removing an old file")?;
        }
        command.arg("--ready-file").arg(&ready).arg("--control").arg(control_socket(host));
        let mut daemon = Daemon::start(host, "gateway", command)?;
        daemon.wait_for("the practice gateway", Duration::from_secs(10), || {
            fs::read_to_string(&ready).ok().filter(|line| line.ends_with('\n')).map(drop)
        })?;
        Ok(Self { host, daemon })
    }

    /// The profile that fits a gateway made by [`Self::demo`].
    pub fn profile(&self) -> PathBuf {
        folder(self.host).join("profile.toml")
    }

    /// The same profile by the name `lab`, changed.
    pub fn client_profile(&self, change: impl FnOnce(String) -> String) -> anyhow::Result<PathBuf> {
        let text = fs::read_to_string(self.profile()).context("reading the gateway's profile")?;
        let file = folder(self.host).join("lab.toml");
        let text = change(text.replace("name = \"practice\"", "name = \"lab\""));
        fs::write(&file, text).context("writing a profile")?;
        Ok(file)
    }

    /// Has the gateway do these things wrong from now on, and nothing else: `{"bad_auth": true}`.
    pub fn misbehave(&self, ike: &serde_json::Value) -> anyhow::Result<()> {
        let request = serde_json::json!({ "command": "set_faults", "faults": { "ike": ike } });
        let answer = self.control(&request.to_string())?;
        ensure!(answer.get("ok").is_some(), "{answer}");
        Ok(())
    }

    /// Asks the gateway something; a JSON object each way.
    pub fn control(&self, request: &str) -> anyhow::Result<serde_json::Value> {
        let program = workspace_program("evenkeel-gateway")?;
        let answer = self.host.run(|| {
            output(Command::new(program).arg("control").arg(control_socket(self.host)).arg(request))
        })?;
        serde_json::from_str(&answer).with_context(|| format!("the gateway answered {answer:?}"))
    }
}

fn folder(host: &Host) -> PathBuf {
    host.folder().join("practice")
}

fn control_socket(host: &Host) -> PathBuf {
    host.folder().join("gateway.sock")
}
