//! Not there yet.
#![expect(clippy::unused_async, reason = "the same items as on systems where they wait")]

use super::{IdentitySystem, NetworkIdentity};
use crate::Unsupported;

pub(super) async fn read(
    _system: &IdentitySystem,
    _own: Option<&str>,
) -> Result<Option<NetworkIdentity>, Unsupported> {
    Err(Unsupported { what: "network identity" })
}
