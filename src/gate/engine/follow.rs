//! The ledger's entries applied in order, exactly as a commit would: the tail in a recovery, and what a
//! standby sees come.

use bytes::Bytes;

use super::refusal::Refusal;
use super::{Commit, Outcome, fold};
use crate::gate::cursor::{Cursors, Filling};
use crate::gate::entry::{self, Entry, Leading, Unread};
use crate::gate::headers::{Headers, MalformedHeaders};
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

/// What some entries change.
#[derive(Debug, Default)]
pub struct Applied {
    /// For the table.
    pub commit: Commit,
    /// Sequences of messages that the gate did not write.
    pub foreign: Vec<u64>,
    /// What accepted and rejected entries decide.
    pub decided: Vec<(Source, Outcome)>,
    /// The last `leading` entry among them.
    pub leading: Option<Box<Leading>>,
}

/// See the module.
#[derive(Debug)]
pub struct Follow {
    name: String,
    pub(super) cursors: Cursors,
}

impl Follow {
    /// From what the table has.
    pub fn new(name: &str, cursors: Cursors) -> Self {
        Self { name: name.to_owned(), cursors }
    }

    /// Applies what comes after the cursor, up to sequence `last`; none may be missing in between, and none
    /// be of a newer format.
    pub fn apply_all(&mut self, messages: &[LedgerMessage], last: u64) -> Result<Applied, Refusal> {
        let mut applied = Applied::default();
        for message in messages.iter().filter(|message| message.sequence <= last) {
            let at = self.cursors.ledger.sequence;
            match message.sequence.saturating_sub(at) {
                0 => {}
                1 => self.apply(message, &mut applied)?,
                _ => {
                    let to = message.sequence - 1;
                    return Err(Refusal::EntriesMissing { from: at + 1, to });
                }
            }
        }
        applied.commit.cursors = self.cursors.clone();
        Ok(applied)
    }

    fn apply(&mut self, message: &LedgerMessage, applied: &mut Applied) -> Result<(), Refusal> {
        let LedgerMessage { sequence, time_ns, subject, headers, payload } = message;
        let fingerprint = fingerprint(message);
        let entry = match headers {
            Ok(headers) => entry::decode(&self.name, subject, headers, payload),
            Err(_) => Err(Unread::Foreign("its headers are malformed")),
        };
        if let Err(Unread::Newer { format, version }) = entry {
            return Err(Refusal::NewerEntries { sequence: *sequence, format, version });
        }
        // Accepted entries before the first term that is left leave no record: what they held is lost
        // too, so the count begins behind them.
        if let Cursors { filling: Some(Filling { from_ns, .. }), in_force: None, .. } =
            &mut self.cursors
        {
            *from_ns = *time_ns;
        }
        match entry {
            Ok(entry) => {
                let put = fold::apply(&mut self.cursors, *sequence, fingerprint, &entry);
                applied.commit.puts.extend(put);
                match entry {
                    Entry::Accepted { source, .. } => {
                        applied.decided.push((source, Outcome::Accepted));
                    }
                    Entry::Rejected { source, reason } => {
                        applied.decided.push((source, Outcome::Rejected(reason)));
                    }
                    Entry::Judged { .. } => {}
                    Entry::Leading(leading) => applied.leading = Some(leading),
                }
            }
            Err(_) => {
                fold::pass_over(&mut self.cursors, *sequence, fingerprint);
                applied.foreign.push(*sequence);
            }
        }
        self.cursors.ledger.anchor = Some((*sequence, *time_ns));
        Ok(())
    }
}

pub(super) fn fingerprint(message: &LedgerMessage) -> u64 {
    let none = Headers::default();
    entry::fingerprint(&message.subject, message.headers.as_ref().unwrap_or(&none))
}
