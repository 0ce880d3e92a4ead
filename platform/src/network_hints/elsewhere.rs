//! Not there yet.
#![expect(clippy::unused_async, reason = "the same items as on systems where they wait")]

use super::{HintsSystem, NetworkHints};
use crate::Unsupported;

pub(super) async fn read(_system: &HintsSystem) -> Result<NetworkHints, Unsupported> {
    Err(Unsupported { what: "network hints" })
}
