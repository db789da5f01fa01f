//! What earlier versions wrote is read as it was meant, and what a later one wrote is refused. The fixtures
//! in `tests/fixtures` are never changed; its README says how one is added.
#![allow(
    dead_code,
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "a test fails by panicking, and each file uses its own part of the support"
)]

#[path = "../support/mod.rs"]
mod support;

mod bytes;
mod fixture;
mod made;
mod newer;
mod retries;

use std::path::PathBuf;

use tempfile::TempDir;

/// Every fixture of a released format.
fn fixtures() -> Vec<PathBuf> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let found: Vec<PathBuf> = entries.filter(|path| path.is_dir()).collect();
    assert!(!found.is_empty());
    found
}

#[test]
fn every_released_format_opens_and_answers() {
    fixtures().iter().for_each(|fixture| retries::are_answered(fixture, true));
}

#[test]
fn every_released_ledger_fills_an_empty_table() {
    fixtures().iter().for_each(|fixture| retries::are_answered(fixture, false));
}

#[test]
fn every_released_table_is_what_its_ledger_says() {
    fixtures().iter().for_each(|fixture| bytes::mean_the_same(fixture));
}

/// As the fixtures were made; `scripts/make-fixture` keeps what comes of it.
#[test]
fn what_this_version_writes_would_do_for_a_fixture() {
    let dir = TempDir::new().unwrap();
    let kept = std::env::var_os("FIXTURE_DIR").map(PathBuf::from);
    let fixture = kept.unwrap_or_else(|| dir.path().join("fixture"));
    made::make(&fixture);
    retries::are_answered(&fixture, true);
    retries::are_answered(&fixture, false);
    bytes::mean_the_same(&fixture);
}
