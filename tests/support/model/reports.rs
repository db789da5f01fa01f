//! Reports: results of runs, and keys that are given back.

use jiff::Timestamp;
use uuid::Uuid;

use super::{FullKey, Model, Presence, block_size, own_headers, parse_block, usable};
use crate::support::json::Json;
use crate::support::streams::Stored;

/// What became of a run.
pub struct Run {
    pub key: FullKey,
    pub expires: Timestamp,
    pub result: Option<RunResult>,
    pub released: bool,
}

pub struct RunResult {
    status: &'static str,
    payload: Vec<u8>,
    /// Where it stands.
    sequence: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Completed(&'static str),
    Released(&'static str),
    Repeated,
    Rejected(&'static str),
}

/// What a report says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    pub key: FullKey,
    /// `None`: whichever run it is.
    pub run: Option<Uuid>,
    /// `succeeded`, `failed`, `retry`, `operator`.
    pub status: &'static str,
    /// An operator's reason.
    pub detail: Option<String>,
}

#[derive(Debug, Clone)]
pub struct ReportDecision {
    pub outcome: Outcome,
    /// `None` where it says nothing.
    pub told: Option<Told>,
    /// The run that it concerns.
    pub run: Option<Uuid>,
    /// The reporter's headers that are his to keep; `None` if the block is not well made.
    pub headers: Option<Vec<(String, String)>>,
    pub payload: Presence,
    pub kept_headers: Presence,
}

impl Model {
    /// A report whose entry stands at this sequence.
    pub fn report(&mut self, message: &Stored, sequence: u64) -> ReportDecision {
        let now = self.clock.max(message.time);
        let block = message.headers.as_deref();
        let headers = block.map_or(Some(Vec::new()), parse_block);
        let told = headers.as_deref().and_then(|headers| told(self.rules.name, message, headers));
        let (mut outcome, run) = match &told {
            Some(told) => self.outcome(told, message, now),
            None => (Outcome::Rejected("invalid_result"), None),
        };
        let headers = headers.map(|headers| own_headers(headers, told.is_some()));
        let block = block_size(headers.as_deref().unwrap_or_default());
        let whole = self.fits(message, block, message.payload.len()) == Presence::Whole;
        let (mut payload, mut kept_headers) = match whole {
            true => (Presence::Whole, Presence::Whole),
            false if self.fits(message, block, 0) == Presence::Whole => {
                (Presence::Absent, Presence::Whole)
            }
            false => (Presence::Either, Presence::Either),
        };
        if matches!(outcome, Outcome::Completed(_)) && !whole {
            // Rather without the headers than without the result.
            if self.fits(message, 0, message.payload.len()) == Presence::Whole {
                (payload, kept_headers) = (Presence::Whole, Presence::Absent);
            } else {
                outcome = Outcome::Rejected("invalid_result");
            }
        }
        self.take(outcome, run, message, sequence);
        self.clock = now;
        self.clock_of_reports = now;
        ReportDecision { outcome, told, run, headers, payload, kept_headers }
    }

    /// Whether this report, which has no entry, repeats a result: at some time since the last report that
    /// has one.
    pub fn repeats(&self, message: &Stored) -> bool {
        let now = self.clock_of_reports.max(message.time);
        let block = message.headers.as_deref();
        let headers = block.and_then(parse_block).unwrap_or_default();
        let Some(told) = told(self.rules.name, message, &headers) else { return false };
        let run = told.run.and_then(|run| self.runs.get(&run));
        run.is_some_and(|run| {
            let same = run.result.as_ref().is_some_and(|first| self.same(first, &told, message));
            run.key == told.key && !run.released && now < run.expires && same
        })
    }

    fn outcome(&self, told: &Told, message: &Stored, now: Timestamp) -> (Outcome, Option<Uuid>) {
        let original = self.seen.get(&told.key).filter(|original| now < original.expires);
        let run = original.map(|original| original.run);
        if run.is_none() || told.run.is_some_and(|told| Some(told) != run) {
            return (Outcome::Rejected("unknown_run"), told.run);
        }
        let result = run.and_then(|run| self.runs[&run].result.as_ref());
        let outcome = match (told.status, result) {
            ("operator", _) => Outcome::Released("operator"),
            ("retry", None) => Outcome::Released("retry"),
            (status, None) => Outcome::Completed(status),
            (_, Some(first)) if self.same(first, told, message) => Outcome::Repeated,
            _ => Outcome::Rejected("result_conflict"),
        };
        (outcome, run)
    }

    fn same(&self, first: &RunResult, told: &Told, message: &Stored) -> bool {
        let value = |payload: &[u8]| Json::strict(payload).ok_or_else(|| payload.to_vec());
        first.sequence >= self.kept_from
            && first.status == told.status
            && value(&first.payload) == value(&message.payload)
    }

    fn take(&mut self, outcome: Outcome, run: Option<Uuid>, message: &Stored, sequence: u64) {
        let Some(known) = run.and_then(|run| self.runs.get_mut(&run)) else { return };
        match outcome {
            Outcome::Completed(status) => {
                let payload = message.payload.clone();
                known.result = Some(RunResult { status, payload, sequence });
            }
            Outcome::Released(_) => {
                known.released = true;
                self.seen.remove(&known.key);
            }
            Outcome::Repeated | Outcome::Rejected(_) => {}
        }
    }
}

/// What its subject and headers say.
fn told(name: &str, message: &Stored, headers: &[(String, String)]) -> Option<Told> {
    let one = |name: &str| {
        let mut values = headers.iter().filter(|(own, _)| own.eq_ignore_ascii_case(name));
        let value = values.next().map(|(_, value)| value.as_str());
        value.filter(|_| values.next().is_none())
    };
    let scope = match headers.iter().any(|(own, _)| own.eq_ignore_ascii_case("Oncegate-Scope")) {
        true => serde_json::from_str::<Vec<String>>(one("Oncegate-Scope")?).ok()?,
        false => Vec::new(),
    };
    let key = (scope, one("Idempotency-Key")?.to_string());
    let all_usable = key.0.iter().chain([&key.1]).all(|text| usable(text, usize::MAX));
    all_usable.then_some(())?;
    let subject = message.subject.strip_prefix(name)?;
    if subject == ".operator.forget" {
        let detail = Some(one("Oncegate-Detail")?.to_string());
        return Some(Told { key, run: None, status: "operator", detail });
    }
    subject.starts_with(".results.").then_some(())?;
    let run = Some(Uuid::parse_str(one("Oncegate-Run-Id")?).ok()?);
    let status = one("Oncegate-Status")?;
    let status = ["succeeded", "failed", "retry"].into_iter().find(|known| *known == status)?;
    Some(Told { key, run, status, detail: None })
}
