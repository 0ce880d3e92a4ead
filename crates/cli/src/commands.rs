//! One module a command.
use crate::args::{Args, Command};
use crate::daemon;
use crate::exit::Failure;
use crate::output::Output;

mod connect;
mod generate;
mod log;
mod networks;
mod profile;
mod status;

/// Does what the command line says.
pub(crate) async fn run(args: Args, output: &mut Output) -> Result<(), Failure> {
    let Args { socket, command } = args;
    match command {
        Command::Completions { shell } => generate::completions(shell, output),
        Command::Man { dir } => generate::manual(&dir, output),
        Command::Profile(command) => profile::run(command, socket, output).await,
        Command::Connect(request) => connect::connect(daemon::connect(socket).await?, request, output).await,
        Command::Disconnect => connect::disconnect(daemon::connect(socket).await?, output).await,
        Command::Status(request) => status::run(daemon::connect(socket).await?, request, output).await,
        Command::Networks(command) => networks::run(command, socket, output).await,
        Command::Log(request) => log::run(daemon::connect(socket).await?, request, output).await,
    }
}

/// A value as JSON that is safe to print.
fn json<T: serde::Serialize>(value: &T, pretty: bool) -> Result<String, Failure> {
    let text = if pretty { serde_json::to_string_pretty(value) } else { serde_json::to_string(value) };
    text.map(|text| crate::escape::json(&text)).map_err(|error| Failure::from(std::io::Error::from(error)))
}

/// The time.
fn now() -> evenkeel_ipc::Timestamp {
    std::time::SystemTime::now().into()
}
