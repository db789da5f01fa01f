//! The borders of the design: a pure core, two edges that do not know each other.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test stops at what it did not expect"
)]

use std::fs;
use std::path::{Path, PathBuf};

fn sources(folder: &str) -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(folder);
    let mut found = Vec::new();
    let mut folders = vec![root];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                found.push((path.clone(), fs::read_to_string(&path).unwrap()));
            }
        }
    }
    assert!(found.len() > 2, "{folder} has moved: this test looks at nothing");
    found
}

/// Lines of code that name one of `forbidden`; comments may.
fn offences(folder: &str, forbidden: &[&str]) -> Vec<String> {
    let mut offences = Vec::new();
    for (path, text) in sources(folder) {
        for (number, line) in text.lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            if let Some(name) = forbidden.iter().find(|name| code.contains(**name)) {
                offences.push(format!("{}:{}: {name}", path.display(), number + 1));
            }
        }
    }
    offences
}

#[test]
fn the_core_is_pure() {
    let forbidden = [
        "tokio",
        "async_nats",
        "rocksdb",
        "tracing",
        "SystemTime::now",
        "Instant::now",
        "std::fs",
        "std::net",
        "std::thread",
        "rand::",
        "async fn",
        "crate::nats",
        "crate::table",
        "crate::worker",
        "crate::bench",
        "crate::config",
    ];
    assert_eq!(offences("gate", &forbidden), Vec::<String>::new());
}

#[test]
fn the_edges_do_not_know_each_other() {
    let table = ["async_nats", "crate::nats", "crate::worker", "crate::bench", "tokio"];
    assert_eq!(offences("table", &table), Vec::<String>::new());
    let nats = ["rocksdb", "crate::table", "crate::worker", "crate::bench"];
    assert_eq!(offences("nats", &nats), Vec::<String>::new());
}

#[test]
fn only_the_edges_know_their_libraries() {
    let worker = ["async_nats", "rocksdb::", "crate::bench"];
    assert_eq!(offences("worker", &worker), Vec::<String>::new());
}

/// Two readings of one contract are worth more than one, as long as they do not share the mistakes.
#[test]
fn the_audit_knows_neither_table_nor_engine() {
    let forbidden = [
        "crate::table",
        "crate::worker",
        "gate::engine",
        "gate::record",
        "gate::cursor",
        "verdict::judge",
        "entry::accepted",
        "entry::rejected",
        "rocksdb",
        "async_nats",
    ];
    assert_eq!(offences("audit", &forbidden), Vec::<String>::new());
}

/// What is measured is the program that users run, as a process of its own. Only the table is also measured alone, by
/// the commits that the engine would give it.
#[test]
fn the_bench_sees_the_gate_from_outside() {
    let forbidden = ["crate::worker", "verdict::judge", "rocksdb"];
    assert_eq!(offences("bench", &forbidden), Vec::<String>::new());
    let mut engine = offences("bench", &["gate::engine"]);
    engine.retain(|offence| !offence.contains("src/bench/table"));
    assert_eq!(engine, Vec::<String>::new());
}
