//! The lab as a program: what the task runner asks of it.

#![forbid(unsafe_code)]

use std::process::ExitCode;

#[cfg_attr(target_os = "linux", path = "linux.rs")]
#[cfg_attr(not(target_os = "linux"), path = "elsewhere.rs")]
mod program;

fn main() -> ExitCode {
    program::main()
}
