//! What a caller is told of its action, and what a key is known for.

mod body;

use uuid::Uuid;

use super::cursor::Cursors;
use super::key::ActionKey;
use super::record::{KeyRecord, RunState};
use super::source::{Source, TimeNs};
use super::verdict::Rejection;
pub use body::body;

/// Results of at most so many bytes come with the answer; of larger ones, where they stand.
pub const RESULT_BYTES_MAX: usize = 64 << 10;
/// The header of an answer for clients that do not parse it.
pub const VERDICT: &str = "Oncegate-Verdict";
/// The longest subject that is answered on.
const REPLY_BYTES_MAX: usize = 1024;

/// Whether the gate may answer on this subject: it lies under one of the prefixes, and is one.
pub fn may_answer(reply_to: &str, prefixes: &[String]) -> bool {
    let under = |prefix: &String| reply_to.len() > prefix.len() && reply_to.starts_with(prefix);
    let token = |token: &str| !token.is_empty() && token != "*" && token != ">";
    let odd = |c: char| c.is_whitespace() || c.is_control();
    let plain = reply_to.bytes().all(|b| b.is_ascii_graphic()) || !reply_to.chars().any(odd);
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
