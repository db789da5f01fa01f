//! A message of any bytes becomes an action or has its reason not to, and a message of the ledger
//! either way.

use std::borrow::Cow;

use bytes::Bytes;
use serde_json::Value;

use super::choices::Choices;
use super::messages::{bytes_of, fits, sound};
use super::slow;
use crate::gate::action::{self, Action, RawAction};
use crate::gate::digest::{Digest, Form};
use crate::gate::entry::{self, Entry, First, Limits, Message};
use crate::gate::headers::{Headers, MalformedHeaders};
use crate::gate::record::{KeyRecord, RunState};
use crate::gate::rules::{RuleTexts, Rules};
use crate::gate::source::Source;
use crate::gate::verdict::{self, Reason, Rejection, Verdict};

const NAME: &str = "oncegate";

/// After some choices: subject `FF` header block `FF` payload.
pub fn check(data: &[u8]) {
    let mut choices = Choices(data);
    let rules = Rules::new(rules(&mut choices)).unwrap();
    let limits = Limits { message_bytes_max: choices.pick(&[20_000, 20_500, 80_000, 1 << 20]) };
    let source =
        Source { stream: "ACTIONS".into(), sequence: choices.number(), time_ns: choices.signed() };
    let seen = choices.below(4);
    let raw = raw(&mut choices, source);

    let action = action::decode(raw, &rules);
    found_as_the_contract_says(&action, &rules);
    match judged(&action, seen) {
        Verdict::Accepted => match entry::accepted(NAME, &action, limits) {
            Ok(message) if action.digest.is_some() => {
                accepted_as_it_is(&action, &message, limits);
            }
            Ok(_) => panic!("an action without a digest can't be routed"),
            Err(rejection) => {
                refused_for_cause(&action, &rejection, limits);
                rejected_as_far_as_it_fits(&action, &rejection, None, limits);
            }
        },
        Verdict::Rejected(rejection) => {
            let first = (rejection.reason == Reason::PayloadMismatch).then(|| first(&action));
            rejected_as_far_as_it_fits(&action, &rejection, first.as_ref(), limits);
        }
        Verdict::Duplicate => assert_eq!(seen, 1),
        Verdict::OriginalNeeded => assert_eq!(seen, 3),
    }
}

/// Such as the configuration lets through.
fn rules(choices: &mut Choices) -> RuleTexts {
    const FROM: [&[&str]; 6] = [
        &["header:Idempotency-Key", "json:/idempotency_key"],
        &["json:/idempotency_key"],
        &["header:X-Key", "header:Idempotency-Key"],
        &["json:/a/0/b", "json:/a~1b"],
        &["json:", "header:nats-msg-id"],
        &["header:X-Key"],
    ];
    const SCOPE: [&[&str]; 6] = [
        &[],
        &["subject:2"],
        &["header:Tenant"],
        &["json:/tenant"],
        &["subject:1", "header:Tenant", "json:/a/1"],
        &["header:oncegate-scope"],
    ];
    const IGNORE: [&[&str]; 5] =
        [&[], &["/sent_at", "/attempt"], &["/*/at"], &[""], &["/items/*/at", "/a/0"]];
    let list = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect();
    RuleTexts {
        key_from: list(choices.pick(&FROM)),
        key_scope: list(choices.pick(&SCOPE)),
        payload_ignore: list(choices.pick(&IGNORE)),
        key_max_bytes: choices.pick(&[255, 255, 1, 3, 16]),
        key_missing: choices.pick(&["reject", "forward"]).to_owned(),
        payload_compare: choices.pick(&["auto", "json", "bytes"]).to_owned(),
    }
}

fn raw(choices: &mut Choices, source: Source) -> RawAction {
    let pads = [choices.byte(), choices.byte(), choices.byte()].map(usize::from);
    let [subject, block, payload] = choices.parts();
    let mut subject_text = String::from_utf8_lossy(subject).into_owned();
    subject_text.push_str(&".s".repeat(pads[0] * 8));
    // More than a fuzzer's input may hold: what makes a message too large.
    let pad = format!("X-Pad: {}\r\n\r\n", "h".repeat(pads[1] * 300));
    let block = match block.strip_suffix(b"\r\n") {
        Some(lines) if pads[1] > 0 => [lines, pad.as_bytes()].concat(),
        _ => block.to_vec(),
    };
    RawAction {
        source,
        subject_exact: std::str::from_utf8(subject).is_ok(),
        subject: subject_text,
        headers: headers(&block),
        payload: Bytes::from([payload, &b" ".repeat(pads[2] * 100)].concat()),
    }
}

/// By splitting at every line end, instead of line after line.
fn headers(block: &[u8]) -> Result<Headers, MalformedHeaders> {
    let read = Headers::parse(block);
    let slow = slow_headers(block);
    let slow = slow.map(|pairs| pairs.into_iter().collect());
    assert_eq!(read.as_ref().ok(), slow.as_ref());
    if let Ok(headers) = &read {
        let believed = Headers::from_library(headers.iter(), block.len());
        assert!(believed.is_none_or(|believed| believed == *headers));
    }
    read
}

fn slow_headers(block: &[u8]) -> Option<Vec<(String, String)>> {
    let text = std::str::from_utf8(block).ok()?;
    let lines: Vec<&str> = text.split("\r\n").collect();
    let lines = match lines.as_slice() {
        [""] => return Some(Vec::new()),
        ["NATS/1.0", lines @ .., "", ""] => lines,
        _ => return None,
    };
    let pair = |line: &&str| {
        let (name, value) = line.split_once(':')?;
        let name_is_sound = !name.is_empty() && name.chars().all(|c| ('!'..='~').contains(&c));
        let value_is_sound = !value.chars().any(|c| is_control(c) && c != '\t');
        (name_is_sound && value_is_sound).then(|| (name.to_owned(), value.trim().to_owned()))
    };
    lines.iter().map(pair).collect()
}

/// C0, DEL, C1.
fn is_control(c: char) -> bool {
    matches!(c, '\0'..='\u{1f}' | '\u{7f}'..='\u{9f}')
}

// ---- Key, digest and fault, once more and slowly

fn found_as_the_contract_says(action: &Action, rules: &Rules) {
    let raw = &action.raw;
    let texts = rules.texts();
    if let Some(key) = &action.key {
        assert_eq!(key.scope().len(), texts.key_scope.len());
        for text in key.scope().into_iter().chain([key.key()]) {
            assert!(obeys_the_rules_of_a_key(&text, texts.key_max_bytes), "{text:?}");
        }
    }
    let again = action::digest(&raw.subject, &raw.payload, rules);
    assert_eq!(action.digest, again.filter(|_| raw.subject_exact), "the same when read back");
    if let Some(digest) = action.digest {
        assert_eq!(digest.to_string().parse(), Ok(digest));
    }
    let Some(json) = slow::reading(&raw.payload) else {
        return;
    };
    let key = match &raw.headers {
        Ok(headers) => slow_key(texts, headers, &raw.subject, json.as_ref()),
        Err(_) => None,
    };
    let found = action.key.as_ref().map(|key| {
        let scope = key.scope().into_iter().map(Cow::into_owned).collect::<Vec<_>>();
        Ok((scope, key.key().into_owned()))
    });
    assert_eq!(found, key.clone().filter(Result::is_ok));
    let is_json = json.is_some();
    let reason = match (&raw.headers, &key) {
        (Err(_), _) => Some(Reason::MalformedHeaders),
        (_, None) if texts.key_missing == "reject" => Some(Reason::MissingKey),
        (_, Some(Err(()))) => Some(Reason::InvalidKey),
        _ if texts.payload_compare == "json" && !is_json => Some(Reason::MalformedPayload),
        _ => None,
    };
    assert_eq!(action.fault.as_ref().map(|fault| fault.reason), reason);
    let form = match (texts.payload_compare.as_str(), is_json) {
        ("json" | "auto", true) => Some("json:"),
        ("json", false) => None,
        _ => Some("bytes:"),
    };
    let written = action.digest.map(|digest| digest.to_string());
    match form.filter(|_| raw.subject_exact) {
        Some(form) => assert!(written.is_some_and(|digest| digest.starts_with(form))),
        None => assert_eq!(written, None),
    }
}

type Key = Option<Result<(Vec<String>, String), ()>>;

fn slow_key(texts: &RuleTexts, headers: &Headers, subject: &str, json: Option<&Value>) -> Key {
    let look = |place: &String| stands_at(place, headers, subject, json);
    let sound = |text: Result<String, ()>| {
        text.ok().filter(|text| obeys_the_rules_of_a_key(text, texts.key_max_bytes)).ok_or(())
    };
    let key = sound(texts.key_from.iter().find_map(look)?);
    let scope: Result<Vec<_>, ()> =
        texts.key_scope.iter().map(|place| sound(look(place).ok_or(())?)).collect();
    Some(key.and_then(|key| scope.map(|scope| (scope, key))))
}

/// `Err` for what is no single text.
fn stands_at(
    place: &str,
    headers: &Headers,
    subject: &str,
    json: Option<&Value>,
) -> Option<Result<String, ()>> {
    match place.split_once(':').unwrap() {
        ("header", name) => {
            let lower = name.to_lowercase();
            let same = headers.iter().filter(|(name, _)| name.to_lowercase() == lower);
            let mut values: Vec<&str> = same.map(|(_, value)| value).collect();
            values.dedup();
            match values.as_slice() {
                [] => None,
                [value] => Some(Ok((*value).to_owned())),
                _ => Some(Err(())),
            }
        }
        ("json", pointer) => match json?.pointer(pointer)? {
            Value::String(text) => Some(Ok(text.clone())),
            _ => Some(Err(())),
        },
        (_, token) => {
            let token = subject.split('.').nth(token.parse::<usize>().unwrap() - 1)?;
            Some(if token.contains('\u{FFFD}') { Err(()) } else { Ok(token.to_owned()) })
        }
    }
}

fn obeys_the_rules_of_a_key(text: &str, max_bytes: usize) -> bool {
    (1..=max_bytes).contains(&text.len()) && !text.chars().any(is_control) && text.trim() == text
}

// ---- Verdict and message

/// `seen`: never, with this payload, with another, under other rules.
fn judged(action: &Action, seen: usize) -> Verdict {
    let mut digest = action.digest.unwrap_or(Digest::of("", Form::Bytes, b""));
    digest.hash ^= u128::from(seen == 2);
    let record = KeyRecord {
        digest,
        rules: u32::from(seen == 3),
        stream: 0,
        sequence: 1,
        time_ns: 0,
        expires_ns: i64::MAX,
        ledger_sequence: 1,
        state: RunState::Pending,
    };
    let record = (seen > 0 && action.key.is_some()).then_some(&record);
    let now_ns = action.raw.source.time_ns;
    let verdict = verdict::judge(action, record, now_ns, 0);
    if let Some(fault) = &action.fault {
        assert_eq!(verdict, Verdict::Rejected(fault.clone()));
    }
    verdict
}

fn first(action: &Action) -> First {
    let source = Source { stream: "ACTIONS".into(), sequence: u64::MAX, time_ns: i64::MAX };
    First {
        digest: "bytes:0123456789abcdef0123456789abcdef".parse().unwrap(),
        run_id: source.run_id(action.key.as_ref()),
        source,
        ledger_sequence: u64::MAX,
    }
}

fn accepted_as_it_is(action: &Action, message: &Message, limits: Limits) {
    let raw = &action.raw;
    let headers = sound(message, limits.message_bytes_max);
    assert_eq!(message.subject, format!("{NAME}.accepted.{}", raw.subject));
    assert_eq!(message.payload, raw.payload);
    let entry = entry::decode(NAME, &message.subject, &headers, b"");
    let digest = action.digest.unwrap();
    let source = raw.source.clone();
    assert_eq!(entry, Ok(Entry::Accepted { source, key: action.key.clone(), digest }));
    if let Some(key) = &action.key {
        assert_eq!(headers.one(entry::KEY), Some(&*key.key()), "the gate's own key header");
    }
    publishers_headers(action, &headers, true);
}

/// Of an action that nothing else was wrong with.
fn refused_for_cause(action: &Action, rejection: &Rejection, limits: Limits) {
    match rejection.reason {
        Reason::Unroutable => {
            let subject = &action.raw.subject;
            let odd = !action.raw.subject_exact || subject.contains(char::is_whitespace);
            assert!(odd || subject.len() > 3800, "{subject}");
        }
        Reason::TooLarge => {
            let whole = entry::accepted(NAME, action, Limits { message_bytes_max: usize::MAX });
            let too_large = match whole {
                Ok(message) => !fits(&message, limits.message_bytes_max),
                // Both hold, and this is the first of the two.
                Err(other) => other.reason == Reason::Unroutable,
            };
            assert!(too_large || bytes_of_publisher(action) > 60_000);
        }
        other => panic!("{other:?} is no reason of the ledger"),
    }
}

fn bytes_of_publisher(action: &Action) -> usize {
    let headers = action.raw.headers.as_ref().unwrap();
    headers.iter().map(|(name, value)| name.len() + value.len() + 4).sum()
}

fn rejected_as_far_as_it_fits(
    action: &Action,
    rejection: &Rejection,
    first: Option<&First>,
    limits: Limits,
) {
    let raw = &action.raw;
    let message = entry::rejected(NAME, action, rejection, first, limits);
    let headers = sound(&message, limits.message_bytes_max);
    let entry = entry::decode(NAME, &message.subject, &headers, b"");
    let source = raw.source.clone();
    let reason = rejection.reason;
    assert_eq!(entry, Ok(Entry::Rejected { source, reason, judged: None }));
    let bare = format!("{NAME}.rejected.{}", rejection.reason.as_str());
    let is_whole = message.subject == format!("{bare}.{}", raw.subject);
    assert!(is_whole || message.subject == bare);
    assert_eq!(headers.one(entry::SOURCE_SUBJECT).is_none(), is_whole);

    let is_complete = message.payload == raw.payload;
    let kept_headers = publishers_headers(action, &headers, false);
    assert!(is_complete || message.payload.is_empty());
    assert!(!is_complete || raw.payload.is_empty() || kept_headers, "the payload goes first");
    if !is_complete {
        let whole = Message { payload: raw.payload.clone(), ..message };
        let missing = if kept_headers { 0 } else { bytes_of_publisher(action) };
        let (block, all) = bytes_of(&whole);
        let could_fit = block + missing <= 65_535 && all + missing <= limits.message_bytes_max;
        assert!(!could_fit || missing > 0, "what fits is kept");
    }
}

/// All that may be forwarded is there, or nothing of it.
fn publishers_headers(action: &Action, headers: &Headers, must: bool) -> bool {
    let Ok(sent) = &action.raw.headers else {
        return true;
    };
    let lower = |name: &str| name.to_ascii_lowercase();
    let reserved = |name: &str| name.starts_with("nats-") || name.starts_with("oncegate-");
    let replaced = |name: &str| action.key.is_some() && name == "idempotency-key";
    let may_pass = |name: &str| !reserved(&lower(name)) && !replaced(&lower(name));
    let expected: Vec<_> = sent.iter().filter(|(name, _)| may_pass(name)).collect();
    let found: Vec<_> = headers.iter().filter(|(name, _)| may_pass(name)).collect();
    assert!(found == expected || (!must && found.is_empty()), "{found:?} of {expected:?}");
    found == expected
}
