//! What an audit has looked at.

use serde_json::{Value, json};

use crate::gate::source::{TimeNs, rfc3339};

/// Counts of one audit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// The ledger was read from here ...
    pub ledger_from: u64,
    /// ... to here: its end when the audit began.
    pub ledger_to: u64,
    /// Entries of the gate, markers and terms included.
    pub entries: u64,
    /// Of them, accepted.
    pub accepted: u64,
    /// Of them, rejected.
    pub rejected: u64,
    /// Of them, about reports.
    pub reports: u64,
    /// Inputs that were duplicates, and had to be.
    pub duplicates: u64,
    /// Entries before the first `leading` entry that the ledger holds: nothing says under what they were
    /// judged.
    pub before_first_term: u64,
    /// Messages that the gate did not write.
    pub foreign: u64,
    /// Input sequences that the ledger has passed and the stream no longer holds.
    pub inputs_gone: u64,
    /// Of entries whose input is gone, those that lack what it would take to judge them from themselves.
    pub entries_in_part: u64,
    /// Inputs whose key may have been accepted before the ledger's first entry.
    pub not_checkable: u64,
    /// Entries that the ledger no longer holds, if it does not begin with the first.
    pub entries_trimmed: u64,
    /// Until this source time a key among them may have counted as seen.
    pub unknown_until_ns: Option<TimeNs>,
    /// Inputs that no entry has reached.
    pub not_yet_judged: u64,
    /// Keys that were live at the end.
    pub live_keys: u64,
    /// What was found wrong.
    pub discrepancies: u64,
}

impl Summary {
    /// The last line of `--json`.
    pub fn to_json(&self) -> Value {
        let until = self.unknown_until_ns.map(|time_ns| rfc3339(time_ns).to_string());
        json!({ "summary": {
            "ledger_from": self.ledger_from, "ledger_to": self.ledger_to,
            "entries": self.entries, "accepted": self.accepted, "rejected": self.rejected,
            "reports": self.reports, "duplicates": self.duplicates,
            "before_first_term": self.before_first_term, "foreign": self.foreign,
            "inputs_gone": self.inputs_gone, "entries_in_part": self.entries_in_part,
            "not_checkable": self.not_checkable, "entries_trimmed": self.entries_trimmed,
            "unknown_until": until, "not_yet_judged": self.not_yet_judged,
            "live_keys": self.live_keys, "discrepancies": self.discrepancies,
        }})
    }
}
