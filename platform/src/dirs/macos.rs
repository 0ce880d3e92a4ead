//! The places that Apple gives to software for all users of a machine.

use std::path::PathBuf;

pub(super) use super::unix::{create, sync_dir, write_new_private};

pub(super) fn config_dir() -> PathBuf {
    "/Library/Application Support/Evenkeel/Config".into()
}

pub(super) fn state_dir() -> PathBuf {
    "/Library/Application Support/Evenkeel/State".into()
}

pub(super) fn ipc_endpoint() -> PathBuf {
    "/var/run/evenkeel/evenkeel.sock".into()
}
