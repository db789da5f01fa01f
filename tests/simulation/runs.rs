//! Many seeds, on all processors.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::counts::Counts;
use crate::world::World;
use crate::wrong::Wrong;

/// A seed whose run broke a rule.
#[derive(Debug)]
pub struct Failure {
    pub seed: u64,
    pub why: String,
}

/// Runs `seeds` while `go_on` holds; the lowest of the seeds that failed.
pub fn run(
    seeds: impl Iterator<Item = u64> + Send,
    wrong: Option<Wrong>,
    go_on: impl Fn(u64) -> bool + Sync,
) -> (Counts, Option<Failure>) {
    let (seeds, done, failed) = (Mutex::new(seeds), AtomicU64::new(0), AtomicBool::new(false));
    let (counts, first) = (Mutex::new(Counts::default()), Mutex::new(None::<Failure>));
    let work = || {
        let mut mine = Counts::default();
        while !failed.load(Ordering::Relaxed) && go_on(done.load(Ordering::Relaxed)) {
            let Some(seed) = seeds.lock().unwrap().next() else { break };
            let mut world = World::new(seed, false, wrong);
            if let Err(why) = world.run() {
                failed.store(true, Ordering::Relaxed);
                let mut first = first.lock().unwrap();
                if first.as_ref().is_none_or(|failure| seed < failure.seed) {
                    *first = Some(Failure { seed, why });
                }
            }
            done.fetch_add(1, Ordering::Relaxed);
            mine.add(&world.counts);
        }
        counts.lock().unwrap().add(&mine);
    };
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(work);
        }
    });
    (counts.into_inner().unwrap(), first.into_inner().unwrap())
}
