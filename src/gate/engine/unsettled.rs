//! What an engine had decided and nobody was told yet, when it was dropped.
//!
//! What the ledger holds of it was decided for good, and may be shown after all. But by what the ledger says: a
//! position may have been judged twice, and differently, if the input dropped messages before it in between.

use std::collections::BTreeMap;

use super::Outcome;
use crate::gate::source::{Source, TimeNs};

/// Sequence, source time and outcome.
pub type Decided = (u64, TimeNs, Outcome);

/// See the module.
#[derive(Debug, Default)]
pub struct Unsettled {
    /// In the table.
    committed: Vec<Decided>,
    open: BTreeMap<u64, Open>,
}

#[derive(Debug)]
struct Open {
    time_ns: TimeNs,
    outcome: Outcome,
    in_ledger: bool,
}

impl Unsettled {
    pub(super) fn new(
        committed: impl Iterator<Item = Decided>,
        open: impl Iterator<Item = Decided>,
    ) -> Self {
        let open = open.map(|(sequence, time_ns, outcome)| {
            (sequence, Open { time_ns, outcome, in_ledger: false })
        });
        Self { committed: committed.collect(), open: open.collect() }
    }

    /// Entries that the ledger holds beyond what was in the table.
    pub fn read(&mut self, decided: &[(Source, Outcome)]) {
        for (source, outcome) in decided {
            let known = self.open.get_mut(&source.sequence);
            if let Some(open) = known.filter(|open| open.time_ns == source.time_ns) {
                (open.outcome, open.in_ledger) = (*outcome, true);
            }
        }
    }

    /// What may be shown, in input order, now that everything up to `judged` is read; the rest is dropped, and
    /// judged again. A duplicate has no entry.
    pub fn take_settled(&mut self, judged: u64) -> Vec<Decided> {
        let Self { committed, open } = std::mem::take(self);
        let open = open.into_iter().filter(|(sequence, _)| *sequence <= judged);
        let shown = open.filter(|(_, open)| open.in_ledger || open.outcome == Outcome::Duplicate);
        let shown = shown.map(|(sequence, open)| (sequence, open.time_ns, open.outcome));
        committed.into_iter().filter(|(sequence, ..)| *sequence <= judged).chain(shown).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::verdict::Reason;

    fn source(sequence: u64, time_ns: TimeNs) -> Source {
        Source { stream: "ACTIONS".into(), sequence, time_ns }
    }

    #[test]
    fn the_ledger_has_the_last_word() {
        let accepted = |sequence| (sequence, 10, Outcome::Accepted);
        let open =
            [accepted(2), accepted(3), (4, 10, Outcome::Duplicate), accepted(5), accepted(6)];
        let mut unsettled = Unsettled::new([accepted(1)].into_iter(), open.into_iter());
        let rejected = Outcome::Rejected(Reason::PayloadMismatch);
        unsettled.read(&[(source(2, 10), Outcome::Accepted), (source(3, 10), rejected)]);
        unsettled.read(&[(source(5, 11), Outcome::Accepted)]);
        let shown = unsettled.take_settled(5);
        assert_eq!(
            shown,
            [accepted(1), accepted(2), (3, 10, rejected), (4, 10, Outcome::Duplicate)]
        );
        assert_eq!(unsettled.take_settled(9), []);
    }
}
