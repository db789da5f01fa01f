//! Reports in, entries into the queue: the part of the engine that takes results and gives keys back.

use super::answering;
use super::judging::Next;
use super::{Closed, Command, Decided, Engine, Held, InputKind, Outcome};
use crate::gate::digest::Digest;
use crate::gate::entry::reported::{self, Reported};
use crate::gate::receipt::{Receipt, Shown};
use crate::gate::record::KeyRecord;
use crate::gate::report::{self, Release, Report, Status, Told, Verdict};
use crate::gate::source::Source;
use crate::gate::verdict::{Reason, Rejection};

impl Engine {
    pub(super) fn judge_report(&mut self, report: &Report, record: Option<KeyRecord>) -> Next {
        let verdict = match &report.told {
            Ok(told) => {
                let run_id = |record| super::fold::run_of(&self.head, told.key(), record);
                let known = record.as_ref().and_then(|record| Some((record, run_id(record)?)));
                report::judge(told, known, self.now(&report.raw.source))
            }
            Err(rejection) => Verdict::Rejected(rejection.clone()),
        };
        let verdict = match verdict {
            Verdict::ResultNeeded(at) => match self.result_in_flight(report, at) {
                Some(first) => report::compare_results(&report.told, Some(first)),
                None => {
                    self.commands.push(Command::ReadResult(at));
                    return Next::Hold(Held::ForOriginal, record);
                }
            },
            verdict => verdict,
        };
        self.decide_report(report, record.as_ref(), verdict);
        Next::Go
    }

    fn result_in_flight(&self, report: &Report, at: u64) -> Option<Digest> {
        let overlaid = self.overlay.get(report.key()?)?;
        overlaid.result.filter(|_| overlaid.ledger_sequence == at)
    }

    pub(super) fn decide_report(
        &mut self,
        report: &Report,
        record: Option<&KeyRecord>,
        verdict: Verdict,
    ) {
        match (verdict, &report.told, record) {
            (Verdict::Completed(status), Ok(told), Some(record)) => {
                self.complete(report, told, record, status);
            }
            (Verdict::Released(by), Ok(told), Some(record)) => {
                self.release(report, told, record, by);
            }
            (Verdict::Repeated, _, record) => self.repeated(report, record),
            (Verdict::Rejected(rejection), ..) => self.reject_report(report, &rejection),
            (Verdict::Completed(_) | Verdict::Released(_) | Verdict::ResultNeeded(_), ..) => {
                let why = "what it reports on is not known";
                self.reject_report(report, &Rejection::new(Reason::UnknownRun, why));
            }
        }
    }

    fn complete(&mut self, report: &Report, told: &Told, before: &KeyRecord, status: Status) {
        let Some(run_id) = super::fold::run_of(&self.head, told.key(), before) else {
            return;
        };
        let Self { setting, head, .. } = self;
        let around = (head.position(&setting.input), setting.limits);
        let key = (told.key(), status);
        match reported::completed(&setting.name, report, run_id, key, around) {
            Ok(reported) => {
                let state = status.state(head.ledger.sequence + 1);
                let after = KeyRecord { state, ..before.clone() };
                let receipt = self.report_receipt(report, (Shown::Completed, false), Some(&after));
                self.enqueue_report(reported, Some(before), (Outcome::Completed, receipt));
                if let (Told::Result { digest, .. }, Some(overlaid)) =
                    (told, self.overlay.get_mut(told.key()))
                {
                    overlaid.result = Some(*digest);
                }
            }
            Err(rejection) => self.reject_report(report, &rejection),
        }
    }

    fn release(&mut self, report: &Report, told: &Told, before: &KeyRecord, by: Release) {
        let Some(run_id) = super::fold::run_of(&self.head, told.key(), before) else {
            return;
        };
        let Self { setting, head, .. } = self;
        let around = (head.position(&setting.input), setting.limits);
        let reported = reported::released(&setting.name, report, run_id, (told, by), around);
        let receipt = self.report_receipt(report, (Shown::Released, false), Some(before));
        self.enqueue_report(reported, Some(before), (Outcome::Released, receipt));
    }

    fn repeated(&mut self, report: &Report, record: Option<&KeyRecord>) {
        let receipt = self.report_receipt(report, (Shown::Completed, true), record);
        self.without_entry(decided(&report.raw.source, Outcome::Repeated, receipt));
    }

    fn reject_report(&mut self, report: &Report, rejection: &Rejection) {
        let Self { setting, head, .. } = self;
        let around = (head.position(&setting.input), setting.limits);
        let reported = reported::rejected(&setting.name, report, rejection, around);
        let receipt = answering::rejected_report(report, rejection);
        self.enqueue_report(reported, None, (Outcome::Rejected(rejection.reason), receipt));
    }

    fn enqueue_report(
        &mut self,
        Reported { message, entry }: Reported,
        before: Option<&KeyRecord>,
        (outcome, receipt): (Outcome, Option<Box<Receipt>>),
    ) {
        let decided = entry.position().map(|source| decided(source, outcome, receipt));
        // It names the position in the actions too.
        let mut closed = self.stretches.take(InputKind::Actions);
        closed.append(&mut self.stretches.take(InputKind::Reports));
        self.enqueue(message, entry, before, Closed { before: closed, own: decided });
    }
}

fn decided(source: &Source, outcome: Outcome, receipt: Option<Box<Receipt>>) -> Decided {
    Decided { input: InputKind::Reports, source: source.clone(), outcome, receipt }
}
