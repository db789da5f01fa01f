//! The core from outside: the contract's verdict table as data, codecs, the ledger's meaning.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test stops at what it did not expect"
)]

use std::sync::Arc;

use bytes::Bytes;
use oncegate::gate::action::{self, RawAction};
use oncegate::gate::cursor::{Cursors, Filling, InForce, InputCursor, LedgerCursor};
use oncegate::gate::digest::{Digest, Form};
use oncegate::gate::engine::fold;
use oncegate::gate::entry::{self, Entry, Limits};
use oncegate::gate::headers::Headers;
use oncegate::gate::key::ActionKey;
use oncegate::gate::record::{KeyRecord, RunState};
use oncegate::gate::rules::{RuleTexts, Rules, RulesFingerprint};
use oncegate::gate::source::Source;
use oncegate::gate::verdict::{self, Reason, Verdict};
use proptest::prelude::*;

fn texts() -> RuleTexts {
    RuleTexts {
        key_from: vec!["header:Idempotency-Key".into(), "json:/idempotency_key".into()],
        key_scope: Vec::new(),
        key_max_bytes: 255,
        key_missing: "reject".into(),
        payload_compare: "auto".into(),
        payload_ignore: Vec::new(),
    }
}

fn raw(sequence: u64, seconds: i64, headers: &str, payload: &str) -> RawAction {
    let block = match headers {
        "" => String::new(),
        lines => format!("NATS/1.0\r\n{lines}\r\n\r\n"),
    };
    RawAction {
        source: Source { stream: "ACTIONS".into(), sequence, time_ns: seconds * 1_000_000_000 },
        subject: "actions.pay".into(),
        subject_exact: true,
        headers: Headers::parse(block.as_bytes()),
        payload: Bytes::from(payload.to_owned()),
    }
}

/// Folds actions over a table the simple way: what `judge` says goes into a map.
struct Fold {
    rules: Rules,
    cursors: Cursors,
    keys: std::collections::HashMap<ActionKey, KeyRecord>,
}

impl Fold {
    fn new(texts: RuleTexts, window_seconds: i64) -> Self {
        let rules = Rules::new(texts).unwrap();
        let mut cursors = Cursors::default();
        let index = cursors.rules_index(rules.fingerprint());
        cursors.in_force =
            Some(InForce { window_ns: window_seconds * 1_000_000_000, rules: index });
        Self { rules, cursors, keys: Default::default() }
    }

    fn judge(&mut self, raw: RawAction) -> String {
        let action = action::decode(raw, &self.rules);
        let record = action.key.as_ref().and_then(|key| self.keys.get(key));
        let source = action.raw.source.clone();
        let now = source.time_ns.max(self.cursors.ledger.source_time_max_ns);
        let rules = self.cursors.in_force.unwrap().rules;
        let verdict = verdict::judge(&action, record, now, rules);
        let sequence = self.cursors.ledger.sequence + 1;
        match verdict {
            Verdict::Accepted => {
                let limits = Limits { message_bytes_max: 1 << 20 };
                if let Err(rejection) = entry::accepted("oncegate", &action, limits) {
                    return rejection.reason.as_str().into();
                }
                let digest = action.digest.unwrap();
                let entry = Entry::Accepted { source, key: action.key.clone(), digest };
                self.apply(sequence, &entry);
                "accepted".into()
            }
            Verdict::Rejected(rejection) => {
                let reason = rejection.reason;
                self.apply(sequence, &Entry::Rejected { source, reason, judged: None });
                rejection.reason.as_str().into()
            }
            Verdict::Duplicate => "duplicate".into(),
            Verdict::OriginalNeeded => "original needed".into(),
        }
    }

    fn apply(&mut self, sequence: u64, entry: &Entry) {
        fold::advance(&mut self.cursors, sequence, 0, entry);
        if let Some((key, Some(record))) = fold::change(&self.cursors, entry, None) {
            self.keys.insert(key, record);
        }
    }
}

/// Second, header lines, payload, verdict.
type Row = (i64, &'static str, &'static str, &'static str);

fn expect(texts: RuleTexts, window_seconds: i64, rows: &[Row]) {
    let mut fold = Fold::new(texts, window_seconds);
    for (number, (second, headers, payload, verdict)) in rows.iter().enumerate() {
        let action = raw(number as u64 + 1, *second, headers, payload);
        assert_eq!(fold.judge(action), *verdict, "row {}: {headers} {payload}", number + 1);
    }
}

#[test]
fn the_verdict_table() {
    expect(
        texts(),
        100,
        &[
            (0, "Idempotency-Key: a", r#"{"n":1,"m":[1,2]}"#, "accepted"),
            (1, "idempotency-KEY: a", r#"{ "m":[1.0,2e0], "n":1.00 }"#, "duplicate"),
            (2, "Idempotency-Key: a", r#"{"n":2,"m":[1,2]}"#, "payload_mismatch"),
            (3, "Idempotency-Key: a", r#"{"n":1,"m":[2,1]}"#, "payload_mismatch"),
            (4, "Idempotency-Key: a", r#"{"n":1,"m":[1,2],"x":null}"#, "payload_mismatch"),
            (5, "", r#"{"n":1}"#, "missing_key"),
            (6, "", r#"{"n":1,"idempotency_key":"b"}"#, "accepted"),
            (7, "Idempotency-Key: b", r#"{"n":1}"#, "duplicate"),
            (8, "", r#"{"n":1,"idempotency_key":7}"#, "invalid_key"),
            (9, "", r#"{"n":1,"idempotency_key":null}"#, "invalid_key"),
            (10, "", r#"{"n":1,"idempotency_key":" b"}"#, "invalid_key"),
            (11, "Idempotency-Key:", "x", "invalid_key"),
            (12, "Idempotency-Key: c\r\nIdempotency-Key: c", "x", "accepted"),
            (13, "Idempotency-Key: c\r\nidempotency-key: d", "x", "invalid_key"),
            (14, "Idempotency-Key: c", "y", "payload_mismatch"),
            (15, "no colon", "x", "malformed_headers"),
            // The first reason that holds: a bad header block hides a missing key.
            (16, "A: \u{1}", r#"{"n":1}"#, "malformed_headers"),
        ],
    );
}

#[test]
fn a_key_is_seen_for_the_window_by_source_time() {
    let key = "Idempotency-Key: a";
    expect(
        texts(),
        10,
        &[
            (100, key, "x", "accepted"),
            (109, key, "x", "duplicate"),
            (109, key, "y", "payload_mismatch"),
            (110, key, "y", "accepted"),
            // The source clock steps back: *now* does not.
            (50, key, "y", "duplicate"),
            (119, key, "y", "duplicate"),
            (120, key, "y", "accepted"),
        ],
    );
}

#[test]
fn a_step_back_of_the_source_clock_does_not_shorten_a_window() {
    expect(
        texts(),
        10,
        &[
            (100, "Idempotency-Key: a", "x", "accepted"),
            (40, "Idempotency-Key: b", "x", "accepted"),
            (105, "Idempotency-Key: b", "x", "duplicate"),
            (109, "Idempotency-Key: b", "x", "duplicate"),
            (110, "Idempotency-Key: b", "x", "accepted"),
        ],
    );
}

#[test]
fn other_rules_give_other_verdicts() {
    let json = RuleTexts { payload_compare: "json".into(), ..texts() };
    expect(
        json,
        10,
        &[(0, "Idempotency-Key: a", "x", "malformed_payload"), (1, "", "x", "missing_key")],
    );
    let forward = RuleTexts { key_missing: "forward".into(), ..texts() };
    expect(forward, 10, &[(0, "", "x", "accepted"), (1, "", "x", "accepted")]);
    let bytes = RuleTexts { payload_compare: "bytes".into(), ..texts() };
    let key = "Idempotency-Key: a";
    expect(bytes, 10, &[(0, key, "[1]", "accepted"), (1, key, "[1 ]", "payload_mismatch")]);
    let ignore = RuleTexts { payload_ignore: vec!["/sent_at".into()], ..texts() };
    let rows = [
        (0, key, r#"{"n":1,"sent_at":1}"#, "accepted"),
        (1, key, r#"{"sent_at":2,"n":1}"#, "duplicate"),
        (2, key, r#"{"n":1}"#, "duplicate"),
    ];
    expect(ignore, 10, &rows);
    let scoped = RuleTexts { key_scope: vec!["header:Tenant".into()], ..texts() };
    let rows = [
        (0, "Idempotency-Key: a\r\nTenant: t1", "x", "accepted"),
        (1, "Idempotency-Key: a\r\nTenant: t2", "y", "accepted"),
        (2, "Idempotency-Key: a\r\nTenant: t1", "y", "payload_mismatch"),
        (3, "Idempotency-Key: a", "x", "invalid_key"),
    ];
    expect(scoped, 10, &rows);
}

#[test]
fn a_record_of_other_rules_asks_for_the_original() {
    let mut fold = Fold::new(texts(), 10);
    assert_eq!(fold.judge(raw(1, 0, "Idempotency-Key: a", r#"{"n":1,"t":1}"#)), "accepted");
    fold.rules = Rules::new(RuleTexts { payload_ignore: vec!["/t".into()], ..texts() }).unwrap();
    let index = fold.cursors.rules_index(fold.rules.fingerprint());
    fold.cursors.in_force = Some(InForce { window_ns: 1_000_000_000, rules: index });
    let retry = raw(2, 1, "Idempotency-Key: a", r#"{"n":1,"t":2}"#);
    assert_eq!(fold.judge(retry.clone()), "original needed");
    let action = action::decode(retry, &fold.rules);
    let original = |payload: &str| action::digest("actions.pay", payload.as_bytes(), &fold.rules);
    let same = verdict::compare_originals(&action, Some(original(r#"{"n":1,"t":1}"#)));
    assert_eq!(same, Verdict::Duplicate);
    let other = verdict::compare_originals(&action, Some(original(r#"{"n":2,"t":2}"#)));
    assert!(matches!(other, Verdict::Rejected(r) if r.reason == Reason::PayloadMismatch));
    let gone = verdict::compare_originals(&action, None);
    assert!(matches!(gone, Verdict::Rejected(r) if r.reason == Reason::RulesChanged));
}

#[test]
fn the_dead_letter_keeps_as_much_as_fits() {
    let rules = Rules::new(texts()).unwrap();
    let limits = Limits { message_bytes_max: 1000 };
    let large = raw(1, 0, "Idempotency-Key: a\r\nX: y", &"p".repeat(800));
    let action = action::decode(large, &rules);
    let rejection = entry::accepted("oncegate", &action, limits).unwrap_err();
    assert_eq!(rejection.reason, Reason::TooLarge);
    let message = entry::rejected("oncegate", &action, &rejection, None, limits);
    assert!(message.payload.is_empty());
    assert!(message.headers.iter().any(|(name, _)| name == "X"));
    let headers = format!("Idempotency-Key: a\r\nX: {}", "y".repeat(800));
    let action = action::decode(raw(1, 0, &headers, "p"), &rules);
    let message = entry::rejected("oncegate", &action, &rejection, None, limits);
    assert!(message.payload.is_empty());
    assert!(!message.headers.iter().any(|(name, _)| name == "X"));
    assert!(message.headers.iter().any(|(name, value)| name == "Idempotency-Key" && value == "a"));
}

#[test]
fn what_no_subject_can_carry_is_unroutable() {
    let rules = Rules::new(texts()).unwrap();
    let limits = Limits { message_bytes_max: 1 << 20 };
    let long = "a".repeat(4000);
    let subjects = [("actions.\u{fffd}", false), ("actions.a\u{a0}b", true), (long.as_str(), true)];
    for (subject, subject_exact) in subjects {
        let mut odd = raw(1, 0, "Idempotency-Key: a", "x");
        odd.subject = subject.to_owned();
        odd.subject_exact = subject_exact;
        let action = action::decode(odd, &rules);
        let rejection = entry::accepted("oncegate", &action, limits).unwrap_err();
        assert_eq!(rejection.reason, Reason::Unroutable, "{subject}");
        let message = entry::rejected("oncegate", &action, &rejection, None, limits);
        assert_eq!(message.subject, "oncegate.rejected.unroutable");
        assert!(message.headers.iter().any(|(name, _)| name == "Oncegate-Source-Subject"));
        // Where several reasons hold, this is the first of the two.
        let tight = Limits { message_bytes_max: 100 };
        let rejection = entry::accepted("oncegate", &action, tight).unwrap_err();
        assert_eq!(rejection.reason, Reason::TooLarge, "{subject}");
    }
}

#[test]
fn an_entry_that_does_not_follow_from_itself_is_foreign() {
    let rules = Rules::new(texts()).unwrap();
    let limits = Limits { message_bytes_max: 1 << 20 };
    let action = action::decode(raw(1, 0, "Idempotency-Key: a", "x"), &rules);
    let message = entry::accepted("oncegate", &action, limits).unwrap();
    let headers = headers_of(&message);
    assert!(entry::decode("oncegate", &message.subject, &headers, b"").is_ok());
    let other = |(name, value)| (name, if name == "Idempotency-Key" { "b" } else { value });
    let headers: Headers = headers.iter().map(other).collect();
    assert!(entry::decode("oncegate", &message.subject, &headers, b"").is_err());
}

/// A publisher's own key header on an action that is accepted without a key must not make one.
#[test]
fn an_action_forwarded_without_a_key_stays_without() {
    let forward =
        RuleTexts { key_from: vec!["json:/k".into()], key_missing: "forward".into(), ..texts() };
    let action =
        action::decode(raw(1, 0, "Idempotency-Key: a", "{}"), &Rules::new(forward).unwrap());
    let limits = Limits { message_bytes_max: 1 << 20 };
    let message = entry::accepted("oncegate", &action, limits).unwrap();
    let read = entry::decode("oncegate", &message.subject, &headers_of(&message), b"");
    assert!(matches!(read, Ok(Entry::Accepted { key: None, .. })));
}

fn headers_of(message: &entry::Message) -> Headers {
    message.headers.iter().map(|(n, v)| (n, v)).collect()
}

fn any_source() -> impl Strategy<Value = Source> {
    ("[A-Z]{1,8}", 1..u64::MAX, 0..i64::MAX).prop_map(|(stream, sequence, time_ns)| Source {
        stream: stream.into(),
        sequence,
        time_ns,
    })
}

fn any_digest() -> impl Strategy<Value = Digest> {
    (any::<bool>(), any::<u128>())
        .prop_map(|(json, hash)| Digest { form: if json { Form::Json } else { Form::Bytes }, hash })
}

/// Only the recovery that was filling it knew the largest window.
#[test]
fn a_table_that_version_1_was_filling_is_refused() {
    let mut bytes = Cursors::default().encode();
    assert!(Cursors::decode(&bytes).is_ok());
    *bytes.last_mut().unwrap() = 2;
    assert!(Cursors::decode(&bytes).is_err());
}

fn any_record() -> impl Strategy<Value = KeyRecord> {
    let state = prop_oneof![
        Just(RunState::Pending),
        any::<u64>().prop_map(RunState::Succeeded),
        any::<u64>().prop_map(RunState::Failed)
    ];
    (any_digest(), any::<[u32; 2]>(), any::<[u64; 2]>(), any::<[i64; 2]>(), state).prop_map(
        |(digest, [rules, stream], [sequence, ledger_sequence], [time_ns, expires_ns], state)| {
            KeyRecord {
                digest,
                rules,
                stream,
                sequence,
                time_ns,
                expires_ns,
                ledger_sequence,
                state,
            }
        },
    )
}

fn any_cursors() -> impl Strategy<Value = Cursors> {
    let input = ("[A-Z]{1,8}", any::<u64>(), any::<[i64; 2]>()).prop_map(
        |(stream, sequence, [time_ns, created_ns])| InputCursor {
            stream: Arc::from(stream),
            sequence,
            time_ns,
            created_ns,
        },
    );
    let in_force = proptest::option::of((any::<i64>(), any::<u32>()));
    let anchor = proptest::option::of((1..u64::MAX, any::<i64>()));
    let ledger = (any::<[u64; 2]>(), anchor, any::<i64>());
    let lists =
        (proptest::collection::vec(input, 0..3), proptest::collection::vec(any::<u64>(), 0..3));
    let filling = proptest::option::of(any::<[i64; 2]>());
    (ledger, lists, in_force, filling).prop_map(
        |(
            ([sequence, fingerprint], anchor, source_time_max_ns),
            (inputs, rules),
            in_force,
            filling,
        )| {
            Cursors {
                ledger: LedgerCursor { sequence, fingerprint, anchor, source_time_max_ns },
                inputs,
                rules: rules.into_iter().map(RulesFingerprint).collect(),
                in_force: in_force.map(|(window_ns, rules)| InForce { window_ns, rules }),
                filling: filling.map(|[from_ns, window_ns]| Filling { from_ns, window_ns }),
            }
        },
    )
}

/// UUIDs are packed, and what only looks like one is not.
const KEY_TEXT: &str = "\\PC{1,40}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9a-fA-F]{8}(-[0-9a-f]{4}){3}-[0-9a-g]{12}";

proptest! {
    #[test]
    fn records_round_trip(record in any_record()) {
        let mut bytes = Vec::new();
        record.encode(&mut bytes);
        prop_assert_eq!(KeyRecord::decode(&bytes), Ok(record));
        bytes.push(0);
        prop_assert!(KeyRecord::decode(&bytes).is_err());
    }

    #[test]
    fn cursors_round_trip(cursors in any_cursors()) {
        let bytes = cursors.encode();
        prop_assert_eq!(Cursors::decode(&bytes), Ok(cursors));
        prop_assert!(Cursors::decode(&bytes[..bytes.len() - 1]).is_err());
    }

    #[test]
    fn keys_round_trip(scope in proptest::collection::vec(KEY_TEXT, 0..4), key in KEY_TEXT) {
        let one = ActionKey::new(&scope, &key);
        let read = ActionKey::from_bytes(one.as_bytes()).unwrap();
        let (read_scope, read_key) = read.parts();
        prop_assert_eq!(read_key, key);
        prop_assert_eq!(read_scope, scope);
        prop_assert_eq!(read, one);
    }

    #[test]
    fn sources_and_digests_round_trip(source in any_source(), digest in any_digest()) {
        prop_assert_eq!(source.to_string().parse(), Ok(source));
        prop_assert_eq!(digest.to_string().parse(), Ok(digest));
    }

    #[test]
    fn accepted_entries_round_trip(key in "[a-z]{1,9}", scope in "[a-z]{1,9}", payload in ".{0,30}") {
        let scoped = RuleTexts { key_scope: vec!["header:Tenant".into()], ..texts() };
        let rules = Rules::new(scoped).unwrap();
        let lines = format!("Idempotency-Key: {key}\r\nTenant: {scope}");
        let action = action::decode(raw(9, 3, &lines, &payload), &rules);
        let message = entry::accepted("oncegate", &action, Limits { message_bytes_max: 1 << 20 }).unwrap();
        let read = entry::decode("oncegate", &message.subject, &headers_of(&message), b"").unwrap();
        let digest = action.digest.unwrap();
        prop_assert_eq!(read, Entry::Accepted { source: action.raw.source, key: action.key, digest });
    }

    #[test]
    fn any_bytes_decode_or_fail(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = KeyRecord::decode(&bytes);
        let _ = Cursors::decode(&bytes);
        let _ = ActionKey::from_bytes(&bytes);
        let headers = Headers::parse(&bytes);
        let text = String::from_utf8_lossy(&bytes);
        let _ = entry::decode("oncegate", &text, &headers.clone().unwrap_or_default(), &bytes);
        let odd = RawAction {
            source: Source { stream: "A".into(), sequence: 1, time_ns: 0 },
            subject: text.into_owned(), subject_exact: true, headers, payload: bytes.into(),
        };
        let action = action::decode(odd, &Rules::new(texts()).unwrap());
        verdict::judge(&action, None, 0, 0);
    }

    #[test]
    fn damaged_records_decode_or_fail(record in any_record(), at in 0usize..40, to in any::<u8>()) {
        let mut bytes = Vec::new();
        record.encode(&mut bytes);
        if let Some(byte) = bytes.get_mut(at) {
            *byte = to;
        }
        let _ = KeyRecord::decode(&bytes);
    }
}
