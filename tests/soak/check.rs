//! The ledger against the model, from its first entry on, a little behind the workers: in as much memory
//! as a window takes.

use crate::support::compare::{self, Comparison};
use crate::support::ledger;
use crate::support::model::Rules;
use crate::support::raw::Client;
use crate::support::streams::{self, Stored};

/// Messages read at once.
const STRETCH: u64 = 2_000;

pub struct Check {
    stream: String,
    ledger: String,
    comparison: Comparison,
    pub counts: Counts,
}

/// What was compared.
#[derive(Debug, Clone, Copy, Default)]
pub struct Counts {
    /// The last input that the model has judged; none is missing before it.
    pub inputs: u64,
    /// The last entry that was compared.
    pub entries: u64,
    pub decided: compare::Counts,
}

impl Check {
    pub fn new(rules: &Rules, stream: &str) -> Self {
        Self {
            stream: stream.into(),
            ledger: rules.name.to_uppercase(),
            comparison: Comparison::new(rules, stream),
            counts: Counts::default(),
        }
    }

    /// This report is in its stream; nobody has judged it yet.
    pub fn reported(&mut self, report: Stored) {
        self.comparison.expect_report(report);
    }

    /// Compares what the ledger holds by now.
    #[track_caller]
    pub fn catch_up(&mut self, client: &mut Client) {
        // In this order: what an entry names is among the inputs that are read.
        let entries = streams::last_sequence(client, &self.ledger);
        let inputs = streams::last_sequence(client, &self.stream);
        while self.counts.inputs < inputs {
            self.judge(client, inputs);
        }
        while self.counts.entries < entries {
            self.compare(client, entries);
        }
        if let Err(account) = self.comparison.so_far() {
            panic!("the ledger is not what the model expects:\n{account}");
        }
        self.comparison.forget();
        self.counts.decided = self.comparison.counts;
    }

    /// Nothing is left to be judged.
    #[track_caller]
    pub fn end(mut self, client: &mut Client) -> Counts {
        self.catch_up(client);
        if let Err(account) = self.comparison.end() {
            panic!("the ledger is not what the model expects:\n{account}");
        }
        self.counts
    }

    fn judge(&mut self, client: &mut Client, last: u64) {
        let (from, to) = (self.counts.inputs + 1, last.min(self.counts.inputs + STRETCH));
        let messages = streams::read(client, &self.stream, from..=to);
        assert_eq!(messages.len() as u64, to + 1 - from, "the input stream has lost messages");
        for input in messages {
            self.comparison.expect(input);
        }
        self.counts.inputs = to;
    }

    fn compare(&mut self, client: &mut Client, last: u64) {
        let (from, to) = (self.counts.entries + 1, last.min(self.counts.entries + STRETCH));
        let entries = ledger::read_from(client, &self.ledger, from, to);
        assert_eq!(entries.len() as u64, to + 1 - from, "the ledger has lost entries");
        for entry in &entries {
            self.comparison.take(entry);
        }
        self.counts.entries = to;
    }
}
