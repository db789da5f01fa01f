//! What was decided about one input position, and who is to be told.

use crate::gate::entry::Entry;
use crate::gate::receipt::Receipt;
use crate::gate::source::Source;
use crate::gate::verdict::Reason;

/// Which of the gate's two inputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum InputKind {
    /// The stream of actions.
    Actions,
    /// The stream of reports.
    Reports,
}

impl InputKind {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Actions, Self::Reports];
}

/// What was decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// An action was forwarded.
    Accepted,
    /// An action was seen before, with the same payload.
    Duplicate,
    /// To the dead letters.
    Rejected(Reason),
    /// A report is its run's result.
    Completed,
    /// A report has given its key back.
    Released,
    /// A report says what the run's result says already.
    Repeated,
}

impl Outcome {
    /// What an entry decides about its own position; `None` where it only closes a stretch or begins a term.
    pub fn of(entry: &Entry) -> Option<Self> {
        match entry {
            Entry::Accepted { .. } => Some(Self::Accepted),
            Entry::Rejected { reason, .. } => Some(Self::Rejected(*reason)),
            Entry::Completed { .. } => Some(Self::Completed),
            Entry::Released { .. } => Some(Self::Released),
            Entry::Judged { .. } | Entry::Leading(_) => None,
        }
    }

    /// It is in the ledger only by a position at or after its own.
    pub fn has_no_entry(self) -> bool {
        matches!(self, Self::Duplicate | Self::Repeated)
    }
}

/// An input position, what was decided about it, and the answer to whom wants one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decided {
    /// Of which input.
    pub input: InputKind,
    /// Where it stands.
    pub source: Source,
    /// What was decided.
    pub outcome: Outcome,
    /// To be sent when it is settled.
    pub receipt: Option<Box<Receipt>>,
}
