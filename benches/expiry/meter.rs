//! What the process took, as the system tells it, and how long rounds were.

use std::fs;
use std::path::Path;
use std::time::Duration;

/// Linux counts processor time in hundredths of a second.
const TICKS_A_SECOND: f64 = 100.0;

/// Processor time of all threads so far, in seconds.
pub fn cpu_s() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap();
    let after_name = stat.rsplit_once(')').unwrap().1;
    let fields: Vec<_> = after_name.split_whitespace().collect();
    let ticks = |field: &str| field.parse::<f64>().unwrap();
    (ticks(fields[11]) + ticks(fields[12])) / TICKS_A_SECOND
}

/// Bytes handed to the system to be written so far: log, flushes and compactions.
pub fn written_bytes() -> u64 {
    let io = fs::read_to_string("/proc/self/io").unwrap();
    let line = io.lines().find_map(|line| line.strip_prefix("wchar: "));
    line.unwrap().parse().unwrap()
}

pub fn rss_bytes() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.unwrap().trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1_024
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
pub struct Rounds(Vec<Duration>);

impl Rounds {
    pub fn add(&mut self, took: Duration) {
        self.0.push(took);
    }

    /// Median, 99.9 of a hundred, and the longest, in milliseconds.
    pub fn milliseconds(mut self) -> String {
        self.0.sort_unstable();
        let at =
            |share: f64| self.0[((self.0.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3;
        format!("median {:.1}, p99.9 {:.1}, longest {:.1}", at(0.5), at(0.999), at(1.0))
    }
}
