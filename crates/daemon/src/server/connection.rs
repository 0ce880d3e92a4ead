//! One client, from its hello to its end.

use std::sync::Arc;
use std::time::Duration;

use evenkeel_ipc::{
    CodecError, Incoming, Notification, Request, RequestError, Response, ResponseWriter, Status,
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio::time::{Interval, MissedTickBehavior, interval, timeout};

use super::Services;
use crate::access::Caller;

/// How long a client may take to introduce itself.
const HELLO: Duration = Duration::from_secs(5);
/// How long an answer may lie unread before the client is taken for dead.
const UNREAD: Duration = Duration::from_secs(10);
/// How often counters are looked at while somebody watches. Nobody watching, nothing ticks.
const COUNTERS: Duration = Duration::from_secs(1);

/// Serves one client until it closes, breaks the protocol, or stops reading.
pub async fn serve_client<S>(stream: S, caller: Caller, services: Arc<Services>)
where
    S: AsyncRead + AsyncWrite + Send + 'static,
{
    let user = caller.user.clone();
    let mut client = match timeout(HELLO, evenkeel_ipc::accept(stream, env!("CARGO_PKG_VERSION"))).await {
        Ok(Ok(Some(incoming))) => Client { incoming, caller, services, watch: None },
        Ok(Ok(None)) => {
            tracing::info!(%user, "a client of another release was turned away");
            return;
        }
        Ok(Err(error)) => {
            tracing::debug!(%user, %error, "a client did not introduce itself");
            return;
        }
        Err(_) => {
            tracing::debug!(%user, "a client took too long to introduce itself");
            return;
        }
    };
    match client.serve().await {
        Ok(()) => tracing::debug!(%user, "client closed"),
        Err(error) => tracing::debug!(%user, %error, "client dropped"),
    }
}

struct Client<S> {
    incoming: Incoming<S>,
    caller: Caller,
    services: Arc<Services>,
    watch: Option<Watch>,
}

/// What a client that watches the status has been told.
struct Watch {
    changes: watch::Receiver<()>,
    counters: Interval,
    told: Status,
}

impl<S: AsyncRead + AsyncWrite> Client<S> {
    async fn serve(&mut self) -> Result<(), CodecError> {
        loop {
            tokio::select! {
                frame = self.incoming.reader.next() => {
                    let Some(frame) = frame? else { return Ok(()) };
                    let result = self.answer(frame.request).await;
                    unread(self.incoming.writer.answer(frame.id, result)).await?;
                }
                () = due(&mut self.watch) => self.tell().await?,
            }
        }
    }

    async fn answer(&mut self, request: Request) -> Result<Response, RequestError> {
        let watches = matches!(request, Request::WatchStatus);
        // Subscribed before the status is read: a change in between is told, not lost.
        let changes = self.services.control.changes();
        let response = self.services.handle(&self.caller, request).await?;
        if let (true, Response::Status(told)) = (watches, &response) {
            let mut counters = interval(COUNTERS);
            counters.set_missed_tick_behavior(MissedTickBehavior::Delay);
            self.watch = Some(Watch { changes, counters, told: told.clone() });
        }
        Ok(response)
    }

    /// Tells the watching client how things are, if that has changed.
    async fn tell(&mut self) -> Result<(), CodecError> {
        let Some(watch) = &mut self.watch else { return Ok(()) };
        // The control task is gone only when the daemon stops, and the connection ends with it.
        let status =
            self.services.control.status(self.caller.clone()).await.map_err(|_| CodecError::Closed)?;
        if without_clocks(&status) == without_clocks(&watch.told) {
            return Ok(());
        }
        watch.told = status.clone();
        notify(&mut self.incoming.writer, status).await
    }
}

async fn notify<S: AsyncWrite>(writer: &mut ResponseWriter<S>, status: Status) -> Result<(), CodecError> {
    unread(writer.notify(Notification::Status(status))).await
}

/// Ready when a watching client may have something to hear.
async fn due(watch: &mut Option<Watch>) {
    match watch {
        Some(watch) => {
            tokio::select! {
                changed = watch.changes.changed() => {
                    if changed.is_err() {
                        std::future::pending::<()>().await;
                    }
                }
                _ = watch.counters.tick() => {}
            }
        }
        None => std::future::pending().await,
    }
}

/// A client that leaves an answer unread is taken for dead.
async fn unread(writing: impl Future<Output = Result<(), CodecError>>) -> Result<(), CodecError> {
    timeout(UNREAD, writing).await.unwrap_or(Err(CodecError::Closed))
}

/// The status without what the mere passing of time changes.
fn without_clocks(status: &Status) -> Status {
    let mut still = status.clone();
    still.received_ago_s = None;
    still.sent_ago_s = None;
    if let Some(ike) = &mut still.ike_sa {
        ike.rekey_in_s = None;
    }
    for child in &mut still.child_sas {
        child.rekey_in_s = None;
    }
    still
}
