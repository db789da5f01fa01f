//! The ledger's entries applied in order, exactly as a commit would: the tail in a recovery, and what a
//! standby sees come.

use std::collections::{HashMap, HashSet};

use bytes::Bytes;

use super::refusal::Refusal;
use super::{Commit, Outcome, fold};
use crate::gate::cursor::{Cursors, Filling};
use crate::gate::entry::{self, Entry, Leading, Unread};
use crate::gate::headers::{Headers, MalformedHeaders};
use crate::gate::key::ActionKey;
use crate::gate::record::KeyRecord;
use crate::gate::source::{Source, TimeNs};

/// A message of the ledger stream.
#[derive(Clone, Debug)]
pub struct LedgerMessage {
    /// Ledger sequence.
    pub sequence: u64,
    /// When the server stored it.
    pub time_ns: TimeNs,
    /// Its subject.
    pub subject: String,
    /// Its headers.
    pub headers: Result<Headers, MalformedHeaders>,
    /// Its payload; need not be there but for `leading` entries.
    pub payload: Bytes,
}

/// Entries that are read, to be applied.
#[derive(Debug, Default)]
pub struct Read {
    entries: Vec<ReadEntry>,
}

#[derive(Debug)]
struct ReadEntry {
    sequence: u64,
    time_ns: TimeNs,
    fingerprint: u64,
    /// `None`: the gate did not write it.
    entry: Option<Entry>,
}

/// What is known of keys.
pub type Records = HashMap<ActionKey, KeyRecord>;

/// What some entries change.
#[derive(Debug, Default)]
pub struct Applied {
    /// For the table.
    pub commit: Commit,
    /// Sequences of messages that the gate did not write.
    pub foreign: Vec<u64>,
    /// What entries decide, each with its own sequence.
    pub decided: Vec<(Source, u64, Outcome)>,
    /// The last `leading` entry among them.
    pub leading: Option<Box<Leading>>,
}

/// See the module.
#[derive(Debug)]
pub struct Follow {
    name: String,
    pub(super) cursors: Cursors,
}

impl ReadEntry {
    fn changes(&self) -> bool {
        self.entry.as_ref().and_then(Entry::changes).is_some()
    }
}

impl Read {
    /// Keys whose records [`Follow::apply_all`] must be given.
    pub fn keys(&self) -> Vec<ActionKey> {
        let entries = self.entries.iter().filter_map(|read| read.entry.as_ref());
        let keys: HashSet<_> = entries.filter_map(Entry::changes).collect();
        keys.into_iter().cloned().collect()
    }
}

impl Follow {
    /// From what the table has.
    pub fn new(name: &str, cursors: Cursors) -> Self {
        Self { name: name.to_owned(), cursors }
    }

    /// Reads what comes after the cursor, up to sequence `last`; none may be missing in between, and none
    /// be of a newer format.
    pub fn read(&self, messages: &[LedgerMessage], last: u64) -> Result<Read, Refusal> {
        let mut read = Read::default();
        let mut at = self.cursors.ledger.sequence;
        for message in messages.iter().filter(|message| message.sequence <= last) {
            match message.sequence.saturating_sub(at) {
                0 => continue,
                1 => read.entries.push(self.read_one(message)?),
                _ => {
                    let to = message.sequence - 1;
                    return Err(Refusal::EntriesMissing { from: at + 1, to });
                }
            }
            at = message.sequence;
        }
        Ok(read)
    }

    fn read_one(&self, message: &LedgerMessage) -> Result<ReadEntry, Refusal> {
        let LedgerMessage { sequence, time_ns, subject, headers, payload } = message;
        let entry = match headers {
            Ok(headers) => entry::decode(&self.name, subject, headers, payload),
            Err(_) => Err(Unread::Foreign("its headers are malformed")),
        };
        let entry = match entry {
            Ok(entry) => Some(entry),
            Err(Unread::Foreign(_)) => None,
            Err(Unread::Newer { format, version }) => {
                return Err(Refusal::NewerEntries { sequence: *sequence, format, version });
            }
        };
        let fingerprint = fingerprint(message);
        Ok(ReadEntry { sequence: *sequence, time_ns: *time_ns, fingerprint, entry })
    }

    /// Applies what was read. `records`: what the table holds of [`Read::keys`].
    pub fn apply_all(&mut self, read: Read, records: Records) -> Applied {
        let mut applied = Applied::default();
        // A key may be new, and change, in one go.
        let mut records = read.entries.iter().any(ReadEntry::changes).then_some(records);
        for read in read.entries {
            self.apply(read, records.as_mut(), &mut applied);
        }
        applied.commit.cursors = self.cursors.clone();
        applied
    }

    fn apply(&mut self, read: ReadEntry, mut records: Option<&mut Records>, applied: &mut Applied) {
        let ReadEntry { sequence, time_ns, fingerprint, entry } = read;
        // Accepted entries before the first term that is left leave no record: what they held is lost
        // too, so the count begins behind them.
        if let Cursors { filling: Some(Filling { from_ns, .. }), in_force: None, .. } =
            &mut self.cursors
        {
            *from_ns = time_ns;
        }
        match entry {
            Some(entry) => {
                fold::advance(&mut self.cursors, sequence, fingerprint, &entry);
                let before = entry.changes().and_then(|key| records.as_ref()?.get(key));
                if let Some((key, record)) = fold::change(&self.cursors, &entry, before) {
                    if let Some(records) = &mut records {
                        match &record {
                            Some(record) => records.insert(key.clone(), record.clone()),
                            None => records.remove(&key),
                        };
                    }
                    applied.commit.changes.push((key, record));
                }
                if let (Some(outcome), Some(source)) = (Outcome::of(&entry), entry.position()) {
                    applied.decided.push((source.clone(), sequence, outcome));
                }
                if let Entry::Leading(leading) = entry {
                    applied.leading = Some(leading);
                }
            }
            None => {
                fold::pass_over(&mut self.cursors, sequence, fingerprint);
                applied.foreign.push(sequence);
            }
        }
        self.cursors.ledger.anchor = Some((sequence, time_ns));
    }
}

pub(super) fn fingerprint(message: &LedgerMessage) -> u64 {
    let none = Headers::default();
    entry::fingerprint(&message.subject, message.headers.as_ref().unwrap_or(&none))
}
