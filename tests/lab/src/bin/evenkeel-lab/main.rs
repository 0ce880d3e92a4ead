//! What the lab runs inside its networks, and the questions that the task runner asks it.

#![forbid(unsafe_code)]
#![expect(clippy::print_stderr, reason = "a program for terminals")]

use std::process::ExitCode;

use evenkeel_lab::sandbox::Entry;

fn main() -> ExitCode {
    let task = std::env::args().nth(1).unwrap_or_default();
    let done = match task.as_str() {
        "check" => Entry::detect().map(drop),
        other => Err(anyhow::anyhow!("the lab has no task {other:?}")),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}
