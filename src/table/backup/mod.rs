//! Backups of the table, by RocksDB's backup engine: each holds a whole table, and the files that do not
//! change are shared between them.
//!
//! | name               | what                                                                    |
//! |--------------------|-------------------------------------------------------------------------|
//! | `LOCK.oncegate`    | locked while the directory is used                                       |
//! | `oncegate.json`    | makes it a directory of backups, of one gate                             |
//! | `notes/<id>.json`  | what a person wants to know of a backup; nothing is decided by it        |
//! | `meta/<id>`        | RocksDB's: the files of a backup and their checksums; written last       |
//! | `private/<id>/`, `shared_checksum/` | RocksDB's: a backup's own files, and those it shares    |
//!
//! In reading order: this file (to make, list and drop backups), [`place`] (the directory),
//! [`restore`], [`verify`].

mod error;
mod place;
mod restore;
mod verify;

use std::collections::BTreeSet;
use std::path::Path;

use rocksdb::Env;
use rocksdb::backup::{BackupEngine, BackupEngineOptions};
use serde::{Deserialize, Serialize};

use super::meta::FORMAT;
use super::rocks::RocksTable;
use super::{KeyTable, TableError};
use crate::gate::source::{NS_PER_S, TimeNs};

pub use error::BackupError;
use place::Place;
pub use restore::Restored;

/// What [`Backups::damaged`] means.
pub const INCOMPLETE: &str = "its list of files can't be read, or one is missing";

/// A directory of backups, locked until this is dropped.
pub struct Backups {
    engine: BackupEngine,
    place: Place,
}

/// One backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backup {
    /// Its number; later ones have higher ones.
    pub id: u32,
    /// When it was made, by its machine's clock, to the second.
    pub created_ns: TimeNs,
    /// Of all its files, those that it shares included.
    pub bytes: u64,
    /// How many they are.
    pub files: u32,
    /// Missing where a crash, or a full disk, came just before it.
    pub note: Option<Note>,
}

/// What a backup's maker knew of it. For people: a restore reads the table itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// It holds everything up to this ledger sequence, and a little more if the table was in use.
    pub ledger_sequence: u64,
    /// Keys in it, estimated.
    pub keys: u64,
    /// The table's format.
    pub format: u32,
    /// The oncegate that made it.
    pub version: String,
}

/// A backup that was just made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Made {
    /// The backup.
    pub backup: Backup,
    /// Files that no earlier backup had.
    pub new_files: u64,
    /// Their bytes.
    pub new_bytes: u64,
    /// Earlier backups that were dropped for it.
    pub dropped: Vec<u32>,
}

/// Makes a backup of an open table in `directory`, a new one if it is not there; then drops all but the
/// newest `keep`, if given.
///
/// Blocks for as long as the new files take to be copied. Look-ups and commits go on meanwhile; what they
/// change is in the backup or not. A crash leaves the earlier backups whole.
pub fn back_up(
    table: &RocksTable,
    directory: &Path,
    gate_name: &str,
    keep: Option<usize>,
) -> Result<Made, BackupError> {
    let place = Place::make(directory, gate_name)?;
    let mut backups = Backups::of(place)?;
    let mut made = backups.make(table)?;
    if let Some(keep) = keep {
        made.dropped = backups.keep_newest(keep)?;
    }
    Ok(made)
}

impl Backups {
    /// Opens a directory that [`back_up`] made, for the gate that it is of.
    pub fn open(directory: &Path, gate_name: &str) -> Result<Self, BackupError> {
        Self::of(Place::take(directory, gate_name)?)
    }

    fn of(place: Place) -> Result<Self, BackupError> {
        let failed = |cause| BackupError::storage(&place.path, "opening the backups", cause);
        let options = BackupEngineOptions::new(&place.path).map_err(failed)?;
        let environment = Env::new().map_err(failed)?;
        let engine = BackupEngine::open(&options, &environment).map_err(failed)?;
        Ok(Self { engine, place })
    }

    /// The backups whose files are all there in their sizes, the oldest first.
    pub fn list(&self) -> Result<Vec<Backup>, BackupError> {
        let found = self.engine.get_backup_info();
        let mut backups = Vec::with_capacity(found.len());
        // Backups without files come as 0.
        for info in found.into_iter().filter(|info| info.backup_id > 0) {
            backups.push(Backup {
                id: info.backup_id,
                created_ns: info.timestamp.saturating_mul(NS_PER_S),
                bytes: info.size,
                files: info.num_files,
                note: self.place.note(info.backup_id)?,
            });
        }
        backups.sort_by_key(|backup| backup.id);
        Ok(backups)
    }

    /// Backups of which something is missing.
    pub fn damaged(&self) -> Result<Vec<u32>, BackupError> {
        let whole: BTreeSet<u32> =
            self.engine.get_backup_info().iter().map(|info| info.backup_id).collect();
        let known = self.place.known_ids()?;
        Ok(known.difference(&whole).copied().collect())
    }

    fn make(&mut self, table: &RocksTable) -> Result<Made, BackupError> {
        // Read before the engine's flush, which therefore covers it.
        let cursors = table.cursors()?;
        let before = self.place.shared_files()?;
        let made = self.engine.create_new_backup_flush(table.db(), true);
        made.map_err(|cause| BackupError::storage(&self.place.path, "making a backup", cause))?;
        let newest = self.list()?.pop();
        let mut backup = newest.ok_or_else(|| self.place.damaged(0, "it is not there"))?;
        let note = Note {
            ledger_sequence: cursors.ledger.sequence,
            keys: table.stats().keys,
            format: FORMAT,
            version: env!("CARGO_PKG_VERSION").to_owned(),
        };
        // The backup is whole without it, and a full disk shows at the next one.
        backup.note = self.place.put_note(backup.id, &note).ok().map(|()| note);
        let mut new = self.place.shared_files()?;
        new.retain(|name, _| !before.contains_key(name));
        new.extend(self.place.private_files(backup.id)?);
        let (new_files, new_bytes) = (new.len() as u64, new.values().sum());
        Ok(Made { backup, new_files, new_bytes, dropped: Vec::new() })
    }

    fn keep_newest(&mut self, keep: usize) -> Result<Vec<u32>, BackupError> {
        let mut old: Vec<u32> = self.list()?.iter().map(|backup| backup.id).collect();
        old.truncate(old.len().saturating_sub(keep));
        if old.is_empty() {
            return Ok(old);
        }
        for id in &old {
            // First: a note without a backup is damage.
            self.place.drop_note(*id)?;
        }
        let dropped = self.engine.purge_old_backups(keep);
        let failed = |cause| BackupError::storage(&self.place.path, "dropping old backups", cause);
        dropped.map_err(failed)?;
        Ok(old)
    }

    /// The backup of this number, else the newest; never an older one in place of a damaged one.
    fn choose(&self, id: Option<u32>) -> Result<Backup, BackupError> {
        let backups = self.list()?;
        let damaged = self.damaged()?;
        let newest = backups.iter().map(|backup| backup.id).chain(damaged.iter().copied()).max();
        let path = || self.place.path.clone();
        let Some(id) = id.or(newest) else {
            return Err(BackupError::Empty { path: path() });
        };
        if damaged.contains(&id) {
            return Err(self.place.damaged(id, INCOMPLETE));
        }
        let found = backups.into_iter().find(|backup| backup.id == id);
        found.ok_or_else(|| BackupError::NoSuch { path: path(), id })
    }
}
