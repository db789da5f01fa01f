//! Where a key comes from, and what is one.

use crate::support::model::Rules;
use crate::support::model::Verdict::{Accepted, Duplicate};
use crate::support::raw::Outgoing;
use crate::support::world::World;
use crate::{INVALID, MISMATCH, MISSING, Row, keyed, on, play, with};

#[test]
fn keys_come_from_the_header_or_from_the_payload() {
    let mut world = World::started(Rules::default());
    let two = |a, b| [("Idempotency-Key", a), ("idempotency-key", b)];
    let long = "k".repeat(255);
    #[rustfmt::skip]
    let rows = [
        with("in the payload", &[], r#"{"idempotency_key":"p1","n":1}"#, Accepted),
        with("again, reordered", &[], r#"{"n":1,"idempotency_key":"p1"}"#, Duplicate),
        with("again, changed", &[], r#"{"n":2,"idempotency_key":"p1"}"#, MISMATCH),
        keyed("the same key in the header", "p1", r#"{"n":1}"#, Duplicate),
        keyed("the header comes first", "h1", r#"{"idempotency_key":"p9","n":1}"#, Accepted),
        keyed("the payload's key is no content", "h1", r#"{"idempotency_key":"p8","n":1}"#, Duplicate),
        with("p9 was never used", &[], r#"{"idempotency_key":"p9","n":1}"#, Accepted),
        with("name in any case", &[("IDEMPOTENCY-KEY", "h1")], r#"{"n":1}"#, Duplicate),
        with("twice the same", &two("h2", "h2"), "x", Accepted),
        with("two that differ", &two("h2", "h3"), "x", INVALID),
        with("white space around it", &[("Idempotency-Key", "  h2\t")], "x", Duplicate),
        with("white space within it", &[("Idempotency-Key", "h 2")], "x", Accepted),
        with("only white space", &[("Idempotency-Key", "   ")], "x", INVALID),
        with("an empty one is one", &[("Idempotency-Key", "")], r#"{"idempotency_key":"z"}"#, INVALID),
        keyed("255 bytes", &long, "x", Accepted),
        keyed("256 bytes", &format!("{long}k"), "x", INVALID),
        keyed("255 bytes of two-byte letters", &"é".repeat(127), "x", Accepted),
        keyed("256 bytes of two-byte letters", &"é".repeat(128), "x", INVALID),
        keyed("any script", "ключ-鍵-🔑", "x", Accepted),
        with("a number", &[], r#"{"idempotency_key":1}"#, INVALID),
        with("null", &[], r#"{"idempotency_key":null}"#, INVALID),
        with("an object", &[], r#"{"idempotency_key":{}}"#, INVALID),
        with("an empty text", &[], r#"{"idempotency_key":""}"#, INVALID),
        with("leading space in a text", &[], r#"{"idempotency_key":" a"}"#, INVALID),
        with("trailing U+00A0 in a text", &[], r#"{"idempotency_key":"a\u00a0"}"#, INVALID),
        with("C0 in a text", &[], r#"{"idempotency_key":"a\u0000b"}"#, INVALID),
        with("DEL in a text", &[], r#"{"idempotency_key":"a\u007fb"}"#, INVALID),
        with("C1 in a text", &[], r#"{"idempotency_key":"a\u0085b"}"#, INVALID),
        with("not at the top", &[], r#"[{"idempotency_key":"a"}]"#, MISSING),
        with("not strict JSON", &[], r#"{"idempotency_key":"a","n":1,"n":1}"#, MISSING),
        with("another spelling", &[], r#"{"Idempotency_Key":"a"}"#, MISSING),
        with("escaped member name", &[], r#"{"idempotency\u005fkey":"p1","n":1}"#, Duplicate),
    ];
    play(&mut world, &rows);
}

#[test]
fn keys_come_from_where_the_rules_say() {
    let mut world = World::started(Rules {
        from: vec!["json:/meta/0/id~1x", "header:X-Request", "header:X-Other"],
        max_bytes: 8,
        ..Rules::default()
    });
    #[rustfmt::skip]
    let rows = [
        with("the pointer", &[("X-Request", "r")], r#"{"meta":[{"id/x":"j"}]}"#, Accepted),
        with("the next source", &[("X-Request", "r")], r#"{"meta":[]}"#, Accepted),
        with("the last source", &[("x-other", "o")], "1", Accepted),
        with("the same key from elsewhere", &[("x-request", "o")], "1.0", Duplicate),
        with("not in the list", &[("Idempotency-Key", "r")], "1", MISSING),
        with("kept when it is no key", &[("Idempotency-Key", "mine"), ("X-Other", "é\u{a0}é")], "1", Accepted),
        with("9 bytes", &[("X-Other", "123456789")], "1", INVALID),
    ];
    play(&mut world, &rows);
}

#[test]
fn keys_of_different_scopes_never_meet() {
    let mut world = World::started(Rules {
        scope: vec!["subject:2", "header:Tenant", "json:/region"],
        ..Rules::default()
    });
    let scoped = |what, subject: &str, tenant: &str, region: &str, verdict| {
        let headers = [("Idempotency-Key", "k"), ("Tenant", tenant)];
        let payload = format!("{{\"region\":{region}}}");
        Row(what, Outgoing::new(subject, &headers, payload.as_bytes()), verdict)
    };
    #[rustfmt::skip]
    let rows = [
        scoped("a first use", "actions.pay", "t1", r#""eu""#, Accepted),
        scoped("again", "actions.pay", "t1", r#" "eu" "#, Duplicate),
        scoped("another tenant", "actions.pay", "t2", r#""eu""#, Accepted),
        scoped("another region", "actions.pay", "t1", r#""us""#, Accepted),
        scoped("another kind", "actions.refund", "t1", r#""eu""#, Accepted),
        scoped("the same kind, deeper", "actions.pay.now", "t1", r#""eu""#, MISMATCH),
        scoped("no gluing of parts", "actions.pay", "t1eu", r#""u""#, Accepted),
        scoped("no gluing of parts, again", "actions.pay", "t1", r#""euu""#, Accepted),
        scoped("quotes and brackets", "actions.pay", "\"],[\"", r#""\"\\""#, Accepted),
        scoped("an empty part", "actions.pay", "", r#""eu""#, INVALID),
        scoped("a number", "actions.pay", "t1", "1", INVALID),
        scoped("a part too long", "actions.pay", &"t".repeat(256), r#""eu""#, INVALID),
        scoped("a long subject part", &format!("actions.{}", "s".repeat(255)), "t1", r#""eu""#, Accepted),
        keyed("parts that it lacks", "k", "{}", INVALID),
        with("no key at all", &[("Tenant", "t1")], r#"{"region":"eu"}"#, MISSING),
    ];
    play(&mut world, &rows);
}

#[test]
fn a_scope_by_a_subject_token_that_is_not_there() {
    let mut world = World::started(Rules { scope: vec!["subject:3"], ..Rules::default() });
    #[rustfmt::skip]
    let rows = [
        on("three tokens", "actions.pay.eu", "k", "1", Accepted),
        on("two tokens", "actions.pay", "k", "1", INVALID),
        on("four tokens", "actions.pay.eu.now", "k", "1", MISMATCH),
        on("another third token", "actions.pay.us", "k", "1", Accepted),
    ];
    play(&mut world, &rows);
}

#[test]
fn actions_without_a_key_can_be_forwarded() {
    let mut world = World::started(Rules { forward_missing: true, ..Rules::default() });
    #[rustfmt::skip]
    let rows = [
        with("no key", &[("Trace", "1")], "x", Accepted),
        with("no key, again", &[("Trace", "1")], "x", Accepted),
        with("no headers", &[], "x", Accepted),
        keyed("a bad key is still bad", "", "x", INVALID),
        keyed("a key", "k", "x", Accepted),
        keyed("a key, again", "k", "x", Duplicate),
    ];
    play(&mut world, &rows);
}
