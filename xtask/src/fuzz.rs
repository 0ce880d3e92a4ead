//! `cargo xtask fuzz TARGET`: coverage-guided fuzzing of whatever parses bytes from outside.
//!
//! cargo-fuzz needs a nightly compiler; the corpora that it found are replayed on the stable one by the unit tests.

use anyhow::bail;

use crate::{
    process::{Step, find_program},
    workspace,
};

/// Run a fuzz target for a while.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The target, by its name in tests/fuzz/fuzz_targets; without one, the targets are listed
    target: Option<String>,
    /// For how many seconds
    #[arg(long, default_value_t = 60)]
    seconds: u32,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let Some(target) = &args.target else {
        for file in workspace::files("tests/fuzz/fuzz_targets/*.rs")? {
            println!("{}", file.file_stem().unwrap_or_default().display());
        }
        return Ok(());
    };
    if find_program("cargo-fuzz").is_none() {
        bail!("cargo-fuzz is not here: `cargo install --locked cargo-fuzz`, and a nightly toolchain");
    }
    Step::new("cargo")
        .args(["+nightly", "fuzz", "run", "--fuzz-dir", "tests/fuzz", target, "--"])
        .args([format!("-max_total_time={}", args.seconds)])
        .run()
}
