//! Waiting for conditions, never for time.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::bail;

/// How long to pause between two looks at something that can only be looked at.
const PAUSE: Duration = Duration::from_millis(20);

/// Looks until `probe` returns something; gives up after `limit`, naming `what` was awaited.
pub fn until<T>(what: &str, limit: Duration, mut probe: impl FnMut() -> Option<T>) -> anyhow::Result<T> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(found) = probe() {
            return Ok(found);
        }
        if Instant::now() >= deadline {
            bail!("waited {} s in vain: {what}", limit.as_secs_f32());
        }
        thread::sleep(PAUSE);
    }
}
