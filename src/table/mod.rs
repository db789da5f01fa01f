//! The key table: which keys were accepted, and how far the table is in the ledger and in the inputs.
//!
//! The table may lag the ledger and never leads it (DESIGN invariant 3): what it lost in a crash is
//! replayed from there. What it must never do is to forget a key below its own position, since that
//! would forward an action twice. So keys and positions change in one atomic write, an error is never
//! taken for "not there", and a damaged table is refused, never replaced by an empty one.
//!
//! In reading order: this file (the trait, its errors), [`memory`] (the twin for tests and the
//! simulator), [`rocks`] (the real one), `key_filter` (what answers most look-ups in its stead), `write_behind` (what the
//! worker puts in front of it), `options` (RocksDB's settings, and why), `home` (the files around RocksDB), `meta`
//! (format, owner, positions), `look` (reading without changing), `expiry` (when the space of a dead key is freed),
//! [`rebuild`] (a new table in the place of the old one), [`backup`] (copies to restore it from).

pub mod backup;
mod expiry;
mod home;
mod key_filter;
mod look;
pub mod memory;
mod meta;
mod options;
pub mod rebuild;
pub mod rocks;
mod write_behind;

use std::io;
use std::path::{Path, PathBuf};

use crate::gate::cursor::Cursors;
use crate::gate::engine::Commit;
use crate::gate::key::ActionKey;
use crate::gate::record::KeyRecord;

pub use home::instance_id;
pub use memory::MemoryTable;
pub use rocks::{Collected, RocksTable};
pub use write_behind::WriteBehind;

/// The bound of cache and write buffers where none is given.
pub const MEMORY_BYTES: usize = 450_000_000;

/// A table of keys. Calls block (disk); they may come from several threads, but commits from one at a
/// time, in ledger order.
pub trait KeyTable: Send + Sync + 'static {
    /// The positions of the last commit; [`Cursors::default`] for a fresh table.
    fn cursors(&self) -> Result<Cursors, TableError>;

    /// The record of each key, in the order asked, repeats included. `None` is proof that the key is
    /// not there (or expired so long ago that it can't matter): whatever could not be read is an error.
    ///
    /// A record that is returned may be expired; whether it is, the verdict decides.
    fn load_many(&self, keys: &[&ActionKey]) -> Result<Vec<Option<KeyRecord>>, TableError>;

    /// Writes keys and positions, all or nothing. Of a key that is changed twice the later change holds.
    ///
    /// Survives the end of the process once it returns; of a [`WriteBehind`], once [`WriteBehind::write_out`] has
    /// returned. A power failure may take the last commits back, whole ones and from the end only.
    fn commit(&self, commit: Commit) -> Result<(), TableError>;

    /// Sizes, for people and metrics. Never fails; what can't be had is 0.
    fn stats(&self) -> TableStats;
}

/// Sizes of a table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TableStats {
    /// Keys, expired ones that still take space included. An estimate.
    pub keys: u64,
    /// Bytes on disk, the log included.
    pub bytes: u64,
    /// Look-ups that a filter on a file answered with "not there", since the opening.
    pub filtered: u64,
}

/// Why the table can't be used. Every message says what, where, and what to do, its cause included: it
/// is one paragraph to print as it is, with no chain behind it.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    /// Another process (or another part of this one) has it open.
    #[error(
        "the key table in {path} is in use by another process: stop that one, or give this instance \
         a directory of its own (`table.path`)"
    )]
    InUse {
        /// Directory of the table.
        path: PathBuf,
    },
    /// There is none, where one is needed.
    #[error("there is no key table in {path}: correct `table.path`")]
    Missing {
        /// Directory of the table.
        path: PathBuf,
    },
    /// What is there is not what was written.
    #[error(
        "the key table in {path} is damaged ({what}). Nothing in it was replaced: a table that lacks keys would \
         forward actions a second time. Check the disk. Then `oncegate rebuild --accept-ledger` makes a new \
         table from the ledger, asks, and keeps this one aside; or move this one away and fill the directory from a backup with \
         `oncegate restore DIR`"
    )]
    Damaged {
        /// Directory of the table.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// An oncegate before the first release wrote it.
    #[error(
        "the key table in {path} has format {found}, this oncegate reads format {known}. Nothing was changed: \
         `oncegate rebuild --accept-ledger` makes a new table from the ledger, asks, and keeps this one aside"
    )]
    OlderFormat {
        /// Directory of the table.
        path: PathBuf,
        /// Its format.
        found: u32,
        /// The format that this version reads.
        known: u32,
    },
    /// A later oncegate wrote it.
    #[error(
        "the key table in {path} has format {found}, this oncegate knows formats up to {known}. Nothing was \
         changed: run the version that wrote it, or a later one"
    )]
    NewerFormat {
        /// Directory of the table.
        path: PathBuf,
        /// Its format.
        found: u32,
        /// The newest format that this version reads.
        known: u32,
    },
    /// It belongs to a gate of another name.
    #[error(
        "the key table in {path} belongs to the gate {found:?}, not to {wanted:?}. Nothing was changed: \
         correct `name` or `table.path`"
    )]
    OtherGate {
        /// Directory of the table.
        path: PathBuf,
        /// The gate it belongs to.
        found: String,
        /// The gate that asked.
        wanted: String,
    },
    /// RocksDB could not do it.
    #[error(
        "the key table at {path}: {doing} failed: {cause}. If the disk is full, make room; else check \
         permissions and the disk. Then start again: what the table lacks is read from the ledger. If it can't \
         be opened then, `oncegate rebuild --accept-ledger` makes a new one from the ledger, and `oncegate \
         restore DIR` one from a backup"
    )]
    Storage {
        /// Directory of the table.
        path: PathBuf,
        /// What was tried.
        doing: &'static str,
        /// What RocksDB said.
        cause: rocksdb::Error,
    },
    /// A file or directory beside RocksDB could not be used.
    #[error(
        "the key table at {path}: {doing} failed: {cause}. Check `table.path`, its permissions, and that \
         the disk is neither full nor read-only; then start again"
    )]
    Io {
        /// File or directory.
        path: PathBuf,
        /// What was tried.
        doing: &'static str,
        /// What the system said.
        cause: io::Error,
    },
    /// A commit failed before, so what the table holds is not known any more.
    #[error(
        "the key table in {path} takes and answers nothing since a commit failed ({first}): start again"
    )]
    Poisoned {
        /// Directory of the table.
        path: PathBuf,
        /// The failure.
        first: String,
    },
}

impl TableError {
    /// Of what RocksDB said: corruption is told from failure.
    fn rocks(path: &Path, doing: &'static str, cause: rocksdb::Error) -> Self {
        let path = path.to_owned();
        match cause.kind() {
            rocksdb::ErrorKind::Corruption => {
                Self::Damaged { path, what: format!("{doing}: {cause}") }
            }
            _ => Self::Storage { path, doing, cause },
        }
    }

    fn damaged(path: &Path, what: impl ToString) -> Self {
        Self::Damaged { path: path.to_owned(), what: what.to_string() }
    }

    fn io(path: &Path, doing: &'static str, cause: io::Error) -> Self {
        Self::Io { path: path.to_owned(), doing, cause }
    }
}
