//! The one way back to a known state: after a start, a take-over, an error, a reconnect.
//!
//! Read the ledger's tail into the table, then go on from the input position of the last entry. Before
//! that, make sure that ledger and input are the ones the table knows. The shell carries out each
//! [`Ask`] and comes back with its [`Answer`].

use std::sync::Arc;

pub use super::follow::LedgerMessage;
use super::follow::{Applied, Follow, fingerprint};
pub use super::refusal::Refusal;
use super::{Commit, Outcome};
use crate::gate::cursor::{CLOCK_STEP_NS, Cursors, Filling};
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
    /// When the input stream was created, its first and last sequence.
    InputState,
    /// The first message at or after this sequence.
    InputFrom(u64),
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
        decided: Vec<(Source, Outcome)>,
    },
    /// Everything up to the ledger's end is in the table.
    Done(Recovered),
}

/// Where things stand after a recovery.
#[derive(Clone, Debug)]
pub struct Recovered {
    /// The positions; the input's is 0 if it begins anew.
    pub cursors: Cursors,
    /// When the server says that the input stream was created.
    pub input_created_ns: TimeNs,
    /// The input begins anew: a new `leading` entry must say so.
    pub input_is_new: bool,
}

#[derive(Debug)]
enum Stage {
    LedgerState,
    Position { first: u64, last: u64 },
    Anchor { first: u64, last: u64, anchor: (u64, TimeNs) },
    Tail { last: u64 },
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
    input: Arc<str>,
    /// Today's window.
    window_ns: TimeNs,
    follow: Follow,
    stage: Stage,
}

impl Recovery {
    /// From what the table has. `window_ns` is today's window.
    pub fn new(name: &str, input: Arc<str>, cursors: Cursors, window_ns: TimeNs) -> (Self, Ask) {
        let follow = Follow::new(name, cursors);
        (Self { input, window_ns, follow, stage: Stage::LedgerState }, Ask::LedgerState)
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
            (Stage::Tail { last }, Answer::LedgerTail(messages)) => {
                self.apply_tail(&messages, last)
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
                Ok(self.done(created_ns, is_new))
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
            self.stage = Stage::InputState;
            return Ok(Step::Ask(Ask::InputState));
        }
        let from = at + 1;
        if first > from {
            return Err(Refusal::EntriesMissing { from, to: first - 1 });
        }
        self.stage = Stage::Tail { last };
        Ok(Step::Ask(Ask::LedgerTail { from, to: last }))
    }

    fn apply_tail(&mut self, messages: &[LedgerMessage], last: u64) -> Result<Step, Refusal> {
        let applied = self.follow.apply_all(messages, last)?;
        self.stage = Stage::TailCommitted { last };
        let Applied { commit, foreign, decided, .. } = applied;
        Ok(Step::Commit { commit, foreign, decided })
    }

    fn ask_cursor(&mut self, created_ns: TimeNs, last: u64) -> Step {
        let at = self.follow.cursors.input(&self.input.clone()).1.sequence;
        self.stage = Stage::InputCursor { created_ns, last };
        Step::Ask(Ask::InputFrom(at.max(1)))
    }

    /// The same message at the cursor: the same stream, whatever its creation time says. If that is gone,
    /// a later one after it, unless the stream was created since.
    fn check_cursor(
        &mut self,
        created_ns: TimeNs,
        last: u64,
        found: Option<(u64, TimeNs)>,
    ) -> Result<Step, Refusal> {
        let cursor = self.follow.cursors.input(&self.input.clone()).1.clone();
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
            return Ok(Step::Ask(Ask::InputState));
        }
        self.stage = Stage::InputFirst { created_ns, seems_same, found };
        Ok(Step::Ask(Ask::InputFrom(1)))
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
        let (_, cursor) = self.follow.cursors.input(&self.input.clone());
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
        let (_, cursor) = self.follow.cursors.input(&self.input.clone());
        (cursor.sequence, cursor.time_ns) = (0, 0);
        Ok(self.on_position(created_ns, true))
    }

    /// It is known where the input goes on, and so which action is the next.
    fn on_position(&mut self, created_ns: TimeNs, is_new: bool) -> Step {
        if self.follow.cursors.filling.is_none() {
            return self.done(created_ns, is_new);
        }
        let at = self.follow.cursors.input(&self.input.clone()).1.sequence;
        self.stage = Stage::Filled { created_ns, is_new };
        Step::Ask(Ask::InputFrom(at.saturating_add(1)))
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
        let stream = self.input.clone();
        let cursor = self.follow.cursors.input(&stream).1;
        let time = rfc3339(cursor.time_ns).to_string();
        Refusal::InputWentBack { stream, sequence: cursor.sequence, time, found }
    }

    fn done(&mut self, input_created_ns: TimeNs, input_is_new: bool) -> Step {
        let cursors = self.follow.cursors.clone();
        Step::Done(Recovered { cursors, input_created_ns, input_is_new })
    }
}
