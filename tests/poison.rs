//! No single message, however odd, stops the gate or is lost.
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

mod support;

use serde_json::{Value, json};

use support::load::Dice;
use support::model::Rules;
use support::model::Verdict::{Accepted, Duplicate, Rejected};
use support::raw::{Outgoing, header_block};
use support::world::{World, action};
use support::{streams, wait_until};

const LIMIT: usize = 1 << 20;

/// Header blocks that the server stores and the contract calls malformed.
const MALFORMED: &[&[u8]] = &[
    b"N",
    b"\x00",
    b"\r\n",
    b"\r\n\r\n",
    b"NATS/1.0",
    b"NATS/1.0\r\n",
    b"NATS/1.0\r\r\n\r\n",
    b"nats/1.0\r\n\r\n",
    b"NATS/1.1\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nIdempotency-Key: p\r\n\r\n",
    b"Idempotency-Key: p\r\n\r\n",
    b"NATS/1.0\r\nIdempotency-Key: p\r\n",
    b"NATS/1.0\r\nIdempotency-Key: p",
    b"NATS/1.0\r\nIdempotency-Key: p\n\n",
    b"NATS/1.0\nIdempotency-Key: p\n\n",
    b"NATS/1.0\r\nIdempotency-Key: p\r\r\n\r\n",
    b"NATS/1.0\r\nIdempotency-Key: p\rq\r\n\r\n",
    b"NATS/1.0\r\nIdempotency-Key: p\nq\r\n\r\n",
    b"NATS/1.0\r\nIdempotency-Key: p\r\n folded\r\n\r\n",
    b"NATS/1.0\r\nIdempotency-Key: p\r\n\tfolded: too\r\n\r\n",
    b"NATS/1.0\r\nIdempotency-Key: p\r\nno colon\r\n\r\n",
    b"NATS/1.0\r\nno colon\r\nIdempotency-Key: p\r\n\r\n",
    b"NATS/1.0\r\nIdempotency-Key : p\r\n\r\n",
    b"NATS/1.0\r\nIdempotency Key: p\r\n\r\n",
    b"NATS/1.0\r\n Idempotency-Key: p\r\n\r\n",
    b"NATS/1.0\r\nIdempotency-Key: p\xff\r\n\r\n",
    b"NATS/1.0\r\nIdempotency-Key: \xc3\x28\r\n\r\n",
    b"NATS/1.0\r\nX: \xed\xa0\x80\r\nIdempotency-Key: p\r\n\r\n",
    b"NATS/1.0\r\nX\xff: 1\r\nIdempotency-Key: p\r\n\r\n",
    b"NATS/1.0\r\nGr\xc3\xbc\xc3\x9fe: 1\r\nIdempotency-Key: p\r\n\r\n",
    b"NATS/1.0\r\nX\x01: 1\r\nIdempotency-Key: p\r\n\r\n",
    b"NATS/1.0\r\nX: \x00\r\nIdempotency-Key: p\r\n\r\n",
    b"NATS/1.0\r\nX: \x1b[31m\r\nIdempotency-Key: p\r\n\r\n",
    b"NATS/1.0\r\nX: \x7f\r\nIdempotency-Key: p\r\n\r\n",
    b"NATS/1.0\r\nX: \xc2\x85\r\nIdempotency-Key: p\r\n\r\n",
    b"NATS/1.0\r\n\r\nIdempotency-Key: p\r\n\r\n",
    b"NATS/1.0\r\nIdempotency-Key: p\r\n\r\n\r\n",
    b"NATS/1.0\r\nIdempotency-Key: p\r\n\r\n\x00",
    b"NATS/1.0\r\nIdempotency-Key\r\n\r\n",
    b"\xff\xfe\xfd\xfc",
    b"\xef\xbb\xbfNATS/1.0\r\n\r\n",
];

/// Header blocks that the server changes before it stores them, or takes off whole.
const CHANGED: &[&[u8]] = &[
    b"NATS/1.0 \r\n\r\n",
    b"NATS/1.0 503\r\n\r\n",
    b"NATS/1.0 503 No Responders\r\nIdempotency-Key: p\r\n\r\n",
    b"NATS/1.0 100 Idle Heartbeat\r\nNats-Last-Consumer: 1\r\nNats-Last-Stream: 1\r\n\r\n",
    b"NATS/1.0 100 FlowControl Request\r\n\r\n",
    b"NATS/1.0 404 No Messages\r\n\r\n",
    b"NATS/1.0 408 Request Timeout\r\nNats-Pending-Messages: 9\r\nNats-Pending-Bytes: 9\r\n\r\n",
    b"NATS/1.0 409 Consumer Deleted\r\n\r\n",
    b"NATS/1.0 409 Message Size Exceeds MaxBytes\r\n\r\n",
    b"NATS/1.0 notanumber\r\n\r\n",
    b"NATS/1.0\nIdempotency-Key: p\r\n\r\n",
];

/// Odd header blocks that are well made all the same; each holds the key `p`.
const WELL_MADE: &[&[u8]] = &[
    b"NATS/1.0\r\nIdempotency-Key:p\r\n\r\n",
    b"NATS/1.0\r\nIdempotency-Key: \t p\t \r\n\r\n",
    b"NATS/1.0\r\nidempotency-key: p\r\nX:\r\nX: \r\n\r\n",
    b"NATS/1.0\r\nX: a:b:c\r\nIdempotency-Key: p\r\nX: NATS/1.0\r\n\r\n",
    b"NATS/1.0\r\nX: tab\there\r\nIdempotency-Key: p\r\n\r\n",
    b"NATS/1.0\r\nStatus: 503\r\nDescription: x\r\nIdempotency-Key: p\r\n\r\n",
    "NATS/1.0\r\nX: 東京 \u{202e}\u{feff}\r\nIdempotency-Key: p\r\n\r\n".as_bytes(),
];

fn poison(block: &[u8]) -> Outgoing {
    Outgoing::with_block("actions.odd", block, br#"{"idempotency_key":"q"}"#)
}

/// The number-th good action: a first use, and a retry of the one before.
fn good(number: usize) -> [Outgoing; 2] {
    let key = |number: usize| action("actions.pay", &format!("good-{number}"), "{}");
    [key(number), key(number.saturating_sub(1))]
}

#[test]
fn every_malformed_header_block_between_good_actions() {
    let mut world = World::started(Rules::default());
    let mut sequences = Vec::new();
    for (number, block) in MALFORMED.iter().enumerate() {
        world.publish_all(&good(number));
        sequences.push(world.publish(&poison(block)));
    }
    world.publish_all(&good(MALFORMED.len()));
    let report = world.check();
    for (sequence, block) in sequences.into_iter().zip(MALFORMED) {
        let shown = String::from_utf8_lossy(block);
        assert_eq!(report.verdict(sequence), Rejected("malformed_headers"), "{shown:?}");
        let entry = report.entry(sequence);
        assert_eq!(entry.subject, "oncegate.rejected.malformed_headers.actions.odd");
        assert_eq!(entry.payload, br#"{"idempotency_key":"q"}"#, "{shown:?}");
    }
    assert_eq!(report.count(|verdict| verdict == Accepted), MALFORMED.len() + 1);
}

#[test]
fn odd_but_well_made_header_blocks_are_no_poison() {
    let mut world = World::started(Rules::default());
    let messages: Vec<Outgoing> = WELL_MADE.iter().map(|block| poison(block)).collect();
    let sequences = world.publish_all(&messages);
    let empty = world.publish(&poison(b"NATS/1.0\r\n\r\n"));
    let none = world.publish(&poison(b""));
    let report = world.check();
    assert_eq!(report.verdict(sequences[0]), Accepted);
    for (sequence, block) in sequences.iter().zip(WELL_MADE).skip(1) {
        let shown = String::from_utf8_lossy(block);
        assert_eq!(report.verdict(*sequence), Duplicate, "{shown:?}");
    }
    assert_eq!(report.verdict(empty), Accepted, "its key is in the payload");
    assert_eq!(report.verdict(none), Duplicate);
}

#[test]
fn status_lines_are_the_servers_affair() {
    let mut world = World::started(Rules::default());
    for (number, block) in CHANGED.iter().enumerate() {
        world.publish_all(&good(number));
        world.publish(&poison(block));
        world.check();
    }
    world.publish_all(&good(CHANGED.len()));
    world.check();
}

#[test]
fn poison_that_is_there_before_the_gate() {
    let mut world = World::with_input(Rules::default(), &json!({}));
    world.publish_all(&[poison(MALFORMED[0]), poison(MALFORMED[20])]);
    world.publish_all(&good(1));
    world.publish_all(&[poison(MALFORMED[30]), poison(CHANGED[1])]);
    world.gate.start();
    world.check();
    world.gate.restart();
    world.publish_all(&good(2));
    world.check();
}

#[test]
fn two_hundred_in_a_row() {
    let mut world = World::started(Rules::default());
    let many: Vec<Outgoing> = MALFORMED.iter().cycle().take(200).map(|b| poison(b)).collect();
    world.publish_all(&good(0));
    world.publish_all(&many);
    world.publish_all(&good(1));
    let report = world.check();
    assert_eq!(report.entries_of("rejected"), 200);
    assert_eq!(world.gate.metrics().rejected(), 200.0);
}

#[test]
fn random_header_blocks() {
    let mut world = World::started(Rules::default());
    let mut dice = Dice::new(11);
    let scraps: [&[u8]; 12] = [
        b"NATS/1.0\r\n",
        b"Idempotency-Key: r",
        b"\r\n",
        b"\r",
        b"\n",
        b": ",
        b"X",
        b"\xff",
        b" ",
        b"\t",
        b"\xc3\xa9",
        b"\x00",
    ];
    let mut messages = Vec::new();
    for number in 0..300 {
        let mut block = if dice.roll(3) > 0 { scraps[0].to_vec() } else { Vec::new() };
        for _ in 0..dice.roll(7) {
            block.extend(scraps[dice.roll(12) as usize]);
        }
        if dice.roll(3) > 0 {
            block.extend(b"\r\n\r\n");
        }
        messages.push(poison(&block));
        messages.extend(good(number));
    }
    world.publish_all(&messages);
    world.check();
}

#[test]
fn poison_on_a_work_queue() {
    let mut world = World::with_input(Rules::default(), &json!({ "retention": "workqueue" }));
    let mut messages = Vec::new();
    for (number, block) in MALFORMED.iter().enumerate() {
        messages.extend(good(number));
        messages.push(poison(block));
    }
    world.publish_all(&messages);
    world.capture();
    world.gate.start();
    let report = world.check();
    assert_eq!(report.entries_of("rejected"), MALFORMED.len());
    world.gate.stop();
    world.publish_all(&good(900));
    world.capture();
    world.gate.start();
    world.check();
}

/// Its header block is read whole by another request; it may be gone by then. That is not passed over.
#[test]
fn an_odd_action_that_is_gone_before_it_could_be_read_counts_as_missed() {
    let mut world = World::started(Rules::default());
    world.act("a", "1");
    world.settle();
    let consumer =
        |world: &mut World| world.client.api("CONSUMER.INFO.ACTIONS.oncegate", &Value::Null);
    wait_until("the gate to pull", || consumer(&mut world)["num_waiting"].as_u64() > Some(0));
    world.gate.freeze();
    let odd = Outgoing::with_block("actions.pay", b"NATS/1.0\r\nX:  outer\r\n\r\n", b"1");
    let gone = world.publish(&odd);
    let last = world.act("b", "1");
    wait_until("both to be delivered", || {
        consumer(&mut world)["delivered"]["stream_seq"].as_u64() == Some(last)
    });
    streams::must(world.client.api("STREAM.MSG.DELETE.ACTIONS", &json!({ "seq": gone })));
    world.gate.thaw();
    world.check();
    wait_until("it to be counted", || {
        world.gate.metrics().sum("oncegate_input_missed_total", &[]) == 1.0
    });
}

#[test]
fn a_kill_amid_poison() {
    let mut world = World::started(Rules::default());
    for number in 0..4 {
        let blocks = MALFORMED.iter().cycle().skip(number * 7).take(40);
        let many: Vec<Outgoing> =
            blocks.flat_map(|b| [poison(b), good(number)[0].clone()]).collect();
        world.publish_all(&many);
        world.gate.kill9();
        world.gate.start();
    }
    world.check();
}

#[test]
fn odd_subjects() {
    let mut world = World::started(Rules::default());
    let on = |subject: &[u8], key: &str| Outgoing {
        subject: subject.to_vec(),
        headers: Some(header_block(&[("Idempotency-Key", key)])),
        payload: b"{}".to_vec(),
    };
    let unroutable: [&[u8]; 8] = [
        b"actions.\xff\xfe",
        b"actions.\xc3",
        b"actions.a\xed\xa0\x80",
        "actions.\u{a0}".as_bytes(),
        "actions.a\u{2003}b.c".as_bytes(),
        "actions.\u{3000}x".as_bytes(),
        "actions.\u{2028}".as_bytes(),
        b"actions.a\x0bb",
    ];
    let fine: [&[u8]; 6] = [
        b"actions.*",
        b"actions.*.x",
        b"actions.>",
        "actions.東京.🚀".as_bytes(),
        b"actions.$JS.API.INFO",
        b"actions.{\"}[]\\'",
    ];
    let bad: Vec<Outgoing> = unroutable.iter().map(|subject| on(subject, "u")).collect();
    let well: Vec<Outgoing> = fine
        .iter()
        .enumerate()
        .map(|(number, subject)| on(subject, &format!("f{number}")))
        .collect();
    let bad = world.publish_all(&bad);
    let well = world.publish_all(&well);
    let keyless =
        world.publish(&Outgoing { subject: unroutable[0].to_vec(), ..Outgoing::default() });
    let free = world.act("u", "{}");
    let elsewhere = world.publish(&on(unroutable[4], "u"));
    let report = world.check();
    for sequence in bad {
        assert_eq!(report.verdict(sequence), Rejected("unroutable"));
        assert_eq!(report.entry(sequence).payload, b"{}");
    }
    for sequence in well {
        assert_eq!(report.verdict(sequence), Accepted);
    }
    assert_eq!(report.verdict(keyless), Rejected("missing_key"));
    assert_eq!(report.verdict(free), Accepted);
    assert_eq!(report.verdict(elsewhere), Rejected("payload_mismatch"));
}

#[test]
fn long_subjects() {
    let mut world = World::started(Rules::default());
    let long = |length: usize| format!("actions.{}", "s".repeat(length - 8));
    let tokens = format!("actions{}", ".t".repeat(400));
    for length in [100, 1_000, 3_000] {
        let sequence = world.publish(&action(&long(length), &length.to_string(), "{}"));
        assert_eq!(world.check().verdict(sequence), Accepted, "{length}");
    }
    let many = world.publish(&action(&tokens, "tokens", "{}"));
    assert_eq!(world.check().verdict(many), Accepted);
    for length in [3_910, 3_960, 3_990] {
        let sequence = world.publish(&action(&long(length), &length.to_string(), "{}"));
        let report = world.check();
        assert_eq!(report.verdict(sequence), Rejected("unroutable"), "{length}");
        assert_eq!(report.entry(sequence).payload, b"{}");
    }
    let changed = world.publish(&action(&long(3_950), "100", "{}"));
    let keyless = world.publish(&Outgoing::new(&long(3_950), &[], b"{}"));
    let report = world.check();
    assert_eq!(report.verdict(changed), Rejected("payload_mismatch"));
    assert_eq!(report.verdict(keyless), Rejected("missing_key"));
}

#[test]
fn payloads_at_the_servers_limit() {
    let mut world = World::started(Rules::default());
    let sized = |key: &str, payload: usize| {
        let block = header_block(&[("Idempotency-Key", key), ("Trace", "kept")]);
        let payload = vec![b'x'; payload.min(LIMIT - block.len())];
        Outgoing::with_block("actions.big", &block, &payload)
    };
    let fits = world.publish(&sized("a", LIMIT - 5_000));
    let again = world.publish(&sized("a", LIMIT - 5_000));
    let full = world.publish(&sized("b", LIMIT));
    let still_full = world.publish(&sized("b", LIMIT));
    let changed = world.publish(&sized("a", LIMIT));
    let keyless = world.publish(&Outgoing::new("actions.big", &[], &vec![b'y'; LIMIT]));
    let broken = Outgoing::with_block("actions.big", b"N", &vec![b'z'; LIMIT - 1]);
    let broken = world.publish(&broken);
    let free = world.act("b", "{}");
    let report = world.check();
    assert_eq!(report.verdict(fits), Accepted);
    assert_eq!(report.verdict(again), Duplicate);
    assert_eq!(report.verdict(full), Rejected("too_large"));
    assert_eq!(report.verdict(still_full), Rejected("too_large"));
    assert_eq!(report.verdict(changed), Rejected("payload_mismatch"));
    assert_eq!(report.verdict(keyless), Rejected("missing_key"));
    assert_eq!(report.verdict(broken), Rejected("malformed_headers"));
    assert_eq!(report.verdict(free), Accepted);
    for sequence in [full, still_full, changed, keyless, broken] {
        assert!(report.entry(sequence).payload.is_empty());
    }
    assert_eq!(report.entry(full).header("Trace"), Some("kept"));
}

#[test]
fn headers_near_the_limit_of_a_block() {
    let mut world = World::started(Rules::default());
    let filled = |key: &str, size: usize, payload: &[u8]| {
        let start = header_block(&[("Idempotency-Key", key), ("Filler", "")]).len();
        let filler = "f".repeat(size - start);
        let block = header_block(&[("Idempotency-Key", key), ("Filler", &filler)]);
        assert_eq!(block.len(), size);
        Outgoing::with_block("actions.headers", &block, payload)
    };
    let fits = world.publish(&filled("a", 60_000, b"{}"));
    let again = world.publish(&filled("a", 65_535, b"{}"));
    let full = world.publish(&filled("b", 65_535, b"{}"));
    let changed = world.publish(&filled("a", 65_535, b"[]"));
    let invalid = world.publish(&filled("", 65_535, b"[]"));
    let both = world.publish(&filled("c", 65_535, &vec![b'x'; LIMIT - 65_535]));
    let lines = "X: 1\r\n".repeat(10_000);
    let lines = format!("NATS/1.0\r\nIdempotency-Key: d\r\n{lines}\r\n");
    let lines = world.publish(&Outgoing::with_block("actions.headers", lines.as_bytes(), b"{}"));
    let free = world.act("b", "{}");
    let report = world.check();
    assert_eq!(report.verdict(fits), Accepted);
    assert_eq!(report.verdict(again), Duplicate);
    assert_eq!(report.verdict(full), Rejected("too_large"));
    assert_eq!(report.verdict(changed), Rejected("payload_mismatch"));
    assert_eq!(report.verdict(invalid), Rejected("invalid_key"));
    assert_eq!(report.verdict(both), Rejected("too_large"));
    assert_eq!(report.verdict(lines), Accepted);
    assert_eq!(report.verdict(free), Accepted);
}

#[test]
fn heavy_json() {
    let mut world = World::started(Rules::default());
    let members = |count: usize, reverse: bool| {
        let mut members: Vec<String> = (0..count).map(|n| format!("\"m{n}\":{n}")).collect();
        if reverse {
            members.reverse();
        }
        format!("{{{}}}", members.join(","))
    };
    let zeros = |count: usize| format!("[1{}]", "0".repeat(count));
    let first = world.act("members", &members(50_000, false));
    let reversed = world.act("members", &members(50_000, true));
    let zeros_in_full = world.act("zeros", &zeros(900_000));
    let zeros_short = world.act("zeros", "[1e900000]");
    let deep = world.act("deep", &"[{\"a\":".repeat(150_000));
    let quotes = world.act("quotes", &format!("[\"{}\"]", "\\u0041".repeat(150_000)));
    let plain = world.act("quotes", &format!("[\"{}\"]", "A".repeat(150_000)));
    let report = world.check();
    assert_eq!(report.verdict(first), Accepted);
    assert_eq!(report.verdict(reversed), Duplicate);
    assert_eq!(report.verdict(zeros_in_full), Accepted);
    assert_eq!(report.verdict(zeros_short), Duplicate);
    assert_eq!(report.verdict(deep), Accepted);
    assert_eq!(report.verdict(quotes), Accepted);
    assert_eq!(report.verdict(plain), Duplicate);
}
