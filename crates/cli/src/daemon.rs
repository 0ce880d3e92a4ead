//! The way to the daemon.
use std::path::PathBuf;
use std::time::Duration;

use evenkeel_ipc::{Client, ClientError, CodecError};
use evenkeel_platform::dirs;
use evenkeel_platform::ipc_transport::{self, ConnectError, Stream};
use tokio::time::timeout;

use crate::escape::plain;
use crate::exit::{Exit, Failure};
use crate::explain::{self, Explanation};

/// How long the daemon may take for anything but connecting. It answers at once; this is for one that hangs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// Connects and introduces us.
pub(crate) async fn connect(socket: Option<PathBuf>) -> Result<Client<Stream>, Failure> {
    let path = socket.unwrap_or_else(dirs::ipc_endpoint);
    let stream = timeout(PATIENCE, ipc_transport::connect(&path)).await.map_err(|_| hangs())?;
    let stream = stream.map_err(unreachable)?;
    let name = concat!("evenkeel ", env!("CARGO_PKG_VERSION"));
    answer(Client::connect(stream, name)).await
}

/// Waits for the daemon, but not for ever.
pub(crate) async fn answer<T>(request: impl Future<Output = Result<T, ClientError>>) -> Result<T, Failure> {
    timeout(PATIENCE, request).await.map_err(|_| hangs())?.map_err(refused)
}

fn hangs() -> Failure {
    let why = format!("It did not answer within {} seconds.", PATIENCE.as_secs());
    Failure::new(
        Exit::DaemonNotRunning,
        Explanation::new(
            "The Evenkeel daemon does not answer.",
            why,
            "Restart it; its own log says what it was busy with.",
        ),
    )
}

fn unreachable(error: ConnectError) -> Failure {
    let (exit, what, why, now) = match error {
        ConnectError::NotRunning(path) => (
            Exit::DaemonNotRunning,
            "The Evenkeel daemon is not running.",
            format!("Nothing listens on {}.", plain(&path.display().to_string())),
            "Start it (with systemd: sudo systemctl start evenkeeld), or name its socket with --socket.",
        ),
        ConnectError::Denied(path) => (
            Exit::NotPermitted,
            "You may not talk to the Evenkeel daemon.",
            format!("The system refuses access to {}.", plain(&path.display().to_string())),
            "Ask whoever runs this machine for access.",
        ),
        ConnectError::Untrusted { path, user } => (
            Exit::DaemonNotRunning,
            "What listens there is not the Evenkeel daemon.",
            format!(
                "{} belongs to {}, who is neither the system nor you, so no password goes there.",
                plain(&path.display().to_string()),
                plain(&user.to_string())
            ),
            "Check --socket and EVENKEEL_SOCKET; if they are right, tell whoever runs this machine.",
        ),
        ConnectError::Io { path, source } => (
            Exit::DaemonNotRunning,
            "The Evenkeel daemon can't be reached.",
            format!("{}: {source}.", plain(&path.display().to_string())),
            "Check --socket and EVENKEEL_SOCKET.",
        ),
    };
    Failure::new(exit, Explanation::new(what, why, now))
}

fn refused(error: ClientError) -> Failure {
    let broken = |why: String| {
        let now = "Make sure that daemon and program are of the same release, then restart the daemon.";
        Failure::new(
            Exit::DaemonNotRunning,
            Explanation::new("The Evenkeel daemon and this program don't understand each other.", why, now),
        )
    };
    match error {
        ClientError::Refused(error) => explain::request_error(&error),
        ClientError::Version { ours, theirs, daemon } => broken(format!(
            "This program speaks version {ours} of their protocol, the daemon ({}) version {theirs}.",
            plain(&daemon)
        )),
        ClientError::Unexpected => broken("The daemon's answer does not fit the question.".to_owned()),
        ClientError::Codec(CodecError::Io(_) | CodecError::Closed) => Failure::new(
            Exit::DaemonNotRunning,
            Explanation::new(
                "The Evenkeel daemon ended the conversation.",
                "It was stopped, or it failed.",
                "Check that it runs and try again; its log says more.",
            ),
        ),
        ClientError::Codec(error @ (CodecError::TooLarge | CodecError::Malformed(_))) => {
            broken(format!("Something came that is no message of it: {}.", plain(&error.to_string())))
        }
    }
}
