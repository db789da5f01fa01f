//! Every record, cursor and entry of a fixture, read by the code itself, without a server's or a worker's
//! help in judging.

use std::collections::HashMap;
use std::path::Path;

use oncegate::gate::cursor::Cursors;
use oncegate::gate::engine::follow::{Follow, LedgerMessage};
use oncegate::gate::headers::Headers;
use oncegate::table::{KeyTable, RocksTable};

use crate::fixture::{LEDGER, Place};
use crate::support::streams;

/// The table is what comes of its ledger, applied from the first entry on.
pub fn mean_the_same(fixture: &Path) {
    let mut place = Place::copied(fixture, true);
    let last = place.ledger_ends_at();
    let messages: Vec<LedgerMessage> = streams::read(&mut place.client, LEDGER, 1..=last)
        .into_iter()
        .map(|stored| LedgerMessage {
            sequence: stored.sequence,
            time_ns: stored.time.as_nanosecond().try_into().unwrap(),
            subject: stored.subject,
            headers: stored.headers.map_or(Ok(Headers::default()), |block| Headers::parse(&block)),
            payload: stored.payload.into(),
        })
        .collect();
    let mut follow = Follow::new("oncegate", Cursors::default());
    let read = follow.read(&messages, last).unwrap();
    let applied = follow.apply_all(read, HashMap::new());
    assert_eq!(applied.foreign, Vec::<u64>::new());

    let table = RocksTable::open(&place.gate.table(), "oncegate").unwrap();
    let mut cursors = table.cursors().unwrap();
    // Where its time was read back last is a matter of luck.
    cursors.ledger.anchor = applied.commit.cursors.ledger.anchor;
    assert_eq!(cursors, applied.commit.cursors);

    // A key that was used again after its window has its last record.
    let records: HashMap<_, _> = applied.commit.changes.into_iter().collect();
    let keys: Vec<_> = records.keys().collect();
    let found = table.load_many(&keys).unwrap();
    let mut live = 0;
    for (record, found) in records.values().zip(found) {
        let Some(record) = record else {
            assert_eq!(found, None, "it was given back");
            continue;
        };
        let is_live = record.expires_ns > cursors.ledger.source_time_max_ns;
        live += u32::from(is_live);
        // What has expired may be collected.
        assert!(found.as_ref() == Some(record) || (found.is_none() && !is_live), "{record:?}");
    }
    assert!(live > 200, "{live}");
}
