//! A name and a directory for one measurement, and the settings by which the gate that is measured has its own
//! streams and its own table.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use tempfile::TempDir;
use uuid::Uuid;

use crate::gate::entry::KEY;

/// See the module; nobody else has either.
pub struct Place {
    name: String,
    dir: TempDir,
}

impl Place {
    /// In `dir`, or beside the gate's own table: on the same disk.
    pub fn new(dir: Option<&Path>, table: &Path) -> anyhow::Result<Self> {
        let id = Uuid::now_v7().simple().to_string();
        let name = format!("oncegate-bench-{}", id.get(24..).unwrap_or(&id));
        let beside = dir.map_or_else(|| nearest(table), Path::to_owned);
        let dir = tempfile::Builder::new().prefix(&format!("{name}-")).tempdir_in(&beside);
        let dir = dir.with_context(|| {
            format!(
                "no directory for the table can be made in {} (--dir names another)",
                beside.display()
            )
        })?;
        Ok(Self { name, dir })
    }

    /// The settings of the gate that is measured, as variables: what is not here is as configured.
    pub fn settings(&self) -> anyhow::Result<Vec<(String, String)>> {
        let table = self.table();
        let table =
            table.to_str().context("the directory's name is not UTF-8: --dir names another")?;
        let settings = [
            ("NAME", self.name.as_str()),
            ("MANAGE", "true"),
            ("INPUT__STREAM", &format!("{}_ACTIONS", self.name.to_uppercase())),
            ("INPUT__SUBJECTS", &format!("{}-actions.>", self.name)),
            ("KEY__FROM", &format!("header:{KEY}")),
            ("KEY__SCOPE", ""),
            ("KEY__MAX_BYTES", "255"),
            ("PAYLOAD__COMPARE", "auto"),
            ("PAYLOAD__IGNORE", ""),
            ("RETENTION__WINDOW", "7d"),
            ("LEDGER__MAX_AGE", ""),
            ("TABLE__PATH", table),
            ("BACKUP__PATH", ""),
            ("HTTP__LISTEN", ""),
        ];
        Ok(settings.map(|(name, value)| (format!("ONCEGATE__{name}"), value.to_owned())).to_vec())
    }

    /// What everything on the server is called after.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The directory.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// What the table takes on the disk.
    pub fn table_bytes(&self) -> u64 {
        bytes_below(&self.table())
    }

    /// Removes the table.
    pub fn clear_table(&self) -> anyhow::Result<()> {
        let table = self.table();
        match std::fs::remove_dir_all(&table) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(error).with_context(|| format!("removing {}", table.display()))
            }
            _ => Ok(()),
        }
    }

    /// Removes the directory.
    pub fn clear(self) -> anyhow::Result<()> {
        let dir = self.dir.path().to_owned();
        self.dir.close().with_context(|| format!("removing {}", dir.display()))
    }

    fn table(&self) -> PathBuf {
        self.dir.path().join("keys")
    }
}

/// The nearest directory above the table's that exists.
fn nearest(table: &Path) -> PathBuf {
    let above = table.ancestors().skip(1).find(|above| above.is_dir());
    above.unwrap_or(Path::new(".")).to_owned()
}

fn bytes_below(dir: &Path) -> u64 {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let bytes = entries.map(|entry| match entry.metadata() {
        Ok(found) if found.is_dir() => bytes_below(&entry.path()),
        Ok(found) => found.len(),
        Err(_) => 0,
    });
    bytes.sum()
}
