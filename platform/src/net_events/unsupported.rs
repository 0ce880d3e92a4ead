//! Where the network is not watched yet: macOS, Windows.
#![expect(clippy::unused_async, reason = "the same items as on systems where they wait")]

use super::{NetEvent, NetEventsError};
use crate::Unsupported;

#[derive(Debug)]
pub(super) enum NetEvents {}

impl NetEvents {
    pub(super) fn open() -> Result<Self, NetEventsError> {
        Err(Unsupported { what: "network events" }.into())
    }

    pub(super) async fn next(&mut self) -> Option<NetEvent> {
        match *self {}
    }
}
