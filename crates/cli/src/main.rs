//! `evenkeel`, the command line of the Evenkeel VPN client.
//!
//! Everything that happens, happens in the daemon; this program asks it and says the answer in words. The parts:
//! [`args`] is the command line, [`commands`] one module a command, [`explain`] turns typed causes into sentences,
//! [`view`] draws, [`exit`] holds the exit codes, and [`output`] is the only way to the terminal. What came from
//! the network or another process goes through [`escape`] first.
#![forbid(unsafe_code)]

mod args;
mod commands;
mod daemon;
mod escape;
mod exit;
mod explain;
mod output;
mod secret;
mod view;

use clap::Parser;

use crate::args::Args;
use crate::exit::Failure;
use crate::output::Output;

/// Consoles of Windows take Unicode and have no locale in their environment; elsewhere none is the "C" locale.
const UNICODE_WITHOUT_LOCALE: bool = cfg!(windows);

fn main() -> std::process::ExitCode {
    let args = Args::parse();
    let mut output = Output::for_terminal(UNICODE_WITHOUT_LOCALE);
    let outcome = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(commands::run(args, &mut output)),
        Err(error) => Err(Failure::from(error)),
    };
    // Whoever reads our output may have gone; then there is nobody left to tell.
    let outcome = outcome.and_then(|()| output.flush().map_err(Failure::from));
    match outcome {
        Ok(()) => exit::Exit::Ok.into(),
        Err(failure) => {
            output.failure(&failure);
            failure.exit.into()
        }
    }
}
