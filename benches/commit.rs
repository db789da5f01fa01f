//! The table's two calls of a round of 1,000, on a small table: `oncegate bench table` has the large ones.
//!
//!     cargo bench --bench commit

#![allow(
    clippy::unwrap_used,
    missing_docs,
    reason = "a measurement stops at what it did not expect"
)]

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use oncegate::bench::table::load::{Load, ROUND};
use oncegate::gate::key::ActionKey;
use oncegate::table::{KeyTable, RocksTable};

/// More than is ever written here.
const KEYS: u64 = 1_000_000_000;
/// In the table before anything is measured, some of it in files.
const ROUNDS_BEFORE: u64 = 1_000;

fn rounds(c: &mut Criterion) {
    let dir = tempfile::tempdir().unwrap();
    let table = RocksTable::open(dir.path(), "bench").unwrap();
    let load = Load::new(KEYS);
    for round in 0..ROUNDS_BEFORE {
        table.commit(load.round(round)).unwrap();
    }
    let mut group = c.benchmark_group("table, rounds of 1,000");
    group.throughput(Throughput::Elements(ROUND));

    let keys = |first: u64| (first..first + ROUND).map(|n| load.key(n)).collect::<Vec<ActionKey>>();
    let mut absent = KEYS;
    let mut written = 0;
    let looks: [(&str, &mut dyn FnMut() -> Vec<ActionKey>); 2] = [
        ("look-up, nothing there", &mut || {
            absent += ROUND;
            keys(absent)
        }),
        ("look-up, all there", &mut || {
            written = (written + ROUND) % (ROUNDS_BEFORE * ROUND);
            keys(written)
        }),
    ];
    for (name, keys) in looks {
        group.bench_function(name, |b| {
            b.iter_batched(
                &mut *keys,
                |keys| table.load_many(&keys.iter().collect::<Vec<_>>()).unwrap(),
                BatchSize::LargeInput,
            );
        });
    }
    let mut round = ROUNDS_BEFORE;
    group.bench_function("commit", |b| {
        b.iter_batched(
            || {
                round += 1;
                load.round(round)
            },
            |commit| table.commit(commit).unwrap(),
            BatchSize::LargeInput,
        );
    });
    group.finish();
}

criterion_group!(benches, rounds);
criterion_main!(benches);
