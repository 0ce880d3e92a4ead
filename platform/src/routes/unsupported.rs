//! Where routes are not set yet: macOS, Windows.
#![expect(clippy::unused_async, reason = "the same items as on systems where they wait")]

use std::path::PathBuf;

use super::{Recovered, RouteError, RoutePlan};
use crate::Unsupported;

const UNSUPPORTED: Unsupported = Unsupported { what: "routes" };

#[derive(Debug)]
pub(super) struct RouteManager;

#[derive(Debug)]
pub(super) enum Applied {}

impl RouteManager {
    pub(super) fn new(_state_dir: PathBuf) -> Result<Self, RouteError> {
        Ok(Self)
    }

    pub(super) async fn recover(&self) -> Result<Recovered, RouteError> {
        Ok(Recovered::Nothing)
    }

    pub(super) async fn apply(&self, _plan: &RoutePlan) -> Result<Applied, RouteError> {
        Err(UNSUPPORTED.into())
    }

    pub(super) async fn replace(&self, applied: Applied, _plan: &RoutePlan) -> Result<Applied, RouteError> {
        match applied {}
    }

    pub(super) async fn set_mtu(&self, applied: &Applied, _mtu: u32) -> Result<(), RouteError> {
        match *applied {}
    }

    pub(super) async fn revert(&self, applied: Applied) -> Result<(), RouteError> {
        match applied {}
    }
}
