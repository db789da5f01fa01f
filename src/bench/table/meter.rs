//! What the process took, as Linux tells it, and how long rounds were. What can't be had is 0.

use std::fs;
use std::path::Path;
use std::time::Duration;

use serde::Serialize;

use crate::clock;

/// Linux counts processor time in hundredths of a second.
const TICKS_A_SECOND: f64 = 100.0;

/// Processor time of all threads so far, in seconds.
pub fn cpu_s() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The second field is the program's name, and may hold anything; user and system time are the 14th and 15th.
    let after_name = stat.rsplit_once(')').map_or("", |(_, after)| after);
    let times = after_name.split_whitespace().skip(11).take(2);
    times.filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / TICKS_A_SECOND
}

/// Processor time of this thread so far; the system brings it up to date every few milliseconds.
pub fn thread_cpu_s() -> f64 {
    let times = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let running_ns = times.split_whitespace().next().and_then(|ns| ns.parse::<f64>().ok());
    running_ns.unwrap_or(0.0) / 1e9
}

/// Bytes handed to the system to be written so far: log, flushes and compactions.
pub fn written_bytes() -> u64 {
    number_in("/proc/self/io", "wchar:")
}

/// Resident memory now.
pub fn resident_bytes() -> u64 {
    number_in("/proc/self/status", "VmRSS:") * 1_024
}

fn number_in(file: &str, name: &str) -> u64 {
    let text = fs::read_to_string(file).unwrap_or_default();
    let value = text.lines().find_map(|line| line.strip_prefix(name));
    let number = value.and_then(|value| value.split_whitespace().next());
    number.and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// Bytes of all files below; one that is removed meanwhile counts nothing.
pub fn disk_bytes(dir: &Path) -> u64 {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let bytes = entries.map(|entry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => disk_bytes(&entry.path()),
        Ok(metadata) => metadata.len(),
        Err(_) => 0,
    });
    bytes.sum()
}

/// How long rounds took.
#[derive(Default)]
pub struct Rounds {
    took: Vec<Duration>,
    cpu_s: f64,
}

/// The same, in milliseconds.
#[derive(Clone, Copy, Debug, Default, Serialize)]
#[expect(missing_docs, reason = "they say it")]
pub struct RoundTimes {
    pub p50: f64,
    pub p99_9: f64,
    pub max: f64,
}

impl Rounds {
    /// One more: `round` does it.
    pub fn time<T>(&mut self, round: impl FnOnce() -> T) -> T {
        let (started, cpu_s) = (clock::monotonic(), thread_cpu_s());
        let done = round();
        self.cpu_s += thread_cpu_s() - cpu_s;
        self.took.push(started.elapsed());
        done
    }

    /// All together, in seconds.
    pub fn sum_s(&self) -> f64 {
        self.took.iter().sum::<Duration>().as_secs_f64()
    }

    /// Processor time of the thread that did them, all together.
    pub fn cpu_s(&self) -> f64 {
        self.cpu_s
    }

    /// Their median, the 99.9th of a hundred, and the longest.
    pub fn times_ms(mut self) -> RoundTimes {
        self.took.sort_unstable();
        let at = |share: f64| {
            let place = (self.took.len().saturating_sub(1) as f64 * share) as usize;
            self.took.get(place).map_or(0.0, |took| took.as_secs_f64() * 1e3)
        };
        RoundTimes { p50: at(0.5), p99_9: at(0.999), max: at(1.0) }
    }
}
