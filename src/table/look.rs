//! A table looked at without changing any of its files.
//!
//! An opening that may write does so at once: it flushes the log, begins a new manifest, and removes the files
//! that the manifest does not name. What is refused must stay as it is, so it is looked at first.

use std::path::PathBuf;

use rocksdb::DB;

use super::TableError;
use super::expiry::Watermark;
use super::home::Home;
use super::meta::Meta;
use super::options::{self, KEYS, Logs, META};
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
}

impl Looked {
    /// The one in the directory of `home`.
    pub(super) fn at(home: &Home, gate_name: &str) -> Result<Self, TableError> {
        let path = home.path.clone();
        let failed = |source| TableError::rocks(&path, "opening", source);
        let logs = if home.has_log()? { Logs::Chained } else { Logs::Unchained };
        let database = options::database(logs).map_err(failed)?;
        let families = DB::list_cf(&database, home.db()).map_err(failed)?;
        for name in [KEYS, META] {
            if !families.iter().any(|found| found == name) {
                let what = format!("its column family `{name}` is missing");
                return Err(TableError::damaged(&path, what));
            }
        }
        let all = options::families(&Watermark::default(), &families);
        let db = DB::open_cf_descriptors_read_only(&database, home.db(), all, false);
        let db = db.map_err(failed)?;
        let meta = Meta::of(&db, &path)?;
        meta.check(gate_name)?;
        let cursors = meta.cursors()?;
        Ok(Self { db, path, families, cursors })
    }
}
