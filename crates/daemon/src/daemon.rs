//! From start to end: folders, lock, recovery, listening, and an orderly way out.

use std::future::Future;
use std::path::PathBuf;
use std::time::Duration;

use evenkeel_netprofile::time::UnixSeconds;
use evenkeel_platform::dirs::{self, DirError, InstanceLock, LockError};
use evenkeel_platform::dns::{DnsManager, DnsOutcome, DnsSystem};
use evenkeel_platform::ipc_transport::{Access, BindError, Listener};
use evenkeel_platform::routes::{Recovered, RouteError, RouteManager};
use evenkeel_platform::service::ServiceManager;
use evenkeel_platform::user::UserId;
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::args::Args;
use crate::control::{Control, ControlHandle, wall_clock};
use crate::logging::LogRing;
use crate::machine::LocalMachine;
use crate::networks::Memory;
use crate::profiles::{Profiles, ProfilesError};
use crate::server::{self, Services};

/// How long the connection may take to be taken down when the daemon stops.
const LAST_WORDS: Duration = Duration::from_secs(25);

/// Where this daemon keeps things and listens.
#[derive(Clone, Debug)]
pub struct Places {
    /// Profiles.
    pub config_dir: PathBuf,
    /// Sealed secrets and journals.
    pub state_dir: PathBuf,
    /// Socket or pipe.
    pub endpoint: PathBuf,
}

impl From<Args> for Places {
    fn from(args: Args) -> Self {
        Self {
            config_dir: args.config_dir.unwrap_or_else(dirs::config_dir),
            state_dir: args.state_dir.unwrap_or_else(dirs::state_dir),
            endpoint: args.socket.unwrap_or_else(dirs::ipc_endpoint),
        }
    }
}

/// Why the daemon can't start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A folder can't be used.
    #[error(transparent)]
    Directory(#[from] DirError),
    /// Another daemon runs on the same state.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// Routes can't be managed at all.
    #[error(transparent)]
    Routes(#[from] RouteError),
    /// The profiles can't be read.
    #[error(transparent)]
    Profiles(#[from] ProfilesError),
    /// The system doesn't say which account this is.
    #[error("this process's account is not known: {0}")]
    Account(#[source] std::io::Error),
    /// Clients can't be listened for.
    #[error(transparent)]
    Bind(#[from] BindError),
}

/// Runs until `stop` is ready, then takes everything down.
///
/// # Errors
/// When the daemon can't start. What goes wrong later is logged and reported to clients.
pub async fn run(places: Places, log: LogRing, stop: impl Future<Output = ()>) -> Result<(), StartError> {
    dirs::create_private(&places.config_dir)?;
    dirs::create_private(&places.state_dir)?;
    let _lock = InstanceLock::acquire(&places.state_dir)?;

    let routes = RouteManager::new(&places.state_dir)?;
    let dns = DnsManager::new(&places.state_dir, DnsSystem::default());
    recover(&routes, &dns).await;

    let system = UserId::current().map_err(StartError::Account)?;
    let (profiles, unreadable) = Profiles::open(&places.config_dir, &places.state_dir, system)?;
    for document in unreadable {
        tracing::error!(%document, "a profile can't be read; it is left as it is");
    }
    let (control, end) = ControlHandle::pair();
    let (stopping, stopped) = oneshot::channel::<()>();
    let memory = Memory::open(&places.state_dir, UnixSeconds(wall_clock().0));
    let task = Control::new(LocalMachine::new(routes, dns), end, log.clone(), fresh_seed, memory);
    let controlling = tokio::spawn(task.run(async move {
        // The sender is used or dropped: both mean stop.
        let _ = stopped.await;
    }));

    let listener = Listener::bind(&places.endpoint, Access::AnyLocalUser)?;
    tracing::info!(endpoint = %places.endpoint.display(), version = env!("CARGO_PKG_VERSION"), "ready");
    tell_service_manager(ServiceManager::ready);

    tokio::select! {
        () = stop => {}
        () = server::serve(listener, Services::new(profiles, control, log)) => {}
    }
    tracing::info!("stopping");
    tell_service_manager(ServiceManager::stopping);
    drop(stopping);
    // Longer than every bound inside; what is left undone is in the journals.
    if timeout(LAST_WORDS, controlling).await.is_err() {
        tracing::error!("the connection could not be taken down in time");
    }
    Ok(())
}

/// Undoes what a daemon that was killed has left. A failure is logged, not fatal: a daemon that refuses to start
/// helps nobody whose network is half restored.
async fn recover(routes: &RouteManager, dns: &DnsManager) {
    match dns.recover().await {
        Ok(DnsOutcome::Nothing) => {}
        Ok(outcome) => tracing::warn!(?outcome, "an earlier run had left DNS settings"),
        Err(error) => tracing::error!(%error, "DNS settings of an earlier run could not be restored"),
    }
    match routes.recover().await {
        Ok(Recovered::Nothing) => {}
        Ok(Recovered::Undone) => tracing::warn!("an earlier run had left routes; they are removed"),
        Err(error) => tracing::error!(%error, "routes of an earlier run could not be removed"),
    }
}

fn tell_service_manager(
    what: impl FnOnce(&ServiceManager) -> Result<(), evenkeel_platform::service::ServiceError>,
) {
    if let Err(error) = ServiceManager::from_environment().and_then(|manager| what(&manager)) {
        tracing::debug!(%error, "the service manager was not told");
    }
}

/// Randomness for one connection; everything random in it comes from this.
fn fresh_seed() -> Option<[u8; 32]> {
    let mut seed = [0; 32];
    aws_lc_rs::rand::fill(&mut seed).ok().map(|()| seed)
}
