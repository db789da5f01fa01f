//! When two payloads are the same.

use crate::support::model::Rules;
use crate::support::model::Verdict::{self, Accepted, Duplicate};
use crate::support::raw::Outgoing;
use crate::support::world::World;
use crate::{INVALID, MALFORMED, MISMATCH, MISSING, Row, keyed, play, with};

#[test]
fn payloads_are_compared_as_values() {
    let mut world = World::started(Rules::default());
    #[rustfmt::skip]
    let pairs: &[(&'static str, &str, &str, Verdict)] = &[
        ("member order", r#"{"a":1,"b":2}"#, r#"{"b":2,"a":1}"#, Duplicate),
        ("deep member order", r#"[{"x":{"a":1,"b":2}}]"#, r#"[{"x":{"b":2,"a":1}}]"#, Duplicate),
        ("white space", r#"{"a":[1,2]}"#, " {\t\"a\" :\r\n[ 1 , 2 ] } ", Duplicate),
        ("escapes", r#"["é/\n"]"#, r#"["\u00e9\/\u000a"]"#, Duplicate),
        ("escaped names", r#"{"é":1}"#, r#"{"\u00E9":1}"#, Duplicate),
        ("surrogate pairs", r#"["😀"]"#, r#"["\ud83d\uDE00"]"#, Duplicate),
        ("no normalisation", r#"["é"]"#, "[\"e\u{301}\"]", MISMATCH),
        ("array order", "[1,2]", "[2,1]", MISMATCH),
        ("null is not absence", r#"{"a":null}"#, "{}", MISMATCH),
        ("null is not false", "[null]", "[false]", MISMATCH),
        ("text is not number", r#"["1"]"#, "[1]", MISMATCH),
        ("empty list, empty object", "[]", "{}", MISMATCH),
        ("member name and value", r#"{"a":"b"}"#, r#"{"b":"a"}"#, MISMATCH),
        ("nesting", "[[1],2]", "[[1,2]]", MISMATCH),
        ("1 and 1.0", "[1]", "[1.0]", Duplicate),
        ("1 and 1e0", "[1]", "[1e0]", Duplicate),
        ("100 and 1E+2", "[100]", "[1E+2]", Duplicate),
        ("0.01 and 1e-2", "[0.01]", "[1e-2]", Duplicate),
        ("-0 is 0", "[-0]", "[0]", Duplicate),
        ("-0.0e9 is 0", "[-0.0e9]", "[0]", Duplicate),
        ("-1 is not 1", "[-1]", "[1]", MISMATCH),
        ("over 2^53", "[9007199254740992]", "[9007199254740993]", MISMATCH),
        ("near a tenth", "[0.1]", "[0.10000000000000001]", MISMATCH),
        ("a large exponent", "[1e400000000]", "[10e399999999]", Duplicate),
        ("another large exponent", "[1e400000000]", "[1e400000001]", MISMATCH),
        ("large and small", "[1e400000000]", "[1e-400000000]", MISMATCH),
        ("a top-level number", "10", "1e1", Duplicate),
        ("a repeated name is bytes", r#"{"a":1,"a":1}"#, r#"{"a":1}"#, MISMATCH),
        ("a repeated name, escaped", r#"{"a":1,"\u0061":1}"#, r#"{"a":1, "\u0061":1}"#, MISMATCH),
        ("a lone surrogate is bytes", r#"["\ud800"]"#, r#"[ "\ud800"]"#, MISMATCH),
        ("a byte order mark is bytes", "\u{feff}[1]", "\u{feff}[1.0]", MISMATCH),
        ("a trailing comma is bytes", "[1,]", "[1.0,]", MISMATCH),
        ("a leading zero is bytes", "[01]", "[01.0]", MISMATCH),
        ("two values are bytes", "1 2", "1  2", MISMATCH),
        ("NaN is bytes", "NaN", "NaN ", MISMATCH),
        ("a bare tab in a string is bytes", "[\"\t\"]", "[ \"\t\"]", MISMATCH),
        ("bytes are not their JSON text", "\u{feff}[1]", "[1]", MISMATCH),
    ];
    let mut rows = Vec::new();
    for (what, first, second, verdict) in pairs {
        rows.push(keyed(what, what, first, Accepted));
        rows.push(keyed(what, what, second, *verdict));
        rows.push(keyed(what, what, first, Duplicate));
    }
    play(&mut world, &rows);
}

#[test]
fn json_ends_at_128_levels() {
    let mut world = World::started(Rules::default());
    let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    let spaced = |levels: usize| format!(" {}", nested(levels));
    #[rustfmt::skip]
    let rows = [
        keyed("128 levels", "128", &nested(128), Accepted),
        keyed("128 levels, spaced", "128", &spaced(128), Duplicate),
        keyed("129 levels", "129", &nested(129), Accepted),
        keyed("129 levels, spaced", "129", &spaced(129), MISMATCH),
        keyed("900 KB of brackets", "many", &"[".repeat(900_000), Accepted),
        keyed("900 KB of brackets again", "many", &"[".repeat(900_000), Duplicate),
    ];
    play(&mut world, &rows);
}

#[test]
fn what_changes_between_tries_can_be_ignored() {
    let mut world = World::started(Rules {
        ignore: vec!["/sent_at", "/items/*/seen", "/meta/*", "/a~1b/c"],
        ..Rules::default()
    });
    #[rustfmt::skip]
    let rows = [
        keyed("a first use", "k1", r#"{"n":1,"sent_at":"10:00"}"#, Accepted),
        keyed("sent later", "k1", r#"{"n":1,"sent_at":"10:05"}"#, Duplicate),
        keyed("without it", "k1", r#"{"n":1}"#, Duplicate),
        keyed("another amount", "k1", r#"{"n":2,"sent_at":"10:00"}"#, MISMATCH),
        keyed("only at its place", "k1", r#"{"n":1,"x":{"sent_at":"10:05"}}"#, MISMATCH),
        keyed("every element", "k2", r#"{"items":[{"id":1,"seen":1},{"id":2}]}"#, Accepted),
        keyed("every element, later", "k2", r#"{"items":[{"id":1},{"id":2,"seen":9}]}"#, Duplicate),
        keyed("another element", "k2", r#"{"items":[{"id":1},{"id":3}]}"#, MISMATCH),
        keyed("every member", "k3", r#"{"meta":{"a":1}}"#, Accepted),
        keyed("every member, later", "k3", r#"{"meta":{"b":[2]}}"#, Duplicate),
        keyed("the object stays", "k3", r#"{}"#, MISMATCH),
        keyed("escaped segments", "k4", r#"{"a/b":{"c":1,"d":1}}"#, Accepted),
        keyed("escaped segments, later", "k4", r#"{"a/b":{"c":2,"d":1}}"#, Duplicate),
        keyed("not JSON", "k5", "sent_at 1", Accepted),
        keyed("not JSON, later", "k5", "sent_at 2", MISMATCH),
    ];
    play(&mut world, &rows);
}

#[test]
fn payloads_can_be_compared_as_bytes() {
    let mut world = World::started(Rules { compare: "bytes", ..Rules::default() });
    #[rustfmt::skip]
    let rows = [
        keyed("a first use", "k", r#"{"a":1}"#, Accepted),
        keyed("the same bytes", "k", r#"{"a":1}"#, Duplicate),
        keyed("the same value", "k", r#"{"a": 1}"#, MISMATCH),
        with("a key in the payload", &[], r#"{"idempotency_key":"p"}"#, Accepted),
        with("a key in the payload, again", &[], r#"{"idempotency_key":"p"}"#, Duplicate),
    ];
    play(&mut world, &rows);
}

#[test]
fn payloads_can_be_required_to_be_json() {
    let mut world = World::started(Rules { compare: "json", ..Rules::default() });
    #[rustfmt::skip]
    let rows = [
        keyed("JSON", "k", r#"{"a":1}"#, Accepted),
        keyed("not JSON under a used key", "k", "{'a':1}", MALFORMED),
        keyed("not JSON", "new", "{'a':1}", MALFORMED),
        keyed("empty", "new", "", MALFORMED),
        keyed("a repeated name", "new", r#"{"a":1,"a":1}"#, MALFORMED),
        keyed("not UTF-8 in spirit", "new", "[\"\\udfff\"]", MALFORMED),
        keyed("the key is still free", "new", "[]", Accepted),
        with("a missing key comes first", &[], "{'a':1}", MISSING),
        keyed("an invalid key comes first", "", "{'a':1}", INVALID),
    ];
    play(&mut world, &rows);
    let message = Outgoing::new("actions.pay", &[("Idempotency-Key", "new2")], b"[\"\xff\"]");
    play(&mut world, &[Row("not UTF-8", message, MALFORMED)]);
}
