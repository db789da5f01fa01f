//! The key table alone, under a load of new keys: what it takes as it grows, while keys that expired are
//! collected beside it as in the worker.

pub mod load;
pub mod meter;

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::ensure;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use crate::clock;
use crate::gate::engine::Commit;
use crate::table::{KeyTable, TableError, WriteBehind};
use load::{Load, ROUND};
use meter::{RoundTimes, Rounds};

/// As the worker does it.
const COLLECTIONS_A_WINDOW: u64 = 8;
const LOOK_EVERY: Duration = Duration::from_millis(100);
const MILLION: u64 = 1_000_000;

/// A table that can be measured.
pub trait Measured: KeyTable {
    /// Frees what can be freed now: whether that took more than a flush.
    fn collect(&self) -> Result<bool, TableError>;
    /// Writes out what is gathered, on a thread of its own, until [`Measured::close`].
    fn write_behind(&self) {}
    /// Ends that.
    fn close(&self) {}
    /// Ends a collection that is under way; nothing is done with the table after it.
    fn interrupt(&self);
}

impl Measured for WriteBehind {
    fn collect(&self) -> Result<bool, TableError> {
        self.write_out()?;
        let collected = self.table().collect_expired()?;
        self.table().learn()?;
        Ok(collected.rewritten)
    }

    fn write_behind(&self) {
        while self.wait_until_due() {
            if self.write_out().is_err() {
                // The next commit says why.
                return;
            }
        }
    }

    fn close(&self) {
        WriteBehind::close(self);
    }

    fn interrupt(&self) {
        self.table().interrupt();
    }
}

/// What the table took since the stretch before, and how it stands at this one's end.
#[derive(Clone, Debug, Serialize)]
pub struct Stretch {
    /// Keys written so far.
    pub keys: u64,
    /// Windows of source time gone by: at 1 the first key expires.
    pub windows: f64,
    /// Look-ups, each with the write of its key, a second. Making the load is not counted.
    pub keys_per_s: f64,
    /// Processor time of the thread that looks up and commits, which is the worker's loop and its table thread. What
    /// is gathered is written out beside it.
    pub loop_cpu_us_per_key: f64,
    /// Processor time of all threads, compactions and the making of the load included.
    pub cpu_us_per_key: f64,
    /// How long rounds of a thousand took, in ms.
    pub round_ms: RoundTimes,
    /// Written to the log, by flushes and by compactions.
    pub written_bytes_per_key: f64,
    /// On disk at its end.
    pub disk_bytes: u64,
    /// On disk at most.
    pub disk_bytes_max: u64,
    /// Resident memory of the process at its end.
    pub memory_bytes: u64,
    /// Resident memory of the process at most.
    pub memory_bytes_max: u64,
    /// Rewrites of the table that ended in it.
    pub rewrites: Vec<Rewrite>,
}

/// A collection that took more than a flush.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Rewrite {
    /// When it began, in windows gone by.
    pub from_windows: f64,
    /// When it ended.
    pub to_windows: f64,
    /// How long it took.
    pub duration_s: f64,
}

/// The table without a load, once a last collection has freed what can be freed.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct AtRest {
    /// Keys that live.
    pub keys_live: u64,
    /// How long that collection took, with nothing beside it.
    pub collection_s: f64,
    /// On disk.
    pub disk_bytes: u64,
    /// On disk for each key that lives.
    pub disk_bytes_per_key: f64,
    /// Resident memory of the process.
    pub memory_bytes: u64,
}

/// Where stretches end, in rounds: a million keys, each tenth of a window, and the end.
pub fn stretches(load: &Load, rounds: u64) -> Vec<u64> {
    let window = load.rounds_a_window();
    let mut ends: Vec<u64> =
        (1..).map(|tenth| tenth * window / 10).take_while(|end| *end < rounds).collect();
    ends.extend([MILLION / ROUND, rounds]);
    ends.retain(|end| *end <= rounds);
    ends.sort_unstable();
    ends.dedup();
    ends
}

/// Puts a fresh table, whose files are in `dir`, under the load until the last of the stretches has ended.
/// `each` gets every one; `round` is told how many rounds are done.
///
/// Fails where the table does, where it finds a key that was never written, and where `stop` is cancelled.
pub fn measure(
    table: &impl Measured,
    dir: &Path,
    load: &Load,
    stretches: &[u64],
    stop: &CancellationToken,
    round: impl Fn(u64),
    mut each: impl FnMut(Stretch) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let shared = Shared::default();
    thread::scope(|scope| {
        let collector = scope.spawn(|| collect(table, load, &shared));
        scope.spawn(|| watch(dir, &shared));
        scope.spawn(|| table.write_behind());
        let mut under_load = || {
            let mut first = 0;
            for &last in stretches {
                each(stretch(table, dir, load, first..last, &shared, stop, &round)?)?;
                first = last;
            }
            Ok(())
        };
        let mut outcome = under_load();
        shared.done.store(true, Relaxed);
        table.close();
        if outcome.is_err() {
            table.interrupt();
        }
        if let (Ok(()), Ok(Err(error))) = (&outcome, collector.join()) {
            outcome = Err(error.into());
        }
        outcome
    })
}

/// Source time goes on without new keys, until a collection frees what has expired, after so many rounds of load.
/// Looks whether the keys that live are there.
pub fn at_rest(
    table: &impl Measured,
    dir: &Path,
    load: &Load,
    rounds: u64,
) -> anyhow::Result<AtRest> {
    let written = rounds * ROUND;
    let mut now = written;
    let collection_s = loop {
        let started = clock::monotonic();
        if table.collect()? {
            break started.elapsed().as_secs_f64();
        }
        now += load.keys() / COLLECTIONS_A_WINDOW;
        table.commit(load.pause(now - 1))?;
    };
    let oldest = now.saturating_sub(load.keys());
    let keys_live = written.saturating_sub(oldest);
    ensure!(keys_live > 0, "nothing was collected within a window");
    let looked_at: Vec<u64> = (0..ROUND).map(|part| oldest + part * keys_live / ROUND).collect();
    let keys: Vec<_> = looked_at.iter().map(|n| load.key(*n)).collect();
    let found = table.load_many(&keys.iter().collect::<Vec<_>>())?;
    for (n, found) in looked_at.into_iter().zip(found) {
        ensure!(found == Some(load.record(n)), "key {n} lives, and the table has {found:?}");
    }
    let disk_bytes = meter::disk_bytes(dir);
    Ok(AtRest {
        keys_live,
        collection_s,
        disk_bytes,
        disk_bytes_per_key: disk_bytes as f64 / keys_live as f64,
        memory_bytes: meter::resident_bytes(),
    })
}

/// What the load tells those beside it, and they it.
#[derive(Default)]
struct Shared {
    rounds: AtomicU64,
    done: AtomicBool,
    disk_bytes_max: AtomicU64,
    memory_bytes_max: AtomicU64,
    rewrites: Mutex<Vec<Rewrite>>,
}

impl Shared {
    fn rewrites(&self) -> std::sync::MutexGuard<'_, Vec<Rewrite>> {
        self.rewrites.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn windows(load: &Load, rounds: u64) -> f64 {
    rounds as f64 / load.rounds_a_window() as f64
}

fn collect(table: &impl Measured, load: &Load, shared: &Shared) -> Result<(), TableError> {
    let interval = load.rounds_a_window() / COLLECTIONS_A_WINDOW;
    let mut next = interval;
    while !shared.done.load(Relaxed) {
        let begun = shared.rounds.load(Relaxed);
        if begun < next {
            thread::sleep(Duration::from_millis(2));
            continue;
        }
        next = begun + interval;
        let started = clock::monotonic();
        if table.collect()? {
            shared.rewrites().push(Rewrite {
                from_windows: windows(load, begun),
                to_windows: windows(load, shared.rounds.load(Relaxed)),
                duration_s: started.elapsed().as_secs_f64(),
            });
        }
    }
    Ok(())
}

fn watch(dir: &Path, shared: &Shared) {
    while !shared.done.load(Relaxed) {
        shared.disk_bytes_max.fetch_max(meter::disk_bytes(dir), Relaxed);
        shared.memory_bytes_max.fetch_max(meter::resident_bytes(), Relaxed);
        thread::sleep(LOOK_EVERY);
    }
}

fn stretch(
    table: &impl Measured,
    dir: &Path,
    load: &Load,
    rounds: std::ops::Range<u64>,
    shared: &Shared,
    stop: &CancellationToken,
    done: impl Fn(u64),
) -> anyhow::Result<Stretch> {
    let (cpu_s, written_bytes) = (meter::cpu_s(), meter::written_bytes());
    let keys = ((rounds.end - rounds.start) * ROUND) as f64;
    let mut times = Rounds::default();
    for round in rounds.clone() {
        ensure!(!stop.is_cancelled(), "interrupted");
        let commit = load.round(round);
        times.time(|| one(table, commit))?;
        shared.rounds.store(round + 1, Relaxed);
        done(round + 1);
    }
    let (disk_bytes, memory_bytes) = (meter::disk_bytes(dir), meter::resident_bytes());
    Ok(Stretch {
        keys: rounds.end * ROUND,
        windows: windows(load, rounds.end),
        keys_per_s: keys / times.sum_s(),
        loop_cpu_us_per_key: times.cpu_s() * 1e6 / keys,
        cpu_us_per_key: (meter::cpu_s() - cpu_s) * 1e6 / keys,
        round_ms: times.times_ms(),
        written_bytes_per_key: (meter::written_bytes() - written_bytes) as f64 / keys,
        disk_bytes,
        disk_bytes_max: shared.disk_bytes_max.swap(0, Relaxed).max(disk_bytes),
        memory_bytes,
        memory_bytes_max: shared.memory_bytes_max.swap(0, Relaxed).max(memory_bytes),
        rewrites: std::mem::take(&mut shared.rewrites()),
    })
}

/// A thousand keys that are not there are looked up, and written; both as the worker does it.
fn one(table: &impl Measured, commit: Commit) -> anyhow::Result<()> {
    let keys: Vec<_> = commit.changes.iter().map(|(key, _)| key).collect();
    let found = table.load_many(&keys)?;
    ensure!(found.iter().all(Option::is_none), "a key was found that was never written");
    Ok(table.commit(commit)?)
}
