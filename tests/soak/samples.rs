//! What is measured every few seconds.

use std::fmt::Write;
use std::path::Path;

/// What a process takes, as `/proc` tells it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Process {
    pub rss_bytes: u64,
    pub threads: u64,
    pub handles: Handles,
}

/// Open file handles by what they are.
#[derive(Debug, Clone, Copy, Default)]
pub struct Handles {
    pub sockets: u64,
    /// Of files in the key table's directory.
    pub table: u64,
    pub others: u64,
}

impl Handles {
    fn all(&self) -> u64 {
        self.sockets + self.table + self.others
    }
}

#[derive(Debug, Clone, Copy, Default)]
pub struct Sample {
    /// Since the beginning.
    pub seconds: f64,
    /// Of the worker that is never restarted.
    pub steady: Process,
    /// Of the other one.
    pub restarted: Process,
    pub steady_leads: bool,
    /// Files of the steady worker's table.
    pub table_bytes: u64,
    /// As its metrics estimate them.
    pub table_keys: u64,
    /// The last input that the ledger names.
    pub judged: u64,
    /// Inputs after that.
    pub waiting: u64,
    pub ledger_sequence: u64,
    /// Verdicts a second since the sample before.
    pub rate: f64,
    pub worker_restarts: u64,
    pub server_restarts: u64,
}

impl Process {
    /// What the process of this id takes, with its table there; zeros where it has ended.
    pub fn of(pid: u32, table: &Path) -> Self {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let field = |name: &str| -> u64 {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let value = line.and_then(|rest| rest.split_whitespace().next());
            value.and_then(|value| value.parse().ok()).unwrap_or_default()
        };
        let handles = Handles::of(pid, table);
        Self { rss_bytes: field("VmRSS:") * 1024, threads: field("Threads:"), handles }
    }
}

impl Handles {
    pub fn of(pid: u32, table: &Path) -> Self {
        let mut handles = Self::default();
        for entry in std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten() {
            // It may be closed by now.
            let Ok(target) = std::fs::read_link(entry.path()) else { continue };
            if target.to_string_lossy().starts_with("socket:") {
                handles.sockets += 1;
            } else if target.starts_with(table) {
                handles.table += 1;
            } else {
                handles.others += 1;
            }
        }
        handles
    }
}

/// Bytes of the files below a directory.
pub fn bytes_below(dir: &Path) -> u64 {
    let files = std::fs::read_dir(dir).into_iter().flatten().flatten();
    // RocksDB may delete one meanwhile.
    let bytes = files.filter_map(|file| match file.metadata().ok()? {
        of if of.is_dir() => Some(bytes_below(&file.path())),
        of => Some(of.len()),
    });
    bytes.sum()
}

pub const CSV_HEAD: &str = "seconds,steady_rss_bytes,steady_handles,steady_sockets,steady_table_files,\
     steady_threads,restarted_rss_bytes,restarted_handles,restarted_threads,steady_leads,table_bytes,\
     table_keys,rate,judged,waiting,ledger_sequence,worker_restarts,server_restarts\n";

impl Sample {
    pub fn csv(&self) -> String {
        let Self { steady, restarted, .. } = self;
        let mut line = format!("{:.1}", self.seconds);
        let columns = [
            steady.rss_bytes,
            steady.handles.all(),
            steady.handles.sockets,
            steady.handles.table,
            steady.threads,
            restarted.rss_bytes,
            restarted.handles.all(),
            restarted.threads,
            u64::from(self.steady_leads),
            self.table_bytes,
            self.table_keys,
            self.rate as u64,
            self.judged,
            self.waiting,
            self.ledger_sequence,
            self.worker_restarts,
            self.server_restarts,
        ];
        for column in columns {
            write!(line, ",{column}").unwrap();
        }
        line + "\n"
    }
}
