//! Where name resolution is not set yet: macOS, Windows.
#![expect(clippy::unused_async, reason = "the same items as on systems where they wait")]

use std::path::Path;

use super::{DnsBackend, DnsError, DnsOutcome, DnsPlan, DnsSystem};
use crate::Unsupported;

const UNSUPPORTED: Unsupported = Unsupported { what: "DNS" };

#[derive(Debug)]
pub(super) struct DnsManager;

#[derive(Debug)]
pub(super) enum AppliedDns {}

impl AppliedDns {
    pub(super) fn backend(&self) -> DnsBackend {
        match *self {}
    }
}

impl DnsManager {
    pub(super) fn new(_state_dir: &Path, _system: DnsSystem) -> Self {
        Self
    }

    pub(super) async fn recover(&self) -> Result<DnsOutcome, DnsError> {
        Ok(DnsOutcome::Nothing)
    }

    pub(super) async fn apply(&self, _plan: &DnsPlan) -> Result<AppliedDns, DnsError> {
        Err(UNSUPPORTED.into())
    }

    pub(super) async fn revert(&self, applied: AppliedDns) -> Result<DnsOutcome, DnsError> {
        match applied {}
    }
}
