//! The one place where the wall clock is read.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::engine::time::WallTime;

/// The clock of this machine, in microseconds since the Unix epoch.
pub fn wall_time() -> WallTime {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    WallTime(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}
