//! To begin to lead: the entry that ends a predecessor's batch, and says what holds from here on.

use std::sync::Arc;

use super::recovery::Recovered;
use super::{Commit, fold};
use crate::gate::cursor::{Cursors, InputCursor};
use crate::gate::entry::{self, Entry, Leading, LeadingInput, Message};
use crate::gate::rules::Rules;
use crate::gate::source::TimeNs;

/// Who leads, and under what.
#[derive(Clone, Debug)]
pub struct Leader {
    /// Kept in the table's directory.
    pub instance: String,
    /// Host name.
    pub host: String,
    /// Of the program.
    pub version: String,
    /// `retention.window` in milliseconds.
    pub window_ms: u64,
    /// Today's rules.
    pub rules: Arc<Rules>,
}

/// Whether the ledger's last `leading` entry names this leader's window and rules. Another instance may have
/// led in between, and what comes next is read under what that entry says.
pub fn in_force(cursors: &Cursors, leader: &Leader) -> bool {
    let Some(in_force) = cursors.in_force else { return false };
    let rules = cursors.rules.get(in_force.rules as usize);
    in_force.window_ns == leader.window_ns() && rules == Some(&leader.rules.fingerprint())
}

impl Leader {
    fn window_ns(&self) -> TimeNs {
        i64::try_from(self.window_ms).unwrap_or(i64::MAX).saturating_mul(1_000_000)
    }
}

/// A term's first entry, to be appended alone behind [`Beginning::expected`].
#[derive(Debug)]
pub struct Beginning {
    /// The entry.
    pub message: Message,
    /// The ledger's last sequence, as the recovery found it.
    pub expected: u64,
    cursors: Cursors,
    body: Leading,
}

impl Beginning {
    /// From where the recovery has left the table.
    pub fn new(name: &str, leader: &Leader, recovered: &Recovered) -> Self {
        let mut cursors = recovered.cursors.clone();
        for input in &recovered.inputs {
            cursors.input(&input.stream).1.created_ns = input.created_ns;
        }
        let body = Leading {
            format: entry::FORMAT,
            instance: leader.instance.clone(),
            host: leader.host.clone(),
            version: leader.version.clone(),
            window_ms: leader.window_ms,
            rules: leader.rules.texts().clone(),
            rules_fingerprint: leader.rules.fingerprint().to_string(),
            inputs: cursors.inputs.iter().map(leading_input).collect(),
            ledger_sequence: cursors.ledger.sequence,
            source_time_max_ns: cursors.ledger.source_time_max_ns,
        };
        let message = entry::leading(name, &body);
        Self { message, expected: cursors.ledger.sequence, cursors, body }
    }

    /// What the table must take before anything is judged; `None` if the ledger put the entry elsewhere.
    pub fn stored_at(self, sequence: u64) -> Option<Commit> {
        let Self { message, expected, mut cursors, body } = self;
        if sequence != expected + 1 {
            return None;
        }
        let entry = Entry::Leading(Box::new(body));
        fold::advance(&mut cursors, sequence, message.fingerprint(), &entry);
        Some(Commit { changes: Vec::new(), cursors })
    }
}

fn leading_input(cursor: &InputCursor) -> LeadingInput {
    LeadingInput {
        stream: cursor.stream.to_string(),
        created_ns: cursor.created_ns,
        sequence: cursor.sequence,
        time_ns: cursor.time_ns,
    }
}
