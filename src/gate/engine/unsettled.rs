//! What an engine had decided and nobody was told yet, when it was dropped.
//!
//! What the ledger holds of it was decided for good, and may be shown after all. But by what the ledger says: a
//! position may have been judged twice, and differently, if the input dropped messages before it in between, or
//! actions and reports came in another order. An answer tells of a run's id, state and expiry, which follow
//! from all entries before it: it is kept only where those are the engine's own.

use std::collections::{BTreeMap, VecDeque};

use super::{Decided, InputKind, Outcome};
use crate::gate::source::Source;

/// See the module.
#[derive(Debug, Default)]
pub struct Unsettled {
    /// In the table.
    committed: Vec<Decided>,
    open: BTreeMap<(InputKind, u64), Open>,
    /// Entries that were in line and are not read yet, each with its ledger sequence; up to the first marker,
    /// in whose place the ledger may hold another term's beginning.
    due: VecDeque<(Source, u64)>,
    /// So many entries stand in the ledger as they were in line.
    as_in_line: usize,
    /// The ledger holds an entry that was not in line there.
    others: bool,
}

#[derive(Debug)]
struct Open {
    decided: Decided,
    /// The number of its entry in line.
    entry: usize,
    in_ledger: bool,
}

impl Unsettled {
    /// `in_line`: what each entry that was in line would have made final, with the position of its own, and
    /// last what had no entry yet. The first of them was to stand at ledger sequence `from`.
    pub(super) fn new(
        committed: Vec<Decided>,
        in_line: impl Iterator<Item = (Option<Source>, Vec<Decided>)>,
        from: u64,
    ) -> Self {
        let mut unsettled = Self { committed, ..Self::default() };
        let mut marked = false;
        for ((own, decided), entry) in in_line.zip(0..) {
            match own {
                Some(source) if !marked => {
                    unsettled.due.push_back((source, from.saturating_add(entry as u64)));
                }
                _ => marked = true,
            }
            let open = decided.into_iter().map(|decided| {
                let at = (decided.input, decided.source.sequence);
                (at, Open { decided, entry, in_ledger: false })
            });
            unsettled.open.extend(open);
        }
        unsettled
    }

    /// Entries that the ledger holds beyond what was in the table, each with its ledger sequence.
    pub fn read(&mut self, decided: &[(Source, u64, Outcome)]) {
        for (source, at, outcome) in decided {
            let mut same = false;
            for input in InputKind::ALL {
                let known = self.open.get_mut(&(input, source.sequence));
                if let Some(open) = known.filter(|open| open.decided.source == *source) {
                    open.in_ledger = true;
                    same = open.decided.outcome == *outcome;
                    open.decided.outcome = *outcome;
                }
            }
            let due = self.due.pop_front();
            if same && !self.others && due.is_some_and(|due| (&due.0, &due.1) == (source, at)) {
                self.as_in_line += 1;
            } else {
                self.others = true;
            }
        }
    }

    /// What may be shown, each input in order, now that everything is read up to what `judged` says; the rest
    /// is dropped, and judged again. What has no entry is shown as it was decided.
    pub fn take_settled(&mut self, judged: impl Fn(InputKind) -> u64) -> Vec<Decided> {
        let Self { committed, open, as_in_line, others, .. } = std::mem::take(self);
        let is_judged = |decided: &Decided| decided.source.sequence <= judged(decided.input);
        let shown = |Open { mut decided, entry, in_ledger }| {
            let without_entry = decided.outcome.has_no_entry();
            if entry >= as_in_line && (others || !without_entry) {
                decided.receipt = None;
            }
            (in_ledger || without_entry).then_some(decided)
        };
        committed
            .into_iter()
            .chain(open.into_values().filter_map(shown))
            .filter(is_judged)
            .collect()
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
        let in_line = open.map(|decided| (Some(decided.source.clone()), vec![decided]));
        let mut unsettled = Unsettled::new(vec![accepted(1)], in_line.into_iter(), 1);
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
