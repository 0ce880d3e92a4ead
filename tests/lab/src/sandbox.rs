//! The sandbox around each test: namespaces that nothing outlives.

use std::{
    any::type_name,
    io::{Read, Write},
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use anyhow::{Context, bail};
use nix::mount::{MsFlags, mount};

/// Set inside, so that the second run of a test knows what it is.
const INSIDE: &str = "EVENKEEL_LAB_INSIDE";

/// Where everything that a test writes goes: a tmpfs of the sandbox's own.
pub const STATE: &str = "/mnt";

/// Where the machine's own `/etc` can be read, whatever a host has put in its place.
pub(crate) const ETC: &str = "/mnt/.etc";

/// No test takes longer than this; the runner's own limit lies above it.
const LIMIT: Duration = Duration::from_secs(150);

/// Runs the calling test inside a sandbox of its own.
///
/// The test's name is taken from the type of `body`, which must therefore be a closure written in the test itself. The
/// test binary is started again inside new namespaces for just that test, and there `body` runs.
///
/// # Panics
/// When the body fails, inside as well as outside.
pub fn run<F: FnOnce() -> anyhow::Result<()>>(body: F) {
    run_within(LIMIT, body);
}

/// Like [`run`], for what is tried by hand and may take longer.
///
/// # Panics
/// When the body fails, inside as well as outside.
#[expect(clippy::panic, reason = "this is how a test fails")]
pub fn run_within<F: FnOnce() -> anyhow::Result<()>>(limit: Duration, body: F) {
    let test = test_name::<F>();
    if std::env::var_os(INSIDE).is_some() {
        if let Err(error) = furnish().and_then(|()| body()) {
            crate::logs::keep(&test);
            panic!("{error:?}");
        }
        return;
    }
    if let Err(error) = run_again_inside(&test, limit) {
        panic!("{error:#}");
    }
}

/// The name by which the test harness knows the test that wrote closure `F`: its path without crate and closure.
fn test_name<F>() -> String {
    let path = type_name::<F>().trim_end_matches("::{{closure}}");
    path.split_once("::").map_or(path, |(_crate, test)| test).to_owned()
}

/// Runs `body` inside a sandbox of its own when called by a program instead of a test: the program is started again with
/// the same arguments, on the same terminal, in place of this process. `entries` are tried in turn.
pub fn run_program(entries: &[Entry], body: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<()> {
    if std::env::var_os(INSIDE).is_some() {
        furnish()?;
        return body();
    }
    let program = std::env::current_exe().context("finding this program")?;
    let mut command = Entry::first_of(entries)?.command(&program);
    command.args(std::env::args_os().skip(1)).env(INSIDE, "1");
    // In our place, so that Ctrl-C reaches just the two that know what to do with it: unshare and the program inside.
    Err(command.exec()).context("starting the sandbox")
}

fn run_again_inside(test: &str, limit: Duration) -> anyhow::Result<()> {
    let program = std::env::current_exe().context("finding the test binary")?;
    let mut command = Entry::detect()?.command(&program);
    command.args(["--exact", test, "--nocapture", "--include-ignored"]).env(INSIDE, "1");
    // The chain of contexts says what failed; a backtrace only says where this file is.
    command.env("RUST_BACKTRACE", "0").env("RUST_LIB_BACKTRACE", "0");
    let (status, output) = run_bounded(command, limit)?;
    std::io::stdout().write_all(&output).context("showing the test's output")?;
    if !status.success() {
        bail!("the test failed inside its sandbox ({status}); see above");
    }
    // A name that matches nothing would pass without having run.
    if !String::from_utf8_lossy(&output).contains("test result: ok. 1 passed") {
        bail!("no test named {test} ran inside the sandbox");
    }
    Ok(())
}

/// How this machine lets us make namespaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entry {
    /// User namespaces: no privileges at all.
    UserNamespace,
    /// We are root already, on a system without user namespaces.
    Root,
    /// User namespaces are restricted (AppArmor does that on some systems), but sudo asks for no password.
    Sudo,
}

impl Entry {
    /// Every way, the least powerful first.
    pub const ALL: [Self; 3] = [Self::UserNamespace, Self::Root, Self::Sudo];

    /// Root first where we are root anyway: a benchmark wants what only the machine's own root may have, such as socket
    /// buffers beyond `net.core.rmem_max`, as the daemon has when it is installed.
    pub const PRIVILEGED_FIRST: [Self; 3] = [Self::Root, Self::UserNamespace, Self::Sudo];

    /// The first way that works here, TUN devices included.
    pub fn detect() -> anyhow::Result<Self> {
        Self::first_of(&Self::ALL)
    }

    /// The first of these ways that works here, TUN devices included.
    pub fn first_of(entries: &[Self]) -> anyhow::Result<Self> {
        let mut reasons = Vec::new();
        for entry in entries.iter().copied() {
            let mut probe = entry.command(Path::new("sh"));
            probe.args(["-c", "exec 3<>/dev/net/tun && mount -t tmpfs tmpfs /mnt"]);
            match probe.stdin(Stdio::null()).output() {
                Ok(output) if output.status.success() => return Ok(entry),
                Ok(output) => {
                    reasons.push(format!("{entry:?}: {}", String::from_utf8_lossy(&output.stderr).trim()));
                }
                Err(error) => reasons.push(format!("{entry:?}: {error}")),
            }
        }
        bail!("this machine allows no private network namespaces with TUN devices ({})", reasons.join("; "))
    }

    /// A command that runs `program` in new namespaces, as root there, and takes it down with itself.
    pub fn command(self, program: &Path) -> Command {
        let namespaces = ["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"];
        let mut command = match self {
            Self::UserNamespace => {
                let mut unshare = Command::new("unshare");
                unshare.args(["--user", "--map-root-user"]);
                unshare
            }
            Self::Root => Command::new("unshare"),
            Self::Sudo => {
                let mut sudo = Command::new("sudo");
                sudo.args(["--non-interactive", "--preserve-env", "unshare"]);
                sudo
            }
        };
        command.args(namespaces).arg("--").arg(program);
        // A plain user's path lacks the folders where ip, nft and swanctl live.
        let path = std::env::var("PATH").unwrap_or_default();
        command.env("PATH", format!("{path}:/usr/sbin:/sbin"));
        command
    }
}

/// Gives a sandbox that was just entered its own writable folder and its loopback interface.
pub fn furnish() -> anyhow::Result<()> {
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)
        .context("making mounts private")?;
    mount(Some("lab"), STATE, Some("tmpfs"), MsFlags::empty(), Some("mode=0755"))
        .context("mounting the lab's folder")?;
    std::fs::create_dir(ETC).context("a folder for the machine's /etc")?;
    mount(Some("/etc"), ETC, None::<&str>, MsFlags::MS_BIND | MsFlags::MS_REC, None::<&str>)
        .context("keeping the machine's /etc")
}

/// Runs to the end or to the limit, whichever comes first, collecting standard output; errors go where ours go.
fn run_bounded(mut command: Command, limit: Duration) -> anyhow::Result<(ExitStatus, Vec<u8>)> {
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = command.spawn().context("starting the sandbox")?;
    let mut pipe = child.stdout.take().context("standard output is piped")?;
    let (done, finished) = mpsc::channel();
    thread::spawn(move || {
        let mut output = Vec::new();
        let read = pipe.read_to_end(&mut output).map(|_| output);
        // Nobody listens any more after the limit, which is no fault.
        let _ = done.send(read);
    });
    match finished.recv_timeout(limit) {
        Ok(output) => {
            let status = child.wait().context("waiting for the sandbox")?;
            Ok((status, output.context("reading the test's output")?))
        }
        Err(_) => {
            end(&mut child);
            bail!("the test did not end within {} s", limit.as_secs())
        }
    }
}

/// Ends the sandbox, and with it (`--kill-child`) everything inside.
fn end(child: &mut Child) {
    // Both fail only for a child that is gone, which is what is wanted.
    let _ = child.kill();
    let _ = child.wait();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_test_name_is_the_path_of_the_closures_function() {
        fn name_of<F: FnOnce()>(_: F) -> String {
            test_name::<F>()
        }
        assert_eq!(name_of(|| ()), "sandbox::tests::the_test_name_is_the_path_of_the_closures_function");
    }
}
