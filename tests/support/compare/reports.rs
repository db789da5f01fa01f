//! Entries of reports: completed, released, and their dead letters.

use uuid::Uuid;

use super::{Comparison, Differences, JudgedReport, headers, key, reason, source_subject};
use crate::support::ledger::{Entry, Position};
use crate::support::model::reports::{Outcome, ReportDecision};
use crate::support::streams::Stored;

impl Comparison {
    /// The entry of a report: those before it repeat results, as do the actions up to where it names them.
    pub(super) fn report(&mut self, entry: &Entry) -> Option<usize> {
        let Some(source) = entry.source() else {
            self.part(entry, "a report's entry without its source");
            return None;
        };
        match (entry.judged(), self.judged.back()) {
            (Some(judged), _) if judged.stream == self.stream => {
                self.duplicates_up_to(entry, &judged)?;
            }
            (None, None) => {}
            (None, Some(last)) if self.actions_begin_anew(&last.input) => {}
            _ => {
                self.part(entry, "not the position that the actions are judged up to");
                return None;
            }
        }
        let before = self.reports_coming.iter().position(|input| self.place(input) == source);
        let Some(before) = before else {
            self.part(entry, "a report that was there before, or never");
            return None;
        };
        self.repeats(entry, before)?;
        let input = self.reports_coming.pop_front()?;
        let decision = self.model.report(&input, entry.sequence);
        let mut differ = Differences::of(entry, &input);
        self.report_entry(entry, &input, &decision, &mut differ);
        self.differences.extend(differ.found);
        *match decision.outcome {
            Outcome::Completed(_) => &mut self.counts.completed,
            Outcome::Released(_) => &mut self.counts.released,
            Outcome::Rejected(_) => &mut self.counts.rejected_reports,
            Outcome::Repeated => {
                self.part(entry, "a report that repeats a result has no entry");
                return None;
            }
        } += 1;
        self.reports.push_back(JudgedReport { input, decision: Some(decision) });
        Some(self.reports_base + self.reports.len() - 1)
    }

    /// The stream of actions was made anew, and nothing of the new one was judged.
    fn actions_begin_anew(&self, last: &Stored) -> bool {
        self.coming.front().is_some_and(|next| next.sequence <= last.sequence)
    }

    /// How many reports there are between the last entry and this position: they repeat results.
    pub(super) fn repeats_up_to(&mut self, entry: &Entry, to: &Position) -> Option<usize> {
        if self.reports.back().is_some_and(|last| self.place(&last.input) == *to) {
            return Some(0);
        }
        let Some(end) = self.reports_coming.iter().position(|input| self.place(input) == *to)
        else {
            self.part(entry, "a position in the reports that goes backwards, or names none");
            return None;
        };
        self.repeats(entry, end + 1)
    }

    /// The next so many reports have no entry.
    fn repeats(&mut self, entry: &Entry, count: usize) -> Option<usize> {
        if !self.reports_coming.iter().take(count).all(|input| self.model.repeats(input)) {
            self.part(entry, "a report before it has no entry, and repeats no result");
            return None;
        }
        let repeated = self.reports_coming.drain(..count);
        self.reports.extend(repeated.map(|input| JudgedReport { input, decision: None }));
        self.counts.repeated += count as u64;
        Some(count)
    }

    fn place(&self, report: &Stored) -> Position {
        let stream = self.reports_stream.clone();
        Position { stream, sequence: report.sequence, time: report.time }
    }

    fn report_entry(
        &self,
        entry: &Entry,
        input: &Stored,
        decision: &ReportDecision,
        to: &mut Differences,
    ) {
        let ReportDecision { outcome, told, run, .. } = decision;
        let kind = match outcome {
            Outcome::Completed(status) => format!("completed.{status}"),
            Outcome::Released(by) => format!("released.{by}"),
            Outcome::Rejected(why) => format!("rejected.{why}"),
            Outcome::Repeated => "none".into(),
        };
        to.equal("subject", entry.subject.clone(), format!("{}.{kind}", self.name));
        key(entry, told.as_ref().map(|told| (&told.key.0, &told.key.1)), to);
        let shown = entry.header("Oncegate-Run-Id").map(Uuid::parse_str);
        to.equal("Oncegate-Run-Id", shown, run.map(Ok));
        let status = told.as_ref().map(|told| told.status).filter(|status| *status != "operator");
        to.equal("Oncegate-Status", entry.header("Oncegate-Status"), status);
        match outcome {
            Outcome::Rejected(why) => {
                reason(entry, why, to);
                source_subject(entry, input, to);
            }
            _ => {
                let detail = told.as_ref().and_then(|told| told.detail.as_deref());
                to.equal("Oncegate-Detail", entry.header("Oncegate-Detail"), detail);
                to.equal("Oncegate-Reason", entry.reason(), None);
            }
        }
        to.equal("Oncegate-Digest", entry.header("Oncegate-Digest"), None);
        let kept = (decision.headers.as_deref(), decision.kept_headers);
        headers(entry, kept, told.is_some(), to);
        to.payload(decision.payload, &entry.payload, &input.payload);
    }
}
