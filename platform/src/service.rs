//! What the daemon tells the service manager that started it.

use std::io;

use crate::Unsupported;

#[cfg_attr(target_os = "linux", path = "service/linux.rs")]
#[cfg_attr(any(target_os = "macos", windows), path = "service/unsupported.rs")]
mod sys;

/// Why the service manager cannot be told.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// There is no implementation for this system's service manager.
    #[error(transparent)]
    Unsupported(#[from] Unsupported),
    /// It gave an address that cannot be used, or does not take messages.
    #[error("telling the service manager: {0}")]
    Io(#[from] io::Error),
}

/// The service manager, if one started this process. Without one, every call does nothing.
#[derive(Debug)]
pub struct ServiceManager(sys::ServiceManager);

impl ServiceManager {
    /// Finds the service manager that started this process.
    pub fn from_environment() -> Result<Self, ServiceError> {
        sys::ServiceManager::from_environment().map(Self)
    }

    /// Startup is complete: clients can connect.
    pub fn ready(&self) -> Result<(), ServiceError> {
        self.0.tell("READY=1")
    }

    /// Shutdown has begun.
    pub fn stopping(&self) -> Result<(), ServiceError> {
        self.0.tell("STOPPING=1")
    }

    /// One line that the service manager shows with the service's state.
    pub fn status(&self, line: &str) -> Result<(), ServiceError> {
        // A line feed would begin another assignment.
        self.0.tell(&format!("STATUS={}", line.replace(['\n', '\r'], " ")))
    }
}
