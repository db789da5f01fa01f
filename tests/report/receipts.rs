//! What is answered, to whom.

use oncegate::gate::key::ActionKey;
use oncegate::gate::receipt::{self, Known, Receipt, Shape, Shown, may_answer};
use oncegate::gate::record::RunState;
use oncegate::gate::source::Source;
use oncegate::gate::verdict::{Reason, Rejection};
use serde_json::Value;

use super::{RUN, key};

fn duplicate() -> Receipt {
    let source: Source = "ACTIONS 42 2026-11-24T20:39:40.123456789Z".parse().unwrap();
    Receipt {
        reply_to: "_INBOX.x".into(),
        verdict: Shown::Duplicate,
        replayed: true,
        key: Some(key("k1")),
        known: Some(Known {
            run_id: RUN.parse().unwrap(),
            state: RunState::Succeeded(9),
            sequence: 7,
            time_ns: source.time_ns - 1_000_000_000,
            ledger_sequence: 5,
            expires_ns: Some(source.time_ns + 1_000_000_000),
        }),
        source,
        rejection: None,
    }
}

fn body(receipt: &Receipt, result: Option<&Shape>) -> String {
    String::from_utf8(receipt.body(result)).unwrap()
}

fn whole(result: &[u8]) -> Shape {
    Shape::Whole(result.to_vec().into())
}

/// The contract's example, to the byte.
#[test]
fn a_duplicate_is_told_the_run_and_its_result() {
    let wanted = format!(
        concat!(
            r#"{{"verdict":"duplicate","replayed":true,"key":"k1","scope":[],"run_id":"{RUN}","#,
            r#""state":"succeeded","reason":null,"detail":null,"source":{{"stream":"ACTIONS","#,
            r#""sequence":42,"time":"2026-11-24T20:39:40.123456789Z"}},"first":{{"sequence":7,"#,
            r#""time":"2026-11-24T20:39:39.123456789Z","ledger_sequence":5}},"#,
            r#""expires_at":"2026-11-24T20:39:41.123456789Z","result":{{"status":"succeeded","#,
            r#""ledger_sequence":9,"data":{{"id":"ch_1"}}}}}}"#
        ),
        RUN = RUN
    );
    assert_eq!(body(&duplicate(), Some(&whole(br#"{"id":"ch_1"}"#))), wanted);
}

#[test]
fn a_pending_run_has_no_result() {
    let mut receipt = duplicate();
    receipt.known.as_mut().unwrap().state = RunState::Pending;
    let told: Value = serde_json::from_str(&body(&receipt, None)).unwrap();
    assert_eq!((&told["state"], &told["result"]), (&Value::from("pending"), &Value::Null));
}

#[test]
fn results_are_shown_as_they_are() {
    let shown = |state, shape: &Shape| {
        let mut receipt = duplicate();
        receipt.known.as_mut().unwrap().state = state;
        let text = body(&receipt, Some(shape));
        text.split_once(r#""result":"#).unwrap().1.trim_end_matches('}').to_owned()
    };
    let digits = b"[12345678901234567890.123456789012345678901234567890,1e400, -0]";
    assert_eq!(
        shown(RunState::Failed(9), &whole(digits)),
        r#"{"status":"failed","ledger_sequence":9,"data":[12345678901234567890.123456789012345678901234567890,1e400, -0]"#
    );
    let bytes = shown(RunState::Succeeded(9), &whole(b"\xff{"));
    assert_eq!(bytes, r#"{"status":"succeeded","ledger_sequence":9,"data_base64":"/3s=""#);
    let elsewhere = shown(RunState::Succeeded(9), &Shape::Elsewhere);
    assert_eq!(elsewhere, r#"{"status":"succeeded","ledger_sequence":9"#);
    assert_eq!(receipt::RESULT_BYTES_MAX, 65_536);
}

#[test]
fn texts_are_shown_as_they_are() {
    for odd in ["a\"b", "a\\b", "\u{e9} \u{1f600}", "/", "a b", "\u{2028}"] {
        let mut receipt = duplicate();
        receipt.key = Some(ActionKey::new(&[odd, "", "x"], odd));
        receipt.known = None;
        receipt.rejection = Some(Rejection::new(Reason::InvalidKey, format!("{odd}\u{1}\n")));
        let told: Value = serde_json::from_str(&body(&receipt, None)).unwrap();
        assert_eq!(told["key"], odd);
        assert_eq!(told["scope"], serde_json::json!([odd, "", "x"]));
        assert_eq!(told["detail"], format!("{odd}\u{1}\n"));
    }
}

/// Whoever guesses a key learns nothing of the original.
#[test]
fn a_rejected_caller_is_shown_nothing_of_the_original() {
    let mut receipt = duplicate();
    (receipt.verdict, receipt.replayed, receipt.known) = (Shown::Rejected, false, None);
    receipt.rejection = Some(Rejection::new(Reason::PayloadMismatch, "why"));
    let told: Value = serde_json::from_str(&body(&receipt, None)).unwrap();
    for name in ["run_id", "state", "first", "expires_at", "result"] {
        assert_eq!(told.get(name), Some(&Value::Null), "{name}");
    }
    assert_eq!(told["reason"], "payload_mismatch");
    assert_eq!(told["detail"], "why");
    assert_eq!(told["verdict"], "rejected");
}

#[test]
fn a_look_up_has_the_same_form_without_a_message_of_its_own() {
    let known = duplicate().known.unwrap();
    let told = receipt::body(&key("k1"), &known, Some(&whole(b"1")));
    let told: Value = serde_json::from_slice(&told).unwrap();
    let names: Vec<_> = told.as_object().unwrap().keys().map(String::as_str).collect();
    let mut wanted =
        ["key", "scope", "run_id", "state", "reason", "detail", "first", "expires_at", "result"];
    wanted.sort_unstable();
    let mut found = names;
    found.sort_unstable();
    assert_eq!(found, wanted);
}

#[test]
fn only_subjects_under_a_prefix_are_answered() {
    let prefixes = ["_INBOX.".to_owned(), "answers.team-1.".to_owned()];
    let long = format!("_INBOX.{}", "a".repeat(1100));
    let rows = [
        ("_INBOX.abc.1", true),
        ("answers.team-1.x", true),
        ("_INBOX.", false),
        ("_INBOX", false),
        ("_INBOXES.a", false),
        ("actions.pay", false),
        ("$JS.API.STREAM.DELETE.ONCEGATE", false),
        ("x._INBOX.a", false),
        ("answers.team-2.x", false),
        ("_INBOX.a.*", false),
        ("_INBOX.a.>", false),
        ("_INBOX.>", false),
        ("_INBOX.a..b", false),
        ("_INBOX.a.", false),
        ("_INBOX.a b", false),
        ("_INBOX.a\u{a0}b", false),
        ("_INBOX.a\r\nPUB x 0", false),
        ("_INBOX.a>b*", true),
        (&long, false),
        ("", false),
    ];
    for (subject, may) in rows {
        assert_eq!(may_answer(subject, &prefixes), may, "{subject}");
    }
    assert!(!may_answer("_INBOX.a", &[]));
}
