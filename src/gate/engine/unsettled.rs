//! What an engine had decided and nobody was told yet, when it was dropped.
//!
//! What the ledger holds of it was decided for good, and may be shown after all. But by what the ledger says: a
//! position may have been judged twice, and differently, if the input dropped messages before it in between.

use std::collections::BTreeMap;

use super::{Decided, InputKind, Outcome};
use crate::gate::source::Source;

/// See the module.
#[derive(Debug, Default)]
pub struct Unsettled {
    /// In the table.
    committed: Vec<Decided>,
    open: BTreeMap<(InputKind, u64), Open>,
}

#[derive(Debug)]
struct Open {
    decided: Decided,
    in_ledger: bool,
}

impl Unsettled {
    pub(super) fn new(
        committed: impl Iterator<Item = Decided>,
        open: impl Iterator<Item = Decided>,
    ) -> Self {
        let open = open.map(|decided| {
            let at = (decided.input, decided.source.sequence);
            (at, Open { decided, in_ledger: false })
        });
        Self { committed: committed.collect(), open: open.collect() }
    }

    /// Entries that the ledger holds beyond what was in the table, each with its ledger sequence.
    pub fn read(&mut self, decided: &[(Source, u64, Outcome)]) {
        for (source, at, outcome) in decided {
            for input in [InputKind::Actions, InputKind::Reports] {
                let known = self.open.get_mut(&(input, source.sequence));
                if let Some(open) = known.filter(|open| open.decided.source == *source) {
                    open.in_ledger = true;
                    open.decided.stands(*outcome, *at);
                }
            }
        }
    }

    /// What may be shown, each input in order, now that everything is read up to what `judged` says; the rest
    /// is dropped, and judged again. What has no entry is shown as it was decided.
    pub fn take_settled(&mut self, judged: impl Fn(InputKind) -> u64) -> Vec<Decided> {
        let Self { committed, open } = std::mem::take(self);
        let is_judged = |decided: &Decided| decided.source.sequence <= judged(decided.input);
        let shown =
            open.into_values().filter(|open| open.in_ledger || open.decided.outcome.has_no_entry());
        committed.into_iter().chain(shown.map(|open| open.decided)).filter(is_judged).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::source::TimeNs;
    use crate::gate::verdict::Reason;

    fn decided(sequence: u64, time_ns: TimeNs, outcome: Outcome) -> Decided {
        let source = Source { stream: "ACTIONS".into(), sequence, time_ns };
        Decided { input: InputKind::Actions, source, outcome, receipt: None }
    }

    #[test]
    fn the_ledger_has_the_last_word() {
        let accepted = |sequence| decided(sequence, 10, Outcome::Accepted);
        let duplicate = decided(4, 10, Outcome::Duplicate);
        let open = [accepted(2), accepted(3), duplicate.clone(), accepted(5), accepted(6)];
        let mut unsettled = Unsettled::new([accepted(1)].into_iter(), open.into_iter());
        let rejected = decided(3, 10, Outcome::Rejected(Reason::PayloadMismatch));
        let source = |of: &Decided| of.source.clone();
        unsettled.read(&[
            (source(&accepted(2)), 1, Outcome::Accepted),
            (source(&rejected), 2, rejected.outcome),
        ]);
        unsettled.read(&[(source(&decided(5, 11, Outcome::Accepted)), 3, Outcome::Accepted)]);
        let shown = unsettled.take_settled(|_| 5);
        assert_eq!(shown, [accepted(1), accepted(2), rejected, duplicate]);
        assert_eq!(unsettled.take_settled(|_| 9), []);
    }
}
