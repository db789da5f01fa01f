//! The canonical form against an independent and slow account of the same rules, built on
//! `serde_json`, and the examples of the contract.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod decimal;
mod slow;
mod spelling;

use std::collections::BTreeSet;

use decimal::{Decimal, increment};
use oncegate::gate::canonical::{Captured, NotStrict, Plan, Scan, scan};
use oncegate::gate::pointer::{BadPointer, Pattern, Pointer};
use proptest::prelude::*;
use slow::Slow;
use spelling::Whim;

fn plan(ignore: &[&str], capture: &[&str]) -> Plan {
    let ignore = ignore.iter().map(|text| Pattern::parse(text).unwrap());
    let capture = capture.iter().map(|text| Pointer::parse(text).unwrap());
    Plan::new(ignore.collect(), capture.collect())
}

fn strict(text: impl AsRef<[u8]>) -> Result<Scan, NotStrict> {
    scan(text.as_ref(), &Plan::new(vec![], vec![]))
}

fn form(text: impl AsRef<[u8]>) -> Vec<u8> {
    strict(text).unwrap().canonical
}

fn form_without(ignore: &[&str], text: &str) -> Vec<u8> {
    scan(text.as_bytes(), &plan(ignore, &[])).unwrap().canonical
}

fn refusal(text: impl AsRef<[u8]>) -> &'static str {
    strict(text).unwrap_err().why
}

fn nested(levels: usize) -> String {
    "[".repeat(levels) + &"]".repeat(levels)
}

mod examples {
    use super::*;

    /// Each line spells one number.
    const SPELLINGS: &str = "
        1  1.0  1e0  1E+0  1e-0  10e-1  0.1e1  1.000e000
        0  -0  0.0  -0.0e5  0e400000000  0e-99999999999999999999999999999999
        100  1e2  1E+2  0.01e4  100.000
        -12.5  -125e-1  -0.125e2  -12.50
        10e99999999999999999999  1e100000000000000000000
        0.1e-99999999999999999999  1e-100000000000000000000
        1e999999999999999999999999999999  0.1e1000000000000000000000000000000
        1e1000000000000000000000000000000  10e999999999999999999999999999999  0.1e1000000000000000000000000000001
        1e-999999999999999999999999999999  10e-1000000000000000000000000000000
        1e-1000000000000000000000000000000  0.1e-999999999999999999999999999999";

    #[test]
    fn spellings_of_one_number_are_equal() {
        let mut forms = BTreeSet::new();
        for line in SPELLINGS.trim().lines() {
            let mut spellings = line.split_whitespace();
            let first = form(spellings.next().unwrap());
            for spelling in spellings {
                assert_eq!(form(spelling), first, "{spelling}");
            }
            assert!(forms.insert(first), "{line}");
        }
    }

    #[test]
    fn numbers_that_a_float_confuses_differ() {
        for (a, b) in [
            ("9007199254740992", "9007199254740993"),
            ("0.1", "0.10000000000000001"),
            ("1e400000000", "1e400000001"),
            ("1e400000000", "-1e400000000"),
            ("1e-400000000", "0"),
            ("1e99999999999999999999999999999999999", "1e-99999999999999999999999999999999999"),
            ("123", "12.3"),
            ("123", "-123"),
        ] {
            assert_ne!(form(a), form(b), "{a} {b}");
        }
    }

    #[test]
    fn an_exponent_takes_room_for_its_digits_only() {
        assert_eq!(form("1e400000000"), b"+1e400000000");
        assert_eq!(form("1e-400000000"), b"+1e-400000000");
    }

    /// Digests of the form are stored, so it must not change even into one that is as good.
    #[test]
    fn the_form_is_the_documented_one() {
        let text = r#"{"b":[null,true,false,""],"\u0061":{"n":[0,-1,100,-2.50,3e-7,1e99]},"é":{}}"#;
        let expected =
            b"{\"a\xFF{\"n\xFF[+0-1+1e2-25e-1+3e-7+1e99]}\"b\xFF[ntf\"\xFF]\"\xC3\xA9\xFF{}}";
        assert_eq!(form(text), expected);
    }

    #[test]
    fn kinds_and_borders_are_told_apart() {
        let different = r#"
            null true false 0 1 -1 12 "" "1" "null" "*" [] {} [null] [[]] [{}]
            [1,2] [12] [1,-2] [2,1] [1,[2]] [[1],2] [[1,2]] [1e2] [1,2e1] [1,"e2"]
            ["1","2"] ["1,2"] ["a",1] ["",""] [""] ["a","b"] ["a\"\"b"] ["ab",""] ["","ab"]
            {"a":null} {"a":{}} {"a":1,"b":2} {"a":{"b":2}} {"b":1,"a":2} {"a":"b"} ["a","b",{}]"#;
        let mut forms = BTreeSet::new();
        for text in different.split_whitespace() {
            assert!(forms.insert(form(text)), "{text}");
        }
    }

    #[test]
    fn members_are_sorted_by_decoded_name() {
        assert_eq!(
            form(r#"{"b":[2,{"z":0,"y":1}],"a":1,"":0,"aa":3}"#),
            form(r#" {"\u0061a":3.0,"":0,"a":1, "b":[2,{"y":1,"\u007a":0}]}"#),
        );
    }

    #[test]
    fn strings_are_compared_code_point_by_code_point() {
        assert_eq!(
            form(r#""\ud83d\ude00\u00e9\/\b\f\n\r\t""#),
            form("\"😀é/\\u0008\\u000C\\u000a\\u000D\\u0009\"")
        );
        assert_ne!(form("\"é\""), form("\"e\u{301}\""));
        assert_ne!(form(r#""\u0000""#), form(r#""""#));
    }

    #[test]
    fn a_string_ends_at_its_first_quote_wherever_it_stands() {
        for before in 0..50 {
            let plain = "é".repeat(before % 3) + &"~".repeat(before);
            for after in 0..20 {
                let rest = "!".repeat(after);
                assert_eq!(form(format!("\"{plain}\"")).len(), plain.len() + 2);
                assert!(strict(format!("\"{plain}\"{rest}\"")).is_err());
                assert_eq!(
                    refusal(format!("\"{plain}\x1f{rest}\"")),
                    "a control character in a string"
                );
                let tab = form(format!("\"{plain}\\t{rest}\""));
                assert_eq!(
                    tab,
                    format!("\"{plain}\t{rest}").bytes().chain([0xFF]).collect::<Vec<_>>()
                );
            }
        }
    }

    #[test]
    fn what_is_not_strict_is_refused() {
        let without_space = r#"
            01 -01 - +1 .5 1. 1.e1 1e 1e+ 1e- 1e1.5 0x1 --1 1_0 NaN Infinity -Infinity nul nulll True
            [1,] [,1] [1,,2] [1 [ ] [1} { } {"a"} {"a":} {"a":1,} {,} {a:1} {'a':1} {1:1} {"a":1]
            {"a":1"b":2} {"a"1} 'a' " "\" "\x" "\u12" "\u12g4" "\u+123" "\U0041" 1// /**/1
            "\ud800" "\udc00" "\ud800\ud800" "\ude00\ud83d" "\ud800x" "\ud800\n" {"\ud800":1}
            {"a":1,"a":1} {"a":1,"\u0061":2} {"a":1,"b":0,"a":2} {"":1,"":1} [{"b":{"x":1,"x":1}}]"#;
        let others = [
            "",
            " ",
            "\u{feff}1",
            "1 1",
            "[1 2]",
            "- 1",
            "1 .5",
            "\"\t\"",
            "\"\0\"",
            "\"\n\"",
            "\u{a0}1",
            "\u{b}1",
            "1\0",
        ];
        for text in without_space.split_whitespace().chain(others) {
            assert!(strict(text).is_err(), "{text:?}");
        }
        let not_utf8: [&[u8]; 5] =
            [b"\"\xFF\"", b"\"\xC0\x80\"", b"\"\xED\xA0\x80\"", b"1\xFF", b"\xFF\xFE1\0"];
        for bytes in not_utf8 {
            assert!(strict(bytes).is_err(), "{bytes:?}");
        }
    }

    #[test]
    fn a_refusal_says_where_and_why_and_not_what() {
        let error = strict(r#"{"secret": tru}"#).unwrap_err();
        assert_eq!(error.offset, 11);
        assert_eq!(error.to_string(), "not strict JSON at byte 11: neither true, false nor null");
        assert_eq!(refusal("\u{feff}{}"), "a byte order mark");
        assert_eq!(refusal(r#"{"a":1,"a":1}"#), "a member name is repeated");
        assert_eq!(refusal("\"\u{1}\""), "a control character in a string");
    }

    #[test]
    fn levels_are_counted_to_128() {
        assert!(strict(nested(128)).is_ok());
        assert_eq!(refusal(nested(129)), "more than 128 levels");
        let objects = |levels| r#"{"a":"#.repeat(levels) + "1" + &"}".repeat(levels);
        assert!(strict(objects(128)).is_ok());
        assert_eq!(refusal(objects(129)), "more than 128 levels");
        assert!(strict(format!("[{},{}]", nested(127), nested(127))).is_ok());
        assert_eq!(refusal("[".repeat(900_000)), "more than 128 levels");
    }

    #[test]
    fn large_objects_are_sorted() {
        let long = "x".repeat(200);
        for (count, prefix) in [(1_000_000, ""), (20_000, &long)] {
            let member = |i: usize| format!("\"{prefix}{i:07}\":{i}");
            let join = |members: Vec<String>| format!("{{{}}}", members.join(","));
            let forwards = join((0..count).map(member).collect());
            let backwards = join((0..count).rev().map(member).collect());
            let shuffled = join((0..count).map(|i| member(i * 7_919 % count)).collect());
            assert_eq!(form(&forwards), form(&backwards));
            assert_eq!(form(&forwards), form(&shuffled));
            let repeated = forwards.replacen('{', &format!("{{{},", member(count / 2)), 1);
            assert_eq!(refusal(repeated), "a member name is repeated");
        }
    }

    #[test]
    fn unsorted_members_at_every_level_are_sorted() {
        let twice =
            |order: fn(String) -> String| (0..127).fold("0".to_owned(), |inner, _| order(inner));
        let a = twice(|inner| format!(r#"{{"b":{inner},"a":1}}"#));
        let b = twice(|inner| format!(r#"{{"a":1,"b":{inner}}}"#));
        assert_eq!(form(a), form(b));
    }

    #[test]
    fn an_ignored_member_leaves_no_trace() {
        let without = form(r#"{"a":{"c":1},"list":[{"y":2}]}"#);
        let ignore = ["/sent_at", "/a/b", "/list/*/x"];
        for text in [
            r#"{"a":{"c":1},"list":[{"y":2}]}"#,
            r#"{"a":{"b":null,"c":1},"sent_at":1,"list":[{"y":2,"x":[1]}]}"#,
            r#"{"list":[{"x":{"y":3},"y":2}],"sent_at":{"a":"b"},"a":{"c":1,"b":"}"}}"#,
        ] {
            assert_eq!(form_without(&ignore, text), without, "{text}");
        }
        assert_ne!(form_without(&ignore, r#"{"a":{"c":1},"list":[{"y":2}],"x":1}"#), without);
        assert_ne!(form_without(&ignore, r#"{"a":{"c":2},"list":[{"y":2}]}"#), without);
    }

    #[test]
    fn an_ignored_element_is_left_out_and_the_others_keep_their_index() {
        assert_eq!(form_without(&["/0"], "[1,2]"), form("[2]"));
        assert_eq!(form_without(&["/1", "/2"], "[1,2,3,4]"), form("[1,4]"));
        assert_eq!(form_without(&["/*"], "[1,[2],3]"), form("[]"));
        assert_eq!(form_without(&["/*/1"], "[[1,2],[3,4,5],{\"1\":0}]"), form("[[1],[3,5],{}]"));
    }

    #[test]
    fn segments_match_exactly() {
        let text = r#"{"a/b":1,"m~n":2,"~1":3,"*":4,"":5,"0":6,"00":7}"#;
        let left = |names: &str| form(format!("{{{names}}}"));
        assert_eq!(
            form_without(&["/a~1b", "/m~0n", "/~01", "/"], text),
            left(r#""*":4,"0":6,"00":7"#)
        );
        assert_eq!(form_without(&["/*"], text), form("{}"));
        assert_eq!(
            form_without(&["/00"], text),
            left(r#""a/b":1,"m~n":2,"~1":3,"*":4,"":5,"0":6"#)
        );
        for not_an_index in ["/00", "/-", "/+0", "/1", "/ 0", "/", "/99999999999999999999999"] {
            assert_eq!(form_without(&[not_an_index], "[1]"), form("[1]"), "{not_an_index}");
        }
        let exact = Pattern::from(Pointer::parse("/*").unwrap());
        let scanned = scan(text.as_bytes(), &Plan::new(vec![exact], vec![])).unwrap();
        assert_eq!(scanned.canonical, form(text.replace(r#""*":4,"#, "")));
    }

    #[test]
    fn all_of_it_ignored_is_a_fixed_mark() {
        for text in ["1", "{}", "[\"*\"]", "null"] {
            assert_eq!(form_without(&[""], text), b"*");
        }
    }

    #[test]
    fn ignored_parts_are_strict_too() {
        for ignored in [r#"{"x":1,"x":1}"#, r#""\ud800""#, "01", "[1,]", &nested(128)] {
            let text = format!("{{\"a\":{ignored}}}");
            assert!(scan(text.as_bytes(), &plan(&["/a"], &[])).is_err(), "{text}");
            assert!(scan(text.as_bytes(), &plan(&[""], &[])).is_err(), "{text}");
        }
        let twice = r#"{"a":1,"b":2,"a":1}"#;
        assert!(scan(twice.as_bytes(), &plan(&["/a"], &[])).is_err());
        assert!(scan(twice.as_bytes(), &plan(&["/*"], &[])).is_err());
    }

    #[test]
    fn captures_come_in_the_order_asked() {
        let text = r#"{"n":null,"list":[0,"\u0041\"",{"deep":"x"}],"key":"","a/b":{"~":"t"}}"#;
        let asked = [
            "/list/1",
            "/none",
            "/key",
            "/n",
            "/list/2/deep",
            "/a~1b/~0",
            "/key",
            "/list",
            "/list/*",
        ];
        let text_of = |text: &str| Captured::Text(text.to_owned());
        let expected = [
            text_of("A\""),
            Captured::Absent,
            text_of(""),
            Captured::NotText,
            text_of("x"),
            text_of("t"),
            text_of(""),
            Captured::NotText,
            Captured::Absent,
        ];
        for ignore in [&[][..], &["/list", "/key"], &[""]] {
            let scanned = scan(text.as_bytes(), &plan(ignore, &asked)).unwrap();
            assert_eq!(scanned.captured, expected);
            assert_eq!(scanned.canonical, form_without(ignore, text), "reading changes nothing");
        }
        let whole = scan(b"\"x\"", &plan(&[], &[""])).unwrap();
        assert_eq!(whole.captured, [text_of("x")]);
    }

    #[test]
    fn pointers_are_read_and_shown() {
        for (text, segments) in [
            ("", &[][..]),
            ("/", &[""]),
            ("/a~1b/~0/~01", &["a/b", "~", "~1"]),
            ("//x", &["", "x"]),
        ] {
            let pointer = Pointer::parse(text).unwrap();
            assert_eq!(pointer.segments(), segments);
            assert_eq!(pointer.to_string(), text);
            let pattern = Pattern::parse(text).unwrap();
            assert_eq!(pattern.segments(), segments);
            assert_eq!(pattern.to_string(), text);
        }
        for text in ["a", "#/a", " /a", "*"] {
            assert_eq!(Pointer::parse(text), Err(BadPointer::NoSlash));
            assert_eq!(Pattern::parse(text), Err(BadPointer::NoSlash));
        }
        for text in ["/~", "/~2", "/a~/b", "/~~0"] {
            assert_eq!(Pointer::parse(text), Err(BadPointer::BadEscape));
        }
    }
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "[ab*~/]{0,2}",
        2 => ".{0,6}",
        1 => proptest::collection::vec(any::<char>(), 0..8).prop_map(|chars| chars.into_iter().collect()),
    ]
}

fn number() -> impl Strategy<Value = Slow> {
    let digits = prop_oneof![2 => "[0-9]", 2 => "0{0,3}[0-9]{1,4}0{0,3}", 1 => "[0-9]{15,40}"];
    (any::<bool>(), digits, -30..30_i32).prop_map(|(negative, digits, exponent)| {
        let sign = if negative { "-" } else { "" };
        Slow::Number(Decimal::read(&format!("{sign}{digits}e{exponent}")))
    })
}

fn json() -> impl Strategy<Value = Slow> {
    let leaf = prop_oneof![
        1 => Just(Slow::Null),
        1 => any::<bool>().prop_map(Slow::Bool),
        4 => number(),
        4 => text().prop_map(Slow::Text),
    ];
    leaf.prop_recursive(4, 40, 6, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..6).prop_map(Slow::List),
            proptest::collection::btree_map(text(), inner, 0..8).prop_map(Slow::Object),
        ]
    })
}

fn whim() -> impl Strategy<Value = Whim> {
    (1..u64::MAX).prop_map(Whim)
}

/// Acceptance, and for what is accepted also the form, agree with the slow account.
fn agrees(bytes: &[u8]) -> Result<(), TestCaseError> {
    let Some(value) = slow::reading(bytes) else {
        return Ok(());
    };
    let scanned = strict(bytes);
    prop_assert_eq!(scanned.is_ok(), value.is_some(), "{:?}", scanned);
    if let (Ok(scanned), Some(value)) = (scanned, value) {
        prop_assert_eq!(scanned.canonical, form(value.to_string()));
    }
    Ok(())
}

/// Writes a number out in full, which only small exponents allow.
fn expand(spelled: &str) -> String {
    let lower = spelled.to_ascii_lowercase();
    let (mantissa, exponent) = lower.split_once('e').unwrap_or((&lower, "0"));
    let exponent: i32 = exponent.parse().unwrap();
    assert!(exponent.abs() < 10_000);
    let (sign, mantissa) = match mantissa.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", mantissa),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let mut whole = whole.to_owned();
    let mut fraction = fraction.to_owned();
    for _ in 0..exponent {
        fraction.push('0');
        whole.push(fraction.remove(0));
    }
    for _ in exponent..0 {
        whole.insert(0, '0');
        fraction.insert(0, whole.pop().unwrap());
    }
    let whole = whole.trim_start_matches('0');
    let fraction = fraction.trim_end_matches('0');
    match (whole, fraction) {
        ("", "") => "0".to_owned(),
        _ => format!("{sign}{whole}.{fraction}"),
    }
}

fn patterns() -> impl Strategy<Value = Vec<String>> {
    let segment = prop_oneof![
        3 => Just("*".to_owned()),
        3 => "[0-3]",
        3 => "(a|b|~0|~1|){1,2}",
        1 => "(00|-|01)",
    ];
    let pattern = proptest::collection::vec(segment, 1..4)
        .prop_map(|segments| "/".to_owned() + &segments.join("/"));
    proptest::collection::vec(pattern, 0..4)
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 2_000, failure_persistence: None, ..ProptestConfig::default()
    })]

    #[test]
    fn a_value_has_one_form_however_it_is_written(
        json in json(), mut one in whim(), mut other in whim(),
    ) {
        let (one, other) = (one.spell(&json), other.spell(&json));
        prop_assert_eq!(form(&one), form(&other), "{} {}", one, other);
    }

    #[test]
    fn forms_are_equal_exactly_when_values_are(json in json(), mut whim in whim(), changes in 1..3) {
        let mut changed = json.clone();
        for _ in 0..changes {
            whim.change(&mut changed);
        }
        let (one, other) = (whim.spell(&json), whim.spell(&changed));
        let slow = |text: &str| slow::slow(&serde_json::from_str(text).unwrap());
        prop_assert_eq!(form(&one) == form(&other), slow(&one) == slow(&other), "{} {}", one, other);
    }

    #[test]
    fn numbers_are_equal_exactly_when_written_out_they_are(
        one in "-?(0|[1-9][05]{0,2})(\\.[05]{1,3})?([eE][+-]?[0-3])?",
        other in "-?(0|[1-9][05]{0,2})(\\.[05]{1,3})?([eE][+-]?[0-3])?",
    ) {
        prop_assert_eq!(form(&one) == form(&other), expand(&one) == expand(&other));
    }

    #[test]
    fn zeros_move_into_an_exponent_of_any_size(
        mantissa in "-?[1-9]{1,3}",
        exponent in "[1-9][0-9]{0,40}|9{17,40}|10{16,40}",
        zeros in 0_usize..30,
    ) {
        let larger = (0..zeros).fold(exponent.clone(), |exponent, _| increment(&exponent));
        let padded = mantissa.clone() + &"0".repeat(zeros);
        prop_assert_eq!(form(padded.clone() + "e" + &exponent), form(mantissa.clone() + "E+" + &larger));
        prop_assert_eq!(form(padded + "e-" + &larger), form(mantissa.clone() + "E-" + &exponent));
        let digits = mantissa.trim_start_matches('-');
        let sign = &mantissa[..mantissa.len() - digits.len()];
        let shifted = format!("{sign}0.{}{digits}", "0".repeat(zeros));
        let further = (0..digits.len()).fold(larger.clone(), |exponent, _| increment(&exponent));
        prop_assert_eq!(form(shifted.clone() + "e" + &further), form(mantissa.clone() + "e" + &exponent));
        prop_assert_eq!(form(shifted + "e-" + &exponent), form(mantissa + "e-" + &further));
    }

    #[test]
    fn any_bytes_are_taken_or_refused_like_elsewhere(
        bytes in proptest::collection::vec(any::<u8>(), 0..24),
    ) {
        agrees(&bytes)?;
    }

    #[test]
    fn scraps_of_json_are_taken_or_refused_like_elsewhere(
        scraps in "[\\[\\]{}:,\"\\\\ua0-3d8eE.+ -]{0,12}",
    ) {
        agrees(scraps.as_bytes())?;
    }

    #[test]
    fn spoiled_json_is_taken_or_refused_like_elsewhere(json in json(), mut whim in whim()) {
        let mut bytes = whim.spell(&json).into_bytes();
        agrees(&bytes)?;
        whim.mutate(&mut bytes);
        agrees(&bytes)?;
    }

    #[test]
    fn to_ignore_is_to_leave_out(json in json(), mut whim in whim(), patterns in patterns()) {
        let text = whim.spell(&json);
        let patterns: Vec<_> = patterns.iter().map(|text| Pattern::parse(text).unwrap()).collect();
        let segments: Vec<_> = patterns.iter().map(Pattern::segments).collect();
        let left = slow::without(&serde_json::from_str(&text).unwrap(), &segments);
        let scanned = scan(text.as_bytes(), &Plan::new(patterns.clone(), vec![])).unwrap();
        prop_assert_eq!(scanned.canonical, form(left.to_string()), "{}", text);
    }

    #[test]
    fn to_capture_is_to_follow_the_pointer(
        json in json(), mut whim in whim(), pointers in patterns(), ignored in patterns(),
    ) {
        let text = whim.spell(&json);
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        let expected: Vec<_> = pointers.iter().map(|pointer| match value.pointer(pointer) {
            None => Captured::Absent,
            Some(serde_json::Value::String(text)) => Captured::Text(text.clone()),
            Some(_) => Captured::NotText,
        }).collect();
        let ignored: Vec<_> = ignored.iter().map(String::as_str).collect();
        let pointers: Vec<_> = pointers.iter().map(String::as_str).collect();
        let scanned = scan(text.as_bytes(), &plan(&ignored, &pointers)).unwrap();
        prop_assert_eq!(scanned.captured, expected, "{}", text);
    }
}
