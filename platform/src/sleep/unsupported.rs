//! Where sleep is not noticed yet: macOS, Windows.
#![expect(clippy::unused_async, reason = "the same items as on systems where they wait")]

use std::time::Duration;

use super::{SleepError, SleepSystem};
use crate::Unsupported;

pub(super) enum SleepEvents {}

impl SleepEvents {
    pub(super) async fn open(_system: &SleepSystem) -> Result<Self, SleepError> {
        Err(Unsupported { what: "sleep" }.into())
    }

    pub(super) async fn woke(&mut self) -> bool {
        match *self {}
    }
}

pub(super) fn time_asleep() -> Option<Duration> {
    None
}
