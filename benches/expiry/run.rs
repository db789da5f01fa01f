//! One way under the load: what it took, and what it left on the disk.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use crate::load::{Load, ROUND};
use crate::meter::{self, Rounds};
use crate::ways::Way;

/// A collection each eighth of a window, as the worker does it.
const COLLECTIONS_A_WINDOW: u64 = 8;
const LOOK: Duration = Duration::from_millis(100);
const GB: f64 = 1e9;

#[derive(Default)]
struct Shared {
    rounds: AtomicU64,
    done: AtomicBool,
    disk_peak: AtomicU64,
    rss_peak: AtomicU64,
}

pub fn measure(way: &impl Way, dir: &Path, load: &Load, rounds: u64) {
    let shared = Shared::default();
    thread::scope(|scope| {
        scope.spawn(|| collect(way, load, &shared));
        scope.spawn(|| watch(dir, &shared));
        under_load(way, dir, load, rounds, &shared);
        shared.done.store(true, Relaxed);
    });
    at_rest(way, dir, load, rounds);
}

fn collect(way: &impl Way, load: &Load, shared: &Shared) {
    let interval = load.rounds_a_window() / COLLECTIONS_A_WINDOW;
    let mut next = interval;
    while !shared.done.load(Relaxed) {
        if shared.rounds.load(Relaxed) < next {
            thread::sleep(Duration::from_millis(2));
            continue;
        }
        let begun = shared.rounds.load(Relaxed);
        next = begun + interval;
        let started = Instant::now();
        let did = way.collect();
        if !did.is_empty() {
            let windows = |rounds| rounds as f64 / load.rounds_a_window() as f64;
            println!(
                "    {did} at {:.3} windows, until {:.3}, {:.1} s",
                windows(begun),
                windows(shared.rounds.load(Relaxed)),
                started.elapsed().as_secs_f64()
            );
        }
    }
}

fn watch(dir: &Path, shared: &Shared) {
    while !shared.done.load(Relaxed) {
        shared.disk_peak.fetch_max(meter::disk_bytes(dir), Relaxed);
        shared.rss_peak.fetch_max(meter::rss_bytes(), Relaxed);
        thread::sleep(LOOK);
    }
}

fn under_load(way: &impl Way, dir: &Path, load: &Load, rounds: u64, shared: &Shared) {
    println!(
        "windows | keys/s | cpu us a key | GB | peak GB | written B a key | rss MB | rounds ms"
    );
    let tenth = load.rounds_a_window() / 10;
    for first in (0..rounds).step_by(tenth as usize) {
        let (cpu_s, written) = (meter::cpu_s(), meter::written_bytes());
        let last = (first + tenth).min(rounds);
        let mut times = Rounds::default();
        let mut busy = Duration::ZERO;
        for round in first..last {
            let took = one(way, load, round);
            busy += took;
            times.add(took);
            shared.rounds.store(round + 1, Relaxed);
        }
        let keys = ((last - first) * ROUND) as f64;
        println!(
            "{:.1} | {:.0} | {:.1} | {:.2} | {:.2} | {:.0} | {} | {}",
            last as f64 / load.rounds_a_window() as f64,
            keys / busy.as_secs_f64(),
            (meter::cpu_s() - cpu_s) * 1e6 / keys,
            meter::disk_bytes(dir) as f64 / GB,
            shared.disk_peak.swap(0, Relaxed) as f64 / GB,
            (meter::written_bytes() - written) as f64 / keys,
            shared.rss_peak.swap(0, Relaxed) / 1_000_000,
            times.milliseconds(),
        );
    }
}

/// A thousand keys that are not there are looked up, and written; both as the worker does it.
fn one(way: &impl Way, load: &Load, round: u64) -> Duration {
    let commit = load.round(round);
    let keys: Vec<_> = commit.changes.iter().map(|(key, _)| key).collect();
    let started = Instant::now();
    let found = way.look_up(&keys);
    way.commit(&commit);
    let took = started.elapsed();
    assert!(found.iter().all(Option::is_none), "a key that was never written");
    took
}

/// Everything that lives is there; then no key comes any more, until all have expired.
fn at_rest(way: &impl Way, dir: &Path, load: &Load, rounds: u64) {
    let next = rounds * ROUND;
    let keys = load.keys();
    let live: Vec<_> =
        (1..=1_000).map(|part| load.key(next - 1 - part * (keys - 1) / 1_000)).collect();
    let found = way.look_up(&live.iter().collect::<Vec<_>>());
    assert!(found.iter().all(Option::is_some), "a live key is gone");
    println!("at rest: windows without a key | GB left | s");
    for step in 0..=10 {
        way.commit(&load.pause(next + step * keys / COLLECTIONS_A_WINDOW));
        let started = Instant::now();
        way.collect();
        println!(
            "{:.3} | {:.3} | {:.1}",
            step as f64 / COLLECTIONS_A_WINDOW as f64,
            meter::disk_bytes(dir) as f64 / GB,
            started.elapsed().as_secs_f64()
        );
    }
}
