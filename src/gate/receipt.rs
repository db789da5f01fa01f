//! What a caller is told of its action, and what a key is known for.

use serde::Serialize;
use uuid::Uuid;

use super::cursor::Cursors;
use super::key::ActionKey;
use super::record::{KeyRecord, RunState};
use super::source::{Source, TimeNs, rfc3339};
use super::verdict::Rejection;

/// Results of at most so many bytes come with the answer; of larger ones, where they stand.
pub const RESULT_BYTES_MAX: usize = 64 << 10;
/// The header of an answer for clients that do not parse it.
pub const VERDICT: &str = "Oncegate-Verdict";
/// Of most answers without a result; no bound.
const BODY_BYTES_EXPECTED: usize = 512;
/// The longest subject that is answered on.
const REPLY_BYTES_MAX: usize = 1024;

/// Whether the gate may answer on this subject: it lies under one of the prefixes, and is one.
pub fn may_answer(reply_to: &str, prefixes: &[String]) -> bool {
    let under = |prefix: &String| reply_to.len() > prefix.len() && reply_to.starts_with(prefix);
    let token = |token: &str| !token.is_empty() && token != "*" && token != ">";
    let plain = !reply_to.chars().any(|c| c.is_whitespace() || c.is_control());
    reply_to.len() <= REPLY_BYTES_MAX
        && plain
        && prefixes.iter().any(under)
        && reply_to.split('.').all(token)
}

/// What is shown as the verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    /// An action was forwarded.
    Accepted,
    /// An action was seen before.
    Duplicate,
    /// A report is the run's result.
    Completed,
    /// A report has given the key back.
    Released,
    /// An action or report went to the dead letters.
    Rejected,
}

impl Shown {
    /// As written in the answer and its header.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Duplicate => "duplicate",
            Self::Completed => "completed",
            Self::Released => "released",
            Self::Rejected => "rejected",
        }
    }
}

/// A run that a key is known for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// Its id.
    pub run_id: Uuid,
    /// What became of it.
    pub state: RunState,
    /// The accepted action's sequence in its input stream.
    pub sequence: u64,
    /// When that stream stored it.
    pub time_ns: TimeNs,
    /// Where the accepted entry stands in the ledger.
    pub ledger_sequence: u64,
    /// Until when the key is seen; `None` if it never is.
    pub expires_ns: Option<TimeNs>,
}

impl Known {
    /// What the table's record of `key` says; `None` if it names no input that `cursors` know.
    pub fn of(key: &ActionKey, record: &KeyRecord, cursors: &Cursors) -> Option<Self> {
        let stream = cursors.inputs.get(record.stream as usize)?.stream.clone();
        let source = Source { stream, sequence: record.sequence, time_ns: record.time_ns };
        Some(Self {
            run_id: source.run_id(Some(key)),
            state: record.state,
            sequence: record.sequence,
            time_ns: record.time_ns,
            ledger_sequence: record.ledger_sequence,
            expires_ns: Some(record.expires_ns),
        })
    }

    /// Where its result stands in the ledger, if it has one.
    pub fn result_at(&self) -> Option<u64> {
        match self.state {
            RunState::Pending => None,
            RunState::Succeeded(at) | RunState::Failed(at) => Some(at),
        }
    }
}

/// The answer to one action or report, to be sent once its verdict is committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The subject.
    pub reply_to: String,
    /// The verdict.
    pub verdict: Shown,
    /// Nothing new came of it.
    pub replayed: bool,
    /// The key, if there is a usable one.
    pub key: Option<ActionKey>,
    /// Where the action or report stands.
    pub source: Source,
    /// Why it was rejected.
    pub rejection: Option<Rejection>,
    /// The run; never shown to whom is rejected.
    pub known: Option<Known>,
}

/// A result as an answer shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Its bytes.
    Whole(bytes::Bytes),
    /// It is too large for an answer, or no longer in the ledger.
    Elsewhere,
}

#[derive(Serialize)]
struct Answer<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    verdict: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    replayed: Option<bool>,
    key: Option<&'a str>,
    scope: Vec<&'a str>,
    run_id: Option<String>,
    state: Option<&'static str>,
    reason: Option<&'static str>,
    detail: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<Place<'a>>,
    first: Option<First>,
    expires_at: Option<String>,
    result: Option<ResultShown>,
}

#[derive(Serialize)]
struct Place<'a> {
    stream: &'a str,
    sequence: u64,
    time: String,
}

#[derive(Serialize)]
struct First {
    sequence: u64,
    time: String,
    ledger_sequence: u64,
}

#[derive(Serialize)]
struct ResultShown {
    status: &'static str,
    ledger_sequence: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Box<serde_json::value::RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data_base64: Option<String>,
}

impl Receipt {
    /// The answer's body: JSON. `result`: that of the run, if it has one.
    pub fn body(&self, result: Option<&Shape>) -> Vec<u8> {
        let Self { verdict, replayed, key, source, rejection, known, .. } = self;
        let mut answer = answer(key.as_ref(), known.as_ref(), result);
        answer.verdict = Some(verdict.as_str());
        answer.replayed = Some(*replayed);
        answer.source = Some(Place {
            stream: &source.stream,
            sequence: source.sequence,
            time: rfc3339(source.time_ns).to_string(),
        });
        if let Some(rejection) = rejection {
            answer.reason = Some(rejection.reason.as_str());
            answer.detail = Some(&rejection.detail);
        }
        written(&answer)
    }
}

/// What a look-up of `key` is answered: JSON.
pub fn body(key: &ActionKey, known: &Known, result: Option<&Shape>) -> Vec<u8> {
    written(&answer(Some(key), Some(known), result))
}

fn written(answer: &Answer<'_>) -> Vec<u8> {
    let mut body = Vec::with_capacity(BODY_BYTES_EXPECTED);
    match serde_json::to_writer(&mut body, answer) {
        Ok(()) => body,
        // Nothing in it can fail to be written.
        Err(_) => Vec::new(),
    }
}

fn answer<'a>(
    key: Option<&'a ActionKey>,
    known: Option<&Known>,
    result: Option<&Shape>,
) -> Answer<'a> {
    Answer {
        verdict: None,
        replayed: None,
        key: key.map(ActionKey::key),
        scope: key.map(ActionKey::scope).unwrap_or_default(),
        run_id: known.map(|known| known.run_id.hyphenated().to_string()),
        state: known.map(|known| state(known.state)),
        reason: None,
        detail: None,
        source: None,
        first: known.map(|known| First {
            sequence: known.sequence,
            time: rfc3339(known.time_ns).to_string(),
            ledger_sequence: known.ledger_sequence,
        }),
        expires_at: known.and_then(|known| Some(rfc3339(known.expires_ns?).to_string())),
        result: known.and_then(|known| {
            let ledger_sequence = known.result_at()?;
            let (data, data_base64) = match result {
                Some(Shape::Whole(bytes)) => shown(bytes),
                Some(Shape::Elsewhere) | None => (None, None),
            };
            Some(ResultShown { status: state(known.state), ledger_sequence, data, data_base64 })
        }),
    }
}

fn state(state: RunState) -> &'static str {
    match state {
        RunState::Pending => "pending",
        RunState::Succeeded(_) => "succeeded",
        RunState::Failed(_) => "failed",
    }
}

/// JSON as it is, so that no number loses a digit; anything else in base64.
fn shown(bytes: &[u8]) -> (Option<Box<serde_json::value::RawValue>>, Option<String>) {
    use base64::Engine as _;
    match serde_json::from_slice(bytes) {
        Ok(json) => (Some(json), None),
        Err(_) => (None, Some(base64::engine::general_purpose::STANDARD.encode(bytes))),
    }
}
