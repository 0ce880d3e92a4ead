//! The control task: it owns the connection.

mod handle;

use std::time::SystemTime;

use evenkeel_ipc::{RequestError, Status};

pub use handle::{Activation, Active, ControlEnd, ControlHandle, ControlRequest};

/// Answers requests until every handle is gone. This build has no tunnel yet: the connection is always off.
pub async fn run(mut end: ControlEnd) {
    let since = SystemTime::now();
    while let Some(request) = end.requests.recv().await {
        match request {
            ControlRequest::Connect { reply, .. } => {
                drop(
                    reply.send(Err(RequestError::Internal { detail: "no tunnel in this build".to_owned() })),
                );
            }
            ControlRequest::Disconnect { reply, .. } => drop(reply.send(Ok(()))),
            ControlRequest::Status { reply, .. } => drop(reply.send(Status::off(since.into()))),
            ControlRequest::Active { reply } => drop(reply.send(None)),
        }
    }
}
