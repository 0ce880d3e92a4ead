//! The product on a client host: the real daemon, driven by the real command line.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc::{self, Receiver},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};
use evenkeel_ipc::{Cause, State, Status};
use nix::sys::signal::Signal;

use crate::{
    Host,
    exec::{Daemon, workspace_program},
    profile::Profile,
    wait,
};

/// How long anything may take that the daemon does by itself.
const PATIENCE: Duration = Duration::from_secs(15);

/// `evenkeeld` on a host, with folders and a socket of its own.
pub struct Client<'h> {
    host: &'h Host,
    daemon: Daemon,
}

/// How a run of `evenkeel` ended.
#[derive(Debug)]
pub struct Run {
    /// Its exit code.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl<'h> Client<'h> {
    /// Starts the daemon and waits until it answers.
    pub fn start(host: &'h Host) -> anyhow::Result<Self> {
        let mut client = Self { host, daemon: launch(host)? };
        client.when_ready()?;
        Ok(client)
    }

    /// Starts the daemon and imports a profile named `lab`.
    pub fn with_profile(host: &'h Host, profile: &Profile) -> anyhow::Result<Self> {
        let client = Self::start(host)?;
        client.import(profile)?;
        Ok(client)
    }

    /// Imports a profile with the files that it refers to.
    pub fn import(&self, profile: &Profile) -> anyhow::Result<()> {
        let folder = self.host.folder();
        for (name, content) in profile.files() {
            fs::write(folder.join(name), content).with_context(|| format!("writing {name}"))?;
        }
        let file = folder.join("profile.toml");
        fs::write(&file, profile.to_string()).context("writing the profile")?;
        self.import_file(&file).with_context(|| profile.to_string())
    }

    /// Imports a profile from a file.
    pub fn import_file(&self, file: &Path) -> anyhow::Result<()> {
        let run = self.evenkeel(&["profile", "import", &file.display().to_string()], None)?;
        ensure!(run.code == 0, "the profile was refused: {}", run.stderr);
        Ok(())
    }

    /// Removes the profile.
    pub fn remove(&self) -> anyhow::Result<()> {
        let run = self.evenkeel(&["profile", "remove", "lab"], None)?;
        ensure!(run.code == 0, "the profile could not be removed: {run:?}");
        Ok(())
    }

    /// Connects to `lab`; an error if that fails. `secret` is what `--password-stdin` reads.
    pub fn connect(&self, secret: Option<&str>) -> anyhow::Result<()> {
        let run = self.try_connect(secret)?;
        ensure!(run.code == 0, "connecting failed: {run:?}\n{:?}", self.status());
        Ok(())
    }

    /// Tries to connect to `lab`.
    pub fn try_connect(&self, secret: Option<&str>) -> anyhow::Result<Run> {
        let mut args = vec!["connect", "lab", "--wait", "20"];
        if secret.is_some() {
            args.push("--password-stdin");
        }
        self.evenkeel(&args, secret)
    }

    /// Tries to connect, which must fail, and returns the exit code and the typed cause.
    pub fn refused(&self, secret: Option<&str>) -> anyhow::Result<(i32, Cause)> {
        let run = self.try_connect(secret)?;
        ensure!(run.code != 0, "connected, which should have failed");
        let status = self.status()?;
        let cause = status.cause.with_context(|| format!("a failure without a cause: {run:?}"))?;
        Ok((run.code, cause))
    }

    /// Disconnects and waits until it is done.
    pub fn disconnect(&self) -> anyhow::Result<()> {
        let run = self.evenkeel(&["disconnect"], None)?;
        ensure!(run.code == 0, "disconnecting failed: {run:?}");
        self.wait_for("to be off", |status| status.state == State::Off).map(drop)
    }

    /// What the daemon says of the connection.
    pub fn status(&self) -> anyhow::Result<Status> {
        let run = self.evenkeel(&["status", "--json"], None)?;
        serde_json::from_str(&run.stdout).with_context(|| format!("status is not what it should be: {run:?}"))
    }

    /// Waits until the status is as `wanted` says.
    pub fn wait_for(&self, what: &str, wanted: impl Fn(&Status) -> bool) -> anyhow::Result<Status> {
        self.wait_longer_for(what, PATIENCE, wanted)
    }

    /// Like [`Self::wait_for`], for what takes a while.
    pub fn wait_longer_for(
        &self,
        what: &str,
        limit: Duration,
        wanted: impl Fn(&Status) -> bool,
    ) -> anyhow::Result<Status> {
        let mut last = None;
        wait::until(what, limit, || {
            last = self.status().ok();
            last.clone().filter(&wanted)
        })
        .with_context(|| format!("the last status was {last:?}"))
    }

    /// Has `evenkeel status --watch` tell every status from here on, that of this moment first.
    pub fn watch(&self) -> anyhow::Result<Watch> {
        let mut command = Command::new(workspace_program("evenkeel")?);
        command.args(["status", "--watch", "--json"]).env("EVENKEEL_SOCKET", socket(self.host));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = self.host.run(|| command.spawn()).context("starting evenkeel")?;
        let lines = BufReader::new(child.stdout.take().context("standard output is piped")?).lines();
        let (tell, told) = mpsc::channel();
        thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                // Nobody listens any more once the watch is dropped.
                let _ = tell.send((Instant::now(), line));
            }
        });
        let mut watch = Watch { child, told: Vec::new(), lines: told };
        // From the first on none is missed.
        watch.wait_for("anything", PATIENCE, |_| true)?;
        Ok(watch)
    }

    /// Runs `evenkeel`.
    pub fn evenkeel(&self, args: &[&str], input: Option<&str>) -> anyhow::Result<Run> {
        let mut command = Command::new(workspace_program("evenkeel")?);
        command.args(args).env("EVENKEEL_SOCKET", socket(self.host));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = self.host.run(|| command.spawn()).context("starting evenkeel")?;
        let mut stdin = child.stdin.take().context("standard input is piped")?;
        // It may well end without having read anything.
        let _ = stdin.write_all(input.unwrap_or_default().as_bytes());
        drop(stdin);
        let output = child.wait_with_output().context("waiting for evenkeel")?;
        let Some(code) = output.status.code() else { bail!("evenkeel was killed: {}", output.status) };
        Ok(Run {
            code,
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }

    /// Ends the daemon with `signal` and waits until it is gone.
    pub fn end(self, signal: Signal) -> anyhow::Result<()> {
        self.daemon.end(signal, PATIENCE)
    }

    /// The daemon's process.
    pub fn pid(&self) -> u32 {
        self.daemon.pid()
    }

    /// What the daemon has logged.
    pub fn log(&self) -> String {
        self.daemon.log()
    }

    fn when_ready(&mut self) -> anyhow::Result<()> {
        let socket = socket(self.host);
        let host = self.host;
        self.daemon.wait_for("the daemon's socket", PATIENCE, || {
            host.run(|| std::os::unix::net::UnixStream::connect(&socket)).ok().map(drop)
        })
    }
}

/// A running `evenkeel status --watch`.
pub struct Watch {
    child: Child,
    told: Vec<(Instant, Status)>,
    lines: Receiver<(Instant, String)>,
}

impl Watch {
    /// The first status that it has told, or tells soon, which is as `wanted` says, and when that was.
    pub fn wait_for(
        &mut self,
        what: &str,
        limit: Duration,
        wanted: impl Fn(&Status) -> bool,
    ) -> anyhow::Result<(Instant, Status)> {
        let deadline = Instant::now() + limit;
        let mut seen = 0;
        loop {
            if let Some(found) = self.told[seen..].iter().find(|(_, status)| wanted(status)) {
                return Ok(found.clone());
            }
            seen = self.told.len();
            let left = deadline.saturating_duration_since(Instant::now());
            let (at, line) = self.lines.recv_timeout(left).with_context(|| {
                format!("nobody was told of {what}, but at last of {:?}", self.told.last())
            })?;
            self.told.push((at, serde_json::from_str(&line).context(line)?));
        }
    }

    /// Ends it and returns what it has told, in order.
    pub fn end(mut self) -> anyhow::Result<Vec<Status>> {
        self.child.kill().context("ending evenkeel")?;
        self.child.wait().context("waiting for evenkeel")?;
        let mut rest: Vec<(Instant, String)> = self.lines.iter().collect();
        // It may have been cut off in the middle of its last line.
        rest.pop_if(|(_, last)| serde_json::from_str::<Status>(last).is_err());
        for (at, line) in rest {
            self.told.push((at, serde_json::from_str(&line).context(line)?));
        }
        Ok(std::mem::take(&mut self.told).into_iter().map(|(_, status)| status).collect())
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // Both fail only for a program that has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn launch(host: &Host) -> anyhow::Result<Daemon> {
    let mut command = Command::new(workspace_program("evenkeeld")?);
    let folder = host.folder();
    command.arg("--config-dir").arg(folder.join("config"));
    command.arg("--state-dir").arg(folder.join("state"));
    command.arg("--socket").arg(socket(host)).args(["--log-level", "debug"]);
    Daemon::start(host, "evenkeeld", command)
}

fn socket(host: &Host) -> PathBuf {
    host.folder().join("daemon.sock")
}
