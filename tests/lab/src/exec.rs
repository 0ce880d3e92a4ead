//! Commands and daemons on a host.

use std::{
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::Duration,
};

use anyhow::{Context, bail};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::{host::Host, wait};

/// Runs a command to the end and returns its standard output; anything but success is an error that shows the rest.
pub fn output(command: &mut Command) -> anyhow::Result<String> {
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("running {command:?}"))?;
    succeeded(command, &output)?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Like [`output`], for a command that reads `input`.
pub fn output_of_input(command: &mut Command, input: &str) -> anyhow::Result<String> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("running {command:?}"))?;
    let mut pipe = child.stdin.take().context("standard input is piped")?;
    pipe.write_all(input.as_bytes()).with_context(|| format!("feeding {command:?}"))?;
    drop(pipe);
    let output = child.wait_with_output().with_context(|| format!("waiting for {command:?}"))?;
    succeeded(command, &output).with_context(|| format!("input:\n{input}"))?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn succeeded(command: &Command, output: &Output) -> anyhow::Result<()> {
    if !output.status.success() {
        bail!(
            "{command:?}: {}\n{}{}",
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(())
}

/// A program that runs until it is dropped. Its output is in a log.
pub struct Daemon {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Daemon {
    /// Starts `command` on `host`; its output goes to `NAME.log` in the host's folder.
    pub fn start(host: &Host, name: &str, mut command: Command) -> anyhow::Result<Self> {
        let log = host.folder().join(format!("{name}.log"));
        let file = File::options().create(true).append(true).open(&log).context("creating a log")?;
        command.stdin(Stdio::null()).stdout(file.try_clone().context("sharing a log")?).stderr(file);
        let child = host.run(|| command.spawn()).with_context(|| format!("starting {command:?}"))?;
        Ok(Self { name: name.to_owned(), child, log })
    }

    /// The process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Everything it has printed.
    pub fn log(&self) -> String {
        fs::read(&self.log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    /// Waits until `probe` finds something, or the program ends, or `limit` is over; both latter show the log's end.
    pub fn wait_for<T>(
        &mut self,
        what: &str,
        limit: Duration,
        mut probe: impl FnMut() -> Option<T>,
    ) -> anyhow::Result<T> {
        let mut ended = None;
        let found = wait::until(what, limit, || {
            if let Some(found) = probe() {
                return Some(Some(found));
            }
            ended = self.child.try_wait().ok().flatten();
            ended.is_some().then_some(None)
        });
        match found {
            Ok(Some(found)) => Ok(found),
            Ok(None) => bail!("{} ended while waiting: {what}\n{}", self.name, self.last_lines()),
            Err(error) => Err(error.context(format!("log of {}:\n{}", self.name, self.last_lines()))),
        }
    }

    /// Sends `signal`.
    pub fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        let pid = i32::try_from(self.child.id()).context("a process id is an i32")?;
        kill(Pid::from_raw(pid), signal).with_context(|| format!("sending {signal} to {}", self.name))
    }

    /// Sends `signal` and waits for the end.
    pub fn end(mut self, signal: Signal, limit: Duration) -> anyhow::Result<()> {
        self.signal(signal)?;
        let what = format!("{} to end after {signal}", self.name);
        wait::until(&what, limit, || self.child.try_wait().ok().flatten())?;
        Ok(())
    }

    fn last_lines(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(60)..].join("\n")
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Both fail only for a program that has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The program `name` of this workspace, beside the test binary that runs.
pub fn workspace_program(name: &str) -> anyhow::Result<PathBuf> {
    let us = std::env::current_exe().context("finding this program")?;
    let folders = us.ancestors().skip(1).take(2);
    let found = folders.map(|folder: &Path| folder.join(name)).find(|program| program.is_file());
    found.with_context(|| format!("{name} is not built: `cargo build --bins`, or use `cargo xtask test`"))
}
