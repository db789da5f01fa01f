//! What a message of the reports stream says, or why it says nothing.

use oncegate::gate::key::ActionKey;
use oncegate::gate::report::{self, Status, Told};
use oncegate::gate::verdict::Reason;

use super::{RUN, forget, key, report as message, result};

#[test]
fn every_status() {
    let run_id = RUN.parse().unwrap();
    let digest = report::digest(b"{\"id\":1}");
    for (text, status) in [("succeeded", Status::Succeeded), ("failed", Status::Failed)] {
        let told = Told::Result { run_id, key: key("a"), status, digest };
        assert_eq!(result(text, "{\"id\":1}").told, Ok(told));
    }
    assert_eq!(result("retry", "any").told, Ok(Told::Retry { run_id, key: key("a") }));
    let detail = "a typing error".to_owned();
    assert_eq!(forget().told, Ok(Told::Forget { key: key("a"), detail }));
}

#[test]
fn a_scope_is_a_json_array_of_strings() {
    let with = |scope: &str| {
        let lines = format!(
            "Idempotency-Key: a\r\nOncegate-Scope: {scope}\r\nOncegate-Run-Id: {RUN}\r\n\
             Oncegate-Status: retry"
        );
        message("oncegate.results.w", &lines, "").key().cloned()
    };
    assert_eq!(with(r#"["t","u.v"]"#), Some(ActionKey::new(&["t", "u.v"], "a")));
    assert_eq!(with("[]"), Some(key("a")));
    for bad in
        [r#"t"#, r#"{"t":1}"#, "[1]", r#"["t",null]"#, r#"[""]"#, r#"[" t"]"#, "", r#"["\n"]"#]
    {
        assert_eq!(with(bad), None, "{bad}");
    }
}

/// Subject, header lines, what the reason tells.
type Row = (&'static str, &'static str, &'static str);

#[test]
fn what_says_nothing_is_an_invalid_result() {
    const RESULTS: &str = "oncegate.results.w";
    const FORGET: &str = "oncegate.operator.forget";
    let rows: [Row; 18] = [
        (RESULTS, "", "no header Idempotency-Key"),
        (RESULTS, "Idempotency-Key: a", "no header Oncegate-Run-Id"),
        (RESULTS, "Idempotency-Key: a\r\nOncegate-Run-Id: RUN", "no header Oncegate-Status"),
        (RESULTS, "Oncegate-Run-Id: RUN\r\nOncegate-Status: failed", "no header Idempotency-Key"),
        (RESULTS, "Idempotency-Key: a\r\nOncegate-Run-Id: 7\r\nOncegate-Status: failed", "no UUID"),
        (RESULTS, "Idempotency-Key: a\r\nOncegate-Run-Id: RUN\r\nOncegate-Status: done", "none of"),
        (
            RESULTS,
            "Idempotency-Key: a\r\nOncegate-Run-Id: RUN\r\nOncegate-Status: Failed",
            "none of",
        ),
        (RESULTS, "Idempotency-Key: a\r\nOncegate-Run-Id: RUN\r\nOncegate-Status:", "none of"),
        (RESULTS, "Idempotency-Key: a\r\nidempotency-key: a", "several headers Idempotency-Key"),
        (
            RESULTS,
            "Idempotency-Key: a\r\nOncegate-Run-Id: RUN\r\nOncegate-Run-Id: RUN",
            "several headers Oncegate-Run-Id",
        ),
        (RESULTS, "Idempotency-Key:", "is empty"),
        (RESULTS, "Idempotency-Key: a\tb", "control character"),
        (RESULTS, "no colon", "malformed"),
        (RESULTS, "Idempotency-Key: LONG", "is longer than 255 bytes"),
        (FORGET, "Idempotency-Key: a", "no header Oncegate-Detail"),
        (FORGET, "Oncegate-Detail: why", "no header Idempotency-Key"),
        ("oncegate.operator.remember", "Idempotency-Key: a\r\nOncegate-Detail: why", "nothing but"),
        ("other.results.w", "Idempotency-Key: a", "nothing but"),
    ];
    for (subject, lines, why) in rows {
        let report =
            message(subject, &lines.replace("RUN", RUN).replace("LONG", &"k".repeat(256)), "{}");
        let rejection = report.told.unwrap_err();
        assert_eq!(rejection.reason, Reason::InvalidResult, "{lines}");
        assert!(rejection.detail.contains(why), "{lines}: {}", rejection.detail);
    }
}

#[test]
fn who_wants_an_answer_gets_one_for_nonsense_too() {
    let odd = message("oncegate.results.w", "Oncegate-Reply-To: _INBOX.x", "");
    assert_eq!(odd.reply_to.as_deref(), Some("_INBOX.x"));
    let two = "Oncegate-Reply-To: _INBOX.x\r\nOncegate-Reply-To: _INBOX.y";
    assert_eq!(message("oncegate.results.w", two, "").reply_to, None);
    assert_eq!(message("oncegate.results.w", "no colon", "").reply_to, None);
}

#[test]
fn results_are_the_same_by_their_json_values_or_their_bytes() {
    let same =
        |one: &str, other: &str| report::digest(one.as_bytes()) == report::digest(other.as_bytes());
    assert!(same(r#"{"a":1,"b":[2.0]}"#, r#"{ "b":[2], "a":1e0 }"#));
    assert!(same("done", "done"));
    assert!(!same("done", "done "));
    assert!(!same(r#"{"a":9007199254740992}"#, r#"{"a":9007199254740993}"#));
    assert!(!same("", "null"));
}
