//! No single report, however odd, stops the gate or is lost.

use crate::asking::{known, run};
use crate::support::load::Dice;
use crate::support::model::Rules;
use crate::support::model::reports::Outcome::{Completed, Rejected};
use crate::support::raw::{Outgoing, header_block};
use crate::support::world::{World, result};

const LIMIT: usize = 1 << 20;

/// Header blocks that the server stores and that are not well made.
const MALFORMED: &[&[u8]] = &[
    b"N",
    b"\r\n\r\n",
    b"NATS/1.0",
    b"NATS/1.0\r\r\n\r\n",
    b"NATS/1.1\r\n\r\n",
    b"NATS/1.0\r\nIdempotency-Key: p",
    b"NATS/1.0\r\nIdempotency-Key: p\rq\r\n\r\n",
    b"NATS/1.0\r\nIdempotency-Key: p\nq\r\n\r\n",
    b"NATS/1.0\r\nno colon\r\nIdempotency-Key: p\r\n\r\n",
    b"NATS/1.0\r\nIdempotency-Key: p\xff\r\n\r\n",
    b"NATS/1.0\r\nX: \x00\r\nIdempotency-Key: p\r\n\r\n",
    b"NATS/1.0\r\n\r\nIdempotency-Key: p\r\n\r\n",
    b"\xff\xfe\xfd\xfc",
];

/// Header blocks that the server changes before it stores them.
const CHANGED: &[&[u8]] = &[
    b"NATS/1.0 503\r\n\r\n",
    b"NATS/1.0 100 Idle Heartbeat\r\nNats-Last-Consumer: 1\r\nNats-Last-Stream: 1\r\n\r\n",
    b"NATS/1.0 404 No Messages\r\n\r\n",
    b"NATS/1.0 409 Consumer Deleted\r\n\r\n",
    b"NATS/1.0\nIdempotency-Key: p\r\n\r\n",
];

/// Reports between good ones: the good ones are completed, the others dead letters.
fn between_good_ones(odd: Vec<Outgoing>) {
    let mut world = World::started(Rules::default());
    let keys: Vec<String> = (0..odd.len()).map(|n| format!("k{n}")).collect();
    keys.iter().for_each(|key| {
        world.act(key, "1");
    });
    let report = world.check();
    let ids: Vec<String> = report
        .entries
        .iter()
        .filter_map(|entry| entry.header("Oncegate-Run-Id").map(String::from))
        .collect();
    let mut reports = Vec::new();
    for ((odd, key), id) in odd.into_iter().zip(&keys).zip(&ids) {
        reports.extend([odd, result(key, id, "succeeded", b"1")]);
    }
    let sequences = world.report_all(&reports);
    let report = world.check();
    for pair in sequences.chunks(2) {
        assert_eq!(report.outcome(pair[0]), Rejected("invalid_result"));
        assert_eq!(report.report_entry(pair[0]).subject, "oncegate.rejected.invalid_result");
        assert_eq!(report.outcome(pair[1]), Completed("succeeded"));
    }
}

#[test]
fn header_blocks_that_are_not_well_made() {
    let odd = |block: &&[u8]| Outgoing::with_block("oncegate.results.odd", block, b"{\"a\":1}");
    between_good_ones(MALFORMED.iter().map(odd).collect());
    between_good_ones(CHANGED.iter().map(odd).collect());
}

#[test]
fn any_bytes() {
    let mut dice = Dice::new(7);
    let mut bytes = |most: u64| -> Vec<u8> {
        let count = 1 + dice.roll(most);
        (0..count).map(|_| dice.roll(256) as u8).collect()
    };
    let odd = (0..60).map(|_| {
        let (block, payload) = (bytes(60), bytes(200));
        Outgoing::with_block("oncegate.results.odd", &block, &payload)
    });
    between_good_ones(odd.collect());
}

#[test]
fn odd_subjects() {
    let long = format!("oncegate.results.{}", "x".repeat(3_000));
    let subjects: [&[u8]; 5] = [
        b"oncegate.results.\xff\xfe",
        "oncegate.results.a\u{a0}b".as_bytes(),
        "oncegate.operator.東京".as_bytes(),
        long.as_bytes(),
        b"oncegate.operator.forget.\x01",
    ];
    let odd = subjects.iter().map(|subject| Outgoing {
        subject: subject.to_vec(),
        headers: None,
        payload: b"1".to_vec(),
    });
    between_good_ones(odd.collect());
}

/// A result on an odd subject is a result.
#[test]
fn an_odd_subject_is_no_reason() {
    let mut world = World::started(Rules::default());
    let id = run(&mut world, "k");
    let mut report = result("k", &id, "succeeded", b"1");
    report.subject = b"oncegate.results.\xff.\xc2\xa0".to_vec();
    let sequence = world.report(&report);
    assert_eq!(world.check().outcome(sequence), Completed("succeeded"));
}

#[test]
fn results_up_to_the_servers_limit() {
    let mut world = World::started(Rules::default());
    let [large, whole, huge] = ["large", "whole", "huge"].map(|key| run(&mut world, key));
    let more = [("X-Much", "x".repeat(50_000))];
    let more = more.iter().map(|(name, value)| (*name, value.as_str()));
    let mut headers = vec![
        ("Idempotency-Key", "whole"),
        ("Oncegate-Run-Id", &whole),
        ("Oncegate-Status", "succeeded"),
    ];
    headers.extend(more);
    let block = header_block(&headers);
    let reports = [
        result("large", &large, "succeeded", &vec![b'x'; 70_000]),
        // The result is worth more than the executor's headers.
        Outgoing::with_block("oncegate.results.x", &block, &vec![b'x'; LIMIT - block.len()]),
        result("huge", &huge, "succeeded", &vec![b'x'; LIMIT - 140]),
    ];
    let sequences = world.report_all(&reports);
    let report = world.check();
    assert_eq!(report.outcome(sequences[0]), Completed("succeeded"));
    assert_eq!(report.outcome(sequences[1]), Completed("succeeded"));
    assert_eq!(report.outcome(sequences[2]), Rejected("invalid_result"));
    for (key, sequence) in [("large", sequences[0]), ("whole", sequences[1])] {
        let result = &known(&mut world, key)["result"];
        let at = report.report_entry(sequence).sequence;
        assert_eq!(*result, serde_json::json!({ "status": "succeeded", "ledger_sequence": at }));
    }
    assert_eq!(known(&mut world, "huge")["state"], "pending");
    // Told in fewer bytes.
    world.report(&result("huge", &huge, "succeeded", b"\"elsewhere\""));
    world.check();
    assert_eq!(known(&mut world, "huge")["result"]["data"], "elsewhere");
}
