//! The only place that reads a clock.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::gate::source::TimeNs;

/// Nanoseconds since the epoch by this machine's clock.
#[expect(clippy::disallowed_methods, reason = "the clock")]
pub fn wall_ns() -> TimeNs {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

/// A point in time that never goes back.
#[expect(clippy::disallowed_methods, reason = "the clock")]
pub fn monotonic() -> Instant {
    Instant::now()
}
