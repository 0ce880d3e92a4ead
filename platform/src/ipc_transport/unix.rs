//! A Unix socket; the kernel names the peer by `SO_PEERCRED` (Linux) or `LOCAL_PEERCRED` and
//! `LOCAL_PEERPID` (macOS).

use std::{
    fs, io,
    os::unix::{fs::PermissionsExt, net},
    path::{Path, PathBuf},
    time::Duration,
};

use nix::unistd::geteuid;
use tokio::{net::UnixListener, task::spawn_blocking, time::timeout};

use super::{Access, BindError, ConnectError, Peer};
use crate::{
    dirs,
    user::{UserId, is_admin},
};

pub(super) type Stream = tokio::net::UnixStream;

/// The user database may be a directory server that does not answer. Until it does, a peer is not an
/// administrator.
const ADMIN_LOOKUP: Duration = Duration::from_secs(2);

pub(super) fn endpoint_in(folder: &Path, name: &str) -> PathBuf {
    folder.join(name)
}

#[derive(Debug)]
pub(super) struct Listener {
    socket: UnixListener,
    path: PathBuf,
    access: Access,
}

impl Listener {
    pub(super) fn bind(path: &Path, access: Access) -> Result<Self, BindError> {
        let io = |source| BindError::Io { path: path.to_owned(), source };
        let parent = path.parent().ok_or_else(|| io(io::ErrorKind::InvalidInput.into()))?;
        dirs::create_public(parent)?;
        remove_stale(path)?;
        // The mode of the file is narrow until it is widened here, whatever the umask is.
        let mode = match access {
            Access::AnyLocalUser => 0o666,
            Access::SameUser => 0o600,
        };
        let socket = net::UnixListener::bind(path).map_err(io)?;
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(io)?;
        socket.set_nonblocking(true).map_err(io)?;
        let socket = UnixListener::from_std(socket).map_err(io)?;
        Ok(Self { socket, path: path.to_owned(), access })
    }

    pub(super) async fn accept(&mut self) -> io::Result<(Stream, Peer)> {
        let (stream, _) = self.socket.accept().await?;
        let credentials = stream.peer_cred()?;
        let uid = credentials.uid();
        if self.access == Access::SameUser && uid != geteuid().as_raw() && uid != 0 {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        let lookup = timeout(ADMIN_LOOKUP, spawn_blocking(move || is_admin(uid)));
        let is_admin = matches!(lookup.await, Ok(Ok(true)));
        let pid = credentials.pid().and_then(|pid| u32::try_from(pid).ok());
        Ok((stream, Peer { user: UserId::Uid(uid), pid, is_admin }))
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        // Left behind, it would be found stale by the next listener: nothing depends on this.
        let _ = fs::remove_file(&self.path);
    }
}

/// Removes the socket of a process that is gone. Anything but such a socket stays and makes `bind`
/// fail.
fn remove_stale(path: &Path) -> Result<(), BindError> {
    match net::UnixStream::connect(path) {
        Ok(_) => Err(BindError::InUse(path.to_owned())),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused && is_socket(path) => {
            fs::remove_file(path).map_err(|source| BindError::Io { path: path.to_owned(), source })
        }
        Err(_) => Ok(()),
    }
}

fn is_socket(path: &Path) -> bool {
    use std::os::unix::fs::FileTypeExt;
    fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket())
}

pub(super) async fn connect(path: &Path) -> Result<Stream, ConnectError> {
    let path = || path.to_owned();
    #[expect(clippy::wildcard_enum_match_arm, reason = "the kinds of I/O errors are open-ended")]
    let failed = |source: io::Error| match source.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => ConnectError::NotRunning(path()),
        io::ErrorKind::PermissionDenied => ConnectError::Denied(path()),
        _ => ConnectError::Io { path: path(), source },
    };
    let stream = Stream::connect(path()).await.map_err(failed)?;
    let uid = stream.peer_cred().map_err(|source| ConnectError::Io { path: path(), source })?.uid();
    if uid != 0 && uid != geteuid().as_raw() {
        return Err(ConnectError::Untrusted { path: path(), user: UserId::Uid(uid) });
    }
    Ok(stream)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[tokio::test]
    async fn the_socket_is_open_to_all_or_to_its_owner_as_asked() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run/daemon.sock");
        let listener = Listener::bind(&path, Access::AnyLocalUser).unwrap();
        assert_eq!(mode(&path), 0o666);
        assert_eq!(mode(path.parent().unwrap()), 0o755);
        drop(listener);
        assert!(!path.exists());
        let _listener = Listener::bind(&path, Access::SameUser).unwrap();
        assert_eq!(mode(&path), 0o600);
    }

    #[tokio::test]
    async fn the_socket_of_a_killed_daemon_is_replaced_and_a_file_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("daemon.sock");
        drop(net::UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        drop(Listener::bind(&path, Access::AnyLocalUser).unwrap());

        fs::write(&path, b"precious").unwrap();
        assert!(matches!(Listener::bind(&path, Access::AnyLocalUser), Err(BindError::Io { .. })));
        assert_eq!(fs::read(&path).unwrap(), b"precious");
    }

    #[tokio::test]
    async fn a_directory_that_others_may_write_to_holds_no_socket() {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).unwrap();
        let outcome = Listener::bind(&dir.path().join("daemon.sock"), Access::AnyLocalUser);
        assert!(matches!(outcome, Err(BindError::Directory(_))));
    }
}
