//! A system without network namespaces.

#![expect(clippy::print_stderr, reason = "a program for terminals")]

use std::process::ExitCode;

pub(crate) fn main() -> ExitCode {
    eprintln!("the lab is built of Linux's network namespaces: it runs on Linux alone");
    ExitCode::FAILURE
}
