//! A table looked at without changing any of its files.
//!
//! An opening that may write does so at once: it flushes the log, begins a new manifest, and removes the files
//! that the manifest does not name. What is refused must stay as it is, so it is looked at first.

use std::path::{Path, PathBuf};
use std::{fs, io};

use rocksdb::DB;

use super::TableError;
use super::expiry::Watermark;
use super::meta::Meta;
use super::options::{self, KEYS, Logs, META, Memory};
use crate::gate::cursor::Cursors;

/// A table of this gate, of a known format, whose positions can be read.
pub(super) struct Looked {
    /// Only read.
    pub db: DB,
    /// The directory it is in.
    pub path: PathBuf,
    /// Names of its column families.
    pub families: Vec<String>,
    /// Its positions.
    pub cursors: Cursors,
    /// Whether it has a log, be it an empty one.
    pub has_log: bool,
}

impl Looked {
    /// The one whose files are in `place`; `path` is what errors name.
    pub(super) fn at(place: &Path, path: &Path, gate_name: &str) -> Result<Self, TableError> {
        let path = path.to_owned();
        let failed = |source| TableError::rocks(&path, "opening", source);
        let has_log = has_log(place)
            .map_err(|source| TableError::io(place, "listing the directory", source))?;
        let memory = Memory::of(super::MEMORY_BYTES);
        let logs = if has_log { Logs::Chained } else { Logs::Unchained };
        let database = options::database(logs, &memory).map_err(failed)?;
        let families = DB::list_cf(&database, place).map_err(failed)?;
        for name in [KEYS, META] {
            if !families.iter().any(|found| found == name) {
                let what = format!("its column family `{name}` is missing");
                return Err(TableError::damaged(&path, what));
            }
        }
        let all = options::families(&Watermark::default(), &memory, &families).map_err(failed)?;
        let db = DB::open_cf_descriptors_read_only(&database, place, all, false);
        let db = db.map_err(failed)?;
        let meta = Meta::of(&db, &path)?;
        meta.check(gate_name)?;
        let cursors = meta.cursors()?;
        Ok(Self { db, path, families, cursors, has_log })
    }
}

fn has_log(place: &Path) -> io::Result<bool> {
    for file in fs::read_dir(place)? {
        if file?.path().extension().is_some_and(|kind| kind == "log") {
            return Ok(true);
        }
    }
    Ok(false)
}
