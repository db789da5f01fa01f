//! Entries that reports led to: results of runs, keys given back, reports refused (section 8 of the
//! contract).
//!
//! The reports stream is a work queue that keeps nothing once it is settled, so these entries are checked
//! in themselves, and against what the ledger says of their runs.

use uuid::Uuid;

use super::auditor::Auditor;
use super::book::{Given, Known};
use super::compare::Stored;
use super::finding::{Difference, Kind};
use crate::gate::canonical::{self, Plan};
use crate::gate::digest::{Digest, Form};
use crate::gate::entry::{DETAIL, JUDGED, KEY, REASON, RUN_ID, SCOPE, SOURCE, STATUS};
use crate::gate::headers::Headers;
use crate::gate::key::ActionKey;
use crate::gate::source::Source;

/// What a report led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The run has a result.
    Completed {
        /// Or else it failed.
        succeeded: bool,
    },
    /// The executor gave the key back.
    Retry,
    /// An operator did.
    Forgotten,
    /// Its run has another result.
    Conflict,
    /// Its run, or the key to forget, is not known.
    UnknownRun,
    /// It lacks what a report must have.
    Invalid,
}

/// An entry about a report, read.
#[derive(Clone, Debug)]
pub struct Reported {
    /// The report.
    pub source: Source,
    /// Up to where the input is judged; `None` if nothing was yet.
    pub judged: Option<Source>,
    outcome: Outcome,
    key: Option<ActionKey>,
    run_id: Option<Uuid>,
    /// The report said that the run succeeded, or that it failed.
    succeeded: Option<bool>,
}

/// Reads the entry; `None` if it is not about a report.
pub fn read(name: &str, found: &Stored) -> Option<Result<Reported, &'static str>> {
    let kind = found.subject.strip_prefix(name)?.strip_prefix('.')?;
    let outcome = match kind {
        "completed.succeeded" => Outcome::Completed { succeeded: true },
        "completed.failed" => Outcome::Completed { succeeded: false },
        "released.retry" => Outcome::Retry,
        "released.operator" => Outcome::Forgotten,
        _ if kind.starts_with("completed.") || kind.starts_with("released.") => {
            return Some(Err("its subject is of no known kind"));
        }
        _ => match kind.strip_prefix("rejected.")?.split('.').next()? {
            "result_conflict" => Outcome::Conflict,
            "unknown_run" => Outcome::UnknownRun,
            "invalid_result" => Outcome::Invalid,
            _ => return None,
        },
    };
    Some(reported(outcome, &found.headers))
}

fn reported(outcome: Outcome, headers: &Headers) -> Result<Reported, &'static str> {
    let position = |name| headers.one(name).map(str::parse::<Source>);
    let source = position(SOURCE).and_then(Result::ok).ok_or("it names no report")?;
    let judged = position(JUDGED).transpose().map_err(|_| "it names no input position")?;
    let scope = headers.one(SCOPE).map(serde_json::from_str::<Vec<String>>).transpose();
    let scope = scope.map_err(|_| "its scope is no list")?.unwrap_or_default();
    let reported = Reported {
        source,
        judged,
        outcome,
        key: headers.one(KEY).map(|key| ActionKey::new(&scope, key)),
        run_id: headers.one(RUN_ID).and_then(|text| Uuid::parse_str(text).ok()),
        succeeded: match headers.one(STATUS) {
            Some("succeeded") => Some(true),
            Some("failed") => Some(false),
            _ => None,
        },
    };
    let run_due = matches!(outcome, Outcome::Completed { .. } | Outcome::Retry);
    let key_due = run_due || outcome == Outcome::Forgotten;
    match (&reported.key, reported.run_id) {
        (None, _) if key_due => Err("it has no key"),
        (_, None) if run_due => Err("it has no run id"),
        _ => Ok(reported),
    }
}

impl Auditor {
    /// An entry about a report. The inputs up to the position that it names have been judged.
    pub fn report(&mut self, found: &Stored, reported: &Reported) {
        let Reported { source, judged, outcome, key, .. } = reported;
        let mut differences = self.order_of_report(reported);
        if let Some(judged) = judged {
            differences.extend(self.judged_so_far(judged));
        }
        differences.extend(self.words(found, *outcome));
        let known = key.as_ref().and_then(|key| self.known(key, source)).cloned();
        let may_be_older = self.may_be_older(source);
        let fits = known.is_none() && may_be_older;
        if !fits && let Some(wrong) = against_run(reported, known.as_ref(), &found.payload) {
            differences.push(wrong);
        }
        if !differences.is_empty() {
            let at = (Some(found.sequence), Some(source));
            self.find(Kind::Different, at, key.as_ref(), differences);
        }
        if let Some(key) = key {
            self.apply_report(key, *outcome, &found.payload);
        }
        self.settle_report(source);
    }

    fn order_of_report(&self, reported: &Reported) -> Vec<Difference> {
        let before = self.position(&reported.source.stream).sequence;
        let sequence = reported.source.sequence;
        let late = sequence <= before;
        let expected = || Difference::new(SOURCE, format!("a report after {before}"), sequence);
        late.then(expected).into_iter().collect()
    }

    fn judged_so_far(&self, judged: &Source) -> Option<Difference> {
        let position = self.position(&judged.stream);
        let same = (position.sequence, position.time_ns) == (judged.sequence, judged.time_ns);
        let ours =
            Source { sequence: position.sequence, time_ns: position.time_ns, ..judged.clone() };
        (!same).then(|| Difference::new(JUDGED, ours, judged))
    }

    /// What the entry says twice must agree.
    fn words(&self, found: &Stored, outcome: Outcome) -> Vec<Difference> {
        let (name, expected) = match outcome {
            Outcome::Completed { succeeded: true } => (STATUS, "succeeded"),
            Outcome::Completed { succeeded: false } => (STATUS, "failed"),
            Outcome::Retry | Outcome::Forgotten => return Vec::new(),
            Outcome::Conflict => (REASON, "result_conflict"),
            Outcome::UnknownRun => (REASON, "unknown_run"),
            Outcome::Invalid => (REASON, "invalid_result"),
        };
        let said = found.headers.one(name).unwrap_or("none");
        let mut differences = Vec::new();
        if said != expected {
            differences.push(Difference::new(name, expected, said));
        }
        if name == REASON && found.headers.one(DETAIL).is_none() {
            differences.push(Difference::new(DETAIL, "one sentence", "none"));
        }
        differences
    }

    fn apply_report(&mut self, key: &ActionKey, outcome: Outcome, payload: &[u8]) {
        match outcome {
            Outcome::Completed { succeeded } => {
                if let Some(known) = self.known_mut(key) {
                    let given = || Given { succeeded, digest: result_digest(payload) };
                    known.result.get_or_insert_with(|| Box::new(given()));
                }
            }
            Outcome::Retry | Outcome::Forgotten => self.release(key),
            Outcome::Conflict | Outcome::UnknownRun | Outcome::Invalid => {}
        }
    }
}

/// How an entry disagrees with what is known of its run.
fn against_run(reported: &Reported, known: Option<&Known>, payload: &[u8]) -> Option<Difference> {
    let Reported { outcome, key, run_id, .. } = reported;
    let of_run = known
        .zip(key.as_ref())
        .filter(|(known, key)| run_id.is_none_or(|run_id| known.run_id(key) == run_id));
    let result = of_run.map(|(known, _)| known.result.as_deref());
    let wrong = |expected| Some(Difference::new("run", expected, state(result)));
    match (outcome, result) {
        (Outcome::Completed { .. } | Outcome::Retry, Some(None)) | (Outcome::Invalid, _) => None,
        (Outcome::Completed { .. } | Outcome::Retry, _) => wrong("one that has no result yet"),
        (Outcome::Forgotten, Some(_)) | (Outcome::UnknownRun, None) => None,
        (Outcome::Forgotten, None) => wrong("a key that counts as seen"),
        (Outcome::UnknownRun, Some(_)) => wrong("one that is not known"),
        (Outcome::Conflict, Some(Some(given))) => {
            // Nothing tells an empty result from one that was left out.
            let same_bytes = !payload.is_empty() && given.digest == result_digest(payload);
            let same = same_bytes && reported.succeeded == Some(given.succeeded);
            same.then(|| Difference::new("result", "another", "the same again"))
        }
        (Outcome::Conflict, _) => wrong("one that has a result"),
    }
}

fn state(result: Option<Option<&Given>>) -> &'static str {
    match result {
        None => "one that is not known",
        Some(None) => "one without a result",
        Some(Some(Given { succeeded: true, .. })) => "one that has succeeded",
        Some(Some(Given { succeeded: false, .. })) => "one that has failed",
    }
}

/// What tells one result from another: JSON by its values, anything else by its bytes.
fn result_digest(payload: &[u8]) -> Digest {
    match canonical::scan(payload, &Plan::default()) {
        Ok(scan) => Digest::of("", Form::Json, &scan.canonical),
        Err(_) => Digest::of("", Form::Bytes, payload),
    }
}
