//! Histograms of times.

use std::time::Duration;

use hdrhistogram::Histogram;

/// The longest time told apart from longer ones: an hour.
const LONGEST_US: u64 = 3_600_000_000;

/// Of microseconds, to three digits.
pub fn histogram() -> anyhow::Result<Histogram<u64>> {
    Ok(Histogram::new_with_bounds(1, LONGEST_US, 3)?)
}

/// As a histogram takes it.
pub fn microseconds(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(LONGEST_US).min(LONGEST_US)
}
