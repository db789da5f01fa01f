//! Verdict to ledger entry, and back.

mod decode;
pub mod reported;

use std::borrow::Cow;
use std::fmt::{Display, Write};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use uuid::Uuid;
use xxhash_rust::xxh3::xxh3_64;

use super::action::{Action, RawAction};
use super::digest::Digest;
use super::headers::{Headers, all_bytes, is_same_name};
use super::key::ActionKey;
use super::report::{Release, Status};
use super::rules::RuleTexts;
use super::source::{Source, TimeNs};
use super::verdict::{Reason, Rejection};
pub use decode::decode;

/// The format of entries that this code writes, and the newest that it reads. A `leading` entry names that
/// of all entries up to the next one.
///
/// 1: as in this file, without `completed` and `released`. 2: as in this file.
pub const FORMAT: u64 = 2;

/// Where a publisher wants its answer.
pub const REPLY_TO: &str = "Oncegate-Reply-To";
/// What an executor says became of a run.
pub const STATUS: &str = "Oncegate-Status";
/// The header that carries the key.
pub const KEY: &str = "Idempotency-Key";
/// The scope parts as a JSON array.
pub const SCOPE: &str = "Oncegate-Scope";
/// The run id of an accepted action.
pub const RUN_ID: &str = "Oncegate-Run-Id";
/// Digest of this payload.
pub const DIGEST: &str = "Oncegate-Digest";
/// Which input message the entry decides.
pub const SOURCE: &str = "Oncegate-Source";
/// The original subject, where the entry's own does not end in it.
pub const SOURCE_SUBJECT: &str = "Oncegate-Source-Subject";
/// Why an action is rejected.
pub const REASON: &str = "Oncegate-Reason";
/// The same for a person.
pub const DETAIL: &str = "Oncegate-Detail";
/// Up to which input message nothing else was decided.
pub const JUDGED: &str = "Oncegate-Judged";
/// How many duplicates that closes.
pub const DUPLICATES: &str = "Oncegate-Duplicates";
/// Digest of the accepted original.
pub const FIRST_DIGEST: &str = "Oncegate-First-Digest";
/// Input position of the accepted original.
pub const FIRST_SOURCE: &str = "Oncegate-First-Source";
/// Run id of the accepted original.
pub const FIRST_RUN_ID: &str = "Oncegate-First-Run-Id";
/// Ledger sequence of the accepted original.
pub const FIRST_SEQUENCE: &str = "Oncegate-First-Sequence";

/// The server takes header blocks of at most this (error 10097 beyond).
const HEADER_BLOCK_BYTES_MAX: usize = 65_535;
/// Every append also carries `Nats-Expected-Last-Sequence` with up to 20 digits.
const EXPECTED_SEQUENCE_HEADER_BYTES: usize = 51;
/// The longest ledger subject. Subject, reply and sizes share one protocol line, 4096 bytes unless the
/// server is told otherwise; the rest is the reply's.
const SUBJECT_BYTES_MAX: usize = 3840;

/// Of most entries; no bound.
const FINGERPRINTED_BYTES: usize = 160;
/// Headers of most accepted entries; no bound.
const HEADERS_EXPECTED: usize = 6;
/// Of the gate's own headers; no bound.
const VALUE_BYTES_EXPECTED: usize = 64;

/// What the ledger can carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Headers and payload together: the smaller of the server's `max_payload` and the stream's
    /// `max_msg_size`.
    pub message_bytes_max: usize,
}

/// A message on its way into the ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Ledger subject.
    pub subject: String,
    /// In order; a name may come more than once.
    pub headers: Vec<(Cow<'static, str>, String)>,
    /// The action's payload, untouched.
    pub payload: Bytes,
}

/// The accepted original of a key, as a mismatch shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct First {
    /// Its digest.
    pub digest: Digest,
    /// Where it stood in the input.
    pub source: Source,
    /// Its run.
    pub run_id: Uuid,
    /// Where it stands in the ledger.
    pub ledger_sequence: u64,
}

/// The body of `<name>.leading`: who decides from here on, and under what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leading {
    /// Of this entry and those after it, see [`FORMAT`].
    #[serde(default = "first_format")]
    pub format: u64,
    /// Kept in the table's directory.
    pub instance: String,
    /// Host name.
    pub host: String,
    /// Of the program.
    pub version: String,
    /// `retention.window` in milliseconds.
    pub window_ms: u64,
    /// The rules as written.
    pub rules: RuleTexts,
    /// Their fingerprint.
    pub rules_fingerprint: String,
    /// The inputs and how far each is judged.
    pub inputs: Vec<LeadingInput>,
    /// The last ledger sequence before this entry.
    pub ledger_sequence: u64,
    /// Highest source time of the entries before this one, ns since the epoch.
    pub source_time_max_ns: TimeNs,
}

/// Of a body that names none.
fn first_format() -> u64 {
    1
}

/// An input in a `leading` entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeadingInput {
    /// Name of the stream.
    pub stream: String,
    /// When the server says it was created, ns since the epoch.
    pub created_ns: TimeNs,
    /// Judged up to here.
    pub sequence: u64,
    /// Source time there.
    pub time_ns: TimeNs,
}

/// What an entry says, as far as the table follows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// A first-seen action, forwarded; `key` is `None` for one that needs none.
    Accepted {
        /// The action.
        source: Source,
        /// What to remember.
        key: Option<ActionKey>,
        /// Of its payload.
        digest: Digest,
    },
    /// A dead letter.
    Rejected {
        /// The action, or report.
        source: Source,
        /// Why.
        reason: Reason,
        /// A report's only: up to which action all are decided.
        judged: Option<Source>,
    },
    /// A run has its result.
    Completed {
        /// The report.
        source: Source,
        /// Up to which action all are decided.
        judged: Option<Source>,
        /// The key.
        key: ActionKey,
        /// The run.
        run_id: Uuid,
        /// How it ended.
        status: Status,
    },
    /// A key is new again.
    Released {
        /// The report.
        source: Source,
        /// Up to which action all are decided.
        judged: Option<Source>,
        /// The key.
        key: ActionKey,
        /// Who gave it back.
        by: Release,
    },
    /// Nothing but duplicates since the entry before.
    Judged {
        /// The last of them.
        up_to: Source,
        /// How many.
        duplicates: u64,
    },
    /// Somebody began to lead.
    Leading(Box<Leading>),
}

impl Entry {
    /// The input position that the entry makes final.
    pub fn position(&self) -> Option<&Source> {
        match self {
            Self::Accepted { source, .. }
            | Self::Rejected { source, .. }
            | Self::Completed { source, .. }
            | Self::Released { source, .. } => Some(source),
            Self::Judged { up_to, .. } => Some(up_to),
            Self::Leading(_) => None,
        }
    }

    /// Whose record it changes.
    pub fn changes(&self) -> Option<&ActionKey> {
        match self {
            Self::Completed { key, .. } => Some(key),
            Self::Accepted { .. }
            | Self::Rejected { .. }
            | Self::Released { .. }
            | Self::Judged { .. }
            | Self::Leading(_) => None,
        }
    }
}

/// A message in the ledger that is not read as an entry.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unread {
    /// The gate did not write it.
    #[error("not an entry of this gate: {0}")]
    Foreign(&'static str),
    /// A `leading` entry of a later version: what it and those after it say is not known.
    #[error("of format {format}, written by oncegate {version}")]
    Newer {
        /// More than [`FORMAT`].
        format: u64,
        /// Of the program that wrote it, as far as it is told.
        version: String,
    },
}

/// What tells one entry from another at the same sequence: its subject and the input position it names.
pub fn fingerprint(subject: &str, headers: &Headers) -> u64 {
    fingerprint_of(subject, headers.iter())
}

fn fingerprint_of<'a>(
    subject: &str,
    headers: impl Iterator<Item = (&'a str, &'a str)> + Clone,
) -> u64 {
    let mut hashed = Vec::with_capacity(FINGERPRINTED_BYTES);
    hashed.extend_from_slice(subject.as_bytes());
    for identifying in [SOURCE, JUDGED, RUN_ID] {
        for (name, value) in headers.clone() {
            if is_same_name(name, identifying) {
                hashed.push(0);
                hashed.extend_from_slice(value.as_bytes());
            }
        }
    }
    xxh3_64(&hashed)
}

impl Message {
    /// See [`fingerprint`].
    pub fn fingerprint(&self) -> u64 {
        fingerprint_of(&self.subject, self.headers.iter().map(|(n, v)| (n.as_ref(), v.as_str())))
    }

    fn header_block_bytes(&self) -> usize {
        let lines: usize = self.headers.iter().map(|(n, v)| n.len() + v.len() + 4).sum();
        "NATS/1.0\r\n\r\n".len() + lines + EXPECTED_SEQUENCE_HEADER_BYTES
    }

    /// Headers and payload together, as the server counts them.
    pub fn bytes(&self) -> usize {
        self.header_block_bytes() + self.payload.len()
    }

    fn fits(&self, limits: Limits) -> bool {
        self.header_block_bytes() <= HEADER_BLOCK_BYTES_MAX
            && self.bytes() <= limits.message_bytes_max
    }

    fn push(&mut self, name: &'static str, value: impl Display) {
        // A string takes everything.
        self.push_put(name, |text| write!(text, "{value}").unwrap_or_default());
    }

    fn push_put(&mut self, name: &'static str, put: impl FnOnce(&mut String)) {
        let mut text = String::with_capacity(VALUE_BYTES_EXPECTED);
        put(&mut text);
        self.headers.push((Cow::Borrowed(name), text));
    }

    /// The same, without the way through a formatter.
    fn push_text(&mut self, name: &'static str, value: &str) {
        self.headers.push((Cow::Borrowed(name), value.to_owned()));
    }

    fn push_key(&mut self, key: Option<&ActionKey>) {
        let Some(key) = key else { return };
        let (scope, key) = key.parts();
        self.headers.push((Cow::Borrowed(KEY), key.into_owned()));
        if !scope.is_empty() {
            self.push(SCOPE, serde_json::json!(scope));
        }
    }

    /// The publisher's own; the gate's key stands in the place of his.
    fn push_headers_of(&mut self, raw: &RawAction, keyed: bool) {
        let Ok(headers) = &raw.headers else {
            return;
        };
        for (name, value) in headers.forwardable() {
            if !keyed || !name.eq_ignore_ascii_case(KEY) {
                self.headers.push((Cow::Owned(name.to_owned()), value.to_owned()));
            }
        }
    }

    /// Drops the payload if need be, then the publisher's headers, which come after `own_headers`.
    fn fit(&mut self, own_headers: usize, limits: Limits) {
        if !self.fits(limits) {
            self.payload = Bytes::new();
        }
        if !self.fits(limits) {
            self.headers.truncate(own_headers);
        }
    }
}

/// The accepted entry, or why the ledger can't carry it.
pub fn accepted(name: &str, action: &Action, limits: Limits) -> Result<Message, Rejection> {
    let raw = &action.raw;
    let subject = [name, ".accepted.", &raw.subject].concat();
    let unroutable = not_routable(action, &subject);
    let headers = Vec::with_capacity(HEADERS_EXPECTED);
    let mut message = Message { subject, headers, payload: raw.payload.clone() };
    message.push_key(action.key.as_ref());
    let run_id = raw.source.run_id(action.key.as_ref()).hyphenated();
    message.push_text(RUN_ID, run_id.encode_lower(&mut Uuid::encode_buffer()));
    if let Some(digest) = action.digest {
        message.push_put(DIGEST, |text| digest.put(text));
    }
    message.push_put(SOURCE, |text| raw.source.put(text));
    message.push_headers_of(raw, action.key.is_some());
    if !message.fits(limits) {
        return Err(Rejection::new(
            Reason::TooLarge,
            format_args!(
                "with the gate's headers it has {} bytes of headers (the server takes {}) and {} bytes \
                 in all (the ledger takes {})",
                message.header_block_bytes(),
                HEADER_BLOCK_BYTES_MAX,
                message.bytes(),
                limits.message_bytes_max
            ),
        ));
    }
    match unroutable {
        Some(why) => Err(Rejection::new(Reason::Unroutable, why)),
        None => Ok(message),
    }
}

/// White space of any kind: client libraries split protocol lines at it, so an entry on such a
/// subject would stop the executors that read it.
fn not_routable(action: &Action, subject: &str) -> Option<&'static str> {
    if !action.raw.subject_exact {
        Some("its subject is not UTF-8")
    } else if !all_bytes(subject, |byte| byte.is_ascii_graphic())
        && subject.chars().any(char::is_whitespace)
    {
        Some("its subject holds white space, which client libraries take for the end of a subject")
    } else if subject.len() > SUBJECT_BYTES_MAX {
        Some("its subject is too long for a subject of the ledger")
    } else {
        None
    }
}

/// The dead letter, with as much of the action as fits: without its payload if need be, then without
/// its headers.
pub fn rejected(
    name: &str,
    action: &Action,
    rejection: &Rejection,
    first: Option<&First>,
    limits: Limits,
) -> Message {
    let mut message = dead_letter(name, action, rejection, first);
    let own_headers = message.headers.len();
    message.push_headers_of(&action.raw, action.key.is_some());
    message.fit(own_headers, limits);
    message
}

fn dead_letter(
    name: &str,
    action: &Action,
    rejection: &Rejection,
    first: Option<&First>,
) -> Message {
    let Rejection { reason, detail } = rejection;
    let raw = &action.raw;
    let bare = format!("{name}.rejected.{}", reason.as_str());
    let whole = format!("{bare}.{}", raw.subject);
    let routable = *reason != Reason::Unroutable && not_routable(action, &whole).is_none();
    let subject = if routable { whole } else { bare };
    let mut message = Message { subject, headers: Vec::new(), payload: raw.payload.clone() };
    message.push_key(action.key.as_ref());
    if let Some(digest) = action.digest {
        message.push(DIGEST, digest);
    }
    message.push(SOURCE, &raw.source);
    if !routable {
        message.push(SOURCE_SUBJECT, as_header_value(&raw.subject));
    }
    message.push(REASON, reason.as_str());
    message.push(DETAIL, as_header_value(detail));
    if let Some(first) = first {
        message.push(FIRST_DIGEST, first.digest);
        message.push(FIRST_SOURCE, &first.source);
        message.push(FIRST_RUN_ID, first.run_id.hyphenated());
        message.push(FIRST_SEQUENCE, first.ledger_sequence);
    }
    message
}

/// Longest subject or detail in a header: a bare dead letter must fit any ledger.
const HEADER_VALUE_BYTES_MAX: usize = 4096;

/// Control characters, which no header value may hold, become U+FFFD; the end is cut off if need be.
fn as_header_value(text: &str) -> String {
    let mut value = String::new();
    for c in text.chars() {
        let c = if c.is_control() { char::REPLACEMENT_CHARACTER } else { c };
        if value.len() + c.len_utf8() > HEADER_VALUE_BYTES_MAX {
            break;
        }
        value.push(c);
    }
    value
}

/// The marker that closes a stretch of duplicates.
pub fn judged(name: &str, up_to: &Source, duplicates: u64) -> Message {
    let mut message =
        Message { subject: format!("{name}.judged"), headers: Vec::new(), payload: Bytes::new() };
    message.push(JUDGED, up_to);
    message.push(DUPLICATES, duplicates);
    message
}

/// The entry that begins a term.
pub fn leading(name: &str, leading: &Leading) -> Message {
    let payload = serde_json::json!(leading).to_string().into();
    Message { subject: format!("{name}.leading"), headers: Vec::new(), payload }
}
