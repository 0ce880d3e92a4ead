//! The IPC server: one task a client, each client bounded in memory, in time and in number.
//!
//! Clients are hostile until the kernel and the permission table say otherwise. A frame is bounded by the codec; here
//! the rest is: how many connections one user and all users may have, how long a client may take to introduce itself,
//! how long it may leave an answer unread. What a connection costs at most is a frame in and a frame out.

mod connection;
mod quota;
mod requests;

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use evenkeel_platform::ipc_transport::Listener;

use crate::access::Caller;
use crate::control::ControlHandle;
use crate::logging::LogRing;
use crate::profiles::Profiles;
pub use connection::serve_client;
use quota::Quota;

/// Pause after a failed accept, so that a system without file descriptors is not asked for one in a tight loop.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// What requests are answered from.
pub struct Services {
    profiles: Mutex<Profiles>,
    control: ControlHandle,
    log: LogRing,
}

impl Services {
    /// Puts them together.
    #[must_use]
    pub fn new(profiles: Profiles, control: ControlHandle, log: LogRing) -> Arc<Self> {
        Arc::new(Self { profiles: Mutex::new(profiles), control, log })
    }

    fn profiles(&self) -> MutexGuard<'_, Profiles> {
        // What a panic may have left half done in memory is whole on disk, and read anew at the next start.
        self.profiles.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Serves clients until the future is dropped.
pub async fn serve(mut listener: Listener, services: Arc<Services>) {
    let quota = Quota::default();
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                tracing::debug!(user = %peer.user, pid = peer.pid, "client connected");
                let caller = Caller::from(peer);
                let Some(place) = quota.take(&caller) else {
                    tracing::warn!(user = %caller.user, "too many connections; one more is closed");
                    continue;
                };
                let services = Arc::clone(&services);
                tokio::spawn(async move {
                    serve_client(stream, caller, services).await;
                    drop(place);
                });
            }
            Err(error) => {
                log_accept(&error);
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn log_accept(error: &io::Error) {
    tracing::warn!(%error, "a client could not be accepted");
}
