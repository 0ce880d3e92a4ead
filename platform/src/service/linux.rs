//! `sd_notify(3)` spoken directly: one datagram to the socket in `NOTIFY_SOCKET`.

use std::{
    env,
    ffi::OsString,
    io,
    os::{
        linux::net::SocketAddrExt,
        unix::{
            ffi::OsStrExt,
            net::{SocketAddr, UnixDatagram},
        },
    },
};

use super::ServiceError;

#[derive(Debug)]
pub(super) struct ServiceManager {
    notify: Option<(UnixDatagram, SocketAddr)>,
}

impl ServiceManager {
    pub(super) fn from_environment() -> Result<Self, ServiceError> {
        Self::at(env::var_os("NOTIFY_SOCKET"))
    }

    fn at(address: Option<OsString>) -> Result<Self, ServiceError> {
        let Some(address) = address.filter(|address| !address.is_empty()) else {
            return Ok(Self { notify: None });
        };
        let address = match address.as_bytes() {
            [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
            [b'/', ..] => SocketAddr::from_pathname(&address)?,
            // systemd also knows vsock addresses, for the inside of virtual machines.
            _ => return Err(ServiceError::Io(io::ErrorKind::InvalidInput.into())),
        };
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        Ok(Self { notify: Some((socket, address)) })
    }

    pub(super) fn tell(&self, assignment: &str) -> Result<(), ServiceError> {
        if let Some((socket, address)) = &self.notify {
            socket.send_to_addr(assignment.as_bytes(), address)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service;

    fn received(socket: &UnixDatagram) -> String {
        socket.set_read_timeout(Some(std::time::Duration::from_secs(10))).unwrap();
        let mut buffer = [0; 256];
        let length = socket.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    }

    #[test]
    fn the_service_manager_hears_of_readiness_by_path_and_by_abstract_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let name = format!("evenkeel-test-{}", std::process::id());
        let abstract_address = SocketAddr::from_abstract_name(&name).unwrap();
        for (socket, address) in [
            (UnixDatagram::bind(&path).unwrap(), path.into_os_string()),
            (UnixDatagram::bind_addr(&abstract_address).unwrap(), format!("@{name}").into()),
        ] {
            let manager = service::ServiceManager(ServiceManager::at(Some(address)).unwrap());
            manager.ready().unwrap();
            manager.status("connected\nREADY=0").unwrap();
            manager.stopping().unwrap();
            assert_eq!(received(&socket), "READY=1");
            assert_eq!(received(&socket), "STATUS=connected READY=0");
            assert_eq!(received(&socket), "STOPPING=1");
        }
    }

    #[test]
    fn without_a_service_manager_nothing_is_sent() {
        for address in [None, Some(OsString::new())] {
            ServiceManager::at(address).unwrap().tell("READY=1").unwrap();
        }
        assert!(ServiceManager::at(Some("vsock:2:1234".into())).is_err());
    }
}
