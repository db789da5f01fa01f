//! `oncegate rejections`.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::sync::mpsc;

use serde_json::{Value, json};

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
    let shown = world.gate.call(&["rejections", "--no-payload"]);
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

/// Accepted as the first payload, rejected as the second.
fn mismatch(rules: Rules, first: Outgoing, second: Outgoing) -> World {
    let mut world = World::started(rules);
    world.publish(&first);
    world.publish(&second);
    world.check();
    world
}

fn keyed(subject: &str, payload: &str) -> Outgoing {
    Outgoing::new(subject, &[("Idempotency-Key", "k")], payload.as_bytes())
}

/// What a mismatch's object and text say of its differences.
fn told(world: &World) -> (Value, String) {
    let told = objects(&world.gate.call(&["rejections", "--json"]));
    let [one] = told.as_slice() else { panic!("{told:?}") };
    let shown = world.gate.call(&["rejections"]);
    assert_eq!(shown.code, Some(0), "{shown:#?}");
    (one["differences"].clone(), shown.stdout)
}

#[test]
fn a_mismatch_shows_which_parts_differ() {
    let rules = Rules { ignore: vec!["/sent_at"], ..Rules::default() };
    let first = r#"{"amount":10,"to":"a","sent_at":1,"big":9007199254740992,"gone":null}"#;
    let second = r#"{"to":"\u0061","amount":1000,"sent_at":2,"big":9007199254740993}"#;
    let world = mismatch(rules, keyed("actions.pay", first), keyed("actions.pay", second));
    let (object, text) = told(&world);
    let big = |digits: &str| serde_json::from_str::<Value>(digits).unwrap();
    let mut values = object["values"].as_array().unwrap().clone();
    values.sort_by_key(|value| value["pointer"].as_str().unwrap().to_owned());
    assert_eq!(values[0], json!({ "pointer": "/amount", "first": 10, "now": 1000 }));
    assert_eq!(values[1]["first"], big("9007199254740992"));
    assert_eq!(values[1]["now"], big("9007199254740993"));
    assert_eq!(values[2], json!({ "pointer": "/gone", "first": null }));
    assert_eq!((values.len(), &object["values_count"]), (3, &json!(3)));
    assert!(object.get("subject").is_none());
    for line in ["/amount: was 10, came back as 1000", "/gone: was null, came back as absent"] {
        assert!(text.contains(line), "{text}");
    }
    assert!(!text.contains("sent_at"), "{text}");
    for shy in [&["rejections", "--no-payload"][..], &["rejections", "--no-payload", "--json"]] {
        let shown = world.gate.call(shy).stdout;
        assert!(shown.contains("payload_mismatch"), "{shown}");
        assert!(!shown.contains("amount") && !shown.contains("1000"), "{shown}");
    }
}

#[test]
fn a_mismatch_of_bytes_shows_where_they_part() {
    let world = mismatch(
        Rules::default(),
        keyed("actions.pay", "plain text"),
        keyed("actions.pay", "plain"),
    );
    let (object, text) = told(&world);
    assert_eq!(object, json!({ "bytes": { "first_bytes": 10, "now_bytes": 5, "offset": 5 } }));
    let line = "payload: was 10 bytes, came back as 5; they differ from byte 5 on";
    assert!(text.contains(line), "{text}");
}

#[test]
fn a_mismatch_of_subjects_alone() {
    let world = mismatch(Rules::default(), keyed("actions.pay", "1"), keyed("actions.refund", "1"));
    let (object, text) = told(&world);
    let subject = json!({ "first": "actions.pay", "now": "actions.refund" });
    assert_eq!(object, json!({ "subject": subject, "values": [], "values_count": 0 }));
    assert!(text.contains("subject: was actions.pay, came back as actions.refund"), "{text}");
}

#[test]
fn what_is_huge_is_cut() {
    let long = format!("{:?}", "x".repeat(100_000));
    let many: Vec<u32> = (0..1000).collect();
    let first = format!(r#"{{"a":1,"many":{}}}"#, json!(many));
    let second = format!(r#"{{"a":{long},"many":{}}}"#, json!(vec!["other"; 1000]));
    let world =
        mismatch(Rules::default(), keyed("actions.pay", &first), keyed("actions.pay", &second));
    let (object, text) = told(&world);
    assert_eq!(object["values_count"], 1001);
    assert_eq!(object["values"].as_array().unwrap().len(), 20);
    assert_eq!(object["values"][0]["now_cut"].as_str().unwrap().len(), 200);
    assert!(text.len() < 4000 && text.contains("and 981 more"), "{text}");
}

#[test]
fn without_its_original_a_mismatch_says_so() {
    let mut world =
        mismatch(Rules::default(), keyed("actions.pay", "1"), keyed("actions.pay", "2"));
    world.gate.stop();
    world.trim_ledger(1);
    let (object, text) = told(&world);
    assert_eq!(object, json!({ "not_known": "the accepted original is no longer in the ledger" }));
    assert!(text.contains("no longer in the ledger"), "{text}");
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
