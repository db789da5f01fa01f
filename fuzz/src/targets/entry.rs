//! Ledger entries: from any message, and there and back from whatever an entry can say.

use bytes::Bytes;

use super::choices::Choices;
use super::messages::{block_of, sound};
use crate::gate::action::{Action, RawAction};
use crate::gate::digest::{Digest, Form};
use crate::gate::entry::{self, Entry, First, Leading, LeadingInput, Limits, Message, Unread};
use crate::gate::headers::Headers;
use crate::gate::key::{self, ActionKey};
use crate::gate::rules::RuleTexts;
use crate::gate::source::Source;
use crate::gate::verdict::{Reason, Rejection};

const NAME: &str = "oncegate";
/// The least that a ledger takes.
const LIMITS: Limits = Limits { message_bytes_max: 20_000 };
/// Of a key and of each scope part; how many of those there may be.
const KEY_BYTES_MAX: usize = 255;
const SCOPE_PARTS_MAX: usize = 16;

/// The first byte says what the others are: a message (subject `FF` header block `FF` payload) as it is
/// or with the run id that follows from it, or choices of what an entry says.
pub fn check(data: &[u8]) {
    let mut choices = Choices(data);
    match choices.byte() {
        b'a' => acted_on(&mut choices),
        b'j' => judged(&source(&mut choices), choices.number()),
        b'l' => leading(&some_leading(&mut choices)),
        first => {
            let [subject, block, payload] = choices.parts();
            let Ok(mut headers) = Headers::parse(block) else {
                return;
            };
            if first == b'r' {
                add_run_id(&mut headers);
            }
            read(&String::from_utf8_lossy(subject), &headers, payload);
        }
    }
}

// ---- From any message

fn add_run_id(headers: &mut Headers) {
    let source: Option<Source> = headers.one(entry::SOURCE).and_then(|text| text.parse().ok());
    let scope = headers.one(entry::SCOPE).and_then(|json| serde_json::from_str(json).ok());
    let scope: Vec<String> = scope.unwrap_or_default();
    let key = headers.one(entry::KEY).map(|key| ActionKey::new(&scope, key));
    if let Some(source) = source {
        let run_id = source.run_id(key.as_ref()).to_string();
        *headers = headers.iter().chain([(entry::RUN_ID, run_id.as_str())]).collect();
    }
}

fn decode(subject: &str, headers: &Headers, payload: &[u8]) -> Result<Entry, Unread> {
    entry::decode(NAME, subject, headers, payload)
}

fn read(subject: &str, headers: &Headers, payload: &[u8]) {
    let Ok(entry) = decode(subject, headers, payload) else {
        return;
    };
    assert!(subject.starts_with("oncegate."), "{subject}");
    if let Some(source) = entry.position() {
        assert_eq!(source.to_string().parse().as_ref(), Ok(source));
    }
    let needed: &[&str] = match &entry {
        Entry::Accepted { source, key, .. } => {
            let run_id = headers.one(entry::RUN_ID).and_then(|id| id.parse().ok());
            assert_eq!(run_id, Some(source.run_id(key.as_ref())), "the run id proves the key");
            &[entry::SOURCE, entry::DIGEST, entry::RUN_ID]
        }
        Entry::Rejected { .. } => &[entry::SOURCE, entry::REASON],
        Entry::Completed { .. } => &[entry::SOURCE, entry::KEY, entry::RUN_ID],
        Entry::Released { .. } => &[entry::SOURCE, entry::KEY],
        Entry::Judged { up_to, duplicates } => {
            judged(up_to, *duplicates);
            &[entry::JUDGED, entry::DUPLICATES]
        }
        Entry::Leading(body) => {
            leading(body);
            assert_eq!(decode(subject, &Headers::default(), payload), Ok(entry.clone()));
            &[]
        }
    };
    for name in needed {
        let (own, others): (Vec<_>, Vec<_>) =
            headers.iter().partition(|(other, _)| other.eq_ignore_ascii_case(name));
        assert_eq!(own.len(), 1);
        assert!(decode(subject, &Headers::from_iter(others), payload).is_err(), "it needs {name}");
        let twice: Headers = headers.iter().chain(own).collect();
        assert!(decode(subject, &twice, payload).is_err(), "{name} is there twice");
    }
}

// ---- From what an entry says

fn read_back(message: &Message) -> Result<Entry, Unread> {
    let headers = Headers::parse(&block_of(&message.headers)).unwrap();
    decode(&message.subject, &headers, &message.payload)
}

fn judged(up_to: &Source, duplicates: u64) {
    let message = entry::judged(NAME, up_to, duplicates);
    sound(&message, LIMITS.message_bytes_max.max(up_to.stream.len() + 1000));
    assert_eq!(read_back(&message), Ok(Entry::Judged { up_to: up_to.clone(), duplicates }));
}

fn leading(leading: &Leading) {
    let message = entry::leading(NAME, leading);
    sound(&message, usize::MAX);
    let version = leading.version.clone();
    let expected = match leading.format {
        1..=entry::FORMAT => Ok(Entry::Leading(Box::new(leading.clone()))),
        format => Err(Unread::Newer { format, version }),
    };
    assert_eq!(read_back(&message), expected);
}

/// A bare dead letter fits any ledger, however long the parts of the key are.
fn acted_on(choices: &mut Choices) {
    let action = action(choices);
    let rejection = Rejection::new(choices.pick(&Reason::OF_ACTIONS), long(choices));
    let first = choices.coin().then(|| first(choices));
    let message = entry::rejected(NAME, &action, &rejection, first.as_ref(), LIMITS);
    let headers = sound(&message, LIMITS.message_bytes_max);
    let reason = rejection.reason;
    let source = action.raw.source.clone();
    let read = Entry::Rejected { source: source.clone(), reason, judged: None };
    assert_eq!(read_back(&message), Ok(read));
    if let Some(First { source, run_id, digest, ledger_sequence }) = &first {
        let told = |name| headers.one(name).map(str::to_owned);
        assert_eq!(told(entry::FIRST_SOURCE), Some(source.to_string()));
        assert_eq!(told(entry::FIRST_RUN_ID), Some(run_id.to_string()));
        assert_eq!(told(entry::FIRST_DIGEST), Some(digest.to_string()));
        assert_eq!(told(entry::FIRST_SEQUENCE), Some(ledger_sequence.to_string()));
    }
    if let (Some(digest), Ok(message)) = (action.digest, entry::accepted(NAME, &action, LIMITS)) {
        sound(&message, LIMITS.message_bytes_max);
        assert_eq!(read_back(&message), Ok(Entry::Accepted { source, key: action.key, digest }));
    }
}

/// A text, repeated some times.
fn long(choices: &mut Choices) -> String {
    let times = usize::from(choices.byte());
    choices.text().repeat(times)
}

/// One that obeys the rules of a key.
fn part(choices: &mut Choices) -> String {
    let text = long(choices);
    let fitting = |text: &&str| key::check(text, KEY_BYTES_MAX).is_ok();
    let shorter = (0..=KEY_BYTES_MAX.min(text.len())).rev().find_map(|end| text.get(..end));
    shorter.filter(fitting).unwrap_or("k").to_owned()
}

fn source(choices: &mut Choices) -> Source {
    let name = choices.text();
    let is_name = |c: char| c.is_ascii_graphic() && !".*>/\\".contains(c);
    let stream = if !name.is_empty() && name.chars().all(is_name) { &name } else { "ACTIONS" };
    Source { stream: stream.into(), sequence: choices.number(), time_ns: choices.signed() }
}

fn digest(choices: &mut Choices) -> Digest {
    let hash = u128::from(choices.number()) << 64 | u128::from(choices.number());
    Digest { form: choices.pick(&[Form::Json, Form::Bytes]), hash }
}

fn first(choices: &mut Choices) -> First {
    let source = source(choices);
    let run_id = source.run_id(None);
    First { digest: digest(choices), source, run_id, ledger_sequence: choices.number() }
}

fn action(choices: &mut Choices) -> Action {
    let scope: Vec<String> =
        (0..choices.below(SCOPE_PARTS_MAX + 1)).map(|_| part(choices)).collect();
    let key = choices.coin().then(|| ActionKey::new(&scope, &part(choices)));
    let block = [&b"NATS/1.0\r\n"[..], choices.bytes(), b"\r\n\r\n"].concat();
    let raw = RawAction {
        source: source(choices),
        subject: long(choices),
        subject_exact: choices.coin(),
        headers: Headers::parse(&block),
        payload: Bytes::copy_from_slice(choices.bytes()),
    };
    let digest = choices.coin().then(|| digest(choices));
    Action { raw, key, digest, fault: None, reply_to: None }
}

fn some_leading(choices: &mut Choices) -> Leading {
    let texts = |choices: &mut Choices| (0..choices.below(4)).map(|_| choices.text()).collect();
    let input = |choices: &mut Choices| LeadingInput {
        stream: choices.text(),
        created_ns: choices.signed(),
        sequence: choices.number(),
        time_ns: choices.signed(),
    };
    let mut leading = Leading {
        format: entry::FORMAT,
        instance: choices.text(),
        host: choices.text(),
        version: choices.text(),
        window_ms: choices.number(),
        rules: RuleTexts {
            key_from: texts(choices),
            key_scope: texts(choices),
            key_max_bytes: choices.number() as usize,
            key_missing: choices.text(),
            payload_compare: choices.text(),
            payload_ignore: texts(choices),
        },
        rules_fingerprint: choices.text(),
        inputs: (0..choices.below(4)).map(|_| input(choices)).collect(),
        ledger_sequence: choices.number(),
        source_time_max_ns: choices.signed(),
    };
    leading.format = leading.format.saturating_add(choices.number());
    leading
}
