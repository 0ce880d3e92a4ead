//! The control socket: one JSON object a line, in each direction.
//!
//! ```text
//! → {"command":"status"}
//! ← {"ok":{"sessions":[...],"half_open":0,...}}
//! → {"command":"set_faults","faults":{"link":{"drop_percent":10}}}
//! ← {"ok":{"link":{"drop_percent":10,...},"ike":{...}}}
//! → {"command":"act","action":"rekey_children","session":0}
//! ← {"ok":{"sessions":1}}
//! → {"command":"stop"}
//! ← {"ok":{}}
//! ```
//!
//! `set_faults` puts exactly the named faults in force: what is not named is no fault. `act` without a session is
//! about all of them.

use std::path::Path;

use evenkeel_platform::ipc_transport::{self, Access, BindError, ConnectError, Listener, Stream};
use futures_util::{SinkExt as _, StreamExt as _};
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio_util::codec::{Framed, LinesCodec, LinesCodecError};
use tracing::{debug, warn};

use crate::config::Faults;
use crate::gateway::{Action, Status};

/// A longer line is refused.
const MAX_LINE: usize = 64 * 1024;
/// Requests that wait for the gateway at the same time.
const BACKLOG: usize = 16;

/// What can be asked of a running gateway.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// Sessions, SPIs, counters.
    Status {},
    /// Put exactly these faults in force.
    SetFaults {
        /// Which.
        faults: Box<Faults>,
    },
    /// Do something of the gateway's own accord.
    Act {
        /// What.
        action: Action,
        /// On which session; `None` for all.
        session: Option<u64>,
    },
    /// Say goodbye to the clients and end.
    Stop {},
}

/// What the gateway answers.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum Answer {
    /// To `status`.
    Status(Box<Status>),
    /// To `set_faults`: what is in force.
    Faults(Box<Faults>),
    /// To `act`.
    Acted {
        /// On how many sessions.
        sessions: usize,
    },
    /// To `stop`.
    Stopping {},
}

/// One line of answer.
#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    Ok(Answer),
    Error(String),
}

/// A request that waits for its answer.
pub(crate) struct Asked {
    pub(crate) request: Request,
    pub(crate) answer: oneshot::Sender<Answer>,
    /// Done when the answer has been written, or can't be.
    pub(crate) written: oneshot::Receiver<()>,
}

/// Listens on `endpoint` and passes requests on. Ends with the returned handle.
pub(crate) fn listen(endpoint: &Path) -> Result<(mpsc::Receiver<Asked>, Listening), BindError> {
    let mut listener = Listener::bind(endpoint, Access::SameUser)?;
    let (requests, receiver) = mpsc::channel(BACKLOG);
    let task = tokio::spawn(async move {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => drop(tokio::spawn(serve(stream, requests.clone()))),
                Err(error) => warn!(%error, "control connection failed"),
            }
        }
    });
    Ok((receiver, Listening(task)))
}

/// Listening ends when this is dropped.
pub(crate) struct Listening(JoinHandle<()>);

impl Drop for Listening {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Answers one connection's requests, in order.
async fn serve(stream: Stream, requests: mpsc::Sender<Asked>) {
    let mut lines = Framed::new(stream, LinesCodec::new_with_max_length(MAX_LINE));
    while let Some(line) = lines.next().await {
        // Dropped at the end of the round, when the answer is written.
        let (_writing, written) = oneshot::channel();
        let answer = match line {
            Ok(line) => ask(&line, &requests, written).await,
            Err(error) => Line::Error(error.to_string()),
        };
        let text = match serde_json::to_string(&answer) {
            Ok(text) => text,
            Err(error) => {
                warn!(%error, "an answer that is no JSON");
                return;
            }
        };
        if let Err(error) = lines.send(text).await {
            debug!(%error, "control connection lost");
            return;
        }
    }
}

async fn ask(line: &str, requests: &mpsc::Sender<Asked>, written: oneshot::Receiver<()>) -> Line {
    let request = match serde_json::from_str(line) {
        Ok(request) => request,
        Err(error) => return Line::Error(error.to_string()),
    };
    let (sender, answer) = oneshot::channel();
    // A failure to hand the request over drops the sender, which the answer's side sees.
    let _ = requests.send(Asked { request, answer: sender, written }).await;
    match answer.await {
        Ok(answer) => Line::Ok(answer),
        Err(_) => Line::Error("the gateway is ending".to_owned()),
    }
}

/// Why a gateway could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// Nobody listens, or nobody to be trusted.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The connection broke.
    #[error(transparent)]
    Line(#[from] LinesCodecError),
    /// The gateway ended before it answered.
    #[error("the gateway closed the connection without an answer")]
    NoAnswer,
}

/// The other end: sends one request line and returns the answer line.
pub async fn send(endpoint: &Path, request: &str) -> Result<String, AskError> {
    let stream = ipc_transport::connect(endpoint).await?;
    let mut lines = Framed::new(stream, LinesCodec::new());
    lines.send(request).await?;
    Ok(lines.next().await.ok_or(AskError::NoAnswer)??)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_what_the_documentation_says() {
        let parse = |text: &str| serde_json::from_str::<Request>(text).unwrap();
        assert_eq!(parse(r#"{"command":"status"}"#), Request::Status {});
        assert_eq!(parse(r#"{"command":"stop"}"#), Request::Stop {});
        assert_eq!(
            parse(r#"{"command":"act","action":"rekey_children","session":3}"#),
            Request::Act { action: Action::RekeyChildren, session: Some(3) }
        );
        assert_eq!(
            parse(r#"{"command":"act","action":"forget"}"#),
            Request::Act { action: Action::Forget, session: None }
        );
        let Request::SetFaults { faults } =
            parse(r#"{"command":"set_faults","faults":{"link":{"drop_percent":10}}}"#)
        else {
            panic!("faults")
        };
        assert_eq!(faults.link.drop_percent, 10);
        assert_eq!(faults.ike, crate::config::IkeFaults::default());
    }

    #[test]
    fn what_is_no_request_is_refused() {
        for text in [
            "",
            "{}",
            r#"{"command":"reboot"}"#,
            r#"{"command":"status","verbose":true}"#,
            r#"{"command":"set_faults","faults":{"link":{"drop":10}}}"#,
        ] {
            assert!(serde_json::from_str::<Request>(text).is_err(), "{text}");
        }
    }
}
