//! A named pipe with an access list of its own. Remote clients are refused, the name cannot be shared
//! with another server, and clients cannot become servers.

use std::{
    io,
    os::windows::io::{AsHandle, AsRawHandle, BorrowedHandle, FromRawHandle, OwnedHandle},
    path::{Path, PathBuf},
    pin::Pin,
    ptr,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf},
    net::windows::named_pipe::{NamedPipeClient, NamedPipeServer, ServerOptions},
    sync::mpsc,
    task::{AbortHandle, JoinSet, spawn_blocking},
    time::timeout,
};
use windows_sys::Win32::{
    Foundation::{
        ERROR_ACCESS_DENIED, ERROR_FILE_NOT_FOUND, ERROR_PIPE_BUSY, ERROR_SEM_TIMEOUT, INVALID_HANDLE_VALUE,
    },
    Storage::FileSystem::{
        CreateFileW, FILE_CREATE_PIPE_INSTANCE, FILE_FLAG_OVERLAPPED, FILE_GENERIC_READ, FILE_GENERIC_WRITE,
        OPEN_EXISTING, SECURITY_IDENTIFICATION, SECURITY_SQOS_PRESENT,
    },
    System::Pipes::{GetNamedPipeClientProcessId, WaitNamedPipeW},
};

use super::{Access, BindError, ConnectError, Peer};
use crate::{
    user::{Token, UserId},
    win32::{SecurityDescriptor, is_trusted, owner_of_handle, wide},
};

/// Read and write, but not "create instance", which `GENERIC_WRITE` would include: with it a client could
/// listen under our name.
const CLIENT_RIGHTS: u32 = (FILE_GENERIC_READ | FILE_GENERIC_WRITE) & !FILE_CREATE_PIPE_INSTANCE;

/// The first byte of every connection. A server can know its client only after it has read something.
const GREETING: u8 = 0;

/// How long a client may take for that byte, and how long a client waits for a free instance.
const PATIENCE: Duration = Duration::from_secs(5);
const PATIENCE_MS: u32 = 5_000;

/// More clients than this in their first instant wait for a free instance.
const MAX_GREETING: usize = 32;

/// All pipes are in one folder, and their names know no other.
pub(super) fn endpoint_in(folder: &Path, name: &str) -> PathBuf {
    let folder = folder.file_name().unwrap_or_default().to_string_lossy();
    format!(r"\\.\pipe\evenkeel-{folder}-{name}").into()
}

#[derive(Debug)]
pub(super) struct Listener {
    connections: mpsc::Receiver<io::Result<(Stream, Peer)>>,
    accepting: AbortHandle,
}

impl Listener {
    pub(super) fn bind(path: &Path, access: Access) -> Result<Self, BindError> {
        let failed = |source: io::Error| match code(&source) {
            // The name is taken, by whatever server: "first instance" was asked for.
            Some(ERROR_ACCESS_DENIED | ERROR_PIPE_BUSY) => BindError::InUse(path.to_owned()),
            _ => BindError::Io { path: path.to_owned(), source },
        };
        let sddl = sddl(access).map_err(failed)?;
        let first = instance(path, &sddl, true).map_err(failed)?;
        let (connected, connections) = mpsc::channel(MAX_GREETING);
        let accepting = tokio::spawn(accept_all(path.to_owned(), sddl, access, first, connected));
        Ok(Self { connections, accepting: accepting.abort_handle() })
    }

    pub(super) async fn accept(&mut self) -> io::Result<(Stream, Peer)> {
        self.connections.recv().await.unwrap_or_else(|| Err(io::ErrorKind::BrokenPipe.into()))
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// Keeps one instance waiting at all times and greets clients beside that, so that one that connects and
/// says nothing holds up nobody.
async fn accept_all(
    path: PathBuf,
    sddl: String,
    access: Access,
    first: NamedPipeServer,
    connected: mpsc::Sender<io::Result<(Stream, Peer)>>,
) {
    let mut greetings = JoinSet::new();
    let mut waiting = first;
    loop {
        let outcome = waiting.connect().await;
        let next = match instance(&path, &sddl, false) {
            Ok(next) => next,
            Err(error) => {
                // Without an instance nobody can connect any more: the channel closes behind this.
                let _ = connected.send(Err(error)).await;
                return;
            }
        };
        let client = std::mem::replace(&mut waiting, next);
        if outcome.is_err() {
            continue;
        }
        if greetings.len() >= MAX_GREETING {
            greetings.join_next().await;
        }
        let connected = connected.clone();
        greetings.spawn(async move {
            // Whoever hangs up before the greeting was nobody.
            if let Ok(greeted) = timeout(PATIENCE, greet(client, access)).await {
                let _ = connected.send(greeted).await;
            }
        });
        while greetings.try_join_next().is_some() {}
    }
}

async fn greet(mut pipe: NamedPipeServer, access: Access) -> io::Result<(Stream, Peer)> {
    if pipe.read_u8().await? != GREETING {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let token = Token::of_pipe_client(pipe.as_handle())?;
    let (user, is_admin) = (token.user()?, token.is_admin().unwrap_or(false));
    if access == Access::SameUser && user != UserId::current()? && !user.is_system() {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    let pid = client_pid(pipe.as_handle());
    Ok((Stream::Server(pipe), Peer { user, pid, is_admin }))
}

fn client_pid(pipe: BorrowedHandle<'_>) -> Option<u32> {
    let mut pid = 0;
    // SAFETY: the handle is an open one of a pipe, and `pid` is a valid place.
    let known = unsafe { GetNamedPipeClientProcessId(pipe.as_raw_handle(), &raw mut pid) };
    (known != 0).then_some(pid)
}

/// The pipe's access list: this account, the system and administrators may do everything; users of this
/// machine may read and write; logons over the network are refused before anything else is asked. The
/// owner, which clients go by, is this account and not whatever its token would suggest.
fn sddl(access: Access) -> io::Result<String> {
    let us = UserId::current()?;
    let others = match access {
        Access::AnyLocalUser => format!("(A;;{CLIENT_RIGHTS:#x};;;AU)"),
        Access::SameUser => String::new(),
    };
    Ok(format!("O:{us}D:P(D;;GA;;;NU)(A;;GA;;;SY)(A;;GA;;;BA)(A;;GA;;;{us}){others}"))
}

fn instance(path: &Path, sddl: &str, first: bool) -> io::Result<NamedPipeServer> {
    let descriptor = SecurityDescriptor::from_sddl(sddl)?;
    let mut attributes = descriptor.attributes();
    let mut options = ServerOptions::new();
    options.first_pipe_instance(first).reject_remote_clients(true);
    // SAFETY: the pointer is to a valid SECURITY_ATTRIBUTES, whose descriptor lives until after the call.
    unsafe { options.create_with_security_attributes_raw(path, (&raw mut attributes).cast()) }
}

pub(super) async fn connect(path: &Path) -> Result<Stream, ConnectError> {
    let failed = |source: io::Error| match code(&source) {
        Some(ERROR_FILE_NOT_FOUND) => ConnectError::NotRunning(path.to_owned()),
        Some(ERROR_ACCESS_DENIED) => ConnectError::Denied(path.to_owned()),
        _ => ConnectError::Io { path: path.to_owned(), source },
    };
    let name = path.to_owned();
    let opening = spawn_blocking(move || open(&name));
    let handle = opening.await.map_err(io::Error::other).and_then(|opened| opened).map_err(failed)?;
    let owner = owner_of_handle(handle.as_handle()).map_err(failed)?;
    if !is_trusted(&owner).map_err(failed)? {
        return Err(ConnectError::Untrusted { path: path.to_owned(), user: owner });
    }
    // SAFETY: the handle is one of a pipe's client end, opened for overlapped use, and given up here.
    let pipe = unsafe { NamedPipeClient::from_raw_handle(into_raw(handle)) };
    let mut pipe = pipe.map_err(failed)?;
    pipe.write_u8(GREETING).await.map_err(failed)?;
    Ok(Stream::Client(pipe))
}

fn into_raw(handle: OwnedHandle) -> std::os::windows::io::RawHandle {
    std::os::windows::io::IntoRawHandle::into_raw_handle(handle)
}

/// Opens the client's end, waiting while all instances are taken. The server may learn who we are, and
/// may not act as us.
fn open(path: &Path) -> io::Result<OwnedHandle> {
    let name = wide(path);
    loop {
        // SAFETY: `name` ends with NUL; no attributes and no template are given.
        let handle = unsafe {
            CreateFileW(
                name.as_ptr(),
                CLIENT_RIGHTS,
                0,
                ptr::null(),
                OPEN_EXISTING,
                FILE_FLAG_OVERLAPPED | SECURITY_SQOS_PRESENT | SECURITY_IDENTIFICATION,
                ptr::null_mut(),
            )
        };
        if handle != INVALID_HANDLE_VALUE {
            // SAFETY: the call succeeded, so the handle is open and nobody else's.
            return Ok(unsafe { OwnedHandle::from_raw_handle(handle) });
        }
        let error = io::Error::last_os_error();
        if code(&error) != Some(ERROR_PIPE_BUSY) {
            return Err(error);
        }
        // SAFETY: `name` ends with NUL.
        if unsafe { WaitNamedPipeW(name.as_ptr(), PATIENCE_MS) } == 0 {
            let error = io::Error::last_os_error();
            let late = code(&error) == Some(ERROR_SEM_TIMEOUT);
            return Err(if late { io::ErrorKind::TimedOut.into() } else { error });
        }
    }
}

fn code(error: &io::Error) -> Option<u32> {
    error.raw_os_error().map(i32::cast_unsigned)
}

/// Either end.
#[derive(Debug)]
pub(super) enum Stream {
    Client(NamedPipeClient),
    Server(NamedPipeServer),
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Client(pipe) => Pin::new(pipe).poll_read(cx, buf),
            Self::Server(pipe) => Pin::new(pipe).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Client(pipe) => Pin::new(pipe).poll_write(cx, buf),
            Self::Server(pipe) => Pin::new(pipe).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Client(pipe) => Pin::new(pipe).poll_flush(cx),
            Self::Server(pipe) => Pin::new(pipe).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Client(pipe) => Pin::new(pipe).poll_shutdown(cx),
            Self::Server(pipe) => Pin::new(pipe).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_may_read_and_write_but_not_listen_and_the_network_is_refused_first() {
        let sddl = sddl(Access::AnyLocalUser).unwrap();
        assert!(sddl.contains("D:P(D;;GA;;;NU)"), "{sddl}");
        assert!(sddl.ends_with("(A;;0x12019b;;;AU)"), "{sddl}");
        SecurityDescriptor::from_sddl(&sddl).unwrap();
    }

    #[tokio::test]
    async fn a_client_that_says_nothing_holds_up_nobody() {
        let dir = tempfile::tempdir().unwrap();
        let path = endpoint_in(dir.path(), "silent");
        let mut listener = Listener::bind(&path, Access::AnyLocalUser).unwrap();
        let silent = open(&path).unwrap();
        let outcome = timeout(PATIENCE, async { tokio::join!(connect(&path), listener.accept()) }).await;
        let (client, server) = outcome.unwrap();
        client.unwrap();
        assert_eq!(server.unwrap().1.user, UserId::current().unwrap());
        drop(silent);
    }
}
