//! `cargo xtask cross`: the code as Windows and macOS see it, as far as a Linux machine can tell.
//!
//! For Windows: clippy over the whole workspace, then the tests that need nothing of Linux, run under Wine. For macOS:
//! `cargo check`, as there is nothing to run it on. Both use the distribution's second, newer Rust, the one that
//! brings the sources of the standard library; what it builds of them is kept outside the clone.
//!
//! Whatever can't be done here is reported as not run, by name and with the reason. "Wine" results are labelled so:
//! they are not results of Windows.

mod macos;
mod report;
mod toolchain;
mod windows;
mod wine;

use anyhow::bail;

use report::Report;

/// Check the code for Windows and macOS.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only this system
    #[arg(long, value_enum)]
    only: Option<System>,
    /// Fail when something can't run here, instead of only reporting it
    #[arg(long)]
    strict: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum System {
    Windows,
    Macos,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let mut report = Report::default();
    let wanted = |system| args.only.is_none_or(|only| only == system);
    if wanted(System::Windows) {
        windows::run(&mut report);
    }
    if wanted(System::Macos) {
        macos::run(&mut report);
    }
    report.print();
    if !report.failed().is_empty() {
        bail!("failed: {}", report.failed().join(", "));
    }
    if args.strict && !report.not_run().is_empty() {
        bail!("not run: {}", report.not_run().join(", "));
    }
    Ok(())
}
