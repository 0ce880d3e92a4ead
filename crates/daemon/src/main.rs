//! evenkeeld.

use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use evenkeel_daemon::args::Args;
use evenkeel_daemon::logging::{self, LogRing};
use evenkeel_daemon::{daemon, daemon::Places};

/// Threads for what can only be done by blocking: name resolution, the vault. They end when idle.
const BLOCKING_THREADS: usize = 4;

fn main() -> ExitCode {
    let args = Args::parse();
    let ring = LogRing::default();
    match logging::init(args.log_level, &ring).map_err(Into::into).and_then(|()| start(args.into(), ring)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn start(places: Places, ring: LogRing) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(BLOCKING_THREADS)
        .build()
        .context("the event loop could not be made")?;
    runtime.block_on(async {
        let stop = stop_requested().context("signals can't be received")?;
        daemon::run(places, ring, stop).await.context("could not start")
    })
}

#[cfg(unix)]
fn stop_requested() -> std::io::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

#[cfg(not(unix))]
fn stop_requested() -> std::io::Result<impl Future<Output = ()>> {
    Ok(async {
        // Without Ctrl-C there is still the service manager, which ends the process.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    })
}
