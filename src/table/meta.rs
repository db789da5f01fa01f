//! The family `meta`: what the table is, whose it is, and how far it is.
//!
//! | name        | value                                                                          |
//! |-------------|--------------------------------------------------------------------------------|
//! | `format`    | version of the whole table, `u32` little-endian                                |
//! | `gate`      | name of the gate it belongs to, UTF-8                                          |
//! | `cursors`   | [`Cursors::encode`], of the last commit                                        |
//! | `collected` | source time before which no key in it expires, `i64` little-endian ns: what    |
//! |             | the last whole rewrite left, or the first keys' own; the largest where no key  |
//! |             | was ever written; absent where it is not known, in tables that are older       |

use std::path::Path;

use rocksdb::{ColumnFamily, DB, WriteBatch, WriteOptions};

use super::TableError;
use super::options::META;
use crate::gate::cursor::Cursors;
use crate::gate::source::TimeNs;

/// The version that this code writes, and the only one that it reads.
///
/// - 2: keys as [`crate::gate::key::ActionKey::as_bytes`], records of version 2, cursors of version 1 (of version
///   2 while the table is filled from a trimmed ledger).
/// - 1: before the first release. UUIDs took 36 bytes, and records 8 more.
pub(super) const FORMAT: u32 = 2;

const FORMAT_NAME: &str = "format";
const GATE: &str = "gate";
const CURSORS: &str = "cursors";
const COLLECTED: &str = "collected";

/// The family `meta` of an open database.
pub(super) struct Meta<'a> {
    db: &'a DB,
    family: &'a ColumnFamily,
    path: &'a Path,
}

/// The family of this name, which every table has.
pub(super) fn family<'a>(
    db: &'a DB,
    path: &Path,
    name: &str,
) -> Result<&'a ColumnFamily, TableError> {
    let missing = || TableError::damaged(path, format!("its column family `{name}` is missing"));
    db.cf_handle(name).ok_or_else(missing)
}

impl<'a> Meta<'a> {
    pub(super) fn of(db: &'a DB, path: &'a Path) -> Result<Self, TableError> {
        Ok(Self { db, family: family(db, path, META)?, path })
    }

    /// Makes a table of an empty database, durably.
    pub(super) fn begin(&self, gate: &str) -> Result<(), TableError> {
        let mut batch = WriteBatch::default();
        batch.put_cf(self.family, FORMAT_NAME, FORMAT.to_le_bytes());
        batch.put_cf(self.family, GATE, gate);
        self.put_cursors(&mut batch, &Cursors::default());
        self.put_collected(&mut batch, TimeNs::MAX);
        let mut durably = WriteOptions::default();
        durably.set_sync(true);
        let written = self.db.write_opt(batch, &durably);
        written.map_err(|source| TableError::rocks(self.path, "writing a new table", source))
    }

    /// Refuses a later format, another gate's table, an earlier format: in this order. A later one may keep
    /// the name elsewhere; an earlier one is told only to the gate that may replace it.
    pub(super) fn check(&self, wanted: &str) -> Result<(), TableError> {
        let path = self.path.to_owned();
        let found = u32::from_le_bytes(self.number(FORMAT_NAME, &self.required(FORMAT_NAME)?)?);
        if found > FORMAT {
            return Err(TableError::NewerFormat { path, found, known: FORMAT });
        }
        let gate = self.required(GATE)?;
        if gate != wanted.as_bytes() {
            let found = String::from_utf8_lossy(&gate).into_owned();
            return Err(TableError::OtherGate { path, found, wanted: wanted.to_owned() });
        }
        match found {
            FORMAT => Ok(()),
            0 => Err(TableError::damaged(self.path, "its format is 0")),
            _ => Err(TableError::OlderFormat { path, found, known: FORMAT }),
        }
    }

    /// The positions of the last commit.
    pub(super) fn cursors(&self) -> Result<Cursors, TableError> {
        let bytes = self.required(CURSORS)?;
        let what = |damaged| TableError::damaged(self.path, format!("cursors: {damaged}"));
        Cursors::decode(&bytes).map_err(what)
    }

    /// Adds the positions to a commit.
    pub(super) fn put_cursors(&self, batch: &mut WriteBatch, cursors: &Cursors) {
        batch.put_cf(self.family, CURSORS, cursors.encode());
    }

    /// No key in the table expires before it; `None` if that is not known.
    pub(super) fn collected(&self) -> Result<Option<TimeNs>, TableError> {
        let Some(bytes) = self.get(COLLECTED)? else {
            return Ok(None);
        };
        self.number(COLLECTED, &bytes).map(|bytes| Some(TimeNs::from_le_bytes(bytes)))
    }

    /// Adds it to a commit.
    pub(super) fn put_collected(&self, batch: &mut WriteBatch, until_ns: TimeNs) {
        batch.put_cf(self.family, COLLECTED, until_ns.to_le_bytes());
    }

    pub(super) fn set_collected(&self, watermark_ns: TimeNs) -> Result<(), TableError> {
        let written = self.db.put_cf(self.family, COLLECTED, watermark_ns.to_le_bytes());
        written.map_err(|source| TableError::rocks(self.path, "noting a rewrite", source))
    }

    fn number<const N: usize>(&self, name: &str, bytes: &[u8]) -> Result<[u8; N], TableError> {
        let what = || format!("`{name}` has {} bytes instead of {N}", bytes.len());
        bytes.try_into().map_err(|_| TableError::damaged(self.path, what()))
    }

    fn required(&self, name: &str) -> Result<Vec<u8>, TableError> {
        let missing = || TableError::damaged(self.path, format!("`{name}` is missing"));
        self.get(name)?.ok_or_else(missing)
    }

    fn get(&self, name: &str) -> Result<Option<Vec<u8>>, TableError> {
        let read = self.db.get_cf(self.family, name);
        read.map_err(|source| TableError::rocks(self.path, "reading its positions", source))
    }
}
