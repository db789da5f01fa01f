//! `oncegate bench table`.

use std::fs;
use std::path::Path;
use std::process::Stdio;

use serde_json::Value;
use tempfile::TempDir;

use crate::support::gate::{Ending, oncegate};
use crate::support::server::signal;
use crate::support::wait_until;
use crate::{has_fields, objects, run};

/// The fewest that it takes.
const KEYS: &str = "100000";

fn bench(dir: &Path, arguments: &[&str]) -> Ending {
    let table = ["bench", "table", "--dir", dir.to_str().unwrap()];
    run(&std::env::temp_dir(), &[&table, arguments].concat())
}

fn is_empty(dir: &Path) -> bool {
    fs::read_dir(dir).unwrap().next().is_none()
}

#[test]
fn it_counts_what_it_did_and_leaves_nothing_behind() {
    let dir = TempDir::new().unwrap();
    let told = objects(&bench(dir.path(), &["--keys", KEYS, "--json"]));
    let (result, stretches) = told.split_last().unwrap();
    let number = |object: &Value, name: &str| object[name].as_f64().unwrap();

    let keys: Vec<_> = stretches.iter().map(|stretch| stretch["keys"].as_u64().unwrap()).collect();
    let expected: Vec<_> = (1..=16).map(|tenth| tenth * 10_000).chain([162_000]).collect();
    assert_eq!(keys, expected);
    for stretch in stretches {
        has_fields(
            stretch,
            &[
                "keys",
                "windows",
                "keys_per_s",
                "loop_cpu_us_per_key",
                "cpu_us_per_key",
                "round_ms",
                "written_bytes_per_key",
                "disk_bytes",
                "disk_bytes_max",
                "memory_bytes",
                "memory_bytes_max",
                "rewrites",
            ],
        );
        assert_eq!(number(stretch, "windows"), number(stretch, "keys") / 100_000.0);
        assert!(number(stretch, "keys_per_s") > 0.0, "{stretch}");
        let disk = number(stretch, "disk_bytes");
        assert!(0.0 < disk && disk <= number(stretch, "disk_bytes_max"), "{stretch}");
        let memory = number(stretch, "memory_bytes");
        assert!(0.0 < memory && memory <= number(stretch, "memory_bytes_max"), "{stretch}");
    }
    has_fields(
        result,
        &[
            "rate_ratio",
            "memory_bytes_max",
            "disk_bytes_max",
            "keys_live",
            "collection_s",
            "disk_bytes",
            "disk_bytes_per_key",
            "memory_bytes",
        ],
    );
    // What expired is gone: a random key, a digest and the positions take no less.
    let live = number(result, "keys_live");
    assert!(live <= 100_000.0 && (100_000.0 - live) % 12_500.0 == 0.0, "{result}");
    assert_eq!(number(result, "disk_bytes_per_key"), number(result, "disk_bytes") / live);
    assert!((40.0..70.0).contains(&number(result, "disk_bytes_per_key")), "{result}");
    let rates = [&stretches[9], &stretches[0]].map(|stretch| number(stretch, "keys_per_s"));
    assert_eq!(number(result, "rate_ratio"), rates[0] / rates[1]);
    assert!(is_empty(dir.path()));
}

#[test]
fn for_people_it_is_a_table() {
    let dir = TempDir::new().unwrap();
    let told = bench(dir.path(), &["--keys", KEYS]);
    assert_eq!(told.code, Some(0), "{told:#?}");
    let first = |line: &str| line.split_whitespace().next().unwrap().to_owned();
    let lines: Vec<_> = told.stdout.lines().collect();
    assert_eq!(lines.first().map(|line| first(line)), Some("keys".into()));
    for keys in ["10000", "100000", "162000"] {
        assert!(lines.iter().any(|line| first(line) == keys), "{keys}: {told:#?}");
    }
    assert!(lines.last().unwrap().contains("bytes a key on disk"), "{told:#?}");
}

#[test]
fn interrupted_it_leaves_nothing_behind_either() {
    let dir = TempDir::new().unwrap();
    let arguments = ["bench", "table", "--keys", "1000000000", "--dir"];
    let mut command = oncegate(dir.path());
    command.args(arguments).arg(dir.path()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().unwrap();
    wait_until("a table", || !is_empty(dir.path()));
    signal(&child, "INT");
    let ending = Ending::from(child.wait_with_output().unwrap());
    assert_eq!((ending.code, ending.signal), (Some(1), None), "{ending:#?}");
    ending.says(&["interrupted"]);
    assert!(is_empty(dir.path()));
}

#[test]
fn it_says_what_it_can_not_do() {
    let dir = TempDir::new().unwrap();
    assert_eq!(bench(dir.path(), &["--keys", "99999"]).code, Some(2));
    let missing = bench(&dir.path().join("missing"), &["--keys", KEYS]);
    assert_eq!(missing.code, Some(1), "{missing:#?}");
    missing.says(&["missing"]);
}
