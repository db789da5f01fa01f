//! A worker with a short window, for many windows: its table stays as large as what is live.

use std::path::Path;
use std::time::Duration;

use crate::support::model::Rules;
use crate::support::model::Verdict::{Accepted, Duplicate};
use crate::support::wait_until;
use crate::support::world::{World, action};

const WINDOW_S: u64 = 2;
/// Each takes a quarter of a window, or longer.
const ROUNDS: usize = 32;
const NEW_KEYS: usize = 2_000;
/// Keys of the round before come again, and some that expired long ago.
const OLD_KEYS: usize = 50;
const LONG_AGO: usize = 12;

/// Four rounds are live; as many may be dead before they are collected, and some more on a slow machine.
const KEYS_MAX: f64 = 12.0 * NEW_KEYS as f64;
/// A key takes less on the disk, its place in the log included; RocksDB's own files take the rest.
const BYTES_MAX: f64 = KEYS_MAX * 130.0 + 500_000.0;

/// New keys, and old ones with the payload they had.
fn publish(world: &mut World, round: usize) -> Vec<u64> {
    let of = |round: usize, number: usize| action("actions.pay", &format!("{round}-{number}"), "1");
    let mut messages: Vec<_> = (0..NEW_KEYS).map(|number| of(round, number)).collect();
    for back in [1, LONG_AGO].into_iter().filter(|back| *back <= round) {
        messages.extend((0..OLD_KEYS).map(|number| of(round - back, number)));
    }
    world.publish_all(&messages)
}

/// Publishes one action after the other, for source time to go on, until the table is no larger.
fn shrinks_to(world: &mut World, keys: f64, bytes: f64) {
    let mut ticks = 0;
    wait_until("the table to be as small as what is live", || {
        world.gate.must_run();
        ticks += 1;
        world.act(&format!("tick-{}-{ticks}", jiff::Timestamp::now()), "1");
        let metrics = world.gate.metrics();
        let is = |name| metrics.sum(name, &[]);
        is("oncegate_table_keys") <= keys && is("oncegate_table_bytes") <= bytes
    });
}

fn keys_on_disk(table: &Path) -> usize {
    let options = rocksdb::Options::default();
    let db = rocksdb::DB::open_cf_for_read_only(&options, table.join("db"), ["keys"], false);
    let db = db.unwrap();
    db.iterator_cf(db.cf_handle("keys").unwrap(), rocksdb::IteratorMode::Start).count()
}

#[test]
fn the_table_is_as_large_as_what_is_live() {
    let mut world = World::started(Rules::window(WINDOW_S));
    let mut published = Vec::new();
    for round in 0..ROUNDS {
        let until = jiff::Timestamp::now() + Duration::from_secs(WINDOW_S) / 4;
        published.push(publish(&mut world, round));
        world.settle();
        shrinks_to(&mut world, KEYS_MAX, BYTES_MAX);
        wait_until("the round to be over", || jiff::Timestamp::now() > until);
    }
    shrinks_to(&mut world, NEW_KEYS as f64, BYTES_MAX / 4.0);
    let report = world.check();
    world.gate.stop();
    let left = keys_on_disk(&world.gate.table());
    assert!(left <= 2 * NEW_KEYS, "{left} keys are on the disk");

    // What the model says of each was checked; here, that both were there to be checked.
    let again = published.iter().flat_map(|round| round.iter().skip(NEW_KEYS));
    let verdicts: Vec<_> = again.map(|sequence| report.verdict(*sequence)).collect();
    let count = |wanted| verdicts.iter().filter(|verdict| **verdict == wanted).count();
    assert!(count(Duplicate) > 10 * OLD_KEYS, "live keys: {}", count(Duplicate));
    assert!(count(Accepted) > 10 * OLD_KEYS, "expired keys: {}", count(Accepted));
}
