//! Whether a backup's bytes are those that were written. The engine's own check looks at sizes only, or
//! restores; its list of a backup's files has a CRC32C of each.

use std::fs::{self, File};
use std::io::Read as _;
use std::path::Path;

use super::{Backup, BackupError, Backups};

const CHUNK_BYTES: usize = 1 << 20;

impl Backups {
    /// Reads every file of a backup, and compares its checksum.
    pub fn verify(&self, backup: &Backup) -> Result<(), BackupError> {
        let (id, path) = (backup.id, &self.place.path);
        let sizes = self.engine.verify_backup(id);
        sizes.map_err(|cause| self.place.damaged(id, cause))?;
        let at = self.place.list_of_files(id);
        let list = fs::read_to_string(&at);
        let list = list.map_err(|cause| BackupError::io(&at, "reading", cause))?;
        let files: Vec<_> = list.lines().filter_map(name_and_checksum).collect();
        if files.len() != backup.files as usize {
            return Err(self.place.damaged(id, "its list of files is not whole"));
        }
        for (name, wanted) in files {
            let found = checksum(&path.join(name));
            let found =
                found.map_err(|cause| self.place.damaged(id, format!("{name}: {cause}")))?;
            if found != wanted {
                let what = format!("{name} has another checksum than when it was written");
                return Err(self.place.damaged(id, what));
            }
        }
        Ok(())
    }
}

/// Of a line `<name> crc32 <checksum>`; other lines are no files.
fn name_and_checksum(line: &str) -> Option<(&str, u32)> {
    let (name, checksum) = line.split_once(" crc32 ")?;
    Some((name, checksum.parse().ok()?))
}

fn checksum(path: &Path) -> std::io::Result<u32> {
    let mut file = File::open(path)?;
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut checksum = 0;
    loop {
        let read = file.read(&mut chunk)?;
        if read == 0 {
            return Ok(checksum);
        }
        checksum = crc32c::crc32c_append(checksum, chunk.get(..read).unwrap_or_default());
    }
}
