//! A message of the input stream becomes an action, or has a reason why it is none.

use bytes::Bytes;

use super::canonical::{self, Captured, NotStrict, Scan};
use super::digest::{Digest, Form};
use super::entry::REPLY_TO;
use super::headers::{Headers, MalformedHeaders};
use super::key::{self, ActionKey};
use super::rules::{Compare, Missing, Place, Rules};
use super::source::Source;
use super::verdict::{Reason, Rejection};

/// A message as an input stream holds it: an action, or a report.
#[derive(Clone, Debug)]
pub struct RawAction {
    /// Stream, sequence and source time.
    pub source: Source,
    /// The subject it was published on. Where that is not UTF-8, bad bytes are U+FFFD.
    pub subject: String,
    /// False where `subject` is not, or may not be, the exact subject.
    pub subject_exact: bool,
    /// Its headers, if the header block is one.
    pub headers: Result<Headers, MalformedHeaders>,
    /// Any bytes.
    pub payload: Bytes,
}

/// A message with its key and payload digest, as far as it has them.
#[derive(Clone, Debug)]
pub struct Action {
    /// The message.
    pub raw: RawAction,
    /// The key, if there is a usable one.
    pub key: Option<ActionKey>,
    /// The payload digest, if there is one.
    pub digest: Option<Digest>,
    /// Why it is rejected whatever was seen before: `malformed_headers`, `missing_key`, `invalid_key` or
    /// `malformed_payload`.
    pub fault: Option<Rejection>,
    /// Where an answer is wanted.
    pub reply_to: Option<String>,
}

/// What looking for a key gave.
enum Found {
    Key(ActionKey),
    Nothing,
    Invalid(String),
}

/// Finds key and digest. Total: whatever the bytes, the outcome is an [`Action`].
pub fn decode(raw: RawAction, rules: &Rules) -> Action {
    let scan = (rules.compare != Compare::Bytes || rules.reads_json)
        .then(|| canonical::scan(&raw.payload, &rules.plan));
    let found = match &raw.headers {
        Ok(headers) => find_key(rules, headers, &raw.subject, scan.as_ref()),
        Err(_) => Found::Nothing,
    };
    let digest = if raw.subject_exact {
        payload_digest(&raw.subject, &raw.payload, rules.compare, scan.as_ref())
    } else {
        None
    };
    let fault = fault(&raw, rules, &found, scan.as_ref());
    let key = match found {
        Found::Key(key) => Some(key),
        _ => None,
    };
    let reply_to = raw.headers.as_ref().ok().and_then(|headers| headers.one(REPLY_TO));
    let reply_to = reply_to.map(str::to_owned);
    Action { raw, key, digest, fault, reply_to }
}

/// The digest of a payload under `rules`, as [`decode`] gives it; `None` where they want JSON and it
/// is none.
pub fn digest(subject: &str, payload: &[u8], rules: &Rules) -> Option<Digest> {
    let scan = (rules.compare != Compare::Bytes).then(|| canonical::scan(payload, &rules.plan));
    payload_digest(subject, payload, rules.compare, scan.as_ref())
}

fn payload_digest(
    subject: &str,
    payload: &[u8],
    compare: Compare,
    scan: Option<&Result<Scan, NotStrict>>,
) -> Option<Digest> {
    match (compare, scan) {
        (Compare::Auto | Compare::Json, Some(Ok(scan))) => {
            Some(Digest::of(subject, Form::Json, &scan.canonical))
        }
        (Compare::Json, _) => None,
        _ => Some(Digest::of(subject, Form::Bytes, payload)),
    }
}

fn fault(
    raw: &RawAction,
    rules: &Rules,
    found: &Found,
    scan: Option<&Result<Scan, NotStrict>>,
) -> Option<Rejection> {
    if let Err(malformed) = raw.headers {
        return Some(Rejection::new(Reason::MalformedHeaders, malformed));
    }
    match found {
        Found::Nothing if rules.missing == Missing::Reject => {
            let sources = rules.texts().key_from.join(", ");
            return Some(Rejection::new(
                Reason::MissingKey,
                format_args!("it has no idempotency key; the gate looks for {sources}"),
            ));
        }
        Found::Invalid(why) => return Some(Rejection::new(Reason::InvalidKey, why)),
        _ => {}
    }
    match (rules.compare, scan) {
        (Compare::Json, Some(Err(not_strict))) => {
            Some(Rejection::new(Reason::MalformedPayload, not_strict))
        }
        _ => None,
    }
}

fn find_key(
    rules: &Rules,
    headers: &Headers,
    subject: &str,
    scan: Option<&Result<Scan, NotStrict>>,
) -> Found {
    let look = Look { headers, subject, scan, max_bytes: rules.texts().key_max_bytes };
    let key = rules
        .from
        .iter()
        .zip(&rules.texts().key_from)
        .find_map(|(place, name)| look.text(place).map(|text| look.checked(text, name)));
    let key = match key {
        None => return Found::Nothing,
        Some(Err(why)) => return Found::Invalid(why),
        Some(Ok(key)) => key,
    };
    let mut scope = Vec::with_capacity(rules.scope.len());
    for (place, name) in rules.scope.iter().zip(&rules.texts().key_scope) {
        let Some(text) = look.text(place) else {
            return Found::Invalid(format!("it has no scope part {name}"));
        };
        match look.checked(text, name) {
            Ok(part) => scope.push(part),
            Err(why) => return Found::Invalid(why),
        }
    }
    Found::Key(ActionKey::new(&scope, key))
}

struct Look<'a> {
    headers: &'a Headers,
    subject: &'a str,
    scan: Option<&'a Result<Scan, NotStrict>>,
    max_bytes: usize,
}

impl<'a> Look<'a> {
    /// What stands at `place`: `None` nothing, `Err` something that is no single text.
    fn text(&self, place: &'a Place) -> Option<Result<&'a str, &'static str>> {
        match place {
            Place::Header(name) => {
                let mut values = self.headers.all(name);
                let first = values.next()?;
                let same = values.all(|value| value == first);
                Some(if same { Ok(first) } else { Err("has several values that differ") })
            }
            Place::Json(index) => match self.scan?.as_ref().ok()?.captured.get(*index)? {
                Captured::Absent => None,
                Captured::Text(text) => Some(Ok(text)),
                Captured::NotText => Some(Err("is not a JSON string")),
            },
            Place::SubjectToken(n) => {
                let token = self.subject.split('.').nth(n - 1)?;
                let exact = !token.contains(char::REPLACEMENT_CHARACTER);
                Some(if exact { Ok(token) } else { Err("is not UTF-8") })
            }
        }
    }

    fn checked(&self, text: Result<&'a str, &'static str>, name: &str) -> Result<&'a str, String> {
        let text = text.map_err(|why| format!("{name} {why}"))?;
        key::check(text, self.max_bytes).map_err(|why| format!("{name} {why}"))?;
        Ok(text)
    }
}
