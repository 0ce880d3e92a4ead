//! How the rest of the daemon speaks with the control task.

use evenkeel_ipc::{NetworkId, RememberedNetwork, RequestError, Status};
use evenkeel_platform::user::UserId;
use tokio::sync::{mpsc, oneshot, watch};

use super::engine::Engine;
use crate::access::Caller;
use crate::profiles::{Record, RecordId};

/// Requests that wait for the control task; it answers in microseconds, so more means that something is wrong.
const QUEUE: usize = 64;

/// What somebody wants of the connection. Who asks is checked by the control task, which knows whose connection it is.
pub enum ControlRequest {
    /// Connect, or connect again at once if this profile is waiting to.
    Connect {
        /// Who asks.
        caller: Caller,
        /// With what. Boxed: most requests are small.
        activation: Box<Activation>,
        /// Under way, or why not.
        reply: oneshot::Sender<Result<(), RequestError>>,
    },
    /// Disconnect.
    Disconnect {
        /// Who asks.
        caller: Caller,
        /// Under way, or why not.
        reply: oneshot::Sender<Result<(), RequestError>>,
    },
    /// Tell how things are.
    Status {
        /// Who asks.
        caller: Caller,
        /// As much of it as the caller may know.
        reply: oneshot::Sender<Status>,
    },
    /// Tell which networks are remembered.
    Networks {
        /// Who asks.
        caller: Caller,
        /// The last visited first, or why not.
        reply: oneshot::Sender<Result<Vec<RememberedNetwork>, RequestError>>,
    },
    /// Tell what is remembered of one network.
    Network {
        /// Who asks.
        caller: Caller,
        /// Which.
        id: NetworkId,
        /// What is known, or why not.
        reply: oneshot::Sender<Result<RememberedNetwork, RequestError>>,
    },
    /// Forget networks.
    ForgetNetworks {
        /// Who asks.
        caller: Caller,
        /// Which; all without one.
        id: Option<NetworkId>,
        /// Nothing of them is left on disk, or why not.
        reply: oneshot::Sender<Result<(), RequestError>>,
    },
    /// Tell which profile is in use, and by whom.
    Active {
        /// `None` while nothing is wanted.
        reply: oneshot::Sender<Option<Active>>,
    },
}

/// A profile to connect with, ready to be used.
pub struct Activation {
    /// The profile.
    pub record: Record,
    /// What the engine runs on, keys included.
    pub engine: Engine,
}

/// The profile in use.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Active {
    /// The user whose connection it is.
    pub user: UserId,
    /// The profile.
    pub profile: RecordId,
}

/// Speaks with the control task. Cheap to clone.
#[derive(Clone)]
pub struct ControlHandle {
    requests: mpsc::Sender<ControlRequest>,
    changes: watch::Receiver<()>,
}

/// The control task's own end.
pub struct ControlEnd {
    /// What is asked for.
    pub requests: mpsc::Receiver<ControlRequest>,
    /// Told when the status has changed.
    pub changes: watch::Sender<()>,
}

impl ControlHandle {
    /// A handle and the end that it speaks with.
    #[must_use]
    pub fn pair() -> (Self, ControlEnd) {
        let (requests, receiver) = mpsc::channel(QUEUE);
        let (sender, changes) = watch::channel(());
        (Self { requests, changes }, ControlEnd { requests: receiver, changes: sender })
    }

    /// Begins to connect.
    ///
    /// # Errors
    /// Why the control task would not.
    pub async fn connect(&self, caller: Caller, activation: Activation) -> Result<(), RequestError> {
        let activation = Box::new(activation);
        self.ask(|reply| ControlRequest::Connect { caller, activation, reply }).await?
    }

    /// Begins to disconnect.
    ///
    /// # Errors
    /// Why the control task would not.
    pub async fn disconnect(&self, caller: Caller) -> Result<(), RequestError> {
        self.ask(|reply| ControlRequest::Disconnect { caller, reply }).await?
    }

    /// How things are, as far as the caller may know.
    ///
    /// # Errors
    /// When the daemon is stopping.
    pub async fn status(&self, caller: Caller) -> Result<Status, RequestError> {
        self.ask(|reply| ControlRequest::Status { caller, reply }).await
    }

    /// Which networks are remembered, the last visited first.
    ///
    /// # Errors
    /// Why the control task would not say.
    pub async fn networks(&self, caller: Caller) -> Result<Vec<RememberedNetwork>, RequestError> {
        self.ask(|reply| ControlRequest::Networks { caller, reply }).await?
    }

    /// What is remembered of one network.
    ///
    /// # Errors
    /// Why the control task would not say.
    pub async fn network(&self, caller: Caller, id: NetworkId) -> Result<RememberedNetwork, RequestError> {
        self.ask(|reply| ControlRequest::Network { caller, id, reply }).await?
    }

    /// Forgets a network, or all of them.
    ///
    /// # Errors
    /// Why the control task would not, or could not.
    pub async fn forget_networks(&self, caller: Caller, id: Option<NetworkId>) -> Result<(), RequestError> {
        self.ask(|reply| ControlRequest::ForgetNetworks { caller, id, reply }).await?
    }

    /// Which profile is in use.
    ///
    /// # Errors
    /// When the daemon is stopping.
    pub async fn active(&self) -> Result<Option<Active>, RequestError> {
        self.ask(|reply| ControlRequest::Active { reply }).await
    }

    /// A receiver that is told of each change of the status.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<()> {
        self.changes.clone()
    }

    async fn ask<T>(
        &self,
        request: impl FnOnce(oneshot::Sender<T>) -> ControlRequest,
    ) -> Result<T, RequestError> {
        let stopping = || RequestError::Internal { detail: "the daemon is stopping".to_owned() };
        let (reply, answer) = oneshot::channel();
        self.requests.send(request(reply)).await.map_err(|_| stopping())?;
        answer.await.map_err(|_| stopping())
    }
}
