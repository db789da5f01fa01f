//! The ledger alone says the same as the commits did.

use oncegate::gate::cursor::Cursors;
use oncegate::gate::engine::follow::Follow;
use oncegate::gate::engine::recovery::{LedgerMessage, Records};
use oncegate::table::{KeyTable, MemoryTable};

use super::world::{ACTIONS, World, forget, told};

/// A table that has applied the ledger, so many entries at a time.
fn applied(ledger: &[LedgerMessage], entries: usize) -> MemoryTable {
    let table = MemoryTable::new();
    let mut follow = Follow::new("oncegate", Cursors::default());
    for chunk in ledger.chunks(entries) {
        let read = follow.read(chunk, u64::MAX).unwrap();
        let keys = read.keys();
        let found = table.load_many(&keys.iter().collect::<Vec<_>>()).unwrap();
        let records: Records =
            keys.into_iter().zip(found).filter_map(|(key, found)| Some((key, found?))).collect();
        table.commit(follow.apply_all(read, records).commit).unwrap();
    }
    table
}

fn positions(table: &MemoryTable) -> Cursors {
    let mut cursors = table.cursors().unwrap();
    // When the server stored an entry, a commit does not know.
    cursors.ledger.anchor = None;
    cursors
}

/// A key is completed in the chunk it was accepted in and in a later one, given back, accepted again.
#[test]
fn a_rebuild_gives_what_live_commits_gave() {
    let mut world = World::new();
    world.act(1, &["a", "b", "c", "d", "a"]);
    world.report([told(1, 1, "a", "succeeded", "1"), told(2, 2, "b", "retry", "")]);
    world.pause();
    world.act(6, &["b", "b", "e"]);
    world.report([told(3, 3, "c", "failed", "2"), forget(4, "d"), told(5, 6, "b", "failed", "3")]);
    world.act(9, &["d", "c"]);
    world.report([forget(6, "a"), told(7, 9, "d", "retry", "")]);
    world.pause();
    let keys = ["a", "b", "c", "d", "e"].map(super::world::key);
    let asked: Vec<_> = keys.iter().collect();
    let live = world.table.load_many(&asked).unwrap();
    let is_there: Vec<_> = live.iter().map(Option::is_some).collect();
    assert_eq!(is_there, [false, true, true, false, true]);
    for entries in 1..=world.ledger.len() {
        let table = applied(&world.ledger, entries);
        assert_eq!(table.load_many(&asked).unwrap(), live, "{entries} at a time");
        assert_eq!(positions(&table), positions(&world.table), "{entries} at a time");
    }
}

/// A retry was answered as a duplicate, then its key was given back. Without the position in the release a
/// recovery would begin before the retry, and the key would be new: a second run for what was answered.
#[test]
fn a_duplicate_before_a_release_is_not_judged_again() {
    let mut world = World::new();
    world.act(1, &["a", "a"]);
    world.report([told(1, 1, "a", "retry", "")]);
    world.pause();
    let judged = |ledger: &[LedgerMessage]| {
        let position = positions(&applied(ledger, 10)).position(ACTIONS);
        position.map(|source| source.sequence)
    };
    assert_eq!(judged(&world.ledger), Some(2));
    assert_eq!(world.record("a"), None);
    let mut without = world.ledger.clone();
    for message in &mut without {
        let headers = message.headers.as_mut().unwrap();
        *headers = headers.iter().filter(|(name, _)| *name != "Oncegate-Judged").collect();
    }
    assert_eq!(judged(&without), Some(1), "the position is nowhere else");
}
