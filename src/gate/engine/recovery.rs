//! The one way back to a known state: after a start, a take-over, an error, a reconnect.
//!
//! Read the ledger's tail into the table, then go on from the input position of the last entry. Before
//! that, make sure that ledger and input are the ones the table knows. The shell carries out each
//! [`Ask`] and comes back with its [`Answer`].

use std::collections::VecDeque;
use std::sync::Arc;

use super::follow::{Applied, Follow, Read, fingerprint};
pub use super::follow::{LedgerMessage, Records};
pub use super::refusal::Refusal;
use super::{Commit, Outcome};
use crate::gate::cursor::{CLOCK_STEP_NS, Cursors, Filling, InputCursor};
use crate::gate::key::ActionKey;
use crate::gate::source::{Source, TimeNs, rfc3339};

/// What the recovery needs to know next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// The ledger's first and last sequence.
    LedgerState,
    /// The entry at this sequence.
    LedgerEntry(u64),
    /// The entries from here on, some or all of them, in order.
    LedgerTail {
        /// First sequence.
        from: u64,
        /// Last sequence.
        to: u64,
    },
    /// What the table holds of these keys.
    Records(Vec<ActionKey>),
    /// When this input stream was created, its first and last sequence.
    InputState(Arc<str>),
    /// The first message of this input stream at or after this sequence.
    InputFrom(Arc<str>, u64),
}

/// The answer to an [`Ask`].
#[derive(Clone, Debug)]
pub enum Answer {
    /// To [`Ask::LedgerState`].
    LedgerState {
        /// Sequence of the first entry; last + 1 if there is none.
        first: u64,
        /// Sequence of the last entry that ever was.
        last: u64,
    },
    /// To [`Ask::LedgerEntry`]; `None` if there is none.
    LedgerEntry(Option<LedgerMessage>),
    /// To [`Ask::LedgerTail`]; at least one.
    LedgerTail(Vec<LedgerMessage>),
    /// To [`Ask::Records`], of each key that is known.
    Records(Records),
    /// To [`Ask::InputState`].
    InputState {
        /// Creation time.
        created_ns: TimeNs,
        /// Sequence of the last message that ever was.
        last: u64,
    },
    /// To [`Ask::InputFrom`]: its sequence and source time.
    InputFrom(Option<(u64, TimeNs)>),
    /// The table took the commit.
    Committed,
}

/// What to do next.
#[derive(Debug)]
pub enum Step {
    /// Find this out.
    Ask(Ask),
    /// Write this to the table. `foreign`: sequences of messages that the gate did not write.
    Commit {
        /// The change.
        commit: Commit,
        /// Passed over.
        foreign: Vec<u64>,
        /// What its accepted and rejected entries decide.
        decided: Vec<(Source, u64, Outcome)>,
    },
    /// Everything up to the ledger's end is in the table.
    Done(Recovered),
}

/// Where things stand after a recovery.
#[derive(Clone, Debug)]
pub struct Recovered {
    /// The positions; that of an input that begins anew is 0.
    pub cursors: Cursors,
    /// The inputs, in the order in which they were named.
    pub inputs: Vec<RecoveredInput>,
}

/// An input stream as the recovery found it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecoveredInput {
    /// Its name.
    pub stream: Arc<str>,
    /// When the server says that it was created.
    pub created_ns: TimeNs,
    /// It begins anew: a new `leading` entry must say so.
    pub is_new: bool,
}

#[derive(Debug)]
enum Stage {
    LedgerState,
    Position { first: u64, last: u64 },
    Anchor { first: u64, last: u64, anchor: (u64, TimeNs) },
    Tail { last: u64 },
    TailRecords { last: u64, read: Read },
    TailCommitted { last: u64 },
    InputState,
    InputCursor { created_ns: TimeNs, last: u64 },
    InputAgain { created_ns: TimeNs, found: String },
    InputFirst { created_ns: TimeNs, seems_same: bool, found: String },
    Filled { created_ns: TimeNs, is_new: bool },
}

/// See the module.
#[derive(Debug)]
pub struct Recovery {
    /// Whose positions are still to be made sure of, the next one first.
    inputs: VecDeque<Arc<str>>,
    recovered: Vec<RecoveredInput>,
    /// Today's window.
    window_ns: TimeNs,
    follow: Follow,
    stage: Stage,
}

impl Recovery {
    /// From what the table has. `inputs`: the actions' stream, and others. `window_ns` is today's window.
    pub fn new(
        name: &str,
        inputs: impl IntoIterator<Item = Arc<str>>,
        cursors: Cursors,
        window_ns: TimeNs,
    ) -> (Self, Ask) {
        let (follow, stage) = (Follow::new(name, cursors), Stage::LedgerState);
        let (inputs, recovered) = (inputs.into_iter().collect(), Vec::new());
        (Self { inputs, recovered, window_ns, follow, stage }, Ask::LedgerState)
    }

    /// Takes an answer in. An answer to something else than was asked is a bug of the caller; it is
    /// answered by asking again.
    pub fn next(&mut self, answer: Answer) -> Result<Step, Refusal> {
        match (std::mem::replace(&mut self.stage, Stage::LedgerState), answer) {
            (Stage::LedgerState, Answer::LedgerState { first, last }) => {
                self.on_ledger(first, last)
            }
            (Stage::Position { first, last }, Answer::LedgerEntry(entry)) => {
                self.check_position(entry.as_ref(), first, last)
            }
            (Stage::Anchor { first, last, anchor }, Answer::LedgerEntry(entry)) => {
                self.check_anchor(entry.as_ref(), anchor)?;
                self.ask_tail(first, last)
            }
            (Stage::Tail { last }, Answer::LedgerTail(messages)) => self.read_tail(&messages, last),
            (Stage::TailRecords { last, read }, Answer::Records(records)) => {
                Ok(self.apply_tail(read, records, last))
            }
            (Stage::TailCommitted { last }, Answer::Committed) => self.ask_tail(0, last),
            (Stage::InputState, Answer::InputState { created_ns, last }) => {
                Ok(self.ask_cursor(created_ns, last))
            }
            (Stage::InputCursor { created_ns, last }, Answer::InputFrom(found)) => {
                self.check_cursor(created_ns, last, found)
            }
            (
                Stage::InputAgain { created_ns, found },
                Answer::InputState { created_ns: now_ns, last },
            ) if now_ns == created_ns => {
                Err(self.went_back(format!("{found} (it ends at {last})")))
            }
            (Stage::InputAgain { .. }, Answer::InputState { created_ns, last }) => {
                Ok(self.ask_cursor(created_ns, last))
            }
            (Stage::InputFirst { created_ns, seems_same, found }, Answer::InputFrom(first)) => {
                self.check_new(created_ns, seems_same, found, first)
            }
            (Stage::Filled { created_ns, is_new }, Answer::InputFrom(next)) => {
                self.check_filled(next)?;
                Ok(self.recovered(created_ns, is_new))
            }
            _ => Ok(Step::Ask(Ask::LedgerState)),
        }
    }

    fn on_ledger(&mut self, first: u64, last: u64) -> Result<Step, Refusal> {
        let at = self.follow.cursors.ledger.sequence;
        if last < at {
            return Err(Refusal::LedgerWentBack { table: at, ledger: last });
        }
        if at == 0 {
            return self.fill(first, last);
        }
        if first > at.saturating_add(1) {
            return Err(Refusal::EntriesMissing { from: at + 1, to: first - 1 });
        }
        if first > at {
            return self.ask_anchor(first, last);
        }
        self.stage = Stage::Position { first, last };
        Ok(Step::Ask(Ask::LedgerEntry(at)))
    }

    /// An empty table; a trimmed ledger may fill it, but not be trusted yet.
    fn fill(&mut self, first: u64, last: u64) -> Result<Step, Refusal> {
        if first <= 1 {
            return self.ask_tail(first, last);
        }
        if first > last {
            return Err(Refusal::LedgerTrimmed { first });
        }
        self.follow.cursors.ledger.sequence = first - 1;
        self.follow.cursors.filling = Some(Filling { from_ns: TimeNs::MAX, window_ns: 0 });
        self.ask_tail(first, last)
    }

    fn check_position(
        &mut self,
        entry: Option<&LedgerMessage>,
        first: u64,
        last: u64,
    ) -> Result<Step, Refusal> {
        let known = self.follow.cursors.ledger.fingerprint;
        let found = entry.map(fingerprint);
        if found != Some(known) {
            return Err(Refusal::OtherLedger {
                sequence: self.follow.cursors.ledger.sequence,
                found: entry.map_or("nothing".to_owned(), |e| format!("on subject {}", e.subject)),
                known: "another entry".to_owned(),
            });
        }
        self.ask_anchor(first, last)
    }

    fn ask_anchor(&mut self, first: u64, last: u64) -> Result<Step, Refusal> {
        match self.follow.cursors.ledger.anchor {
            Some(anchor) if anchor.0 >= first => {
                self.stage = Stage::Anchor { first, last, anchor };
                Ok(Step::Ask(Ask::LedgerEntry(anchor.0)))
            }
            _ => self.ask_tail(first, last),
        }
    }

    fn check_anchor(
        &self,
        entry: Option<&LedgerMessage>,
        (sequence, time_ns): (u64, TimeNs),
    ) -> Result<(), Refusal> {
        if entry.map(|entry| entry.time_ns) == Some(time_ns) {
            return Ok(());
        }
        let found = entry.map_or("nothing".to_owned(), |e| format!("of {}", rfc3339(e.time_ns)));
        Err(Refusal::OtherLedger { sequence, found, known: format!("one of {}", rfc3339(time_ns)) })
    }

    fn ask_tail(&mut self, first: u64, last: u64) -> Result<Step, Refusal> {
        let at = self.follow.cursors.ledger.sequence;
        if at >= last {
            return Ok(self.next_input());
        }
        let from = at + 1;
        if first > from {
            return Err(Refusal::EntriesMissing { from, to: first - 1 });
        }
        self.stage = Stage::Tail { last };
        Ok(Step::Ask(Ask::LedgerTail { from, to: last }))
    }

    fn read_tail(&mut self, messages: &[LedgerMessage], last: u64) -> Result<Step, Refusal> {
        let read = self.follow.read(messages, last)?;
        let keys = read.keys();
        if keys.is_empty() {
            return Ok(self.apply_tail(read, Records::new(), last));
        }
        self.stage = Stage::TailRecords { last, read };
        Ok(Step::Ask(Ask::Records(keys)))
    }

    fn apply_tail(&mut self, read: Read, records: Records, last: u64) -> Step {
        let Applied { commit, foreign, decided, .. } = self.follow.apply_all(read, records);
        self.stage = Stage::TailCommitted { last };
        Step::Commit { commit, foreign, decided }
    }

    /// The input whose position is made sure of.
    fn input(&mut self) -> &mut InputCursor {
        let stream = self.inputs.front().cloned().unwrap_or_default();
        self.follow.cursors.input(&stream).1
    }

    fn next_input(&mut self) -> Step {
        match self.inputs.front() {
            Some(stream) => {
                self.stage = Stage::InputState;
                Step::Ask(Ask::InputState(stream.clone()))
            }
            None => {
                let (cursors, inputs) = (self.follow.cursors.clone(), self.recovered.clone());
                Step::Done(Recovered { cursors, inputs })
            }
        }
    }

    fn ask_from(&mut self, sequence: u64) -> Step {
        let stream = self.input().stream.clone();
        Step::Ask(Ask::InputFrom(stream, sequence))
    }

    fn ask_cursor(&mut self, created_ns: TimeNs, last: u64) -> Step {
        let at = self.input().sequence;
        self.stage = Stage::InputCursor { created_ns, last };
        self.ask_from(at.max(1))
    }

    /// The same message at the cursor: the same stream, whatever its creation time says. If that is gone,
    /// a later one after it, unless the stream was created since.
    fn check_cursor(
        &mut self,
        created_ns: TimeNs,
        last: u64,
        found: Option<(u64, TimeNs)>,
    ) -> Result<Step, Refusal> {
        let cursor = self.input().clone();
        let same = match found {
            _ if cursor.sequence == 0 => true,
            Some((sequence, time_ns)) if sequence == cursor.sequence => time_ns == cursor.time_ns,
            Some((_, time_ns)) => time_ns >= cursor.time_ns.saturating_sub(CLOCK_STEP_NS),
            None => true,
        };
        let seems_same = same && last >= cursor.sequence;
        let is_there = found.is_some_and(|(sequence, _)| sequence == cursor.sequence);
        let certain = is_there || cursor.sequence == 0 || cursor.created_ns == created_ns;
        if seems_same && certain {
            return Ok(self.on_position(created_ns, false));
        }
        let found = match found {
            Some((sequence, time_ns)) => {
                format!("and message {sequence} there now is of {}", rfc3339(time_ns))
            }
            None => format!("and it ends at {last} now"),
        };
        if cursor.created_ns == created_ns {
            // Unless it was made anew between the two answers.
            self.stage = Stage::InputAgain { created_ns, found };
            return Ok(Step::Ask(Ask::InputState(cursor.stream)));
        }
        self.stage = Stage::InputFirst { created_ns, seems_same, found };
        Ok(self.ask_from(1))
    }

    /// Plainly a new stream only if it has another creation time, later than what was judged last, and no
    /// message older than that. (The replicas of a restored stream disagree on the creation time, and one
    /// that lags must not be taken for a new stream; nor must a restored work queue that still holds what
    /// was judged since.)
    fn check_new(
        &mut self,
        created_ns: TimeNs,
        seems_same: bool,
        found: String,
        first: Option<(u64, TimeNs)>,
    ) -> Result<Step, Refusal> {
        let cursor = self.input();
        let since = created_ns > cursor.time_ns;
        let new = since && first.is_none_or(|(_, time_ns)| time_ns >= created_ns);
        // Where nothing stands at a judged number, going on from there passes over nothing.
        let again = first.is_some_and(|(sequence, _)| sequence <= cursor.sequence);
        match (new, seems_same) {
            (true, false) => {}
            (true, true) if again => {}
            (_, true) => return Ok(self.on_position(created_ns, false)),
            (false, false) => return Err(self.went_back(found)),
        }
        let cursor = self.input();
        (cursor.sequence, cursor.time_ns) = (0, 0);
        Ok(self.on_position(created_ns, true))
    }

    /// It is known where the input goes on, and so, of the first, which action is the next.
    fn on_position(&mut self, created_ns: TimeNs, is_new: bool) -> Step {
        if self.follow.cursors.filling.is_none() || !self.recovered.is_empty() {
            return self.recovered(created_ns, is_new);
        }
        let at = self.input().sequence;
        self.stage = Stage::Filled { created_ns, is_new };
        self.ask_from(at.saturating_add(1))
    }

    /// A ledger that was trimmed can fill an empty table only if whatever it lost is expired by now: if
    /// the next action is a whole window younger than the first entry that was left.
    fn check_filled(&mut self, next: Option<(u64, TimeNs)>) -> Result<(), Refusal> {
        let Some(Filling { from_ns, window_ns }) = self.follow.cursors.filling else {
            return Ok(());
        };
        let window_ns = window_ns.max(self.window_ns);
        let now_ns = next.map_or(0, |(_, time_ns)| time_ns);
        let now_ns = now_ns.max(self.follow.cursors.ledger.source_time_max_ns);
        if now_ns < from_ns.saturating_add(window_ns) {
            return Err(Refusal::LedgerTrimmed { first: self.follow.cursors.ledger.sequence });
        }
        self.follow.cursors.filling = None;
        Ok(())
    }

    fn went_back(&mut self, found: String) -> Refusal {
        let InputCursor { stream, sequence, time_ns, .. } = self.input().clone();
        Refusal::InputWentBack { stream, sequence, time: rfc3339(time_ns).to_string(), found }
    }

    fn recovered(&mut self, created_ns: TimeNs, is_new: bool) -> Step {
        if let Some(stream) = self.inputs.pop_front() {
            self.recovered.push(RecoveredInput { stream, created_ns, is_new });
        }
        self.next_input()
    }
}
