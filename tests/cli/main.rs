//! The command line as a black box: what it prints, where, and how it ends.
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

mod bench_table;
mod check;
mod logs;
mod publish;
mod redrive;
mod rejections;
mod settings;

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;

use support::gate::{Ending, oncegate};

fn run(dir: &Path, arguments: &[&str]) -> Ending {
    oncegate(dir).args(arguments).output().unwrap().into()
}

/// Each line of standard output as an object.
fn objects(ending: &Ending) -> Vec<Value> {
    assert_eq!(ending.code, Some(0), "{ending:#?}");
    ending.stdout.lines().map(object).collect()
}

fn object(line: &str) -> Value {
    let value: Value = serde_json::from_str(line).expect(line);
    assert!(value.is_object(), "{line}");
    value
}

#[track_caller]
fn has_fields(value: &Value, fields: &[&str]) {
    let found: BTreeSet<&str> = value.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(found, fields.iter().copied().collect(), "{value}");
}

#[test]
fn help_is_an_answer() {
    let dir = tempfile::tempdir().unwrap();
    for arguments in [&["--help"][..], &["-h"], &["help"]] {
        let help = run(dir.path(), arguments);
        assert_eq!(help.code, Some(0), "{help:#?}");
        for command in ["run", "check", "publish", "rejections", "audit", "redrive", "bench"] {
            assert!(help.stdout.contains(command), "{command}: {help:#?}");
        }
        assert!(help.stderr.is_empty(), "{help:#?}");
    }
    for command in ["run", "check", "publish", "rejections", "audit", "redrive", "bench"] {
        let help = run(dir.path(), &[command, "--help"]);
        assert_eq!(help.code, Some(0), "{help:#?}");
        assert!(help.stdout.contains("--config"), "{help:#?}");
    }
    let version = run(dir.path(), &["--version"]);
    assert_eq!(version.code, Some(0), "{version:#?}");
    assert!(version.stdout.contains(env!("CARGO_PKG_VERSION")), "{version:#?}");
}

#[test]
fn bad_usage_is_status_2() {
    let dir = tempfile::tempdir().unwrap();
    let wrong: &[&[&str]] = &[
        &[],
        &["dance"],
        &["run", "--fast"],
        &["run", "more"],
        &["publish", "--subject", "actions.x"],
        &["publish", "--subject", "actions.>", "{}"],
        &["publish", "--subject", "actions.*.x", "{}"],
        &["publish", "--subject", "actions.x", "{}", "more"],
        &["publish", "--subject", "actions.x", "--header", "no colon", "{}"],
        &["rejections", "--log-format", "xml"],
        &["redrive"],
        &["redrive", "first"],
        &["audit", "more"],
        &["check", "--config"],
    ];
    for arguments in wrong {
        let ending = run(dir.path(), arguments);
        assert_eq!(ending.code, Some(2), "{arguments:?}: {ending:#?}");
        assert!(ending.stdout.is_empty(), "{ending:#?}");
        assert!(!ending.stderr.is_empty(), "{ending:#?}");
    }
}
