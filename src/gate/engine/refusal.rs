//! What the gate stops for, rather than to guess.

use std::sync::Arc;

/// Why the gate stops: going on could forward an action twice. Each says what, where and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The last sequence is below the table's.
    #[error(
        "the ledger went back: the key table has applied the ledger up to sequence {table}, but the \
         stream ends at {ledger}. It was recreated, purged, restored from an old copy, or lost its end in a \
         power failure; going on could forward actions a second time. Restore the ledger stream. If this \
         ledger is all there is, `oncegate rebuild --accept-ledger` says how many actions may be forwarded a \
         second time, and makes the table follow it."
    )]
    LedgerWentBack {
        /// The table's sequence.
        table: u64,
        /// The stream's last.
        ledger: u64,
    },
    /// The entry at the table's position is another one.
    #[error(
        "the ledger is not the one that the key table has applied: its entry {sequence} is {found} \
         where the table knows {known}. It was recreated or rolled back and grew again. Restore the \
         right ledger stream. If this ledger is all there is, `oncegate rebuild --accept-ledger` says how many \
         actions may be forwarded a second time, and makes the table follow it."
    )]
    OtherLedger {
        /// Ledger sequence.
        sequence: u64,
        /// What stands there.
        found: String,
        /// What the table remembers.
        known: String,
    },
    /// Entries between the table's position and the end are gone.
    #[error(
        "the ledger has lost entries {from}..={to}, which the key table has not applied. The keys in \
         them would be forgotten. Restore the ledger stream; or move the table's directory away and fill it from \
         a later backup with `oncegate restore DIR`; or, if what is left of the ledger reaches back over \
         the whole window, make the table anew from it with `oncegate rebuild`."
    )]
    EntriesMissing {
        /// First missing.
        from: u64,
        /// Last missing.
        to: u64,
    },
    /// A new table, but the ledger no longer begins at 1.
    #[error(
        "the key table was empty and the ledger can't fill it: its first entries are trimmed (it was read up \
         to {first}), so keys that are still within the window would be forgotten. Move the table's directory away \
         and fill it from a backup with `oncegate restore DIR`, restore the ledger stream, or wait until the oldest entry that is left \
         is older than the window."
    )]
    LedgerTrimmed {
        /// First entry, or how far it was read.
        first: u64,
    },
    /// The input stream is not the one the cursor knows.
    #[error(
        "the input stream {stream} went back: the gate has judged it up to sequence {sequence} of \
         {time}, {found}. It was restored from an old copy; going on could pass over new actions or judge \
         old ones again. Restore the stream, or delete and recreate it (a recreated stream begins anew, \
         and the keys stay)."
    )]
    InputWentBack {
        /// Its name.
        stream: Arc<str>,
        /// The cursor.
        sequence: u64,
        /// Source time there.
        time: String,
        /// What is there now.
        found: String,
    },
    /// A `leading` entry of a later version of the program.
    #[error(
        "the ledger is newer than this oncegate: from entry {sequence} on its entries have format {format}, \
         written by oncegate {version}; this one knows formats up to {known}. Going on could forget keys. \
         Run that version, or a later one; docs/upgrades.md says what else can be done.",
        known = crate::gate::entry::FORMAT
    )]
    NewerEntries {
        /// Ledger sequence.
        sequence: u64,
        /// Its format.
        format: u64,
        /// Of the program that wrote it.
        version: String,
    },
}
