//! Positions that have no entry of their own: duplicates of actions, and reports that repeat a result. They
//! are in the ledger by the next entry that names their input, or by a marker.

use super::{Decided, InputKind};
use crate::gate::source::Source;

/// Of both inputs, since the last entry that named the input.
#[derive(Debug, Default)]
pub(super) struct Stretches {
    actions: Vec<Decided>,
    reports: Vec<Decided>,
}

impl Stretches {
    fn of(&mut self, input: InputKind) -> &mut Vec<Decided> {
        match input {
            InputKind::Actions => &mut self.actions,
            InputKind::Reports => &mut self.reports,
        }
    }

    pub(super) fn push(&mut self, decided: Decided) {
        self.of(decided.input).push(decided);
    }

    /// An entry names a position behind them.
    pub(super) fn take(&mut self, input: InputKind) -> Vec<Decided> {
        std::mem::take(self.of(input))
    }

    /// The last of them, and how many.
    pub(super) fn end(&mut self, input: InputKind) -> Option<(Source, u64)> {
        let stretch = self.of(input);
        Some((stretch.last()?.source.clone(), stretch.len() as u64))
    }

    pub(super) fn are_empty(&self) -> bool {
        self.actions.is_empty() && self.reports.is_empty()
    }

    pub(super) fn into_decided(self) -> impl Iterator<Item = Decided> {
        self.actions.into_iter().chain(self.reports)
    }
}
