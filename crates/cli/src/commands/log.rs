//! `evenkeel log`.
use evenkeel_ipc::{Client, LogLevel};
use evenkeel_platform::ipc_transport::Stream;

use crate::args::Log;
use crate::daemon;
use crate::escape::plain;
use crate::exit::Failure;
use crate::output::Output;

pub(super) async fn run(
    mut client: Client<Stream>,
    request: Log,
    output: &mut Output,
) -> Result<(), Failure> {
    for line in daemon::answer(client.log(request.lines)).await? {
        if request.json {
            output.line(&super::json(&line, false)?)?;
            continue;
        }
        let level = match line.level {
            LogLevel::Error => "ERROR",
            LogLevel::Warn => "WARN ",
            LogLevel::Info => "INFO ",
            LogLevel::Debug => "DEBUG",
            LogLevel::Trace => "TRACE",
        };
        output.line(&format!("{}  {level}  {}: {}", line.at, plain(&line.target), plain(&line.message)))?;
    }
    Ok(())
}
