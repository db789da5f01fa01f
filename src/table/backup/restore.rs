//! A backup becomes a table: copied beside its place, opened and checked there, and only then adopted.

use std::fs;
use std::path::{Path, PathBuf};

use rocksdb::ErrorKind;
use rocksdb::backup::RestoreOptions;

use super::place::Place;
use super::{Backup, BackupError, Backups};
use crate::gate::cursor::Cursors;
use crate::table::TableError;
use crate::table::home::Home;
use crate::table::look::Looked;

/// A backup's copy in the table's directory, not the table yet. Dropped, it is removed, and the directory
/// is as it was (but for its lock file).
pub struct Restored {
    /// Which one it is.
    pub backup: Backup,
    /// Where it stands.
    pub cursors: Cursors,
    new: PathBuf,
    home: Home,
}

impl Backups {
    /// Copies a backup (the newest unless `id` is given) into the directory of a table that is empty or
    /// not there, and checks it: RocksDB's checksum of every file, that it opens, its format, its gate,
    /// its positions.
    ///
    /// A newest backup that is damaged is an error: an older one must be asked for by number.
    pub fn restore(mut self, id: Option<u32>, table: &Path) -> Result<Restored, BackupError> {
        let backup = self.choose(id)?;
        let home = Home::take(table)?;
        match home.has_db() {
            Ok(false) => {}
            Ok(true) | Err(TableError::Damaged { .. }) => {
                return Err(BackupError::NotEmpty { path: table.to_owned() });
            }
            Err(error) => return Err(error.into()),
        }
        let new = home.new_db()?;
        let mut restored = Restored { backup, cursors: Cursors::default(), new, home };
        let copied = self.copy(&restored.backup, &restored.new);
        let Self { engine, place } = self;
        // Where a file could not be copied, its threads are still at others: closing it waits for them.
        drop(engine);
        copied?;
        restored.cursors = look_into(&restored.new, &place, restored.backup.id)?;
        Ok(restored)
    }

    fn copy(&mut self, backup: &Backup, new: &Path) -> Result<(), BackupError> {
        let options = RestoreOptions::default();
        let copied = self.engine.restore_from_backup(new, new, &options, backup.id);
        copied.map_err(|cause| match cause.kind() {
            ErrorKind::Corruption | ErrorKind::NotFound => {
                // The engine does not say which file it was.
                let named = self.verify(backup).err();
                named.unwrap_or_else(|| self.place.damaged(backup.id, cause))
            }
            _ => BackupError::storage(&self.place.path, "restoring a backup", cause),
        })
    }
}

/// Opens a copy, and reads where it stands.
fn look_into(new: &Path, place: &Place, id: u32) -> Result<Cursors, BackupError> {
    let looked = Looked::at(new, &place.path, &place.gate);
    looked.map(|looked| looked.cursors).map_err(|error| match error {
        TableError::Damaged { what, .. } => place.damaged(id, what),
        TableError::NewerFormat { path, found, known } => {
            BackupError::NewerFormat { path, found, known }
        }
        TableError::OlderFormat { path, found, known } => {
            BackupError::OlderFormat { path, id, found, known }
        }
        TableError::OtherGate { path, found, wanted } => {
            BackupError::OtherGate { path, found, wanted }
        }
        TableError::Storage { cause, .. } => {
            BackupError::storage(new, "opening the copy of a backup", cause)
        }
        TableError::Io { path, doing, cause } => BackupError::Io { path, doing, cause },
        other => other.into(),
    })
}

impl Restored {
    /// The copy becomes the table, in one step.
    pub fn adopt(&self) -> Result<(), TableError> {
        self.home.adopt(&self.new)
    }
}

impl Drop for Restored {
    fn drop(&mut self) {
        // An adopted one is not there any more.
        fs::remove_dir_all(&self.new).ok();
    }
}
