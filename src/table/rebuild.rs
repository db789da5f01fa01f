//! A new table in the place of an old one, which stays untouched until the new one is whole, and is kept
//! aside then.

use std::path::{Path, PathBuf};

use rocksdb::IteratorMode;
use rocksdb::properties::ESTIMATE_NUM_KEYS;

use super::home::Home;
use super::look::Looked;
use super::meta::family;
pub use super::options::Filling;
use super::options::KEYS;
use super::rocks::RocksTable;
use super::{KeyTable, TableError};
use crate::gate::cursor::Cursors;
use crate::gate::key::ActionKey;
use crate::gate::record::KeyRecord;

/// Records compared at once.
const COMPARED_AT_ONCE: usize = 1024;

/// What is in the table's directory before a rebuild.
pub enum Old {
    /// Nothing.
    Absent,
    /// A table that can be read.
    Readable(Box<OldTable>),
    /// Something that can't be read as a table: why.
    Unreadable(TableError),
}

/// Looks at the table in `path`, and makes an empty one beside it, whose cache and write buffers take `memory_bytes` at
/// most. The directory is this process's until the new one is dropped.
///
/// Refuses, and changes nothing, what nobody should replace by mistake: a table in use, of another gate,
/// or of a newer format.
pub fn begin(
    memory_bytes: usize,
    path: &Path,
    gate_name: &str,
    filling: Filling,
) -> Result<(Old, RocksTable), TableError> {
    let home = Home::take(path)?;
    let looked = match home.has_db() {
        Ok(false) => Ok(None),
        Ok(true) => Looked::at(&home.db(), path, gate_name).map(Some),
        Err(error) => Err(error),
    };
    let old = match looked {
        Ok(None) => Old::Absent,
        Ok(Some(looked)) => Old::Readable(Box::new(OldTable(looked))),
        Err(
            error @ (TableError::Damaged { .. }
            | TableError::OlderFormat { .. }
            | TableError::Storage { .. }),
        ) => Old::Unreadable(error),
        Err(error) => return Err(error),
    };
    Ok((old, RocksTable::beside(home, memory_bytes, gate_name, filling)?))
}

/// Puts the new table in the old one's place; where the old one is kept, if there was one.
pub fn finish(new: RocksTable) -> Result<Option<PathBuf>, TableError> {
    new.replace()
}

/// Throws the new table away.
pub fn discard(new: RocksTable) -> Result<(), TableError> {
    new.discard()
}

/// A table that is only read: opening it changes none of its files.
pub struct OldTable(Looked);

impl OldTable {
    /// How far it is.
    pub fn cursors(&self) -> &Cursors {
        &self.0.cursors
    }

    /// How many keys it knows that are live at the source time up to which `new` has read, and that `new`
    /// does not know by the same action. `seen` is told now and then how many were looked at, and of how many or so.
    pub fn keys_unknown_to(
        &self,
        new: &RocksTable,
        seen: impl Fn(u64, u64),
    ) -> Result<u64, TableError> {
        let other = new.cursors()?;
        let now_ns = other.ledger.source_time_max_ns;
        let keys = family(&self.0.db, &self.0.path, KEYS)?;
        let of =
            self.0.db.property_int_value_cf(keys, ESTIMATE_NUM_KEYS).ok().flatten().unwrap_or(0);
        let (mut looked_at, mut unknown) = (0, 0);
        let mut live = Vec::with_capacity(COMPARED_AT_ONCE);
        for record in self.records()? {
            let (key, record) = record?;
            looked_at += 1;
            if record.expires_ns > now_ns {
                live.push((key, record));
            }
            if live.len() == COMPARED_AT_ONCE {
                unknown += self.unknown(new, &other, &live)?;
                live.clear();
                seen(looked_at, of.max(looked_at));
            }
        }
        Ok(unknown + self.unknown(new, &other, &live)?)
    }

    fn unknown(
        &self,
        new: &RocksTable,
        other: &Cursors,
        live: &[(ActionKey, KeyRecord)],
    ) -> Result<u64, TableError> {
        let keys: Vec<_> = live.iter().map(|(key, _)| key).collect();
        let found = new.load_many(&keys)?;
        let stream = |cursors: &Cursors, record: &KeyRecord| {
            cursors.inputs.get(record.stream as usize).map(|input| input.stream.clone())
        };
        let same = |old: &KeyRecord, new: &KeyRecord| {
            (old.sequence, old.time_ns) == (new.sequence, new.time_ns)
                && stream(&self.0.cursors, old) == stream(other, new)
        };
        let unknown = live
            .iter()
            .zip(found)
            .filter(|((_, old), found)| !found.as_ref().is_some_and(|found| same(old, found)));
        Ok(unknown.count() as u64)
    }

    fn records(
        &self,
    ) -> Result<impl Iterator<Item = Result<(ActionKey, KeyRecord), TableError>>, TableError> {
        let keys = family(&self.0.db, &self.0.path, KEYS)?;
        let damaged = |what: String| TableError::damaged(&self.0.path, what);
        Ok(self.0.db.iterator_cf(keys, IteratorMode::Start).map(move |found| {
            let read = found.map_err(|source| TableError::rocks(&self.0.path, "reading", source));
            let (key, record) = read?;
            let key = ActionKey::from_bytes(&key).map_err(|e| damaged(format!("a key: {e}")))?;
            let record = KeyRecord::decode(&record);
            Ok((key, record.map_err(|error| damaged(format!("a record: {error}")))?))
        }))
    }
}
