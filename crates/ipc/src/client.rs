//! The client's end of a connection.
use std::collections::VecDeque;

use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite, ReadHalf, WriteHalf};

use crate::codec::{CodecError, FrameReader, FrameWriter, MAX_FRAME, MAX_INTRODUCTION};
use crate::message::{
    ClientFrame, Hello, LogLine, Notification, ProfileDetails, ProfileSummary, Request, RequestError,
    RequestId, Response, ServerFrame, Welcome,
};
use crate::{NetworkId, PROTOCOL_VERSION, RememberedNetwork, Status};

/// Why a request brought no answer that can be used.
#[derive(Debug, Error)]
pub enum ClientError {
    /// The stream or a frame on it failed.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// The daemon is of another release.
    #[error("the daemon speaks protocol {theirs}, this program {ours}")]
    Version {
        /// What we speak.
        ours: u32,
        /// What the daemon speaks.
        theirs: u32,
        /// The daemon's release.
        daemon: String,
    },
    /// The daemon said no.
    #[error(transparent)]
    Refused(#[from] RequestError),
    /// The daemon's answer is not one to this request.
    #[error("the daemon's answer does not fit the request")]
    Unexpected,
}

/// A connection to the daemon over any stream.
///
/// It sends one request at a time. Notifications that arrive in between are kept for
/// [`next_notification`](Self::next_notification); of those kept, the oldest go first when there are too many.
/// It has no timeouts of its own: wrap what may hang.
pub struct Client<S> {
    reader: FrameReader<ReadHalf<S>>,
    writer: FrameWriter<WriteHalf<S>>,
    last_id: u64,
    waiting: VecDeque<Notification>,
    daemon: String,
}

/// Notifications kept while a request is under way. Each is a whole status, so old ones are worth little.
const MAX_WAITING: usize = 32;

impl<S: AsyncRead + AsyncWrite> Client<S> {
    /// Introduces us and learns whom we talk to. `name` is ours, with version.
    pub async fn connect(stream: S, name: &str) -> Result<Self, ClientError> {
        let (reader, writer) = tokio::io::split(stream);
        let (mut reader, mut writer) = (FrameReader::new(reader, MAX_INTRODUCTION), FrameWriter::new(writer));
        writer.send(&Hello { protocol: PROTOCOL_VERSION, client: name.to_owned() }).await?;
        let Welcome { protocol, daemon } = reader.next().await?.ok_or(CodecError::Closed)?;
        reader.set_limit(MAX_FRAME);
        if protocol != PROTOCOL_VERSION {
            return Err(ClientError::Version { ours: PROTOCOL_VERSION, theirs: protocol, daemon });
        }
        Ok(Self { reader, writer, last_id: 0, waiting: VecDeque::new(), daemon })
    }

    /// The daemon's release, as it says.
    pub fn daemon(&self) -> &str {
        &self.daemon
    }

    /// Sends a request and waits for its answer.
    ///
    /// If this future is dropped before it is done, use the connection no further.
    pub async fn request(&mut self, request: Request) -> Result<Response, ClientError> {
        self.last_id = self.last_id.wrapping_add(1);
        let id = RequestId(self.last_id);
        self.writer.send(&ClientFrame { id, request }).await?;
        loop {
            match self.reader.next().await?.ok_or(CodecError::Closed)? {
                ServerFrame::Response { id: answered, response } if answered == id => return Ok(response),
                ServerFrame::Error { id: answered, error } if answered == id => return Err(error.into()),
                ServerFrame::Notification(notification) => self.keep(notification),
                ServerFrame::Response { .. } | ServerFrame::Error { .. } => {
                    return Err(ClientError::Unexpected);
                }
            }
        }
    }

    /// The next notification, kept or coming; `None` when the daemon has closed. Cancel-safe.
    pub async fn next_notification(&mut self) -> Result<Option<Notification>, ClientError> {
        if let Some(kept) = self.waiting.pop_front() {
            return Ok(Some(kept));
        }
        match self.reader.next().await? {
            None => Ok(None),
            Some(ServerFrame::Notification(notification)) => Ok(Some(notification)),
            Some(ServerFrame::Response { .. } | ServerFrame::Error { .. }) => Err(ClientError::Unexpected),
        }
    }

    /// Drops the notifications that were kept: a status asked for since is newer than all of them.
    pub fn forget_notifications(&mut self) {
        self.waiting.clear();
    }

    /// [`Request::Status`], or with `watch` [`Request::WatchStatus`].
    pub async fn status(&mut self, watch: bool) -> Result<Status, ClientError> {
        let request = if watch { Request::WatchStatus } else { Request::Status };
        match self.request(request).await? {
            Response::Status(status) => Ok(status),
            Response::Done
            | Response::Profiles(_)
            | Response::Profile(_)
            | Response::Networks(_)
            | Response::Network(_)
            | Response::Log(_) => Err(ClientError::Unexpected),
        }
    }

    /// [`Request::ListProfiles`].
    pub async fn profiles(&mut self) -> Result<Vec<ProfileSummary>, ClientError> {
        match self.request(Request::ListProfiles).await? {
            Response::Profiles(profiles) => Ok(profiles),
            Response::Done
            | Response::Status(_)
            | Response::Profile(_)
            | Response::Networks(_)
            | Response::Network(_)
            | Response::Log(_) => Err(ClientError::Unexpected),
        }
    }

    /// [`Request::ShowProfile`].
    pub async fn profile(
        &mut self,
        name: evenkeel_profile::ProfileName,
    ) -> Result<ProfileDetails, ClientError> {
        match self.request(Request::ShowProfile { name }).await? {
            Response::Profile(profile) => Ok(profile),
            Response::Done
            | Response::Status(_)
            | Response::Profiles(_)
            | Response::Networks(_)
            | Response::Network(_)
            | Response::Log(_) => Err(ClientError::Unexpected),
        }
    }

    /// [`Request::Networks`].
    pub async fn networks(&mut self) -> Result<Vec<RememberedNetwork>, ClientError> {
        match self.request(Request::Networks).await? {
            Response::Networks(networks) => Ok(networks),
            Response::Done
            | Response::Status(_)
            | Response::Profiles(_)
            | Response::Profile(_)
            | Response::Network(_)
            | Response::Log(_) => Err(ClientError::Unexpected),
        }
    }

    /// [`Request::ShowNetwork`].
    pub async fn network(&mut self, id: NetworkId) -> Result<RememberedNetwork, ClientError> {
        match self.request(Request::ShowNetwork { id }).await? {
            Response::Network(network) => Ok(network),
            Response::Done
            | Response::Status(_)
            | Response::Profiles(_)
            | Response::Profile(_)
            | Response::Networks(_)
            | Response::Log(_) => Err(ClientError::Unexpected),
        }
    }

    /// [`Request::Log`].
    pub async fn log(&mut self, lines: u32) -> Result<Vec<LogLine>, ClientError> {
        match self.request(Request::Log { lines }).await? {
            Response::Log(lines) => Ok(lines),
            Response::Done
            | Response::Status(_)
            | Response::Profiles(_)
            | Response::Profile(_)
            | Response::Networks(_)
            | Response::Network(_) => Err(ClientError::Unexpected),
        }
    }

    /// A request that is answered by [`Response::Done`].
    pub async fn perform(&mut self, request: Request) -> Result<(), ClientError> {
        match self.request(request).await? {
            Response::Done => Ok(()),
            Response::Log(_)
            | Response::Status(_)
            | Response::Profiles(_)
            | Response::Profile(_)
            | Response::Networks(_)
            | Response::Network(_) => Err(ClientError::Unexpected),
        }
    }

    fn keep(&mut self, notification: Notification) {
        if self.waiting.len() == MAX_WAITING {
            self.waiting.pop_front();
        }
        self.waiting.push_back(notification);
    }
}
