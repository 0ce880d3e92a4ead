//! The local channel between the daemon and the programs of the people who use it: a Unix socket, or
//! a named pipe.
//!
//! Anyone on the machine may connect; what they may do is decided by who they are, which the kernel
//! says ([`Peer`]) and the peer cannot choose. Nobody on another machine can connect. The connecting
//! side checks the listening one too ([`ConnectError::Untrusted`]), because a password may follow.

use std::{
    io,
    path::{Path, PathBuf},
    pin::Pin,
    task::{Context, Poll},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::{dirs::DirError, user::UserId};

#[cfg_attr(unix, path = "ipc_transport/unix.rs")]
#[cfg_attr(windows, path = "ipc_transport/windows.rs")]
mod sys;

/// An endpoint of its own for whoever has `folder` to itself, such as a test: a socket in it, or a pipe of its and
/// `name`'s name.
pub fn endpoint_in(folder: &Path, name: &str) -> PathBuf {
    sys::endpoint_in(folder, name)
}

/// Who may connect at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Every account of this machine; the listener decides by [`Peer`] what each may do.
    AnyLocalUser,
    /// The account that listens (and those who can do everything anyway).
    SameUser,
}

/// The process at the other end, as the system vouches for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// The account it ran as when it connected.
    pub user: UserId,
    /// Its process id, for logs only: it may have been given to another process since.
    pub pid: Option<u32>,
    /// Whether that account may administer the machine.
    pub is_admin: bool,
}

/// Why listening failed.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Somebody answers there already.
    #[error("another process listens on {}", .0.display())]
    InUse(PathBuf),
    /// The socket's directory cannot be made, or others could replace the socket in it.
    #[error(transparent)]
    Directory(#[from] DirError),
    /// The system refused.
    #[error("cannot listen on {}: {source}", path.display())]
    Io {
        /// The endpoint.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// Why connecting failed.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Nobody listens: the daemon is not running.
    #[error("nothing listens on {}", .0.display())]
    NotRunning(PathBuf),
    /// The system does not let this account connect.
    #[error("this account may not connect to {}", .0.display())]
    Denied(PathBuf),
    /// Whoever listens is neither the system's account nor the caller's own.
    #[error("{} is held by {user}, which is not to be trusted with secrets", path.display())]
    Untrusted {
        /// The endpoint.
        path: PathBuf,
        /// Who listens there.
        user: UserId,
    },
    /// The system refused.
    #[error("cannot connect to {}: {source}", path.display())]
    Io {
        /// The endpoint.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// The listening side.
#[derive(Debug)]
pub struct Listener(sys::Listener);

impl Listener {
    /// Listens on `endpoint`, replacing what a killed process left there. Needs a tokio runtime.
    pub fn bind(endpoint: &Path, access: Access) -> Result<Self, BindError> {
        sys::Listener::bind(endpoint, access).map(Self)
    }

    /// The next connection and who made it. An error concerns one connection: accept again.
    ///
    /// Cancel safe: a connection that was not handed out yet is handed out next time or refused.
    pub async fn accept(&mut self) -> io::Result<(Stream, Peer)> {
        let (stream, peer) = self.0.accept().await?;
        Ok((Stream(stream), peer))
    }
}

/// Connects to a daemon and makes sure that it is one to be trusted.
pub async fn connect(endpoint: &Path) -> Result<Stream, ConnectError> {
    sys::connect(endpoint).await.map(Stream)
}

/// A connection, from either side.
#[derive(Debug)]
pub struct Stream(sys::Stream);

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        time::timeout,
    };

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(10);

    #[test]
    fn endpoints_differ_by_folder_and_by_name() {
        let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let [one, other] = &folders;
        let endpoint = endpoint_in(one.path(), "a");
        assert_eq!(endpoint, endpoint_in(one.path(), "a"));
        assert_ne!(endpoint, endpoint_in(other.path(), "a"));
        assert_ne!(endpoint, endpoint_in(one.path(), "b"));
    }

    #[tokio::test]
    async fn bytes_pass_both_ways_and_the_listener_knows_who_connected() {
        let dir = tempfile::tempdir().unwrap();
        let path = endpoint_in(dir.path(), "both-ways");
        let mut listener = Listener::bind(&path, Access::AnyLocalUser).unwrap();
        let client = async {
            let mut stream = connect(&path).await.unwrap();
            stream.write_all(b"hello").await.unwrap();
            stream.flush().await.unwrap();
            let mut answer = [0; 5];
            stream.read_exact(&mut answer).await.unwrap();
            answer
        };
        let server = async {
            let (mut stream, peer) = listener.accept().await.unwrap();
            let mut greeting = [0; 5];
            stream.read_exact(&mut greeting).await.unwrap();
            assert_eq!(&greeting, b"hello");
            stream.write_all(b"world").await.unwrap();
            stream.flush().await.unwrap();
            // A pipe drops what was not read when its end closes: wait for the client to be done.
            let _ = stream.read(&mut greeting).await;
            peer
        };
        let (answer, peer) = timeout(PATIENCE, async { tokio::join!(client, server) }).await.unwrap();
        assert_eq!(&answer, b"world");
        assert_eq!(peer.user, UserId::current().unwrap());
        assert_eq!(peer.pid, Some(std::process::id()));
    }

    #[tokio::test]
    async fn many_clients_are_served_one_after_the_other() {
        let dir = tempfile::tempdir().unwrap();
        let path = endpoint_in(dir.path(), "many");
        let mut listener = Listener::bind(&path, Access::SameUser).unwrap();
        for round in 0..5_u8 {
            let client = async {
                let mut stream = connect(&path).await.unwrap();
                let mut byte = [0];
                stream.read_exact(&mut byte).await.unwrap();
                byte[0]
            };
            let server = async {
                let (mut stream, _) = listener.accept().await.unwrap();
                stream.write_all(&[round]).await.unwrap();
                stream.flush().await.unwrap();
                let _ = stream.read(&mut [0]).await;
            };
            let (byte, ()) = timeout(PATIENCE, async { tokio::join!(client, server) }).await.unwrap();
            assert_eq!(byte, round);
        }
    }

    #[tokio::test]
    async fn a_second_listener_on_one_endpoint_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = endpoint_in(dir.path(), "second");
        let _first = Listener::bind(&path, Access::AnyLocalUser).unwrap();
        assert!(matches!(Listener::bind(&path, Access::AnyLocalUser), Err(BindError::InUse(_))));
    }

    #[tokio::test]
    async fn where_nobody_listens_the_daemon_is_not_running() {
        let dir = tempfile::tempdir().unwrap();
        let path = endpoint_in(dir.path(), "nobody");
        let outcome = timeout(PATIENCE, connect(&path)).await.unwrap();
        assert!(matches!(outcome, Err(ConnectError::NotRunning(_))), "{outcome:?}");
    }
}
