//! The ledger protocol as a state machine: events in, commands out.
//!
//! The shell (or a simulator) feeds [`Engine::on`] with what happened and carries out what it says. It
//! holds to DESIGN.md sections 3 and 4: positions are judged in order; nothing is committed before the
//! ledger took it, and nothing is acked, answered or counted before it is committed; an outcome that is
//! not known leads to [`Command::Recover`], after which this engine is dropped and a new one is made
//! from what [`recovery`] found.
//!
//! [`fold`] is the one place where an entry changes positions and keys, for a commit, for recovery and for
//! a standby that follows ([`follow`]) alike; [`session`] is one fast-ingest batch.

mod answering;
mod decided;
pub mod delivery;
pub mod fold;
pub mod follow;
mod judging;
pub mod lead;
pub mod recovery;
mod refusal;
mod reporting;
pub mod session;
mod stretch;
mod unsettled;

use std::collections::hash_map;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use super::action::Action;
use super::cursor::Cursors;
use super::digest::Digest;
use super::entry::{Entry, Limits, Message};
use super::key::ActionKey;
use super::record::KeyRecord;
use super::report::Report;
use super::rules::Rules;
use super::source::{Source, TimeNs};
pub use decided::{Decided, InputKind, Outcome};
pub use fold::Change;
use session::{Append, Ended, Reply, Session};
use stretch::Stretches;
pub use unsettled::Unsettled;

/// How much may be under way. The defaults are the gate's; a simulator has small ones, so that short
/// runs meet them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Entries judged and not yet committed; the brake on the feed.
    pub inflight_entries_max: usize,
    /// And so many bytes of them, so that large payloads fill neither this process nor the server's
    /// queue.
    pub inflight_bytes_max: usize,
    /// So many bytes may wait for the ledger's word; one message always may.
    pub unacknowledged_bytes_max: usize,
    /// A stretch of duplicates is closed by a marker at the latest after so many.
    pub duplicates_per_marker_max: u64,
    /// Messages of a batch that are sent before the server said what it grants.
    pub credit_before_first_answer: u64,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            inflight_entries_max: 4096,
            inflight_bytes_max: 24 << 20,
            unacknowledged_bytes_max: 16 << 20,
            duplicates_per_marker_max: 4096,
            credit_before_first_answer: 256,
        }
    }
}

/// One atomic change of the table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Commit {
    /// In order: records that are new or changed, and keys that are new again.
    pub changes: Vec<Change>,
    /// The positions that these belong to.
    pub cursors: Cursors,
}

/// Positions that are in the ledger and in the table: now they may be acked, answered and counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settled {
    /// What was decided, each input in order.
    pub decided: Vec<Decided>,
    /// Keys whose run has a result now, or that were given back.
    pub answered: Vec<ActionKey>,
    /// The ledger's last committed sequence.
    pub ledger_sequence: u64,
}

/// What happened. Actions and reports in boxes, from their decoding to the end: each is handed on several times.
#[derive(Debug)]
pub enum Event {
    /// Actions in input order, each with what the table holds of its key *now*: no commit may come
    /// between the look-up and this event.
    Actions(Vec<(Box<Action>, Option<KeyRecord>)>),
    /// The same of reports.
    Reports(Vec<(Box<Report>, Option<KeyRecord>)>),
    /// The inputs have nothing at hand.
    Pause,
    /// The ledger answered an append.
    Ledger(Reply),
    /// The table took the last [`Command::Commit`].
    Committed,
    /// The original that [`Command::ReadOriginal`] or [`Command::ReadResult`] asked for, as its digest (of an
    /// action under today's rules); `None` if the ledger no longer holds it.
    Original(Option<Option<Digest>>),
    /// Time went by: the worker's clock, for the check of far-off source times.
    Clock(TimeNs),
}

/// What to do, in this order.
#[derive(Debug, PartialEq, Eq)]
pub enum Command {
    /// Send this to the ledger.
    Append(Append),
    /// Write this to the table, then tell [`Event::Committed`].
    Commit(Commit),
    /// Ack, answer and count these.
    Settle(Settled),
    /// A redelivered position that is committed already: ack and count.
    Redelivered(InputKind, u64),
    /// Read the accepted entry at this ledger sequence, then tell [`Event::Original`].
    ReadOriginal(u64),
    /// The same for the result there.
    ReadResult(u64),
    /// Wait: the source time of this action or report is too far ahead of the worker's clock.
    AwaitClock(Source),
    /// The waiting is over.
    ClockCaughtUp,
    /// The outcome of something is not known: drop this engine and recover.
    Recover(Cause),
}

/// Why a recovery is needed; the label of `oncegate_recoveries_total`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Another writer, or an earlier message of our own, took the next ledger sequence.
    Fenced,
    /// The ledger ended the batch, or refused a message: what it said.
    Refused(String),
    /// The input went back under the feed.
    InputChanged,
}

/// What the engine is told once.
#[derive(Clone, Debug)]
pub struct Setting {
    /// Subject prefix of the ledger.
    pub name: String,
    /// The stream of actions.
    pub input: Arc<str>,
    /// Today's rules; those of the `leading` entry in force.
    pub rules: Arc<Rules>,
    /// What the ledger can carry.
    pub limits: Limits,
    /// `retention.clock_skew`.
    pub clock_skew_ns: TimeNs,
    /// How much may be under way.
    pub bounds: Bounds,
}

/// An entry that is judged and not yet committed.
#[derive(Debug)]
struct InFlight {
    fingerprint: u64,
    entry: Entry,
    bytes: usize,
    change: Option<Change>,
    closed: Closed,
}

/// The positions that an entry makes final.
#[derive(Debug)]
struct Closed {
    /// Duplicates before it.
    before: Vec<Decided>,
    own: Option<Decided>,
}

/// From one of the inputs.
#[derive(Debug)]
enum Arrived {
    Action(Box<Action>),
    Report(Box<Report>),
}

/// With what the table held of its key.
type Looked = (Arrived, Option<KeyRecord>);

/// What can't be judged yet.
#[derive(Debug)]
enum Held {
    Nothing,
    ForOriginal(VecDeque<Looked>),
    ForClock(VecDeque<Looked>),
}

/// What is known of a key when everything in flight is committed.
#[derive(Debug)]
struct Overlaid {
    record: Option<KeyRecord>,
    /// The entry that says so.
    ledger_sequence: u64,
    /// Of the run's result, where that entry is it: it may not be in the ledger yet to be read back.
    result: Option<Digest>,
}

/// See the module.
#[derive(Debug)]
pub struct Engine {
    setting: Setting,
    /// As the table has it.
    committed: Cursors,
    /// As it will be when everything in flight is committed.
    head: Cursors,
    /// Keys of entries in flight, as the table will have them.
    overlay: HashMap<ActionKey, Overlaid, foldhash::fast::RandomState>,
    // In boxes: each goes from one to the next.
    unsent: VecDeque<(Message, Box<InFlight>)>,
    sent: VecDeque<Box<InFlight>>,
    stored: VecDeque<Box<InFlight>>,
    committing: Option<Committing>,
    /// In the table, but still in the overlay for the sake of actions that are held.
    settled_keys: Vec<(ActionKey, u64)>,
    stretches: Stretches,
    session: Session,
    /// Of everything in flight.
    inflight_bytes: usize,
    /// Of what is in `sent`.
    sent_bytes: usize,
    held: Held,
    input_paused: bool,
    clock_ns: TimeNs,
    commands: Vec<Command>,
}

#[derive(Debug)]
struct Committing {
    cursors: Cursors,
    keys: Vec<(ActionKey, u64)>,
    settled: Settled,
}

impl Engine {
    /// Goes on from `committed`, whose last `leading` entry names today's window and rules.
    pub fn new(setting: Setting, committed: Cursors, clock_ns: TimeNs, batch_prefix: u64) -> Self {
        Self {
            session: Session::new(batch_prefix, setting.bounds),
            head: committed.clone(),
            committed,
            setting,
            overlay: HashMap::default(),
            unsent: VecDeque::new(),
            sent: VecDeque::new(),
            stored: VecDeque::new(),
            committing: None,
            settled_keys: Vec::new(),
            stretches: Stretches::default(),
            inflight_bytes: 0,
            sent_bytes: 0,
            held: Held::Nothing,
            input_paused: true,
            clock_ns,
            commands: Vec::new(),
        }
    }

    /// Takes in what happened; the commands are to be carried out in order.
    pub fn on(&mut self, event: Event) -> Vec<Command> {
        match event {
            Event::Actions(actions) => {
                self.input_paused = false;
                self.judge_all(actions.into_iter().map(|(a, record)| (Arrived::Action(a), record)));
            }
            Event::Reports(reports) => {
                self.input_paused = false;
                self.judge_all(reports.into_iter().map(|(r, record)| (Arrived::Report(r), record)));
            }
            Event::Pause => self.input_paused = true,
            Event::Ledger(reply) => self.on_reply(reply),
            Event::Committed => self.on_committed(),
            Event::Original(original) => self.on_original(original),
            Event::Clock(now_ns) => self.on_clock(now_ns),
        }
        self.send();
        self.commit();
        std::mem::take(&mut self.commands)
    }

    /// Whether more actions may be given; if not, wait for the next [`Event::Ledger`] or
    /// [`Event::Committed`].
    pub fn wants_input(&self) -> bool {
        matches!(self.held, Held::Nothing)
            && self.in_flight() < self.setting.bounds.inflight_entries_max
            && self.inflight_bytes < self.setting.bounds.inflight_bytes_max
    }

    /// Entries judged and not yet committed.
    pub fn in_flight(&self) -> usize {
        self.unsent.len() + self.sent.len() + self.stored.len()
    }

    /// Nothing is in flight: all that was judged is committed.
    pub fn is_settled(&self) -> bool {
        self.in_flight() == 0 && self.stretches.are_empty() && self.committing.is_none()
    }

    /// An answer of the ledger is due.
    pub fn awaits_ledger(&self) -> bool {
        !self.sent.is_empty() || self.session.is_ending()
    }

    /// What was decided and is not settled. The last [`Command::Commit`] counts as carried out.
    pub fn into_unsettled(self) -> Unsettled {
        let (cursors, committed) = match self.committing {
            Some(Committing { cursors, settled, .. }) => (cursors, settled.decided),
            None => (self.committed, Vec::new()),
        };
        let unsent = self.unsent.into_iter().map(|(_, entry)| entry);
        let entries = self.stored.into_iter().chain(self.sent).chain(unsent);
        let in_line = entries.map(|in_flight| {
            let InFlight { entry, closed, .. } = *in_flight;
            let own = Outcome::of(&entry).and_then(|_| entry.position().cloned());
            (own, closed.before.into_iter().chain(closed.own).collect())
        });
        let without_entry = (None, self.stretches.into_decided().collect());
        let from = cursors.ledger.sequence.saturating_add(1);
        Unsettled::new(committed, in_line.chain([without_entry]), from)
    }

    /// The positions that the table has.
    pub fn committed(&self) -> &Cursors {
        &self.committed
    }

    /// The server time of an entry at or before the committed ledger position became known.
    pub fn anchor(&mut self, sequence: u64, time_ns: TimeNs) {
        let committing = self.committing.as_mut().map(|c| &mut c.cursors);
        for cursors in [&mut self.committed, &mut self.head].into_iter().chain(committing) {
            cursors.ledger.anchor = Some((sequence, time_ns));
        }
    }

    /// Sends what the session has credit for; ends the batch with the last message when the input
    /// pauses, since the tail of a batch is acknowledged only by its end.
    fn send(&mut self) {
        let pause = self.input_paused || !matches!(self.held, Held::Nothing);
        let most = self.setting.bounds.duplicates_per_marker_max.saturating_sub(1);
        let most = if pause { 0 } else { most };
        self.close_stretches(most);
        let bytes_max = self.setting.bounds.unacknowledged_bytes_max;
        let credit = usize::try_from(self.session.credit()).unwrap_or(usize::MAX);
        self.commands.reserve(self.unsent.len().min(credit));
        let mean_bytes = self.inflight_bytes / self.in_flight().max(1);
        while self.session.has_credit() && self.sent_bytes < bytes_max {
            let Some((message, next)) = self.unsent.pop_front() else {
                break;
            };
            let expected = self.stored_up_to() + self.sent.len() as u64;
            self.sent_bytes += next.bytes;
            self.sent.push_back(next);
            // Acks come by number, not by bytes: where the bytes are used up, only an end brings one.
            let full = self.sent_bytes >= bytes_max;
            let outgrown = self.session.is_outgrown(mean_bytes);
            let last = full || outgrown || (pause && self.unsent.is_empty());
            let append = self.session.append(message, expected, (last, mean_bytes));
            self.commands.push(Command::Append(append));
        }
        if pause && self.unsent.is_empty() {
            self.commands.extend(self.session.end().map(Command::Append));
        }
    }

    /// The last ledger sequence that is known to be stored.
    fn stored_up_to(&self) -> u64 {
        let cursors = self.committing.as_ref().map_or(&self.committed, |c| &c.cursors);
        cursors.ledger.sequence + self.stored.len() as u64
    }

    fn on_reply(&mut self, reply: Reply) {
        let stored = match self.session.on_reply(reply, self.stored_up_to()) {
            Ok(stored) => stored,
            Err(Ended::Stale) => return,
            Err(Ended::Fenced) => return self.recover(Cause::Fenced),
            Err(Ended::Refused(why)) => return self.recover(Cause::Refused(why)),
        };
        let stored = usize::try_from(stored).unwrap_or(usize::MAX).min(self.sent.len());
        for entry in self.sent.drain(..stored) {
            self.sent_bytes -= entry.bytes;
            self.stored.push_back(entry);
        }
    }

    /// One commit at a time; what the ledger acknowledges meanwhile goes into the next.
    fn commit(&mut self) {
        if self.committing.is_some() || self.stored.is_empty() {
            return;
        }
        let mut cursors = self.committed.clone();
        let mut commit = Commit::default();
        let entries = self.stored.len();
        let (mut settled, mut keys) = (Settled::default(), Vec::with_capacity(entries));
        settled.decided.reserve(entries);
        commit.changes.reserve(entries);
        for mut entry in self.stored.drain(..) {
            self.inflight_bytes -= entry.bytes;
            let sequence = cursors.ledger.sequence + 1;
            fold::advance(&mut cursors, sequence, entry.fingerprint, &entry.entry);
            if let Some((key, record)) = entry.change.take() {
                keys.push((key.clone(), sequence));
                if !matches!(entry.entry, Entry::Accepted { .. }) {
                    settled.answered.push(key.clone());
                }
                commit.changes.push((key, record));
            }
            settled.decided.append(&mut entry.closed.before);
            settled.decided.extend(entry.closed.own);
        }
        settled.ledger_sequence = cursors.ledger.sequence;
        self.committing = Some(Committing { keys, settled, cursors: cursors.clone() });
        commit.cursors = cursors;
        self.commands.push(Command::Commit(commit));
    }

    fn on_committed(&mut self) {
        let Some(Committing { cursors, keys, settled }) = self.committing.take() else {
            return;
        };
        self.committed = cursors;
        self.settled_keys.extend(keys);
        self.trim_overlay();
        self.commands.push(Command::Settle(settled));
    }

    /// Look-ups from here on find settled keys in the table; those of held actions were made before.
    fn trim_overlay(&mut self) {
        if !matches!(self.held, Held::Nothing) {
            return;
        }
        for (key, ledger_sequence) in self.settled_keys.drain(..) {
            if let hash_map::Entry::Occupied(known) = self.overlay.entry(key)
                && known.get().ledger_sequence == ledger_sequence
            {
                known.remove();
            }
        }
    }

    fn recover(&mut self, cause: Cause) {
        self.commands.push(Command::Recover(cause));
    }
}
