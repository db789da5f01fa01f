//! The directory of a table.
//!
//! | name            | what                                                                     |
//! |-----------------|--------------------------------------------------------------------------|
//! | `LOCK.oncegate` | locked while the table is open; the system lets go of it with the process |
//! | `instance`      | who this instance is: a UUID and a line feed; lives as long as the data  |
//! | `db/`           | RocksDB's files; whole from its first moment                             |
//! | `db.new/`       | a database that is not finished yet; thrown away at the next opening     |
//! | `db.rebuilt/`   | a whole one on its way to `db/`; put there at the next opening           |
//! | `db.replaced-N` | what `db/` was before a rebuild; nothing reads it, a person may delete it |
//! | `control.sock`  | where the running worker takes requests; nothing of the table            |

use std::fs::{self, File, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use uuid::Uuid;

use super::TableError;

pub(super) const LOCK: &str = "LOCK.oncegate";
const INSTANCE: &str = "instance";
const DB: &str = "db";
const NEW_DB: &str = "db.new";
const REBUILT_DB: &str = "db.rebuilt";
const REPLACED_DB: &str = "db.replaced-";

/// The directory, locked until this is dropped.
#[derive(Debug)]
pub(super) struct Home {
    pub(super) path: PathBuf,
    _lock: File,
}

impl Home {
    /// Makes the directory if it is not there, and takes it.
    pub(super) fn take(path: &Path) -> Result<Self, TableError> {
        fs::create_dir_all(path)
            .map_err(|source| TableError::io(path, "making the directory", source))?;
        let failed = |source| TableError::io(&path.join(LOCK), "locking", source);
        let path = path.to_owned();
        let Some(lock) = lock(&path).map_err(failed)? else {
            return Err(TableError::InUse { path });
        };
        let home = Self { path, _lock: lock };
        home.finish_replacing()?;
        Ok(home)
    }

    /// Where RocksDB's files are.
    pub(super) fn db(&self) -> PathBuf {
        self.path.join(DB)
    }

    /// Whether there is a database; a part of one is damage, not a beginning.
    pub(super) fn has_db(&self) -> Result<bool, TableError> {
        let db = self.db();
        let mut files = match fs::read_dir(&db) {
            Ok(files) => files,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(source) => return Err(TableError::io(&db, "listing the directory", source)),
        };
        if files.next().is_none() {
            return Ok(false);
        }
        let current = fs::read_to_string(db.join("CURRENT"));
        let current = current
            .map_err(|error| TableError::damaged(&self.path, format!("CURRENT: {error}")))?;
        let manifest = current.strip_suffix('\n').filter(|name| name.starts_with("MANIFEST-"));
        match manifest {
            Some(name) if db.join(name).is_file() => Ok(true),
            Some(name) => Err(TableError::damaged(&self.path, format!("{name} is missing"))),
            None => Err(TableError::damaged(&self.path, "CURRENT names no manifest")),
        }
    }

    /// An empty place to make a database in.
    pub(super) fn new_db(&self) -> Result<PathBuf, TableError> {
        let new = self.path.join(NEW_DB);
        match fs::remove_dir_all(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(TableError::io(&new, "removing what was left unfinished", error))
            }
            Ok(()) | Err(_) => Ok(new),
        }
    }

    /// The finished database becomes the table's, in one step.
    pub(super) fn adopt(&self, new: &Path) -> Result<(), TableError> {
        let moved = sync_directory(new)
            .and_then(|()| fs::rename(new, self.db()))
            .and_then(|()| sync_directory(&self.path));
        moved.map_err(|source| TableError::io(new, "moving the new table to its place", source))
    }

    /// The finished database takes the place of what is there, which is kept aside: where that is now.
    /// After a crash in between, the next opening finishes it.
    pub(super) fn replace(&self, new: &Path) -> Result<Option<PathBuf>, TableError> {
        let whole = self.path.join(REBUILT_DB);
        let moved = sync_directory(new)
            .and_then(|()| fs::rename(new, whole))
            .and_then(|()| sync_directory(&self.path));
        moved.map_err(|source| TableError::io(new, "moving the new table to its place", source))?;
        self.finish_replacing()
    }

    fn finish_replacing(&self) -> Result<Option<PathBuf>, TableError> {
        let (whole, db) = (self.path.join(REBUILT_DB), self.db());
        let failed = |source| TableError::io(&whole, "putting the new table in its place", source);
        if !whole.try_exists().map_err(failed)? {
            return Ok(None);
        }
        let mut aside = None;
        if fs::symlink_metadata(&db).is_ok() {
            let free = self.free_name().map_err(failed)?;
            fs::rename(&db, &free).map_err(failed)?;
            aside = Some(free);
        }
        fs::rename(&whole, &db).and_then(|()| sync_directory(&self.path)).map_err(failed)?;
        Ok(aside)
    }

    fn free_name(&self) -> io::Result<PathBuf> {
        for number in 1_u32.. {
            let name = self.path.join(format!("{REPLACED_DB}{number}"));
            if !name.try_exists()? {
                return Ok(name);
            }
        }
        Err(io::Error::other("there is no name left to keep the old one under"))
    }
}

/// Locks a directory until the file is dropped; `None` where another process has it.
pub(super) fn lock(directory: &Path) -> io::Result<Option<File>> {
    let at = directory.join(LOCK);
    let lock = File::options().create(true).truncate(false).write(true).open(at)?;
    match lock.try_lock() {
        Ok(()) => Ok(Some(lock)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Bytes of the files in a directory; 0 for what can't be seen.
pub(super) fn bytes_in(directory: &Path) -> u64 {
    let Ok(files) = fs::read_dir(directory) else {
        return 0;
    };
    let metadata = files.filter_map(|file| file.ok()?.metadata().ok());
    metadata.filter(fs::Metadata::is_file).map(|file| file.len()).sum()
}

/// Who this instance is: the UUID (version 7) in the file `instance` of the table's directory, which is
/// made when it is not there. It tells instances apart; nothing that is judged depends on it, so a lost
/// one is replaced. Call it while the table is open: the lock keeps a second writer out.
pub fn instance_id(path: &Path) -> Result<Uuid, TableError> {
    let at = path.join(INSTANCE);
    match fs::read_to_string(&at) {
        Ok(text) => Uuid::try_parse(text.trim_end()).map_err(|_| {
            let advice = io::Error::other("it holds no UUID; remove it and a new one is made");
            TableError::io(&at, "reading who this instance is", advice)
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let id = Uuid::now_v7();
            let written = write_atomically(path, &at, format!("{id}\n").as_bytes());
            written.map_err(|source| TableError::io(&at, "noting who this instance is", source))?;
            Ok(id)
        }
        Err(source) => Err(TableError::io(&at, "reading who this instance is", source)),
    }
}

/// After a crash there is the whole file or none.
pub(super) fn write_atomically(directory: &Path, at: &Path, content: &[u8]) -> io::Result<()> {
    fs::create_dir_all(directory)?;
    let temporary = at.with_extension("new");
    let mut file = File::create(&temporary)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&temporary, at)?;
    sync_directory(directory)
}

fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}
