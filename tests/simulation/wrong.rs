//! Wrong engines: each breaks one rule of the protocol, and the model must notice.

/// What a worker does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrong {
    /// Puts the key into the table before the entry is in the ledger.
    MarkBeforeAppend,
    /// Appends without the expected sequence.
    NoExpectedSequence,
    /// Appends by plain pipelined publishes with the expected sequence, not by a batch.
    PlainPublishes,
    /// Takes what it has sent for stored.
    CommitBeforeAck,
    /// Acknowledges the input when it appends.
    AckBeforeCommit,
    /// Shows a duplicate when it is judged.
    AnswerDuplicateAtOnce,
    /// Goes on where deliveries are missing.
    SkipHole,
    /// Goes on where the consumer stands.
    TrustFloor,
    /// Takes a stream with another creation time for a new one.
    TrustCreated,
    /// Passes over what the ledger holds beyond the table.
    IgnoreTail,
    /// Begins a batch before the last one's final answer.
    TwoBatches,
    /// A duplicate begins the key's window anew.
    DuplicateMovesExpiry,
    /// Forgets a key when its window is over by the worker's clock.
    ExpireByClock,
    /// Looks a key up when the action comes, not when it is judged.
    LookUpEarly,
    /// Does not say, where a key is given back, which actions were judged before.
    ReleaseWithoutJudged,
    /// Leaves a key that was given back in the table.
    KeepReleasedKey,
    /// Takes a run's second result for its first.
    SecondResultStands,
    /// Shows a result when it is judged.
    AnswerReportAtOnce,
    /// Begins the reports anew after a recovery.
    LoseReportCursor,
}

impl Wrong {
    pub const ALL: [Self; 19] = [
        Self::MarkBeforeAppend,
        Self::NoExpectedSequence,
        Self::PlainPublishes,
        Self::CommitBeforeAck,
        Self::AckBeforeCommit,
        Self::AnswerDuplicateAtOnce,
        Self::SkipHole,
        Self::TrustFloor,
        Self::TrustCreated,
        Self::IgnoreTail,
        Self::TwoBatches,
        Self::DuplicateMovesExpiry,
        Self::ExpireByClock,
        Self::LookUpEarly,
        Self::ReleaseWithoutJudged,
        Self::KeepReleasedKey,
        Self::SecondResultStands,
        Self::AnswerReportAtOnce,
        Self::LoseReportCursor,
    ];
}
