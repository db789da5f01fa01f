//! What executors and operators tell the gate: results of runs, and keys to be given back.

use uuid::Uuid;

use super::action::RawAction;
use super::canonical;
use super::digest::{Digest, Form};
use super::entry::{DETAIL, KEY, REPLY_TO, RUN_ID, SCOPE, STATUS};
use super::headers::Headers;
use super::key::{self, ActionKey};
use super::record::{KeyRecord, RunState};
use super::source::TimeNs;
use super::verdict::{Reason, Rejection};

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// The action took effect.
    Succeeded,
    /// It did not and never will; an answer too.
    Failed,
}

impl Status {
    /// As written in subjects and headers.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
        }
    }

    /// The state of a run whose result is the ledger entry at `sequence`.
    pub fn state(self, sequence: u64) -> RunState {
        match self {
            Self::Succeeded => RunState::Succeeded(sequence),
            Self::Failed => RunState::Failed(sequence),
        }
    }
}

/// Who gives a key back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Release {
    /// The executor: the action did not take effect, and may be tried again.
    Retry,
    /// An operator, who knows better.
    Operator,
}

impl Release {
    /// As written in subjects.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Retry => "retry",
            Self::Operator => "operator",
        }
    }
}

/// What a report says, if it says something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// The run of this key has ended.
    Result {
        /// Its run id.
        run_id: Uuid,
        /// Its key.
        key: ActionKey,
        /// How.
        status: Status,
        /// Of the result, to tell it from another.
        digest: Digest,
    },
    /// The run of this key has not taken effect.
    Retry {
        /// Its run id.
        run_id: Uuid,
        /// Its key.
        key: ActionKey,
    },
    /// The key counts as not seen.
    Forget {
        /// Which.
        key: ActionKey,
        /// The operator's reason.
        detail: String,
    },
}

impl Told {
    /// Whose key.
    pub fn key(&self) -> &ActionKey {
        match self {
            Self::Result { key, .. } | Self::Retry { key, .. } | Self::Forget { key, .. } => key,
        }
    }

    fn run_id(&self) -> Option<Uuid> {
        match self {
            Self::Result { run_id, .. } | Self::Retry { run_id, .. } => Some(*run_id),
            Self::Forget { .. } => None,
        }
    }
}

/// A message of the reports stream, read.
#[derive(Clone, Debug)]
pub struct Report {
    /// The message.
    pub raw: RawAction,
    /// What it says, or why it says nothing: `invalid_result`.
    pub told: Result<Told, Rejection>,
    /// Where an answer is wanted.
    pub reply_to: Option<String>,
}

impl Report {
    /// Whose key, if it names a usable one.
    pub fn key(&self) -> Option<&ActionKey> {
        self.told.as_ref().ok().map(Told::key)
    }
}

/// Reads a report to the gate `name`, on `<name>.results.>` or `<name>.operator.forget`. Total: whatever the
/// bytes, the outcome is a [`Report`].
pub fn decode(raw: RawAction, name: &str) -> Report {
    let told = match &raw.headers {
        Err(malformed) => Err(malformed.to_string()),
        Ok(headers) => told(&raw, headers, name),
    };
    let told = told.map_err(|why| Rejection::new(Reason::InvalidResult, why));
    let reply_to = raw.headers.as_ref().ok().and_then(|headers| headers.one(REPLY_TO));
    let reply_to = reply_to.map(str::to_owned);
    Report { raw, told, reply_to }
}

fn told(raw: &RawAction, headers: &Headers, name: &str) -> Result<Told, String> {
    let subject = raw.subject.strip_prefix(name).and_then(|rest| rest.strip_prefix('.'));
    match subject {
        Some("operator.forget") => {
            Ok(Told::Forget { key: action_key(headers)?, detail: one(headers, DETAIL)?.to_owned() })
        }
        Some(subject) if subject.starts_with("results.") => {
            result(raw, headers, action_key(headers)?)
        }
        _ => Err(format!("on {name}.operator. there is nothing but forget")),
    }
}

fn result(raw: &RawAction, headers: &Headers, key: ActionKey) -> Result<Told, String> {
    let run_id = one(headers, RUN_ID)?;
    let run_id = Uuid::try_parse(run_id).map_err(|_| format!("{RUN_ID} is no UUID"))?;
    let status = match one(headers, STATUS)? {
        "retry" => return Ok(Told::Retry { run_id, key }),
        "succeeded" => Status::Succeeded,
        "failed" => Status::Failed,
        _ => return Err(format!("{STATUS} is none of succeeded, failed, retry")),
    };
    Ok(Told::Result { run_id, key, status, digest: digest(&raw.payload) })
}

/// The key as the accepted entry has it: by the rules of any day, not by today's.
fn action_key(headers: &Headers) -> Result<ActionKey, String> {
    let key = one(headers, KEY)?;
    let scope = match headers.all(SCOPE).next() {
        None => Vec::new(),
        Some(_) => serde_json::from_str::<Vec<String>>(one(headers, SCOPE)?)
            .map_err(|_| format!("{SCOPE} is no JSON array of strings"))?,
    };
    if scope.len() > key::SCOPE_PARTS_MAX {
        return Err(format!("{SCOPE} has more than {} parts", key::SCOPE_PARTS_MAX));
    }
    let named = [(KEY, key)].into_iter().chain(scope.iter().map(|part| (SCOPE, part.as_str())));
    for (name, text) in named {
        key::check(text, key::KEY_BYTES_MAX).map_err(|why| format!("{name} {why}"))?;
    }
    Ok(ActionKey::new(&scope, key))
}

fn one<'a>(headers: &'a Headers, name: &'a str) -> Result<&'a str, String> {
    let mut values = headers.all(name);
    match (values.next(), values.next()) {
        (Some(value), None) => Ok(value),
        (None, _) => Err(format!("it has no header {name}")),
        (Some(_), Some(_)) => Err(format!("it has several headers {name}")),
    }
}

/// What tells one result from another: JSON by its values, anything else by its bytes.
pub fn digest(payload: &[u8]) -> Digest {
    match canonical::scan(payload, &canonical::Plan::default()) {
        Ok(scan) => Digest::of("", Form::Json, &scan.canonical),
        Err(_) => Digest::of("", Form::Bytes, payload),
    }
}

/// What becomes of a report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The run has its result.
    Completed(Status),
    /// The key is new again.
    Released(Release),
    /// The run has this result already.
    Repeated,
    /// To the dead letters.
    Rejected(Rejection),
    /// The run has a result of this status: read it back from this ledger sequence, then ask
    /// [`compare_results`].
    ResultNeeded(u64),
}

/// Judges a report against what the table knows of its key. Total and pure.
///
/// `run_id` is that of `record`. `now_ns` is the later of the report's source time and the highest source
/// time in the ledger before it.
pub fn judge(told: &Told, record: Option<(&KeyRecord, Uuid)>, now_ns: TimeNs) -> Verdict {
    let live = record.filter(|(record, _)| now_ns < record.expires_ns);
    let Some((record, _)) = live.filter(|(_, run)| told.run_id().is_none_or(|told| told == *run))
    else {
        return unknown(told, live.is_some());
    };
    match (told, record.state) {
        (Told::Forget { .. }, _) => Verdict::Released(Release::Operator),
        (Told::Retry { .. }, RunState::Pending) => Verdict::Released(Release::Retry),
        (Told::Result { status, .. }, RunState::Pending) => Verdict::Completed(*status),
        (Told::Result { status: Status::Succeeded, .. }, RunState::Succeeded(at))
        | (Told::Result { status: Status::Failed, .. }, RunState::Failed(at)) => {
            Verdict::ResultNeeded(at)
        }
        (Told::Result { .. } | Told::Retry { .. }, RunState::Succeeded(at)) => {
            conflict(format_args!("the run has succeeded (ledger entry {at})"))
        }
        (Told::Result { .. } | Told::Retry { .. }, RunState::Failed(at)) => {
            conflict(format_args!("the run has failed (ledger entry {at})"))
        }
    }
}

/// Judges a result whose run has one of the same status. `first` is the digest of that, `None` if it is gone.
pub fn compare_results(told: &Result<Told, Rejection>, first: Option<Digest>) -> Verdict {
    match (told, first) {
        (Ok(Told::Result { digest, .. }), Some(first)) if *digest == first => Verdict::Repeated,
        (_, Some(_)) => conflict("the run has another result"),
        (_, None) => conflict(
            "the run has a result, which is no longer in the ledger to compare this one with",
        ),
    }
}

fn conflict(why: impl std::fmt::Display) -> Verdict {
    Verdict::Rejected(Rejection::new(Reason::ResultConflict, why))
}

fn unknown(told: &Told, key_is_live: bool) -> Verdict {
    let why = match (told, key_is_live) {
        (Told::Forget { .. }, _) => {
            "the key is not known: it never was, is expired, or was given back"
        }
        (_, true) => {
            "the key is known, with another run: this one was given back, or is of another gate"
        }
        (_, false) => "the run is not known: it never was, is expired, or was given back",
    };
    Verdict::Rejected(Rejection::new(Reason::UnknownRun, why))
}
