//! The table without a disk: what [`super::RocksTable`] must be indistinguishable from.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{KeyTable, TableError, TableStats};
use crate::gate::cursor::Cursors;
use crate::gate::engine::Commit;
use crate::gate::key::ActionKey;
use crate::gate::record::KeyRecord;

/// For tests and the simulator; forgets nothing, not even what is expired.
#[derive(Debug, Default)]
pub struct MemoryTable(Mutex<State>);

#[derive(Clone, Debug, Default)]
struct State {
    keys: BTreeMap<ActionKey, KeyRecord>,
    cursors: Cursors,
}

impl MemoryTable {
    /// Empty, at no position.
    pub fn new() -> Self {
        Self::default()
    }

    /// An independent table with the same content, as of a crash or a backup now.
    pub fn snapshot(&self) -> Self {
        Self(Mutex::new(self.state().clone()))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No panic can come in the middle of a change that counts: the cursors are set last.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl KeyTable for MemoryTable {
    fn cursors(&self) -> Result<Cursors, TableError> {
        Ok(self.state().cursors.clone())
    }

    fn load_many(&self, keys: &[&ActionKey]) -> Result<Vec<Option<KeyRecord>>, TableError> {
        let state = self.state();
        Ok(keys.iter().map(|key| state.keys.get(*key).cloned()).collect())
    }

    fn commit(&self, commit: Commit) -> Result<(), TableError> {
        let mut state = self.state();
        for (key, record) in commit.changes {
            match record {
                Some(record) => state.keys.insert(key, record),
                None => state.keys.remove(&key),
            };
        }
        state.cursors = commit.cursors;
        Ok(())
    }

    fn stats(&self) -> TableStats {
        TableStats { keys: self.state().keys.len() as u64, ..TableStats::default() }
    }
}
