//! Why a backup can't be made or used.

use std::io;
use std::path::{Path, PathBuf};

use super::TableError;

/// Each message says what, where, and what to do, its cause included.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The directory holds something else.
    #[error(
        "{path} is no directory of backups, and not empty. Nothing was written there. Name a new or empty \
         directory, or one that holds backups already"
    )]
    NotBackups {
        /// The directory.
        path: PathBuf,
    },
    /// There is no directory.
    #[error(
        "there are no backups in {path}: it is not there, or `oncegate backup` has not made it"
    )]
    NotThere {
        /// The directory.
        path: PathBuf,
    },
    /// There is no backup in it yet.
    #[error("there is no backup in {path} yet")]
    Empty {
        /// The directory.
        path: PathBuf,
    },
    /// No backup has this number.
    #[error("there is no backup {id} in {path}; `oncegate backup {path} --list` shows them")]
    NoSuch {
        /// The directory.
        path: PathBuf,
        /// Its number.
        id: u32,
    },
    /// Another process uses the directory.
    #[error(
        "the backups in {path} are in use by another process: wait until it is done, and give each \
         instance a directory of its own (`backup.path`)"
    )]
    InUse {
        /// The directory.
        path: PathBuf,
    },
    /// The backups are of a gate of another name.
    #[error(
        "the backups in {path} are of the gate {found:?}, not of {wanted:?}: correct `name`, or name the \
         directory of this gate's backups"
    )]
    OtherGate {
        /// The directory.
        path: PathBuf,
        /// The gate they are of.
        found: String,
        /// The gate that asked.
        wanted: String,
    },
    /// A later oncegate made them.
    #[error(
        "the backups in {path} have format {found}, this oncegate knows formats up to {known}: run the \
         version that made them, or a later one"
    )]
    NewerFormat {
        /// The directory.
        path: PathBuf,
        /// Their format.
        found: u32,
        /// The newest format that this version reads.
        known: u32,
    },
    /// An oncegate before the first release made it.
    #[error(
        "backup {id} in {path} has format {found}, this oncegate reads format {known}. Nothing was changed: \
         restore a later one with --id (`oncegate backup {path} --list` shows them), or leave `table.path` empty, \
         and `oncegate rebuild` fills it from the ledger"
    )]
    OlderFormat {
        /// The directory.
        path: PathBuf,
        /// Its number.
        id: u32,
        /// Its format.
        found: u32,
        /// The format that this version reads.
        known: u32,
    },
    /// What is there is not what was written.
    #[error(
        "backup {id} in {path} is damaged ({what}). Nothing was changed. Check the disk; `oncegate backup \
         {path} --verify` tells which backups are whole, and --id restores one of them"
    )]
    Damaged {
        /// The directory.
        path: PathBuf,
        /// Its number.
        id: u32,
        /// What is wrong.
        what: String,
    },
    /// A restore needs an empty place.
    #[error(
        "there is a key table in {path} already, and it was left as it is: move it away first, or set \
         `table.path` to another directory"
    )]
    NotEmpty {
        /// Directory of the table.
        path: PathBuf,
    },
    /// RocksDB could not do it.
    #[error(
        "{doing} in {path} failed: {cause}. The earlier backups are as they were. Check disk space, \
         permissions and the disk, then try again"
    )]
    Storage {
        /// The directory.
        path: PathBuf,
        /// What was tried.
        doing: &'static str,
        /// What RocksDB said.
        cause: rocksdb::Error,
    },
    /// A file or directory could not be used.
    #[error(
        "{doing} at {path} failed: {cause}. Check disk space, permissions and the disk, then try again"
    )]
    Io {
        /// File or directory.
        path: PathBuf,
        /// What was tried.
        doing: &'static str,
        /// What the system said.
        cause: io::Error,
    },
    /// The table itself.
    #[error(transparent)]
    Table(#[from] TableError),
}

impl BackupError {
    pub(super) fn storage(path: &Path, doing: &'static str, cause: rocksdb::Error) -> Self {
        Self::Storage { path: path.to_owned(), doing, cause }
    }

    pub(super) fn io(path: &Path, doing: &'static str, cause: io::Error) -> Self {
        Self::Io { path: path.to_owned(), doing, cause }
    }
}
