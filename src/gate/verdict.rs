//! The verdict table of the contract.

use std::fmt;

use super::action::Action;
use super::digest::Digest;
use super::record::KeyRecord;
use super::source::TimeNs;

/// Why an action is rejected, in the order in which the first that holds is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    /// The header block is not one (NATS ADR-4).
    MalformedHeaders,
    /// None of the sources of `key.from` is there.
    MissingKey,
    /// The key, or a scope part, breaks the rules for keys or is not there.
    InvalidKey,
    /// `payload.compare` wants JSON and it is none.
    MalformedPayload,
    /// The key was seen with another payload.
    PayloadMismatch,
    /// The key was seen under other rules, and the original is no longer there to compare.
    RulesChanged,
    /// With the gate's headers it would not fit into the ledger.
    TooLarge,
    /// No ledger subject can carry its subject.
    Unroutable,
    /// A report: the run has another result.
    ResultConflict,
    /// A report: there is no such run, or none any more.
    UnknownRun,
    /// A report: it does not say which run, or what became of it.
    InvalidResult,
}

impl Reason {
    /// Of actions, in order.
    pub const OF_ACTIONS: [Self; 8] = [
        Self::MalformedHeaders,
        Self::MissingKey,
        Self::InvalidKey,
        Self::MalformedPayload,
        Self::PayloadMismatch,
        Self::RulesChanged,
        Self::TooLarge,
        Self::Unroutable,
    ];

    /// Of reports.
    pub const OF_REPORTS: [Self; 3] = [Self::ResultConflict, Self::UnknownRun, Self::InvalidResult];

    /// The reason that is written so.
    pub fn named(text: &str) -> Option<Self> {
        let all = Self::OF_ACTIONS.into_iter().chain(Self::OF_REPORTS);
        all.into_iter().find(|reason| reason.as_str() == text)
    }

    /// As written in subjects, headers and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::MalformedHeaders => "malformed_headers",
            Self::MissingKey => "missing_key",
            Self::InvalidKey => "invalid_key",
            Self::MalformedPayload => "malformed_payload",
            Self::PayloadMismatch => "payload_mismatch",
            Self::RulesChanged => "rules_changed",
            Self::TooLarge => "too_large",
            Self::Unroutable => "unroutable",
            Self::ResultConflict => "result_conflict",
            Self::UnknownRun => "unknown_run",
            Self::InvalidResult => "invalid_result",
        }
    }
}

/// A reason, and one English sentence for a person, without payload content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// The reason.
    pub reason: Reason,
    /// The sentence.
    pub detail: String,
}

impl Rejection {
    /// Takes anything that can be written.
    pub fn new(reason: Reason, detail: impl fmt::Display) -> Self {
        Self { reason, detail: detail.to_string() }
    }
}

/// What becomes of an action.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is forwarded, unless the ledger can't carry it.
    Accepted,
    /// The key was seen with the same payload.
    Duplicate,
    /// To the dead letters.
    Rejected(Rejection),
    /// The key was seen under other rules: read the original back, then ask [`compare_originals`].
    OriginalNeeded,
}

/// Judges an action against what the table knows of its key. Total and pure.
///
/// `now_ns` is the later of the action's source time and the highest source time in the ledger before
/// it; `rules` is the index of today's rules.
pub fn judge(action: &Action, record: Option<&KeyRecord>, now_ns: TimeNs, rules: u32) -> Verdict {
    if let Some(fault) = &action.fault {
        return Verdict::Rejected(fault.clone());
    }
    let Some(record) = record.filter(|record| now_ns < record.expires_ns) else {
        return Verdict::Accepted;
    };
    if record.rules != rules {
        return Verdict::OriginalNeeded;
    }
    same_or_mismatch(action.digest, Some(record.digest))
}

/// Judges an action whose key was seen under other rules. `original` is the digest of the original
/// payload under today's rules (`Some(None)`: it has none), `None` if the original is gone.
pub fn compare_originals(action: &Action, original: Option<Option<Digest>>) -> Verdict {
    match original {
        Some(original) => same_or_mismatch(action.digest, original),
        None => Verdict::Rejected(Rejection::new(
            Reason::RulesChanged,
            "the key was seen under other rules, and the original is no longer in the ledger to \
             compare with",
        )),
    }
}

/// A payload without a digest (its subject is not UTF-8, or it is not the JSON that today's rules
/// want) is never the same as another: no accepted action is without one.
fn same_or_mismatch(digest: Option<Digest>, original: Option<Digest>) -> Verdict {
    match (digest, original) {
        (Some(digest), Some(original)) if digest == original => Verdict::Duplicate,
        _ => Verdict::Rejected(Rejection::new(
            Reason::PayloadMismatch,
            "the key was accepted before with another payload or subject",
        )),
    }
}
