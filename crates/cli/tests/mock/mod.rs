//! A daemon of straw: it speaks the real protocol over the real transport and does what a test says.
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use evenkeel_ipc::{
    LogLevel, LogLine, Notification, Ownership, ProfileDetails, ProfileSummary, RememberedNetwork, Request,
    RequestError, Response, State, Status, Target, Timestamp, accept,
};
use evenkeel_platform::ipc_transport::{Access, Listener, Stream, endpoint_in};
use evenkeel_profile::{Profile, Secrets};
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// Nothing here takes longer on any machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// What the daemon has and what it will do.
#[derive(Default)]
pub(crate) struct World {
    pub(crate) profiles: Vec<(Profile, Secrets)>,
    /// The secret without which it refuses to connect.
    pub(crate) needs: Option<evenkeel_profile::SecretKind>,
    /// What came with the last connect.
    pub(crate) given: Option<String>,
    /// What follows a connect, one notification each.
    pub(crate) course: Vec<Status>,
    pub(crate) status: Option<Status>,
    pub(crate) log: Vec<LogLine>,
    pub(crate) networks: Vec<RememberedNetwork>,
}

/// A daemon that listens until it is dropped.
pub(crate) struct Daemon {
    pub(crate) world: Arc<Mutex<World>>,
    socket: PathBuf,
    _folder: TempDir,
    task: JoinHandle<()>,
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Daemon {
    /// One that knows the protocol.
    pub(crate) fn start(world: World) -> Self {
        let world = Arc::new(Mutex::new(world));
        let shared = Arc::clone(&world);
        Self::listen(world, move |stream| tokio::spawn(serve(stream, Arc::clone(&shared))))
    }

    /// One that answers every connection with these bytes and then waits to be left.
    pub(crate) fn hostile(bytes: Vec<u8>) -> Self {
        Self::listen(Arc::default(), move |mut stream| {
            let bytes = bytes.clone();
            tokio::spawn(async move {
                // The client may hang up before it has everything.
                let _ = stream.write_all(&bytes).await;
                let _ = stream.flush().await;
                let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
            })
        })
    }

    fn listen(world: Arc<Mutex<World>>, serve: impl Fn(Stream) -> JoinHandle<()> + Send + 'static) -> Self {
        let folder = TempDir::new().expect("folder");
        let socket = endpoint_in(folder.path(), "evenkeel.sock");
        let mut listener = Listener::bind(&socket, Access::SameUser).expect("listens");
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                serve(stream);
            }
        });
        Self { world, socket, _folder: folder, task }
    }

    /// The program, pointed at this daemon.
    pub(crate) fn evenkeel(&self, arguments: &[&str]) -> Command {
        evenkeel(&self.socket, arguments)
    }

    /// Runs it to its end with this on standard input.
    pub(crate) async fn run_with(&self, arguments: &[&str], input: &str) -> Run {
        finish(self.evenkeel(arguments), input).await
    }

    /// Runs it to its end.
    pub(crate) async fn run(&self, arguments: &[&str]) -> Run {
        self.run_with(arguments, "").await
    }
}

/// The program with a socket and nothing of this machine's own settings.
pub(crate) fn evenkeel(socket: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_evenkeel"));
    command
        .arg("--socket")
        .arg(socket)
        .args(arguments)
        .env_remove("EVENKEEL_SOCKET")
        .env("LC_ALL", "C.UTF-8");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

/// What came of a run.
pub(crate) struct Run {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// Feeds and awaits the program.
pub(crate) async fn finish(mut command: Command, input: &str) -> Run {
    let mut child = command.spawn().expect("starts");
    let mut stdin = child.stdin.take().expect("piped");
    // It may not want any of it.
    let _ = stdin.write_all(input.as_bytes()).await;
    drop(stdin);
    let Output { status, stdout, stderr } =
        timeout(PATIENCE, child.wait_with_output()).await.expect("ends in time").expect("is awaited");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    Run { code: status.code(), out: text(stdout), err: text(stderr) }
}

/// A status in this state of a profile.
pub(crate) fn status(state: State, profile: &str) -> Status {
    let mut status = Status::off(Timestamp::from_unix(1_800_000_000));
    status.state = state;
    status.target = Target::Connected;
    status.profile = profile.parse().ok();
    status.gateway = "vpn.lab.example".parse().ok();
    status
}

/// A log line.
pub(crate) fn line(message: &str) -> LogLine {
    LogLine {
        at: Timestamp::from_unix(1_800_000_000),
        level: LogLevel::Info,
        target: "evenkeel_daemon".to_owned(),
        message: message.to_owned(),
    }
}

async fn serve(stream: Stream, world: Arc<Mutex<World>>) {
    let Ok(Some(mut client)) = accept(stream, "evenkeeld 0.0.0").await else { return };
    while let Ok(Some(frame)) = client.reader.next().await {
        let connects = matches!(frame.request, Request::Connect { .. });
        let answer = world.lock().expect("lock").answer(frame.request);
        let refused = answer.is_err();
        if client.writer.answer(frame.id, answer).await.is_err() {
            return;
        }
        if refused || !connects {
            continue;
        }
        let course = std::mem::take(&mut world.lock().expect("lock").course);
        // The client asks for the status before it follows; it must see the first of the course.
        world.lock().expect("lock").status = course.first().cloned();
        if let Ok(Some(frame)) = client.reader.next().await {
            let answer = world.lock().expect("lock").answer(frame.request);
            let _ = client.writer.answer(frame.id, answer).await;
        }
        for status in course {
            world.lock().expect("lock").status = Some(status.clone());
            if client.writer.notify(Notification::Status(status)).await.is_err() {
                return;
            }
        }
    }
}

impl World {
    fn answer(&mut self, request: Request) -> Result<Response, RequestError> {
        match request {
            Request::ImportProfile { profile, secrets, managed, replace } => {
                if managed {
                    return Err(RequestError::NotPermitted);
                }
                let same = self.profiles.iter().position(|(known, _)| known.name == profile.name);
                match same {
                    Some(_) if !replace => return Err(RequestError::ProfileExists { name: profile.name }),
                    Some(old) => drop(self.profiles.remove(old)),
                    None => {}
                }
                self.profiles.push((profile, secrets));
                Ok(Response::Done)
            }
            Request::ListProfiles => {
                Ok(Response::Profiles(self.profiles.iter().map(|(p, _)| summary(p)).collect()))
            }
            Request::ShowProfile { name } => {
                let found = self.profiles.iter().find(|(p, _)| p.name == name);
                let (profile, secrets) = found.ok_or(RequestError::ProfileNotFound { name })?;
                let secret_stored = secrets.of(profile.method().secret()).is_some();
                Ok(Response::Profile(ProfileDetails {
                    summary: summary(profile),
                    profile: profile.clone(),
                    secret_stored,
                }))
            }
            Request::RemoveProfile { name } => {
                let found = self.profiles.iter().position(|(p, _)| p.name == name);
                self.profiles.remove(found.ok_or(RequestError::ProfileNotFound { name })?);
                Ok(Response::Done)
            }
            Request::Connect { name: _, secret } => match (self.needs, secret) {
                (Some(secret), None) => Err(RequestError::SecretNeeded { secret }),
                (_, secret) => {
                    self.given = secret.map(|s| s.expose().to_owned());
                    Ok(Response::Done)
                }
            },
            Request::Disconnect => {
                self.status = None;
                Ok(Response::Done)
            }
            Request::Status | Request::WatchStatus => Ok(Response::Status(
                self.status.clone().unwrap_or_else(|| Status::off(Timestamp::from_unix(0))),
            )),
            Request::Networks => Ok(Response::Networks(self.networks.clone())),
            Request::ShowNetwork { id } => {
                let found = self.networks.iter().find(|network| network.id == id);
                found.cloned().map(Response::Network).ok_or(RequestError::NetworkNotFound { id })
            }
            Request::ForgetNetwork { id } => {
                let found = self.networks.iter().position(|network| network.id == id);
                self.networks.remove(found.ok_or(RequestError::NetworkNotFound { id })?);
                Ok(Response::Done)
            }
            Request::ForgetNetworks => {
                self.networks.clear();
                Ok(Response::Done)
            }
            Request::Log { lines } => {
                let skip = self.log.len().saturating_sub(lines.try_into().unwrap_or(usize::MAX));
                Ok(Response::Log(self.log.iter().skip(skip).cloned().collect()))
            }
        }
    }
}

fn summary(profile: &Profile) -> ProfileSummary {
    ProfileSummary {
        name: profile.name.clone(),
        gateway: profile.gateway.clone(),
        method: profile.method(),
        ownership: Ownership::Own,
        active: false,
    }
}
