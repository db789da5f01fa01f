//! Strict JSON and its canonical form against the slow twin of `tests/canonical`, which reads with
//! `serde_json`.

use serde_json::Value;

use super::choices::Choices;
use super::slow::{self, Slow};
use super::spelling::Whim;
use crate::gate::canonical::{Captured, NotStrict, Plan, Scan, scan};
use crate::gate::digest::{Digest, Form};
use crate::gate::pointer::{Pattern, Pointer};

const DEPTH_MAX: usize = 128;

/// After a choice: patterns to leave out, one a line, `FF`, one text, `FF`, another.
pub fn check(data: &[u8]) {
    let mut choices = Choices(data);
    let mut whim = Whim(choices.number() | 1);
    let [patterns, one, other] = choices.parts();
    let patterns = pointers(&String::from_utf8_lossy(patterns));
    let forms = [one, other].map(|text| taken_or_refused(text, &patterns, &mut whim));
    if let [Some((one, one_form)), Some((other, other_form))] = forms {
        equal_exactly_when_the_values_are(&one, &one_form, &other, &other_form);
    }
    let mut spoiled = one.to_vec();
    whim.mutate(&mut spoiled);
    taken_or_refused(&spoiled, &patterns, &mut whim);
}

fn strict(text: &[u8]) -> Result<Scan, NotStrict> {
    scan(text, &Plan::default())
}

fn form(text: &str) -> Vec<u8> {
    strict(text.as_bytes()).expect("a value that is spelled well").canonical
}

/// Those that can be read; what is read is what was written.
fn pointers(lines: &str) -> Vec<Pattern> {
    let mut patterns = Vec::new();
    for line in lines.split('\n').take(8) {
        let pattern = Pattern::parse(line);
        assert_eq!(pattern.is_ok(), Pointer::parse(line).is_ok());
        let Ok(pattern) = pattern else {
            let mut after_tildes = line.split('~').skip(1);
            let bad_escape = after_tildes.any(|rest| !rest.starts_with(['0', '1']));
            assert!(bad_escape || !(line.is_empty() || line.starts_with('/')));
            continue;
        };
        assert_eq!(pattern.to_string(), line);
        let escaped = pattern.segments().iter().map(|s| s.replace('~', "~0").replace('/', "~1"));
        assert_eq!(escaped.map(|segment| format!("/{segment}")).collect::<String>(), line);
        patterns.push(pattern);
    }
    patterns
}

/// The value and its form, if this is strict JSON and the slow twin has an opinion.
fn taken_or_refused(text: &[u8], patterns: &[Pattern], whim: &mut Whim) -> Option<(Slow, Vec<u8>)> {
    let scanned = strict(text);
    if let Err(NotStrict { offset, .. }) = scanned {
        assert!(offset <= text.len());
    }
    let value = slow::reading(text)?;
    assert_eq!(scanned.is_ok(), value.is_some(), "{scanned:?}");
    let value = value?;
    let form_of_it = scanned.unwrap().canonical;
    let slow = slow::slow(&value);
    assert_eq!(form(&whim.spell(&slow)), form_of_it, "spelled in another way");
    levels_are_counted(text, &slow);
    left_out_and_captured(text, &value, patterns);

    let mut changed = slow.clone();
    whim.change(&mut changed);
    let changed_form = form(&whim.spell(&changed));
    equal_exactly_when_the_values_are(&slow, &form_of_it, &changed, &changed_form);
    Some((slow, form_of_it))
}

fn equal_exactly_when_the_values_are(one: &Slow, form: &[u8], other: &Slow, other_form: &[u8]) {
    assert_eq!(one == other, form == other_form, "{one:?} {other:?}");
    let digest = |form: &[u8]| Digest::of("actions.a", Form::Json, form);
    assert_eq!(one == other, digest(form) == digest(other_form));
}

/// As deep as can be, and one level more.
fn levels_are_counted(text: &[u8], slow: &Slow) {
    let inside = |levels| [&b"[".repeat(levels), text, &b"]".repeat(levels)].concat();
    let room = DEPTH_MAX - levels(slow);
    assert!(strict(&inside(room)).is_ok());
    assert!(strict(&inside(room + 1)).is_err());
}

fn levels(slow: &Slow) -> usize {
    match slow {
        Slow::List(list) => 1 + list.iter().map(levels).max().unwrap_or(0),
        Slow::Object(members) => 1 + members.values().map(levels).max().unwrap_or(0),
        _ => 0,
    }
}

fn left_out_and_captured(text: &[u8], value: &Value, patterns: &[Pattern]) {
    let pointers: Vec<_> =
        patterns.iter().map(|pattern| Pointer::parse(&pattern.to_string()).unwrap()).collect();
    let scanned = scan(text, &Plan::new(patterns.to_vec(), pointers.clone())).unwrap();
    let captured = pointers.iter().map(|pointer| match value.pointer(&pointer.to_string()) {
        None => Captured::Absent,
        Some(Value::String(text)) => Captured::Text(text.clone()),
        Some(_) => Captured::NotText,
    });
    assert!(captured.eq(scanned.captured), "captured in the order asked");

    let segments: Vec<_> = patterns.iter().map(Pattern::segments).collect();
    if segments.iter().any(|segments| segments.is_empty()) {
        assert_eq!(scanned.canonical, b"*");
    } else {
        assert_eq!(scanned.canonical, form(&slow::without(value, &segments).to_string()));
    }
}
