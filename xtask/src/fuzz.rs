//! `cargo xtask fuzz TARGET`: coverage-guided fuzzing of whatever parses bytes from outside.
//!
//! Without a sanitizer, which safe Rust hardly needs, cargo-fuzz works on the stable toolchain. The corpora that it
//! found are replayed by the ordinary tests.

use std::fs;

use anyhow::Context;

use crate::{process::Step, tools, workspace};

const FOLDER: &str = "tests/fuzz/libfuzzer";

/// Run a fuzz target for a while.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The target, by its name in tests/fuzz/libfuzzer/fuzz_targets; without one, the targets are listed
    target: Option<String>,
    /// For how many seconds
    #[arg(long, default_value_t = 60)]
    seconds: u32,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let Some(target) = &args.target else {
        for file in workspace::files("tests/fuzz/libfuzzer/fuzz_targets/*.rs")? {
            println!("{}", file.file_stem().unwrap_or_default().display());
        }
        return Ok(());
    };
    // By its path: what was installed into the cache is no subcommand that cargo would find.
    let cargo_fuzz = tools::FUZZ.ensure()?;
    // What is found goes to a folder of its own; the committed corpus is only read.
    let found = workspace::target_dir().join("fuzz-corpus").join(target);
    fs::create_dir_all(&found).with_context(|| format!("creating {}", found.display()))?;
    Step::new(cargo_fuzz)
        .args(["fuzz", "run", "--fuzz-dir", FOLDER, "--sanitizer", "none", "--target-dir"])
        .args([workspace::target_dir().join("fuzz")])
        .args([target])
        .args([found])
        .args([format!("tests/fuzz/corpus/{target}"), "--".to_owned()])
        .args([format!("-max_total_time={}", args.seconds), "-timeout=20".to_owned()])
        .run()
}
