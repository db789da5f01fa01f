//! What wrong workers do in the loop, by what passes between the engine and the world.

use std::collections::{BTreeMap, VecDeque};

use oncegate::gate::action::{self, Action};
use oncegate::gate::engine::session::{Op, Reply, ReplyKind};
use oncegate::gate::engine::{Commit, Decided, Event, InputKind, Outcome, Settled, fold};
use oncegate::gate::entry::{self, Entry, Message};
use oncegate::gate::headers::Headers;
use oncegate::gate::key::ActionKey;
use oncegate::gate::record::{KeyRecord, RunState};
use oncegate::gate::report::{Report, Told};
use oncegate::gate::verdict::{self, Verdict};
use oncegate::table::KeyTable;

use super::pump::{Acks, acknowledge, look_up};
use super::{Core, Effect, Io};
use crate::inputs::{self, Both};
use crate::ledger_server;
use crate::messages::{Delivery, Id};
use crate::wrong::Wrong;

/// What a reply is to a wrong worker.
pub enum Heard {
    Nothing,
    Event(Event),
    Commit(Commit),
    Doubt,
}

/// Ended for the engine, not yet for the server.
struct Pretended {
    batch: Id,
    messages: u64,
}

/// Plain publishes that stand for a batch.
#[derive(Default)]
struct Plain {
    batch: Id,
    sent: u64,
    stored: u64,
    ended: bool,
    sequence: u64,
}

#[derive(Default)]
pub struct Misdeeds {
    looked_up: BTreeMap<u64, Option<KeyRecord>>,
    keys: BTreeMap<u64, ActionKey>,
    pretended: VecDeque<Pretended>,
    /// Waits for what the ledger really says.
    withheld: Option<Commit>,
    plain: Plain,
    /// Of the last message.
    expected: u64,
}

impl Misdeeds {
    pub fn on_delivery(&mut self, core: &Core, io: &Io, input: InputKind, delivery: &Delivery) {
        if core.is(Wrong::LookUpEarly) && input == InputKind::Actions {
            let action = action::decode(delivery.raw.clone(), &core.setup.rules);
            let sequence = delivery.raw.source.sequence;
            self.looked_up.insert(sequence, look_up(core, io, action.key.as_ref()));
        }
    }

    pub fn looked_up(&mut self, action: &Action) -> Option<Option<KeyRecord>> {
        self.looked_up.remove(&action.raw.source.sequence)
    }

    pub fn on_actions(
        &mut self,
        core: &Core,
        io: &mut Io,
        looked: &[(Box<Action>, Option<KeyRecord>)],
    ) {
        for (action, record) in looked {
            let source = &action.raw.source;
            if let (Some(Wrong::DuplicateMovesExpiry), Some(key)) = (core.wrong, &action.key) {
                self.keys.insert(source.sequence, key.clone());
            }
            let Some(record) = record else { continue };
            let seen = verdict::judge(action, Some(record), source.time_ns, record.rules);
            if core.is(Wrong::AnswerDuplicateAtOnce) && seen == Verdict::Duplicate {
                let (source, outcome) = (source.clone(), Outcome::Duplicate);
                let input = InputKind::Actions;
                let decided = Decided { input, source, outcome, receipt: None };
                io.effects.push(Effect::Settled { decided: vec![decided], at_once: false });
            }
        }
    }

    pub fn on_append(
        &mut self,
        core: &mut Core,
        io: &mut Io,
        message: &mut Message,
        expected: u64,
        acks: &mut Both<Acks>,
    ) {
        self.expected = expected;
        let headers: Headers = message.headers.iter().map(|(n, v)| (n, v)).collect();
        let entry = entry::decode("oncegate", &message.subject, &headers, &message.payload);
        let Ok(entry) = entry else { return };
        if core.is(Wrong::MarkBeforeAppend) {
            mark(core, &entry, expected + 1);
        }
        let position = entry.position().filter(|_| core.is(Wrong::AckBeforeCommit));
        if let Some(source) = position
            && let Some(input) = inputs::named(&source.stream)
            && let Some(how) = acks[input].remove(&source.sequence)
        {
            acknowledge(core, io, input, source.sequence, how);
        }
        if core.is(Wrong::ReleaseWithoutJudged) && matches!(entry, Entry::Released { .. }) {
            message.headers.retain(|(name, _)| name != entry::JUDGED);
        }
    }

    /// What the engine is told before the ledger has said it.
    pub fn pretend(&mut self, core: &Core, batch: Id, number: u64, op: Op) -> Option<Event> {
        let ends = matches!(op, Op::Commit | Op::End);
        let messages = if op == Op::End { number - 1 } else { number };
        let kind = match core.wrong {
            Some(Wrong::PlainPublishes) => {
                if number == 1 {
                    self.plain = Plain { batch, ..Plain::default() };
                }
                (self.plain.sent, self.plain.ended) = (messages, ends);
                return self.plain.end();
            }
            Some(Wrong::CommitBeforeAck) if !ends => ReplyKind::Flow { number, flow: 100 },
            Some(Wrong::TwoBatches) if ends && self.pretended.len() < 2 => {
                self.pretended.push_back(Pretended { batch, messages });
                ReplyKind::End { sequence: self.expected + 1, count: Some(messages) }
            }
            _ => return None,
        };
        Some(Event::Ledger(Reply { batch, kind }))
    }

    /// A commit of what the ledger has not acknowledged waits; the engine has no other meanwhile.
    pub fn withhold(&mut self, commit: Commit) -> Option<Commit> {
        if self.pretended.is_empty() {
            return Some(commit);
        }
        self.withheld = Some(commit);
        None
    }

    /// `None`: nothing is wrong with it.
    pub fn on_reply(&mut self, core: &Core, reply: &ledger_server::Reply) -> Option<Heard> {
        use ledger_server::ReplyKind as Said;
        if let Some(first) = self.pretended.front()
            && reply.batch == Some(first.batch)
        {
            return Some(match reply.kind {
                Said::Flow { .. } => Heard::Nothing,
                Said::PubAck { count, .. } if count.unwrap_or(1) == first.messages => {
                    self.pretended.pop_front();
                    let commit = self.withheld.take_if(|_| self.pretended.is_empty());
                    commit.map_or(Heard::Nothing, Heard::Commit)
                }
                _ => Heard::Doubt,
            });
        }
        if !core.is(Wrong::PlainPublishes) {
            return None;
        }
        let Said::PubAck { sequence, .. } = reply.kind else { return Some(Heard::Doubt) };
        self.plain.stored += 1;
        self.plain.sequence = sequence;
        let flow = ReplyKind::Flow { number: self.plain.stored, flow: 100 };
        let flow = Event::Ledger(Reply { batch: self.plain.batch, kind: flow });
        Some(Heard::Event(self.plain.end().unwrap_or(flow)))
    }

    pub fn on_settled(&mut self, core: &Core, settled: &Settled) {
        if !core.is(Wrong::DuplicateMovesExpiry) {
            return;
        }
        let actions = settled.decided.iter().filter(|one| one.input == InputKind::Actions);
        for Decided { source, outcome, .. } in actions {
            let key = self.keys.remove(&source.sequence);
            let (Outcome::Duplicate, Some(key)) = (outcome, key) else { continue };
            if let Some(Some(mut record)) = core.table.load_many(&[&key]).unwrap().pop() {
                record.expires_ns = record.expires_ns.max(source.time_ns + core.setup.window_ns);
                let cursors = core.table.cursors().unwrap();
                core.table.commit(Commit { changes: vec![(key, Some(record))], cursors }).unwrap();
            }
        }
    }
}

impl Plain {
    fn end(&self) -> Option<Event> {
        let kind = ReplyKind::End { sequence: self.sequence, count: Some(self.sent) };
        let over = self.ended && self.stored == self.sent;
        over.then_some(Event::Ledger(Reply { batch: self.batch, kind }))
    }
}

/// What is wrong with how reports are looked at.
pub fn on_reports(core: &Core, io: &mut Io, looked: &mut [(Box<Report>, Option<KeyRecord>)]) {
    for (report, record) in looked {
        let (Ok(Told::Result { .. }), Some(record)) = (&report.told, record) else { continue };
        if core.is(Wrong::SecondResultStands) {
            record.state = RunState::Pending;
        }
        if core.is(Wrong::AnswerReportAtOnce) && record.state == RunState::Pending {
            let (input, source) = (InputKind::Reports, report.raw.source.clone());
            let decided = Decided { input, source, outcome: Outcome::Completed, receipt: None };
            io.effects.push(Effect::Settled { decided: vec![decided], at_once: false });
        }
    }
}

/// The key goes into the table; its position does not.
fn mark(core: &Core, entry: &Entry, sequence: u64) {
    let before = core.table.cursors().unwrap();
    let mut cursors = before.clone();
    fold::advance(&mut cursors, sequence, 0, entry);
    let change = fold::change(&cursors, entry, None);
    let changes = change.into_iter().collect();
    core.table.commit(Commit { changes, cursors: before }).unwrap();
}
