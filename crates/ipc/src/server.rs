//! The daemon's end of a connection.
use tokio::io::{AsyncRead, AsyncWrite, ReadHalf, WriteHalf};

use crate::PROTOCOL_VERSION;
use crate::codec::{CodecError, FrameReader, FrameWriter, MAX_FRAME, MAX_INTRODUCTION};
use crate::message::{
    ClientFrame, Hello, Notification, RequestError, RequestId, Response, ServerFrame, Welcome,
};

/// A client that has introduced itself.
pub struct Incoming<S> {
    /// What the client calls itself. Its own words: escape before logging.
    pub client: String,
    /// Its requests.
    pub reader: RequestReader<S>,
    /// The way back to it.
    pub writer: ResponseWriter<S>,
}

/// Answers a client's hello. `Ok(None)` if the client speaks another version: it has been told ours, and there is
/// nothing more to do. `daemon` is our release. Wrap it in a timeout: a client may connect and say nothing.
pub async fn accept<S: AsyncRead + AsyncWrite>(
    stream: S,
    daemon: &str,
) -> Result<Option<Incoming<S>>, CodecError> {
    let (reader, writer) = tokio::io::split(stream);
    let (mut reader, mut writer) = (FrameReader::new(reader, MAX_INTRODUCTION), FrameWriter::new(writer));
    let hello: Hello = reader.next().await?.ok_or(CodecError::Closed)?;
    reader.set_limit(MAX_FRAME);
    writer.send(&Welcome { protocol: PROTOCOL_VERSION, daemon: daemon.to_owned() }).await?;
    let fits = hello.protocol == PROTOCOL_VERSION;
    Ok(fits.then(|| Incoming {
        client: hello.client,
        reader: RequestReader { inner: reader },
        writer: ResponseWriter { inner: writer },
    }))
}

/// A client's requests, one after another.
pub struct RequestReader<S> {
    inner: FrameReader<ReadHalf<S>>,
}

impl<S: AsyncRead> RequestReader<S> {
    /// The next request; `None` when the client has closed. Cancel-safe.
    pub async fn next(&mut self) -> Result<Option<ClientFrame>, CodecError> {
        self.inner.next().await
    }
}

/// The way to a client.
pub struct ResponseWriter<S> {
    inner: FrameWriter<WriteHalf<S>>,
}

impl<S: AsyncWrite> ResponseWriter<S> {
    /// Answers a request. Wrap it in a timeout: a client may stop reading.
    pub async fn answer(
        &mut self,
        id: RequestId,
        result: Result<Response, RequestError>,
    ) -> Result<(), CodecError> {
        self.inner
            .send(&match result {
                Ok(response) => ServerFrame::Response { id, response },
                Err(error) => ServerFrame::Error { id, error },
            })
            .await
    }

    /// Says something unasked.
    pub async fn notify(&mut self, notification: Notification) -> Result<(), CodecError> {
        self.inner.send(&ServerFrame::Notification(notification)).await
    }
}
