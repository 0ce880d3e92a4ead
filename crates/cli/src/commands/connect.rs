//! `evenkeel connect` and `evenkeel disconnect`.
use std::time::{Duration, Instant};

use evenkeel_ipc::{
    Category, Cause, Client, ClientError, Notification, Portal, Request, RequestError, State, Status,
};
use evenkeel_platform::ipc_transport::Stream;
use evenkeel_profile::{ProfileName, Secret, SecretKind};
use tokio::time::timeout_at;

use crate::args::Connect;
use crate::daemon;
use crate::escape::plain;
use crate::exit::{Exit, Failure};
use crate::explain::{self, Explanation};
use crate::output::Output;
use crate::{secret, view};

/// How often a person is asked for the password. Accounts lock after a few wrong ones.
const ATTEMPTS: u32 = 3;

pub(super) async fn connect(
    mut client: Client<Stream>,
    request: Connect,
    output: &mut Output,
) -> Result<(), Failure> {
    let given = if request.password_stdin { Some(secret::from_stdin()?) } else { None };
    let may_ask = given.is_none() && secret::can_ask();
    let mut attempt = Attempt { name: request.name, wait: Wait::new(request.wait), secret: given };
    let before = daemon::answer(client.status(true)).await?;
    if before.state == State::Connected && before.profile.as_ref() == Some(&attempt.name) {
        return output.line(&format!("Already connected to {}.", attempt.name)).map_err(Failure::from);
    }
    let mut asked = 0;
    loop {
        let kind = match attempt.run(&mut client, output).await? {
            Outcome::Begun => {
                let text = format!("Connecting to {} has begun.", attempt.name);
                return output.line(&text).map_err(Failure::from);
            }
            Outcome::Connected(status) => return connected(&attempt.name, &status, output),
            Outcome::SecretNeeded(kind) => kind,
            Outcome::Failed(status) => {
                let cause = status.cause.clone().unwrap_or(Cause::Cancelled);
                let failure = explain::failure(&cause, &status);
                if cause != Cause::WrongPassword || !may_ask || asked + 1 >= ATTEMPTS {
                    return Err(failure);
                }
                output.failure(&failure);
                SecretKind::Password
            }
        };
        if kind == SecretKind::PrivateKey || !may_ask || asked >= ATTEMPTS {
            return Err(Failure::new(Exit::Authentication, explain::secret_missing(kind)));
        }
        asked += 1;
        output.end_progress();
        attempt.secret = Some(secret::ask(kind, attempt.name.as_str())?);
    }
}

/// What one attempt came to.
enum Outcome {
    /// It goes on without us.
    Begun,
    Connected(Status),
    Failed(Status),
    SecretNeeded(SecretKind),
}

/// How long to wait.
#[derive(Clone, Copy)]
struct Wait {
    connecting: Duration,
    /// For somebody to sign in, from when the network wants that.
    sign_in: Option<Duration>,
}

impl Wait {
    /// A bound that was asked for is for everything.
    fn new(asked: Option<u64>) -> Self {
        match asked {
            Some(seconds) => Self { connecting: Duration::from_secs(seconds), sign_in: None },
            None => Self { connecting: Duration::from_secs(60), sign_in: Some(Duration::from_secs(600)) },
        }
    }
}

/// Until when to wait, while a portal comes and goes.
struct Clock {
    wait: Wait,
    deadline: Instant,
    portal: bool,
    /// Until when somebody is to have signed in, from the first portal on: one that comes and goes gains no time.
    sign_in: Option<Instant>,
}

impl Clock {
    fn start(wait: Wait) -> Self {
        Self { wait, deadline: Instant::now() + wait.connecting, portal: false, sign_in: None }
    }

    fn deadline(&mut self, portal: bool, now: Instant) -> Instant {
        if portal != self.portal
            && let Some(wait) = self.wait.sign_in
        {
            self.portal = portal;
            let sign_in = *self.sign_in.get_or_insert(now + wait);
            self.deadline = if portal { sign_in } else { now.min(sign_in) + self.wait.connecting };
        }
        self.deadline
    }
}

struct Attempt {
    name: ProfileName,
    wait: Wait,
    secret: Option<Secret>,
}

impl Attempt {
    async fn run(&self, client: &mut Client<Stream>, output: &mut Output) -> Result<Outcome, Failure> {
        let request = Request::Connect { name: self.name.clone(), secret: self.secret.clone() };
        let begun = tokio::time::timeout(daemon::PATIENCE, client.perform(request)).await;
        match begun {
            Ok(Err(ClientError::Refused(RequestError::SecretNeeded { secret }))) => {
                return Ok(Outcome::SecretNeeded(secret));
            }
            Ok(result) => daemon::answer(async { result }).await?,
            Err(_) => daemon::answer(std::future::pending()).await?,
        }
        if self.wait.connecting.is_zero() {
            return Ok(Outcome::Begun);
        }
        // What was said before the daemon began is about the state before.
        let status = daemon::answer(client.status(false)).await?;
        client.forget_notifications();
        self.follow(client, status, output).await
    }

    /// Follows the status until it is decided.
    async fn follow(
        &self,
        client: &mut Client<Stream>,
        mut status: Status,
        output: &mut Output,
    ) -> Result<Outcome, Failure> {
        let mut clock = Clock::start(self.wait);
        let (mut portal, mut told) = (None, None);
        loop {
            portal.clone_from(&status.portal);
            let deadline = clock.deadline(portal.is_some(), Instant::now());
            if let Some(portal) = portal.as_ref().filter(|one| !is_told(told.as_ref(), one)) {
                output.note(&explain::sign_in(portal));
                told = Some(portal.clone());
            }
            match self.judge(&status) {
                Verdict::Pending(_) if portal.is_some() => output.progress("Waiting for you to sign in..."),
                Verdict::Pending(doing) => {
                    let gateway = status.gateway.as_ref().map_or_else(String::new, |g| plain(g.as_str()));
                    output.progress(&doing.replace("{}", &gateway));
                }
                Verdict::Connected => {
                    output.end_progress();
                    return Ok(Outcome::Connected(status));
                }
                Verdict::Failed => {
                    output.end_progress();
                    return Ok(Outcome::Failed(status));
                }
            }
            let next = tokio::select! {
                next = timeout_at(deadline.into(), client.next_notification()) => next,
                _ = tokio::signal::ctrl_c() => return Err(self.give_up(client).await),
            };
            status = match next {
                Err(_) => return Err(self.too_long(portal.as_ref())),
                Ok(Ok(Some(Notification::Status(status)))) => status,
                Ok(Ok(None)) => {
                    daemon::answer(async { Err(evenkeel_ipc::CodecError::Closed.into()) }).await?
                }
                Ok(Err(error)) => daemon::answer(async { Err(error) }).await?,
            };
        }
    }

    fn judge(&self, status: &Status) -> Verdict {
        if status.profile.as_ref().is_some_and(|name| *name != self.name) {
            // Somebody else has put another connection in our place.
            return Verdict::Failed;
        }
        match status.state {
            State::Resolving => Verdict::Pending("Looking up {}..."),
            State::Connecting | State::Reconnecting => Verdict::Pending("Reaching {}..."),
            State::Authenticating => Verdict::Pending("Signing in at {}..."),
            State::Configuring => Verdict::Pending("Setting up the tunnel..."),
            State::Connected => Verdict::Connected,
            State::Off | State::Disconnecting | State::Failed => Verdict::Failed,
        }
    }

    /// Ctrl-C: nobody wants this connection any more.
    async fn give_up(&self, client: &mut Client<Stream>) -> Failure {
        let told = daemon::answer(client.perform(Request::Disconnect)).await;
        let why = if told.is_ok() {
            "You pressed Ctrl-C."
        } else {
            "You pressed Ctrl-C; the daemon may still try."
        };
        Failure::new(Exit::Cancelled, Explanation::new("Cancelled.", why, ""))
    }

    fn too_long(&self, portal: Option<&Portal>) -> Failure {
        let now =
            "The daemon goes on trying: `evenkeel status --watch` shows it, `evenkeel disconnect` stops it.";
        if let Some(portal) = portal {
            let what = "Nobody has signed in to this network.";
            return Failure::new(Exit::SignInNeeded, Explanation::new(what, explain::sign_in(portal), now));
        }
        let seconds = self.wait.connecting.as_secs();
        let why = format!("{} was not connected within {}.", self.name, view::duration(seconds));
        Failure::new(Exit::Timeout, Explanation::new("It takes longer than you wanted to wait.", why, now))
    }
}

/// Whether who was told of `told` knows of this portal: some put a new number into the query each time.
fn is_told(told: Option<&Portal>, portal: &Portal) -> bool {
    told.is_some_and(|told| match (&told.url, &portal.url) {
        (Some(told), Some(url)) => told.is_same_page(url),
        (told, url) => told == url,
    })
}

enum Verdict {
    /// What is being done; `{}` stands for the gateway.
    Pending(&'static str),
    Connected,
    Failed,
}

fn connected(name: &ProfileName, status: &Status, output: &mut Output) -> Result<(), Failure> {
    let addresses: Vec<_> = status.addresses.iter().map(|a| a.ip.to_string()).collect();
    let with = match addresses.as_slice() {
        [] => String::new(),
        [only] => format!(" with address {only}"),
        several => format!(" with addresses {}", several.join(" and ")),
    };
    if let Some(fallback) = explain::on_wireguard(status) {
        output.note(&format!("warning: this is {fallback}"));
    }
    if let Some(warning) = explain::legacy_in_use(status) {
        output.note(&format!("warning: {warning}"));
    }
    output.line(&format!("Connected to {name}{with}.")).map_err(Failure::from)
}

/// How long taking a connection down may take: one exchange with a gateway that may be gone, then routes and DNS.
const DOWN: Duration = Duration::from_secs(15);

pub(super) async fn disconnect(mut client: Client<Stream>, output: &mut Output) -> Result<(), Failure> {
    let before = daemon::answer(client.status(true)).await?;
    daemon::answer(client.perform(Request::Disconnect)).await?;
    let mut status = daemon::answer(client.status(false)).await?;
    client.forget_notifications();
    let started = Instant::now();
    while !matches!(status.state, State::Off | State::Failed) {
        output.progress("Disconnecting...");
        let left = DOWN.saturating_sub(started.elapsed());
        status = match tokio::time::timeout(left, client.next_notification()).await {
            Ok(Ok(Some(Notification::Status(status)))) => status,
            Ok(Ok(None)) => return Ok(()),
            Ok(Err(error)) => daemon::answer(async { Err(error) }).await?,
            Err(_) => {
                let why = format!("After {} seconds it is still being taken down.", DOWN.as_secs());
                let explanation =
                    Explanation::new("Disconnecting takes long.", why, "`evenkeel status --watch` shows it.");
                return Err(Failure::new(Exit::Timeout, explanation));
            }
        };
    }
    output.end_progress();
    let local_trouble = status.cause.as_ref().filter(|cause| cause.category() == Category::Local);
    if let Some(cause) = local_trouble {
        return Err(explain::failure(cause, &status));
    }
    match (before.state, before.profile) {
        (State::Off | State::Failed, _) | (_, None) => output.line("Not connected."),
        (_, Some(name)) => output.line(&format!("Disconnected from {}.", plain(name.as_str()))),
    }
    .map_err(Failure::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_bound_that_was_asked_for_is_for_signing_in_too() {
        let mut clock = Clock::start(Wait::new(Some(20)));
        let (deadline, now) = (clock.deadline, Instant::now());
        assert_eq!(clock.deadline(true, now + SECOND), deadline);
        assert_eq!(clock.deadline(false, now + 2 * SECOND), deadline);
    }

    #[test]
    fn a_login_has_its_time_and_the_connection_after_it_too() {
        let (mut clock, now) = (Clock::start(Wait::new(None)), Instant::now());
        assert_eq!(clock.deadline(true, now), now + 600 * SECOND);
        assert_eq!(clock.deadline(true, now + 50 * SECOND), now + 600 * SECOND);
        assert_eq!(clock.deadline(false, now + 100 * SECOND), now + 160 * SECOND);
    }

    #[test]
    fn a_portal_that_comes_and_goes_gains_no_time() {
        let (mut clock, now) = (Clock::start(Wait::new(None)), Instant::now());
        for round in 0..100 {
            let deadline = clock.deadline(round % 2 == 0, now + 10 * round * SECOND);
            assert!(deadline <= now + 660 * SECOND, "round {round}");
        }
    }
}
