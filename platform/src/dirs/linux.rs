//! The places that the Filesystem Hierarchy Standard gives to a system service.

use std::path::PathBuf;

pub(super) use super::unix::{create, sync_dir, write_new_private};

pub(super) fn config_dir() -> PathBuf {
    "/etc/evenkeel".into()
}

pub(super) fn state_dir() -> PathBuf {
    "/var/lib/evenkeel".into()
}

pub(super) fn ipc_endpoint() -> PathBuf {
    "/run/evenkeel/evenkeel.sock".into()
}
