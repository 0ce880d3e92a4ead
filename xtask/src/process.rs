//! Running commands, with the command line shown first.

use std::{
    ffi::OsStr,
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, ExitStatus, Stdio},
};

use anyhow::{Context, bail};

/// A command that is echoed before it runs and whose failure is an error.
pub(crate) struct Step(Command);

impl Step {
    /// A step that runs `program` in the root of the workspace.
    pub(crate) fn new(program: impl AsRef<OsStr>) -> Self {
        let mut command = Command::new(program);
        command.current_dir(crate::workspace::root()).stdin(Stdio::null());
        Self(command)
    }

    /// The cargo that runs us, so that `cargo +toolchain xtask` means what it says.
    pub(crate) fn cargo() -> Self {
        Self::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
    }

    pub(crate) fn args(mut self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        self.0.args(args);
        self
    }

    pub(crate) fn env(mut self, key: &str, value: impl AsRef<OsStr>) -> Self {
        self.0.env(key, value);
        self
    }

    /// Keeps variables of our own environment from the step.
    pub(crate) fn without(mut self, keys: &[&str]) -> Self {
        for key in keys {
            self.0.env_remove(key);
        }
        self
    }

    /// Lets the step read the terminal: for programs that a person talks to.
    pub(crate) fn interactive(mut self) -> Self {
        self.0.stdin(Stdio::inherit());
        self
    }

    /// Runs to the end; anything but success is an error.
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let shown = self.shown();
        let status = self.status()?;
        if !status.success() {
            bail!("`{shown}` failed: {status}");
        }
        Ok(())
    }

    /// Runs in our place, so that a terminal's signals reach it alone. Returns only if it can't be started.
    pub(crate) fn replace_us(mut self) -> anyhow::Result<()> {
        let shown = self.shown();
        eprintln!("$ {shown}");
        Err(crate::replace_us_by(&mut self.0)).with_context(|| format!("cannot run `{shown}`"))
    }

    /// Runs to the end and says how it ended.
    pub(crate) fn status(mut self) -> anyhow::Result<ExitStatus> {
        let shown = self.shown();
        eprintln!("$ {shown}");
        self.0.status().with_context(|| format!("cannot run `{shown}`"))
    }

    /// Runs to the end, showing each line as it comes and handing it to `see`.
    ///
    /// Standard error is folded into standard output by the shell, the only way to keep their order.
    pub(crate) fn watch(mut self, mut see: impl FnMut(&str)) -> anyhow::Result<ExitStatus> {
        let shown = self.shown();
        eprintln!("$ {shown}");
        let mut folded = Command::new("sh");
        folded.args(["-c", r#"exec "$0" "$@" 2>&1"#]).arg(self.0.get_program()).args(self.0.get_args());
        for (key, value) in self.0.get_envs() {
            match value {
                Some(value) => folded.env(key, value),
                None => folded.env_remove(key),
            };
        }
        if let Some(dir) = self.0.get_current_dir() {
            folded.current_dir(dir);
        }
        self.0 = folded;
        self.0.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = self.0.spawn().with_context(|| format!("cannot run `{shown}`"))?;
        let output = child.stdout.take().context("the child's output is piped")?;
        for line in BufReader::new(output).split(b'\n') {
            let line = line.context("reading the command's output")?;
            let line = String::from_utf8_lossy(&line);
            println!("{line}");
            see(&line);
        }
        child.wait().with_context(|| format!("waiting for `{shown}`"))
    }

    /// Runs quietly and returns standard output.
    pub(crate) fn output(mut self) -> anyhow::Result<String> {
        let shown = self.shown();
        let output =
            self.0.stderr(Stdio::inherit()).output().with_context(|| format!("cannot run `{shown}`"))?;
        if !output.status.success() {
            bail!("`{shown}` failed: {}", output.status);
        }
        String::from_utf8(output.stdout).with_context(|| format!("`{shown}` did not print UTF-8"))
    }

    fn shown(&self) -> String {
        let program = Path::new(self.0.get_program()).file_name().unwrap_or_default();
        std::iter::once(program)
            .chain(self.0.get_args())
            .map(|word| word.to_string_lossy().into_owned())
            .collect::<Vec<_>>()
            .join(" ")
    }
}

/// Where `program` is on the search path, with the folders of system administration added: a plain user's path
/// lacks them on Debian.
pub(crate) fn find_program(program: &str) -> Option<std::path::PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin"].map(std::path::PathBuf::from))
        .map(|folder| folder.join(program))
        .find(|candidate| candidate.is_file())
}
