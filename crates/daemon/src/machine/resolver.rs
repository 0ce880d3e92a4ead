//! The addresses of the gateway, and of the WireGuard peer: one look-up at a time, bounded, off the event loop.

use std::future::pending;
use std::io;
use std::net::{IpAddr, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use evenkeel_profile::Host;
use evenkeel_tunnel::ResolveError;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// How long a look-up may take: three servers of which two are dead, in the usual configuration.
const PATIENCE: Duration = Duration::from_secs(15);

type Answer = Result<Vec<IpAddr>, ResolveError>;

/// Looks names up through the system's resolver.
pub(super) struct Resolver {
    lookup: Option<JoinHandle<Answer>>,
    /// A look-up can't be cancelled, only no longer awaited; until it ends, no other is started.
    thread: Arc<Semaphore>,
}

impl Default for Resolver {
    fn default() -> Self {
        Self { lookup: None, thread: Arc::new(Semaphore::new(1)) }
    }
}

impl Resolver {
    /// Starts a look-up, in place of one that nobody waits for any more.
    pub(super) fn ask(&mut self, host: &Host) {
        self.forget();
        let (host, thread) = (host.clone(), Arc::clone(&self.thread));
        self.lookup = Some(tokio::spawn(async move {
            if let Some(address) = host.ip() {
                return Ok(vec![address]);
            }
            timeout(PATIENCE, look_up(host, thread)).await.unwrap_or(Err(ResolveError::Unavailable))
        }));
    }

    /// Waits no longer.
    pub(super) fn forget(&mut self) {
        if let Some(lookup) = self.lookup.take() {
            lookup.abort();
        }
    }

    /// The answer, when there is one. Cancel safe.
    pub(super) async fn answer(&mut self) -> Answer {
        let Some(lookup) = &mut self.lookup else { return pending().await };
        let answer = lookup.await.unwrap_or(Err(ResolveError::Unavailable));
        self.lookup = None;
        answer
    }
}

async fn look_up(host: Host, thread: Arc<Semaphore>) -> Answer {
    let permit = thread.acquire_owned().await.map_err(|_| ResolveError::Unavailable)?;
    let asked = tokio::task::spawn_blocking(move || {
        let _permit = permit;
        (host.as_str(), 0).to_socket_addrs()
    });
    let found = asked.await.map_err(|_| ResolveError::Unavailable)?.map_err(|error| why(&error))?;
    let mut addresses: Vec<IpAddr> = Vec::new();
    for address in found.map(|found| found.ip()) {
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    if addresses.is_empty() { Err(ResolveError::NotFound) } else { Ok(addresses) }
}

/// The standard library has no kind of its own for what getaddrinfo says; its text is the C library's.
fn why(error: &io::Error) -> ResolveError {
    let text = error.to_string();
    let temporary = ["Temporary failure", "try again", "Try again"].iter().any(|hint| text.contains(hint));
    tracing::info!(%error, "a name was not resolved");
    if temporary { ResolveError::Unavailable } else { ResolveError::NotFound }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_address_needs_no_resolver() {
        let mut resolver = Resolver::default();
        resolver.ask(&"192.0.2.7".parse().unwrap());
        assert_eq!(resolver.answer().await, Ok(vec!["192.0.2.7".parse().unwrap()]));
    }

    #[tokio::test]
    async fn the_name_of_this_machine_resolves() {
        let mut resolver = Resolver::default();
        resolver.ask(&"localhost".parse().unwrap());
        assert!(resolver.answer().await.unwrap().iter().all(IpAddr::is_loopback));
    }

    #[tokio::test]
    async fn only_the_last_question_is_answered() {
        let mut resolver = Resolver::default();
        resolver.ask(&"192.0.2.1".parse().unwrap());
        resolver.ask(&"192.0.2.2".parse().unwrap());
        assert_eq!(resolver.answer().await, Ok(vec!["192.0.2.2".parse().unwrap()]));
        let nothing = timeout(Duration::from_millis(20), resolver.answer()).await;
        assert!(nothing.is_err());
    }
}
