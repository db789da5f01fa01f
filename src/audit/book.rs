//! The keys that are live at the point where the audit is.

use std::collections::{HashMap, VecDeque};

use uuid::Uuid;

use crate::gate::digest::Digest;
use crate::gate::key::ActionKey;
use crate::gate::source::{Source, TimeNs};

/// What is known of a key that was accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// Of the accepted payload, under the rules then in force.
    pub digest: Digest,
    /// Which rules these were: their place among all that the ledger has named.
    pub rules: usize,
    /// Where the action stood in the input.
    pub source: Source,
    /// It counts as seen before this.
    pub expires_ns: TimeNs,
    /// Where it stands in the ledger; `None` where its entry is missing.
    pub ledger_sequence: Option<u64>,
    /// What came of it; boxed, since most keys of a large book have none yet.
    pub result: Option<Box<Given>>,
}

/// The result of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Given {
    /// Or else it failed.
    pub succeeded: bool,
    /// Of what was given.
    pub digest: Digest,
}

impl Known {
    /// The run of this acceptance.
    pub fn run_id(&self, key: &ActionKey) -> Uuid {
        self.source.run_id(Some(key))
    }
}

/// See the module. Holds no more than was accepted within the largest window.
#[derive(Debug, Default)]
pub struct Book {
    /// Found three times an entry. The hash has a random seed, since keys come from anybody.
    keys: HashMap<ActionKey, Known, foldhash::fast::RandomState>,
    /// In order of acceptance. Under a window that was made smaller, keys stay a little longer than they
    /// are live.
    order: VecDeque<(TimeNs, ActionKey)>,
}

impl Book {
    /// What is known of `key`, if it counts as seen at `now_ns`.
    pub fn live(&self, key: &ActionKey, now_ns: TimeNs) -> Option<&Known> {
        self.keys.get(key).filter(|known| now_ns < known.expires_ns)
    }

    /// The same, to be changed.
    pub fn known_mut(&mut self, key: &ActionKey) -> Option<&mut Known> {
        self.keys.get_mut(key)
    }

    /// The key was accepted.
    pub fn accept(&mut self, key: &ActionKey, known: Known) {
        self.order.push_back((known.expires_ns, key.clone()));
        self.keys.insert(key.clone(), known);
    }

    /// The key was given back.
    pub fn release(&mut self, key: &ActionKey) {
        self.keys.remove(key);
    }

    /// Drops what no later action can see.
    pub fn expire(&mut self, now_ns: TimeNs) {
        while let Some((_, key)) = self.order.pop_front_if(|(expires_ns, _)| *expires_ns <= now_ns)
        {
            if self.keys.get(&key).is_some_and(|known| known.expires_ns <= now_ns) {
                self.keys.remove(&key);
            }
        }
    }

    /// How many keys it holds.
    pub fn count(&self) -> usize {
        self.keys.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(sequence: u64, expires_ns: TimeNs) -> Known {
        Known {
            digest: format!("json:{sequence:032x}").parse().unwrap(),
            rules: 0,
            source: Source { stream: "ACTIONS".into(), sequence, time_ns: 1 },
            expires_ns,
            ledger_sequence: Some(sequence),
            result: None,
        }
    }

    #[test]
    fn holds_what_is_live() {
        let mut book = Book::default();
        let key = |name: &str| ActionKey::new::<&str>(&[], name);
        book.accept(&key("a"), known(1, 10));
        book.accept(&key("b"), known(2, 20));
        assert!(book.live(&key("a"), 9).is_some());
        assert!(book.live(&key("a"), 10).is_none());
        book.accept(&key("a"), known(3, 25));
        book.expire(10);
        assert_eq!(book.live(&key("a"), 10), Some(&known(3, 25)));
        book.expire(20);
        assert_eq!(book.count(), 1);
        book.expire(25);
        assert_eq!(book.count(), 0);
    }
}
