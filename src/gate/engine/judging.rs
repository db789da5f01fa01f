//! Actions in, verdicts into the queue: the part of the engine that decides.

use std::collections::VecDeque;

use super::{Cause, Command, Engine, Held, InFlight, Outcome, Setting, fold};
use crate::gate::action::Action;
use crate::gate::cursor::CLOCK_STEP_NS;
use crate::gate::digest::Digest;
use crate::gate::entry::{self, Entry, First, Message};
use crate::gate::record::KeyRecord;
use crate::gate::source::{Source, TimeNs};
use crate::gate::verdict::{self, Reason, Rejection, Verdict};

type Looked = (Action, Option<KeyRecord>);

/// Whether the next action may be looked at.
enum Next {
    /// It is dealt with.
    Go,
    /// Not this one yet, nor any after it; with the record that it is judged against.
    Hold(fn(VecDeque<Looked>) -> Held, Option<KeyRecord>),
    /// The input is not what it was; a recovery comes.
    Stop,
}

impl Engine {
    pub(super) fn judge_all(&mut self, mut actions: VecDeque<Looked>) {
        while let Some((action, record)) = actions.pop_front() {
            match self.judge_one(&action, record) {
                Next::Go => {}
                Next::Hold(held, record) => {
                    actions.push_front((action, record));
                    self.held = held(actions);
                    return;
                }
                Next::Stop => return,
            }
        }
        self.trim_overlay();
    }

    fn judge_one(&mut self, action: &Action, looked_up: Option<KeyRecord>) -> Next {
        let source = &action.raw.source;
        if let Some(judged) = self.head.position(&source.stream)
            && source.sequence <= judged.sequence
        {
            return self.redelivered(source, &judged);
        }
        if source.time_ns.saturating_sub(self.clock_ns) > self.setting.clock_skew_ns {
            self.commands.push(Command::AwaitClock(source.clone()));
            return Next::Hold(Held::ForClock, looked_up);
        }
        let overlaid = action.key.as_ref().and_then(|key| self.overlay.get(key)).cloned();
        let record = overlaid.or(looked_up);
        let rules = self.head.in_force.map_or(u32::MAX, |in_force| in_force.rules);
        match verdict::judge(action, record.as_ref(), self.now(source), rules) {
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
    fn now(&self, source: &Source) -> TimeNs {
        source.time_ns.max(self.head.ledger.source_time_max_ns)
    }

    /// A position that was judged already is never judged again. One that is still in flight is settled
    /// with its entry.
    fn redelivered(&mut self, source: &Source, judged: &Source) -> Next {
        let latest_ns = judged.time_ns.max(self.head.ledger.source_time_max_ns);
        if source.time_ns > latest_ns.saturating_add(CLOCK_STEP_NS) {
            self.recover(Cause::InputChanged);
            return Next::Stop;
        }
        let committed = self.committed.position(&source.stream);
        if committed.is_some_and(|committed| source.sequence <= committed.sequence) {
            self.commands.push(Command::Redelivered(vec![source.sequence]));
        }
        Next::Go
    }

    fn decide(&mut self, action: &Action, record: Option<&KeyRecord>, verdict: Verdict) {
        match verdict {
            Verdict::Duplicate => self.duplicate(&action.raw.source),
            Verdict::Rejected(rejection) => self.reject(action, record, &rejection),
            Verdict::Accepted => self.accept(action),
            Verdict::OriginalNeeded => {}
        }
    }

    fn duplicate(&mut self, source: &Source) {
        self.stretch.push((source.sequence, source.time_ns, Outcome::Duplicate));
        self.stretch_end = Some(source.clone());
        let (_, cursor) = self.head.input(&source.stream);
        (cursor.sequence, cursor.time_ns) = (source.sequence, source.time_ns);
    }

    fn accept(&mut self, action: &Action) {
        let message = entry::accepted(&self.setting.name, action, self.setting.limits);
        match (message, action.digest) {
            (Ok(message), Some(digest)) => {
                let source = action.raw.source.clone();
                let entry = Entry::Accepted { source, key: action.key.clone(), digest };
                self.enqueue(message, entry, Some(Outcome::Accepted));
            }
            (Err(rejection), _) => self.reject(action, None, &rejection),
            (Ok(_), None) => {
                let why = "its payload has no digest";
                self.reject(action, None, &Rejection::new(Reason::Unroutable, why));
            }
        }
    }

    fn reject(&mut self, action: &Action, record: Option<&KeyRecord>, rejection: &Rejection) {
        let mismatch = rejection.reason == Reason::PayloadMismatch;
        let first = record.filter(|_| mismatch).and_then(|record| self.first(action, record));
        let Setting { name, limits, .. } = &self.setting;
        let message = entry::rejected(name, action, rejection, first.as_ref(), *limits);
        let source = action.raw.source.clone();
        let entry = Entry::Rejected { source, reason: rejection.reason };
        self.enqueue(message, entry, Some(Outcome::Rejected(rejection.reason)));
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

    /// Puts an entry in line, and what it changes into the overlay.
    fn enqueue(&mut self, message: Message, entry: Entry, outcome: Option<Outcome>) {
        let sequence = self.head.ledger.sequence + 1;
        let fingerprint = message.fingerprint();
        self.overlay.extend(fold::apply(&mut self.head, sequence, fingerprint, &entry));
        let mut outcomes = std::mem::take(&mut self.stretch);
        self.stretch_end = None;
        if let (Some(outcome), Some(source)) = (outcome, entry.position()) {
            outcomes.push((source.sequence, source.time_ns, outcome));
        }
        let bytes = message.bytes();
        self.inflight_bytes += bytes;
        let in_flight = InFlight { fingerprint, entry, bytes, outcomes };
        self.unsent.push_back((message, in_flight));
    }

    /// A marker for duplicates that no other entry closes.
    pub(super) fn close_stretch(&mut self) {
        let Some(up_to) = self.stretch_end.take() else {
            return;
        };
        let duplicates = self.stretch.len() as u64;
        let message = entry::judged(&self.setting.name, &up_to, duplicates);
        self.enqueue(message, Entry::Judged { up_to, duplicates }, None);
    }

    pub(super) fn on_original(&mut self, original: Option<Option<Digest>>) {
        let mut actions = match &mut self.held {
            Held::ForOriginal(actions) => std::mem::take(actions),
            Held::Nothing | Held::ForClock(_) => return,
        };
        self.held = Held::Nothing;
        if let Some((action, record)) = actions.pop_front() {
            let verdict = verdict::compare_originals(&action, original);
            self.decide(&action, record.as_ref(), verdict);
        }
        self.judge_all(actions);
    }

    pub(super) fn on_clock(&mut self, now_ns: TimeNs) {
        self.clock_ns = now_ns;
        let actions = match &mut self.held {
            Held::ForClock(actions) => std::mem::take(actions),
            Held::Nothing | Held::ForOriginal(_) => return,
        };
        self.held = Held::Nothing;
        self.judge_all(actions);
        if !matches!(self.held, Held::ForClock(_)) {
            self.commands.push(Command::ClockCaughtUp);
        }
    }
}
