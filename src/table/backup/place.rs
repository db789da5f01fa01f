//! The directory around RocksDB's backups: whose it is, who uses it, and the notes.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{BackupError, Note};
use crate::table::home::{self, LOCK, write_atomically};

const MARK: &str = "oncegate.json";
const NOTES: &str = "notes";
const META: &str = "meta";
const SHARED: &str = "shared_checksum";
const PRIVATE: &str = "private";
/// What an empty directory may hold: what a first backup leaves that came no further, and what a fresh
/// file system has.
const NOTHING: [&str; 3] = [LOCK, "oncegate.new", "lost+found"];

/// The version of the layout that this code writes, and the newest that it reads.
const LAYOUT: u32 = 1;

#[derive(Serialize, Deserialize)]
struct Mark {
    layout: u32,
    gate: String,
}

/// The directory, locked until this is dropped.
pub(super) struct Place {
    pub(super) path: PathBuf,
    pub(super) gate: String,
    _lock: File,
}

impl Place {
    /// Takes a directory of this gate's backups; makes one of what is empty or not there.
    pub(super) fn make(path: &Path, gate: &str) -> Result<Self, BackupError> {
        let failed = |cause| BackupError::io(path, "making the directory", cause);
        fs::create_dir_all(path).map_err(failed)?;
        let mark = path.join(MARK);
        if !mark.is_file() && !is_empty(path)? {
            return Err(BackupError::NotBackups { path: path.to_owned() });
        }
        let lock = lock(path)?;
        if !mark.is_file() {
            let text = serde_json::to_vec(&Mark { layout: LAYOUT, gate: gate.to_owned() });
            let text = text.map_err(io::Error::from);
            let written = text.and_then(|text| write_atomically(path, &mark, &text));
            written.map_err(|cause| BackupError::io(&mark, "writing", cause))?;
        }
        Self { path: path.to_owned(), gate: gate.to_owned(), _lock: lock }.checked()
    }

    /// Takes a directory of this gate's backups.
    pub(super) fn take(path: &Path, gate: &str) -> Result<Self, BackupError> {
        if !path.join(MARK).is_file() {
            return Err(BackupError::NotThere { path: path.to_owned() });
        }
        let lock = lock(path)?;
        Self { path: path.to_owned(), gate: gate.to_owned(), _lock: lock }.checked()
    }

    fn checked(self) -> Result<Self, BackupError> {
        let (path, at) = (self.path.clone(), self.path.join(MARK));
        let text = fs::read(&at).map_err(|cause| BackupError::io(&at, "reading", cause))?;
        let mark: Mark = serde_json::from_slice(&text)
            .map_err(|cause| BackupError::io(&at, "reading", cause.into()))?;
        if mark.layout > LAYOUT {
            return Err(BackupError::NewerFormat { path, found: mark.layout, known: LAYOUT });
        }
        if mark.gate != self.gate {
            let wanted = self.gate;
            return Err(BackupError::OtherGate { path, found: mark.gate, wanted });
        }
        Ok(self)
    }

    pub(super) fn damaged(&self, id: u32, what: impl ToString) -> BackupError {
        BackupError::Damaged { path: self.path.clone(), id, what: what.to_string() }
    }

    /// Every backup that left a trace, whole or not.
    pub(super) fn known_ids(&self) -> Result<BTreeSet<u32>, BackupError> {
        let listed = self.files(META)?;
        let noted = self.files(NOTES)?;
        let number = |name: &OsString| {
            let name = name.to_str()?;
            name.strip_suffix(".json").unwrap_or(name).parse().ok()
        };
        Ok(listed.keys().chain(noted.keys()).filter_map(number).collect())
    }

    /// RocksDB's list of a backup's files.
    pub(super) fn list_of_files(&self, id: u32) -> PathBuf {
        self.path.join(META).join(id.to_string())
    }

    /// Names and bytes of the files that backups share.
    pub(super) fn shared_files(&self) -> Result<BTreeMap<OsString, u64>, BackupError> {
        self.files(SHARED)
    }

    /// Names and bytes of the files that only this backup has.
    pub(super) fn private_files(&self, id: u32) -> Result<BTreeMap<OsString, u64>, BackupError> {
        self.files(&format!("{PRIVATE}/{id}"))
    }

    fn files(&self, folder: &str) -> Result<BTreeMap<OsString, u64>, BackupError> {
        let at = self.path.join(folder);
        let failed = |cause| BackupError::io(&at, "listing the directory", cause);
        let found = match fs::read_dir(&at) {
            Ok(found) => found,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
            Err(cause) => return Err(failed(cause)),
        };
        let sized = found.map(|file| file.and_then(|f| Ok((f.file_name(), f.metadata()?.len()))));
        sized.collect::<io::Result<_>>().map_err(failed)
    }

    fn note_path(&self, id: u32) -> PathBuf {
        self.path.join(NOTES).join(format!("{id}.json"))
    }

    /// `None` where there is none that can be read: nothing rests on it.
    pub(super) fn note(&self, id: u32) -> Result<Option<Note>, BackupError> {
        let at = self.note_path(id);
        match fs::read(&at) {
            Ok(text) => Ok(serde_json::from_slice(&text).ok()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(cause) => Err(BackupError::io(&at, "reading", cause)),
        }
    }

    pub(super) fn put_note(&self, id: u32, note: &Note) -> Result<(), BackupError> {
        let at = self.note_path(id);
        let text = serde_json::to_vec(note).map_err(io::Error::from);
        let written = text.and_then(|text| write_atomically(&self.path.join(NOTES), &at, &text));
        written.map_err(|cause| BackupError::io(&at, "writing", cause))
    }

    pub(super) fn drop_note(&self, id: u32) -> Result<(), BackupError> {
        let at = self.note_path(id);
        match fs::remove_file(&at) {
            Err(cause) if cause.kind() != io::ErrorKind::NotFound => {
                Err(BackupError::io(&at, "removing", cause))
            }
            _ => Ok(()),
        }
    }
}

fn is_empty(path: &Path) -> Result<bool, BackupError> {
    let failed = |cause| BackupError::io(path, "listing the directory", cause);
    for file in fs::read_dir(path).map_err(failed)? {
        let name = file.map_err(failed)?.file_name();
        if !NOTHING.iter().any(|nothing| *nothing == name) {
            return Ok(false);
        }
    }
    Ok(true)
}

fn lock(path: &Path) -> Result<File, BackupError> {
    let lock = home::lock(path);
    let lock = lock.map_err(|cause| BackupError::io(&path.join(LOCK), "locking", cause))?;
    lock.ok_or_else(|| BackupError::InUse { path: path.to_owned() })
}
