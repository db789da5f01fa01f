//! The corpora of the fuzz targets, through the same assertions: what a fuzzer once found is looked at by
//! every run of the tests.

#![allow(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

use std::fs;
use std::path::{Path, PathBuf};

/// The targets name the core as they find it where they are compiled with it.
use oncegate::gate;

#[path = "../fuzz/src/targets/mod.rs"]
mod targets;

fn corpora() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus")
}

/// Stops, with the file's name, at the first input that fails.
fn replay(name: &str, check: fn(&[u8])) {
    let folder = corpora().join(name);
    let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{folder:?}: {error}"));
    let mut inputs: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    inputs.sort();
    assert!(!inputs.is_empty(), "{folder:?} is empty");
    for input in inputs {
        let bytes = fs::read(&input).unwrap();
        let checked = std::panic::catch_unwind(|| check(&bytes));
        assert!(checked.is_ok(), "{} fails, see above", input.display());
    }
}

#[test]
fn the_corpus_of_every_target_holds() {
    for (name, check) in targets::ALL {
        replay(name, check);
    }
}

#[test]
fn every_target_is_fuzzed_and_every_corpus_has_its_target() {
    let mut names: Vec<String> = targets::ALL.map(|(name, _)| name.to_owned()).into();
    names.sort();
    let binaries = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/fuzz_targets");
    for (folder, ending) in [(corpora(), ""), (binaries, ".rs")] {
        let entries = fs::read_dir(&folder).unwrap();
        let mut found: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        found.sort();
        let expected: Vec<String> = names.iter().map(|name| format!("{name}{ending}")).collect();
        assert_eq!(found, expected, "{folder:?}");
    }
}
