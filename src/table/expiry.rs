//! When the space of a dead key is freed.
//!
//! Whether a key counts as seen is decided at read, from source times alone; this file only collects
//! garbage, and its one rule is that nobody can tell. A record is dropped when its expiry is at or
//! before a *watermark*: the highest source time in the ledger at a position that a completed flush
//! has put on disk. The table never goes back behind that position, so every later verdict has a
//! *now* at or after the watermark, and to it the record is as good as absent.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use rocksdb::compaction_filter::Decision;

use crate::gate::record::KeyRecord;
use crate::gate::source::TimeNs;

/// Shared by the table, which raises it, and by RocksDB's compaction threads, which obey it. Nothing is
/// below the first one: a table that was just opened drops nothing.
#[derive(Clone, Debug)]
pub(super) struct Watermark(Arc<AtomicI64>);

impl Default for Watermark {
    fn default() -> Self {
        Self(Arc::new(AtomicI64::new(TimeNs::MIN)))
    }
}

impl Watermark {
    /// Allows compactions to drop what expired at or before `source_time_ns`, which a flushed position
    /// must cover. Never goes back.
    pub(super) fn set_expiry_watermark(&self, source_time_ns: TimeNs) {
        self.0.fetch_max(source_time_ns, Ordering::AcqRel);
    }

    /// The filter for RocksDB. It runs on several threads at once, holds no state of its own, and does
    /// not panic (a panic would take the process with it).
    pub(super) fn filter(&self) -> impl FnMut(u32, &[u8], &[u8]) -> Decision + Send + 'static {
        let Self(watermark) = self.clone();
        move |_level, _key, record| decide(watermark.load(Ordering::Acquire), record)
    }
}

/// Bytes that are no record stay, so that whoever reads them learns of the damage.
fn decide(watermark_ns: TimeNs, record: &[u8]) -> Decision {
    match KeyRecord::expiry(record) {
        Ok(expires_ns) if expires_ns <= watermark_ns => Decision::Remove,
        Ok(_) | Err(_) => Decision::Keep,
    }
}

/// Whether to rewrite the whole table, which frees the space of everything dead.
///
/// RocksDB's own compactions drop what is dead as they come along, but may not touch the oldest and
/// largest run for long. So the table is rewritten when source time has gone on by half a window since `from_ns`,
/// before which no key in it expired: the last time, or when its first key did. Under a steady load about a third of
/// it is dead by then, and a key is rewritten two or three times in its life. `docs/performance.md` has what it costs,
/// and what the other way would.
pub(super) fn rewrite_is_due(window_ns: TimeNs, from_ns: TimeNs, watermark_ns: TimeNs) -> bool {
    window_ns > 0 && watermark_ns.saturating_sub(from_ns) >= window_ns.div_euclid(2).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::digest::{Digest, Form};
    use crate::gate::record::RunState;

    fn record(expires_ns: TimeNs) -> Vec<u8> {
        let mut bytes = Vec::new();
        KeyRecord {
            digest: Digest { form: Form::Json, hash: 7 },
            rules: 0,
            stream: 0,
            sequence: 1,
            time_ns: 50,
            expires_ns,
            ledger_sequence: 1,
            state: RunState::Succeeded(2),
        }
        .encode(&mut bytes);
        bytes
    }

    #[test]
    fn dead_is_what_expires_at_the_watermark_or_before() {
        assert!(matches!(decide(100, &record(99)), Decision::Remove));
        assert!(matches!(decide(100, &record(100)), Decision::Remove));
        assert!(matches!(decide(100, &record(101)), Decision::Keep));
    }

    #[test]
    fn bytes_that_are_no_record_stay() {
        let mut bytes = record(1);
        while bytes.pop().is_some() {
            assert!(matches!(decide(TimeNs::MAX, &bytes), Decision::Keep), "{bytes:?}");
        }
        assert!(matches!(decide(TimeNs::MAX, &[0xFF; 64]), Decision::Keep));
    }

    #[test]
    fn the_watermark_begins_below_everything_and_never_goes_back() {
        let watermark = Watermark::default();
        let mut filter = watermark.filter();
        assert!(matches!(filter(0, b"k", &record(TimeNs::MIN + 1)), Decision::Keep));
        watermark.set_expiry_watermark(100);
        watermark.set_expiry_watermark(10);
        assert!(matches!(filter(0, b"k", &record(100)), Decision::Remove));
    }

    #[test]
    fn a_rewrite_is_due_every_half_window() {
        assert!(!rewrite_is_due(100, 1_000, 1_049));
        assert!(rewrite_is_due(100, 1_000, 1_050));
        assert!(!rewrite_is_due(0, 0, TimeNs::MAX), "no window yet");
        assert!(!rewrite_is_due(1, 5, 5));
        assert!(rewrite_is_due(100, TimeNs::MIN, TimeNs::MAX), "not known");
        assert!(!rewrite_is_due(100, TimeNs::MAX, TimeNs::MAX), "no key yet");
        assert!(!rewrite_is_due(100, TimeNs::MAX, TimeNs::MIN), "no key yet");
    }
}
