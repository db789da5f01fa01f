//! `oncegate publish`.

use std::collections::BTreeSet;
use std::io::Write;
use std::process::Stdio;

use crate::support::gate::Ending;
use crate::support::model::{Rules, Verdict};
use crate::support::world::World;
use crate::{has_fields, objects};

#[test]
fn publish_prints_the_key_it_used() {
    let mut world = World::started(Rules::default());
    let publish = |world: &World, arguments: &[&str]| {
        let mut all = vec!["publish", "--subject", "actions.pay"];
        all.extend(arguments);
        let ending = world.gate.call(&all);
        assert_eq!(ending.code, Some(0), "{ending:#?}");
        ending.stdout
    };
    let own = publish(&world, &["--key", "my key", r#"{"a":1}"#]);
    assert!(own.contains("my key"), "{own}");
    let fresh = publish(&world, &[r#"{"a":1}"#]);
    let is_fresh =
        |word: &str| uuid::Uuid::parse_str(word).is_ok_and(|id| id.get_version_num() == 7);
    assert!(fresh.split_whitespace().any(is_fresh), "{fresh}");
    let headers = ["--header", "Trace: a:b", "--header", "Trace: c", "--header", "X: ü", ""];
    publish(&world, &headers);
    let report = world.check();
    assert_eq!(report.count(|verdict| verdict == Verdict::Accepted), 3);
    let entry = report.entry(3);
    let mut kept: Vec<_> = entry.headers.iter().filter(|(name, _)| name == "Trace").collect();
    kept.sort();
    assert_eq!(kept.len(), 2);
    assert_eq!(kept[0].1, "a:b");
    assert_eq!(entry.header("X"), Some("ü"));
    assert!(entry.payload.is_empty());
    assert_eq!(report.entry(1).header("Idempotency-Key"), Some("my key"));
}

#[test]
fn publish_takes_the_payload_from_standard_input() {
    let mut world = World::started(Rules::default());
    let arguments = ["publish", "--subject", "actions.pay", "--key", "k", "--json", "-"];
    let mut child = world
        .gate
        .command(&arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let bytes = b"any \x00\xff bytes\n";
    child.stdin.take().unwrap().write_all(bytes).unwrap();
    let ending = Ending::from(child.wait_with_output().unwrap());
    let told = objects(&ending).remove(0);
    has_fields(&told, &["key", "stream", "sequence", "subject"]);
    assert_eq!(told["key"], "k");
    assert_eq!(told["stream"], "ACTIONS");
    assert_eq!(told["sequence"], 1);
    assert_eq!(told["subject"], "actions.pay");
    let report = world.check();
    assert_eq!(report.entry(1).payload, bytes);
}

#[test]
fn publish_json_with_a_fresh_key() {
    let world = World::started(Rules::default());
    let arguments = ["publish", "--json", "--subject", "actions.pay", "{}"];
    let keys: BTreeSet<String> = (0..3)
        .map(|_| objects(&world.gate.call(&arguments)).remove(0))
        .map(|told| told["key"].as_str().unwrap().to_string())
        .collect();
    assert_eq!(keys.len(), 3);
    assert!(keys.iter().all(|key| uuid::Uuid::parse_str(key).is_ok()));
}

#[test]
fn publish_without_a_key() {
    let mut world = World::started(Rules::default());
    let arguments = ["publish", "--no-key", "--json", "--subject", "actions.pay", "{}"];
    let told = objects(&world.gate.call(&arguments)).remove(0);
    assert!(told["key"].is_null(), "{told}");
    assert_eq!(world.check().verdict(1), Verdict::Rejected("missing_key"));
}

#[test]
fn publish_that_reaches_no_stream_fails() {
    let mut world = World::started(Rules::default());
    let elsewhere = world.gate.call(&["publish", "--subject", "elsewhere.x", "{}"]);
    assert_eq!(elsewhere.code, Some(1), "{elsewhere:#?}");
    elsewhere.says(&["elsewhere.x"]);
    assert!(elsewhere.stdout.is_empty(), "{elsewhere:#?}");
    world.server.kill();
    let nobody = world.gate.call(&["publish", "--subject", "actions.x", "{}"]);
    assert_eq!(nobody.code, Some(1), "{nobody:#?}");
    nobody.says(&["127.0.0.1"]);
}
