//! Running Windows programs under Wine: a prefix of our own, a time limit for everything, nothing left behind.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Stdio},
};

use anyhow::{Context, ensure};

use super::toolchain::target_dir;
use crate::{
    packages::{self, Need, What},
    process::Step,
    test::Tally,
};

const WINE: &str = "/usr/lib/wine/wine64";
const SERVER: &str = "/usr/lib/wine/wineserver64";

const NEEDS: &[Need] =
    &[Need { what: What::File(WINE), packages: &["wine64"], why: "tests built for Windows run under Wine" }];

/// Wine 8 lacks this library, from which Rust's standard library draws its randomness.
const PRNG_SOURCE: &str = include_str!("bcryptprimitives.c");

/// A Windows of its own, shut down when dropped.
pub(super) struct Prefix {
    folder: PathBuf,
}

/// What a test program did.
pub(super) struct Ran {
    pub(super) tally: Tally,
    /// Why it was not as it should be.
    pub(super) wrong: Option<String>,
}

impl Prefix {
    /// Installs Wine if need be and makes a fresh prefix.
    pub(super) fn prepare() -> anyhow::Result<Self> {
        packages::ensure(NEEDS)?;
        let folder = target_dir().join("wine");
        if folder.exists() {
            fs::remove_dir_all(&folder).context("removing an old Wine prefix")?;
        }
        fs::create_dir_all(&folder).context("creating a Wine prefix")?;
        let prefix = Self { folder };
        let log = prefix.folder.join("wineboot.log");
        let status = prefix.run(120, &log, &prefix.folder, &["wineboot".as_ref(), "--init".as_ref()])?;
        ensure!(status.success(), "wineboot: {status}, see {}", log.display());
        prefix.install_prng()?;
        Ok(prefix)
    }

    fn install_prng(&self) -> anyhow::Result<()> {
        let source = self.folder.join("bcryptprimitives.c");
        fs::write(&source, PRNG_SOURCE).context("writing the shim's source")?;
        let library = self.folder.join("drive_c/windows/system32/bcryptprimitives.dll");
        Step::new("x86_64-w64-mingw32-gcc")
            .args(["-shared", "-O1", "-o"])
            .args([&library, &source])
            .args(["-ladvapi32"])
            .run()
    }

    /// Runs a test program to its end or for five minutes.
    pub(super) fn test(&self, program: &Path, folder: &Path, arguments: &[&str]) -> anyhow::Result<Ran> {
        let log = program.with_extension("log");
        let words = std::iter::once(program.as_os_str()).chain(arguments.iter().map(AsRef::as_ref));
        let status = self.run(300, &log, folder, &words.collect::<Vec<_>>())?;
        let bytes = fs::read(&log).with_context(|| format!("reading {}", log.display()))?;
        let output = String::from_utf8_lossy(&bytes);
        let mut tally = Tally::of_libtest();
        output.lines().for_each(|line| tally.read(line));
        let finished = output.lines().any(|line| line.starts_with("test result: "));
        let wrong = if status.success() && finished {
            None
        } else {
            println!("{output}");
            let timed_out = status.code() == Some(124);
            Some(if timed_out { "not done after 300 s".to_owned() } else { format!("{status}") })
        };
        println!("{} passed, {} failed (Wine)", tally.passed, tally.failed);
        Ok(Ran { tally, wrong })
    }

    /// Runs Wine with a time limit. Output goes to a file: should Wine's own crash handler outlive a program, it would
    /// keep a pipe open, and us waiting.
    fn run(
        &self,
        limit_s: u32,
        log: &Path,
        folder: &Path,
        words: &[&std::ffi::OsStr],
    ) -> anyhow::Result<ExitStatus> {
        let shown = words.iter().map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ");
        eprintln!("$ wine64 {shown}");
        let output = File::create(log).with_context(|| format!("creating {}", log.display()))?;
        let errors = output.try_clone().context("the log for both streams")?;
        self.environment(Command::new("timeout"))
            .args(["--kill-after=10", &limit_s.to_string(), WINE])
            .args(words)
            .current_dir(folder)
            .env("CARGO_MANIFEST_DIR", folder)
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .status()
            .with_context(|| format!("cannot run `wine64 {shown}`"))
    }

    fn environment(&self, mut command: Command) -> Command {
        command
            .env("WINEPREFIX", &self.folder)
            .env("WINEDEBUG", "-all")
            // No debugger for crashes, no .NET and no HTML engine to offer for download.
            .env("WINEDLLOVERRIDES", "winedbg.exe=d;mscoree=d;mshtml=d")
            .env("RUST_BACKTRACE", "0");
        command
    }
}

impl Drop for Prefix {
    fn drop(&mut self) {
        // Ends the programs of this prefix alone, and waits until they are gone.
        for action in ["--kill", "--wait"] {
            let ended = self
                .environment(Command::new("timeout"))
                .args(["--kill-after=5", "20", SERVER, action])
                .status();
            if !ended.is_ok_and(|status| status.success()) {
                eprintln!("wineserver {action} did not succeed");
            }
        }
    }
}
