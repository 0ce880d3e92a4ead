//! Waiting for a moment that may not be set.

use std::future::pending;
use std::time::Instant;

/// Returns at `at`; without one, never. Cancel safe.
pub(crate) async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => pending().await,
    }
}
