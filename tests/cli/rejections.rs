//! `oncegate rejections`.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::sync::mpsc;

use crate::support::DEADLINE;
use crate::support::ledger::Position;
use crate::support::model::Rules;
use crate::support::raw::Outgoing;
use crate::support::server::signal;
use crate::support::world::World;
use crate::{has_fields, object, objects};

/// A gate that rejected a few actions for several reasons.
fn after_rejections() -> World {
    let mut world = World::started(Rules::default());
    world.act("k1", r#"{"secret":"first"}"#);
    world.act("k1", r#"{"secret":"other"}"#);
    world.act("", r#"{"secret":"third"}"#);
    world.publish(&Outgoing::new("actions.mail", &[], b"hidden"));
    world.publish(&Outgoing::with_block("actions.odd", b"N", b"hidden"));
    world.publish(&Outgoing::new("actions.\u{a0}x", &[("Idempotency-Key", "u")], b"hidden"));
    world.check();
    world
}

#[test]
fn rejections_as_objects() {
    let mut world = after_rejections();
    let report = world.check();
    let told = objects(&world.gate.call(&["rejections", "--json"]));
    let reasons: Vec<&str> = told.iter().map(|one| one["reason"].as_str().unwrap()).collect();
    let expected =
        ["payload_mismatch", "invalid_key", "missing_key", "malformed_headers", "unroutable"];
    assert_eq!(reasons, expected);
    let fields = [
        "ledger_sequence",
        "time",
        "reason",
        "detail",
        "subject",
        "key",
        "scope",
        "source",
        "first",
    ];
    for (one, sequence) in told.iter().zip(2..) {
        for field in fields {
            assert!(one.get(field).is_some(), "{field}: {one}");
        }
        has_fields(&one["source"], &["stream", "sequence", "time"]);
        assert_eq!(one["ledger_sequence"], report.entry(sequence).sequence);
        assert_eq!(one["source"]["stream"], "ACTIONS");
        assert_eq!(one["source"]["sequence"], sequence);
        let position = format!("ACTIONS {sequence} {}", one["source"]["time"].as_str().unwrap());
        assert_eq!(Position::parse(&position), report.entry(sequence).source());
        assert!(one["time"].as_str().unwrap().parse::<jiff::Timestamp>().is_ok());
        assert!(one["detail"].as_str().unwrap().contains(' '));
        assert_eq!(one["scope"], serde_json::json!([]));
    }
    assert_eq!(told[0]["key"], "k1");
    assert_eq!(told[0]["subject"], "actions.pay");
    assert!(told[0]["first"].is_object());
    assert!(told[1..].iter().all(|one| one["first"].is_null()));
    assert!(told[2]["key"].is_null());
    assert_eq!(told[4]["subject"], "actions.\u{a0}x");
    assert_eq!(told[4]["key"], "u");
}

#[test]
fn rejections_for_people() {
    let world = after_rejections();
    let shown = world.gate.call(&["rejections"]);
    assert_eq!(shown.code, Some(0), "{shown:#?}");
    for word in [
        "payload_mismatch",
        "invalid_key",
        "missing_key",
        "malformed_headers",
        "unroutable",
        "k1",
        "actions.mail",
    ] {
        assert!(shown.stdout.contains(word), "{word}: {shown:#?}");
    }
    for payload in ["\"other\"", "\"third\"", "hidden"] {
        assert!(!shown.stdout.contains(payload), "{shown:#?}");
    }
}

#[test]
fn no_rejections_are_no_output() {
    let mut world = World::started(Rules::default());
    world.act("k", "1");
    world.check();
    assert!(objects(&world.gate.call(&["rejections", "--json"])).is_empty());
}

/// The lines of a running command, as they come.
fn lines_of(mut command: Command) -> (std::process::Child, mpsc::Receiver<String>) {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let stdout = BufReader::new(child.stdout.take().unwrap());
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        for line in stdout.lines().map_while(Result::ok) {
            sender.send(line).ok();
        }
    });
    (child, receiver)
}

#[test]
fn rejections_can_be_followed() {
    let mut world = after_rejections();
    let (mut child, lines) = lines_of(world.gate.command(&["rejections", "--follow", "--json"]));
    let next = || object(&lines.recv_timeout(DEADLINE).expect("a line"));
    world.act("k1", "[9]");
    world.act("k1", "[8]");
    let mut sources = Vec::new();
    while sources.last() != Some(&8) {
        sources.push(next()["source"]["sequence"].as_u64().unwrap());
    }
    assert!(sources.ends_with(&[7, 8]), "{sources:?}");
    signal(&child, "TERM");
    child.wait().unwrap();
}
