//! Actions in, verdicts into the queue: the part of the engine that decides.

use std::collections::VecDeque;

use super::{
    Arrived, Cause, Closed, Command, Decided, Engine, Held, InFlight, InputKind, Looked, Outcome,
    Overlaid, Setting, answering, fold,
};
use crate::gate::action::Action;
use crate::gate::cursor::CLOCK_STEP_NS;
use crate::gate::digest::Digest;
use crate::gate::entry::{self, Entry, First, Message};
use crate::gate::key::ActionKey;
use crate::gate::receipt::Receipt;
use crate::gate::record::KeyRecord;
use crate::gate::report;
use crate::gate::source::{Source, TimeNs};
use crate::gate::verdict::{self, Reason, Rejection, Verdict};

/// Whether the next action or report may be looked at.
pub(super) enum Next {
    /// It is dealt with.
    Go,
    /// Not this one yet, nor any after it; with the record that it is judged against.
    Hold(fn(VecDeque<Looked>) -> Held, Option<KeyRecord>),
    /// The input is not what it was; a recovery comes.
    Stop,
}

impl Engine {
    pub(super) fn judge_all(&mut self, all: impl IntoIterator<Item = Looked>) {
        let mut all = all.into_iter();
        while let Some((arrived, record)) = all.next() {
            match self.judge_one(&arrived, record) {
                Next::Go => {}
                Next::Hold(held, record) => {
                    self.held = held([(arrived, record)].into_iter().chain(all).collect());
                    return;
                }
                Next::Stop => return,
            }
        }
        self.trim_overlay();
    }

    fn judge_one(&mut self, arrived: &Arrived, looked_up: Option<KeyRecord>) -> Next {
        let (input, source) = (arrived.input(), arrived.source());
        if let Some(judged) = self.head.position(&source.stream)
            && source.sequence <= judged.sequence
        {
            return self.redelivered(input, source, &judged);
        }
        if source.time_ns.saturating_sub(self.clock_ns) > self.setting.clock_skew_ns {
            self.commands.push(Command::AwaitClock(source.clone()));
            return Next::Hold(Held::ForClock, looked_up);
        }
        let overlaid = arrived.key().and_then(|key| self.overlay.get(key));
        let record = overlaid.map_or(looked_up, |overlaid| overlaid.record.clone());
        match arrived {
            Arrived::Action(action) => self.judge_action(action, record),
            Arrived::Report(report) => self.judge_report(report, record),
        }
    }

    fn judge_action(&mut self, action: &Action, record: Option<KeyRecord>) -> Next {
        let rules = self.head.in_force.map_or(u32::MAX, |in_force| in_force.rules);
        match verdict::judge(action, record.as_ref(), self.now(&action.raw.source), rules) {
            Verdict::OriginalNeeded => {
                let at = record.as_ref().map_or(0, |record| record.ledger_sequence);
                self.commands.push(Command::ReadOriginal(at));
                return Next::Hold(Held::ForOriginal, record);
            }
            verdict => self.decide(action, record.as_ref(), verdict),
        }
        Next::Go
    }

    /// *now*: the later of the source time and the highest source time in the ledger before it.
    pub(super) fn now(&self, source: &Source) -> TimeNs {
        source.time_ns.max(self.head.ledger.source_time_max_ns)
    }

    /// A position that was judged already is never judged again. One that is still in flight is settled
    /// with its entry.
    fn redelivered(&mut self, input: InputKind, source: &Source, judged: &Source) -> Next {
        let latest_ns = judged.time_ns.max(self.head.ledger.source_time_max_ns);
        if source.time_ns > latest_ns.saturating_add(CLOCK_STEP_NS) {
            self.recover(Cause::InputChanged);
            return Next::Stop;
        }
        let committed = self.committed.position(&source.stream);
        if committed.is_some_and(|committed| source.sequence <= committed.sequence) {
            self.commands.push(Command::Redelivered(input, source.sequence));
        }
        Next::Go
    }

    fn decide(&mut self, action: &Action, record: Option<&KeyRecord>, verdict: Verdict) {
        match verdict {
            Verdict::Duplicate => {
                let receipt = self.duplicate_receipt(action, record);
                self.without_entry(decided(action, Outcome::Duplicate, receipt));
            }
            Verdict::Rejected(rejection) => self.reject(action, record, &rejection),
            Verdict::Accepted => self.accept(action),
            Verdict::OriginalNeeded => {}
        }
    }

    pub(super) fn without_entry(&mut self, decided: Decided) {
        let source = &decided.source;
        let (_, cursor) = self.head.input(&source.stream);
        (cursor.sequence, cursor.time_ns) = (source.sequence, source.time_ns);
        self.stretches.push(decided);
    }

    fn accept(&mut self, action: &Action) {
        let message = entry::accepted(&self.setting.name, action, self.setting.limits);
        match (message, action.digest) {
            (Ok(message), Some(digest)) => {
                let source = action.raw.source.clone();
                let entry = Entry::Accepted { source, key: action.key.clone(), digest };
                let receipt = self.accepted_receipt(action, self.head.ledger.sequence + 1);
                self.enqueue_action(message, entry, decided(action, Outcome::Accepted, receipt));
            }
            (Err(rejection), _) => self.reject(action, None, &rejection),
            (Ok(_), None) => {
                let why = "its payload has no digest";
                self.reject(action, None, &Rejection::new(Reason::Unroutable, why));
            }
        }
    }

    fn reject(&mut self, action: &Action, record: Option<&KeyRecord>, rejection: &Rejection) {
        let reason = rejection.reason;
        let mismatch = reason == Reason::PayloadMismatch;
        let first = record.filter(|_| mismatch).and_then(|record| self.first(action, record));
        let Setting { name, limits, .. } = &self.setting;
        let message = entry::rejected(name, action, rejection, first.as_ref(), *limits);
        let source = action.raw.source.clone();
        let entry = Entry::Rejected { source, reason, judged: None };
        let receipt = answering::rejected(action, rejection);
        self.enqueue_action(message, entry, decided(action, Outcome::Rejected(reason), receipt));
    }

    fn first(&self, action: &Action, record: &KeyRecord) -> Option<First> {
        let stream = self.head.inputs.get(record.stream as usize)?.stream.clone();
        let source = Source { stream, sequence: record.sequence, time_ns: record.time_ns };
        Some(First {
            digest: record.digest,
            run_id: source.run_id(action.key.as_ref()),
            source,
            ledger_sequence: record.ledger_sequence,
        })
    }

    fn enqueue_action(&mut self, message: Message, entry: Entry, decided: Decided) {
        let closed = Closed { before: self.stretches.take(InputKind::Actions), own: Some(decided) };
        self.enqueue(message, entry, None, closed);
    }

    /// Puts an entry in line, and what it changes into the overlay.
    pub(super) fn enqueue(
        &mut self,
        message: Message,
        entry: Entry,
        before: Option<&KeyRecord>,
        closed: Closed,
    ) {
        let ledger_sequence = self.head.ledger.sequence + 1;
        let fingerprint = message.fingerprint();
        fold::advance(&mut self.head, ledger_sequence, fingerprint, &entry);
        let change = fold::change(&self.head, &entry, before);
        if let Some((key, record)) = change.clone() {
            self.overlay.insert(key, Overlaid { record, ledger_sequence, result: None });
        }
        let bytes = message.bytes();
        self.inflight_bytes += bytes;
        let in_flight = Box::new(InFlight { fingerprint, entry, bytes, change, closed });
        self.unsent.push_back((message, in_flight));
    }

    /// Markers for positions that no other entry closes, where there are more than `most`.
    pub(super) fn close_stretches(&mut self, most: u64) {
        for input in InputKind::ALL {
            let end = self.stretches.end(input).filter(|(_, length)| *length > most);
            if let Some((up_to, duplicates)) = end {
                let message = entry::judged(&self.setting.name, &up_to, duplicates);
                let closed = Closed { before: self.stretches.take(input), own: None };
                self.enqueue(message, Entry::Judged { up_to, duplicates }, None, closed);
            }
        }
    }

    pub(super) fn on_original(&mut self, original: Option<Option<Digest>>) {
        let mut all = match &mut self.held {
            Held::ForOriginal(all) => std::mem::take(all),
            Held::Nothing | Held::ForClock(_) => return,
        };
        self.held = Held::Nothing;
        match all.pop_front() {
            Some((Arrived::Action(action), record)) => {
                let verdict = verdict::compare_originals(&action, original);
                self.decide(&action, record.as_ref(), verdict);
            }
            Some((Arrived::Report(report), record)) => {
                let verdict = report::compare_results(&report.told, original.flatten());
                self.decide_report(&report, record.as_ref(), verdict);
            }
            None => {}
        }
        self.judge_all(all);
    }

    pub(super) fn on_clock(&mut self, now_ns: TimeNs) {
        self.clock_ns = now_ns;
        let all = match &mut self.held {
            Held::ForClock(all) => std::mem::take(all),
            Held::Nothing | Held::ForOriginal(_) => return,
        };
        self.held = Held::Nothing;
        self.judge_all(all);
        if !matches!(self.held, Held::ForClock(_)) {
            self.commands.push(Command::ClockCaughtUp);
        }
    }
}

impl Arrived {
    fn input(&self) -> InputKind {
        match self {
            Self::Action(_) => InputKind::Actions,
            Self::Report(_) => InputKind::Reports,
        }
    }

    fn source(&self) -> &Source {
        match self {
            Self::Action(action) => &action.raw.source,
            Self::Report(report) => &report.raw.source,
        }
    }

    fn key(&self) -> Option<&ActionKey> {
        match self {
            Self::Action(action) => action.key.as_ref(),
            Self::Report(report) => report.key(),
        }
    }
}

fn decided(action: &Action, outcome: Outcome, receipt: Option<Box<Receipt>>) -> Decided {
    let source = action.raw.source.clone();
    Decided { input: InputKind::Actions, source, outcome, receipt }
}
