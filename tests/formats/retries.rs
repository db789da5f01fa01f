//! Every retry of a fixture's keys gives what the fixture says.

use std::collections::HashMap;
use std::path::Path;

use crate::fixture::{Place, Retry, Setting, expected};
use crate::support::ledger::Entry;

/// On a copy of the fixture's streams, with a copy of its table or with none.
pub fn are_answered(fixture: &Path, with_table: bool) {
    let mut place = Place::copied(fixture, with_table);
    let expected = expected(fixture);
    let before = place.ledger_ends_at();
    let tail = if with_table { 0 } else { before };
    for (turn, setting) in Setting::ALL.into_iter().enumerate() {
        let retries: Vec<&Retry> = expected.iter().filter(|r| r.setting == setting).collect();
        assert!(!retries.is_empty());
        place.start(setting, &setting.rules());
        if turn == 0 {
            // The table is taken as it is, or all of it is read from the ledger.
            let tail = format!(" tail_entries={tail} ");
            assert!(place.gate.log().contains(&tail), "{tail}: {}", place.gate.log());
        }
        let from = place.ledger_ends_at();
        let messages: Vec<_> = retries.iter().map(|retry| retry.message()).collect();
        let sequences = place.publish(setting, &messages);
        let entries = place.entries_after(from);
        let entries: HashMap<u64, &Entry> =
            entries.iter().map(|entry| (entry.source().unwrap().sequence, entry)).collect();
        for (retry, sequence) in retries.iter().zip(sequences) {
            must_be(retry, entries.get(&sequence).copied());
        }
        place.gate.stop();
    }
}

fn must_be(retry: &Retry, entry: Option<&Entry>) {
    let verdict = entry.map_or("duplicate", |entry| entry.reason().unwrap_or(entry.kind()));
    assert_eq!(verdict, retry.verdict, "{retry:#?}");
    let told = |name| entry.and_then(|entry| entry.header(name)).map(String::from);
    assert_eq!(told("Oncegate-First-Run-Id"), retry.first_run_id, "{retry:#?}");
    let sequence = retry.first_sequence.map(|sequence| sequence.to_string());
    assert_eq!(told("Oncegate-First-Sequence"), sequence, "{retry:#?}");
}
