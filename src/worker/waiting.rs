//! Who waits for the result of a run.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::gate::key::ActionKey;

/// By key; costs nothing where nobody waits.
#[derive(Default)]
pub(super) struct Waiting(Mutex<HashMap<ActionKey, (usize, Arc<Notify>)>>);

/// Somebody who waits, until this is dropped.
pub(super) struct Waiter<'a> {
    waiting: &'a Waiting,
    key: ActionKey,
    /// Tells of every change of the key.
    pub(super) told: Arc<Notify>,
}

impl Waiting {
    /// From here on no change of `key` is missed by a `notified()` that is enabled.
    pub(super) fn join(&self, key: &ActionKey) -> Waiter<'_> {
        let mut by_key = self.by_key();
        let (waiters, told) = by_key.entry(key.clone()).or_default();
        *waiters += 1;
        Waiter { waiting: self, key: key.clone(), told: told.clone() }
    }

    /// These keys have changed, and that is committed.
    pub(super) fn tell(&self, keys: &[ActionKey]) {
        if keys.is_empty() {
            return;
        }
        let by_key = self.by_key();
        for (_, told) in keys.iter().filter_map(|key| by_key.get(key)) {
            told.notify_waiters();
        }
    }

    /// Any key may have changed.
    pub(super) fn tell_all(&self) {
        self.by_key().values().for_each(|(_, told)| told.notify_waiters());
    }

    fn by_key(&self) -> MutexGuard<'_, HashMap<ActionKey, (usize, Arc<Notify>)>> {
        // No change of it can be cut in half by a panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        let mut by_key = self.waiting.by_key();
        if let Some((waiters, _)) = by_key.get_mut(&self.key) {
            *waiters -= 1;
            if *waiters == 0 {
                by_key.remove(&self.key);
            }
        }
    }
}
