//! Recovery and following, over ledgers of any messages.

use std::collections::BTreeMap;

use super::choices::Choices;
use super::cursors::cursors;
use super::ledger::{INPUT, NAME, REPORTS, World, entry_of};
use super::meaning::{Meaning, input_is, must_wait};
use crate::gate::cursor::{Cursors, InputCursor, LedgerCursor};
use crate::gate::engine::follow::Follow;
use crate::gate::engine::recovery::{
    Answer, Ask, LedgerMessage, Records, Recovered, RecoveredInput, Recovery, Refusal, Step,
};
use crate::gate::engine::{Change, Commit, Outcome};
use crate::gate::entry::{self, Entry};
use crate::gate::headers::Headers;
use crate::gate::key::ActionKey;
use crate::gate::record::KeyRecord;
use crate::gate::source::{Source, TimeNs};

/// Far more than any recovery takes of such a ledger.
const STEPS_MAX: usize = 1000;

/// Choices of a ledger, an input, and what the table has of them.
pub fn check(data: &[u8]) {
    let mut choices = Choices(data);
    let window_ns = choices.pick(&[0, 1, 1_000_000, 1_000_000_000, i64::MAX]);
    let kind = choices.below(8);
    let (known, missing) = (choices.below(40), choices.below(40));
    let pace = [choices.byte(), choices.byte(), choices.byte()];
    let odd_cursors = (kind == 6).then(|| {
        let stream = |choices: &mut Choices| choices.pick(&[INPUT, "OTHER", "", REPORTS]).into();
        cursors(&mut choices, stream, 3)
    });
    let mut world = World::read(&mut choices);
    match (kind, odd_cursors) {
        (6, Some(cursors)) => a_table_of_whatever(&world, cursors, window_ns),
        (7, _) if !world.ledger.is_empty() => {
            world.ledger.remove(missing % world.ledger.len());
            any_pace(&world, Table::default(), window_ns, pace);
        }
        _ => {
            let table = table_up_to(&world, known, window_ns);
            any_pace(&world, table, window_ns, pace);
        }
    }
}

// ---- The shell's part

#[derive(Clone, Debug, Default, PartialEq)]
struct Table {
    keys: BTreeMap<ActionKey, KeyRecord>,
    cursors: Cursors,
}

impl Table {
    fn records(&self, keys: Vec<ActionKey>) -> Records {
        let known = |key: ActionKey| Some((key.clone(), self.keys.get(&key)?.clone()));
        keys.into_iter().filter_map(known).collect()
    }

    fn change(&mut self, changes: Vec<Change>) {
        for (key, record) in changes {
            match record {
                Some(record) => self.keys.insert(key, record),
                None => self.keys.remove(&key),
            };
        }
    }
}

#[derive(Clone, Debug)]
enum End {
    Done(Recovered),
    Refused(Refusal),
    /// The server has not what it should have: the shell tries again later.
    Waits,
}

/// So many entries are told at a time, and after so many commits the gate starts anew.
type Pace<'a> = &'a mut dyn FnMut() -> (usize, bool);

fn recover(world: &World, table: &mut Table, window_ns: TimeNs, pace: Pace) -> End {
    let begin = |table: &Table| {
        let inputs = [INPUT.into(), REPORTS.into()];
        let (recovery, ask) = Recovery::new(NAME, inputs, table.cursors.clone(), window_ns);
        (recovery, Ok(Step::Ask(ask)))
    };
    let (mut recovery, mut step) = begin(table);
    for _ in 0..STEPS_MAX {
        let (entries, restart) = pace();
        let answer = match step {
            Ok(Step::Ask(Ask::Records(keys))) => Answer::Records(table.records(keys)),
            Ok(Step::Ask(ask)) => match world.answer(&ask, entries.max(1)) {
                Some(answer) => answer,
                None => return End::Waits,
            },
            Ok(Step::Commit { commit, foreign, decided }) => {
                let to = commit.cursors.ledger.sequence;
                told_what_is_decided(world, table.cursors.ledger.sequence, to, &decided);
                commit_to(world, table, commit, &foreign);
                if restart {
                    (recovery, step) = begin(table);
                    continue;
                }
                Answer::Committed
            }
            Ok(Step::Done(recovered)) => return End::Done(recovered),
            Err(refusal) => return End::Refused(refusal),
        };
        step = recovery.next(answer);
    }
    panic!("it comes to no end");
}

/// What the entries from one position to another decide.
fn told_what_is_decided(world: &World, from: u64, to: u64, decided: &[(Source, u64, Outcome)]) {
    let applied = world.ledger.iter().filter(|m| m.sequence > from && m.sequence <= to);
    let expected = applied.filter_map(|message| {
        let (source, outcome) = match entry_of(message)? {
            Entry::Accepted { source, .. } => (source, Outcome::Accepted),
            Entry::Rejected { source, reason, .. } => (source, Outcome::Rejected(reason)),
            Entry::Completed { source, .. } => (source, Outcome::Completed),
            Entry::Released { source, .. } => (source, Outcome::Released),
            Entry::Judged { .. } | Entry::Leading(_) => return None,
        };
        Some((source, message.sequence, outcome))
    });
    assert!(expected.eq(decided.iter().cloned()));
}

/// One atomic write, after which only what was written is known.
fn commit_to(world: &World, table: &mut Table, commit: Commit, foreign: &[u64]) {
    let Commit { changes, cursors } = commit;
    let before = std::mem::take(&mut table.cursors);
    let (from, to) = (before.ledger.sequence, cursors.ledger.sequence);
    assert!(to > from || world.ledger.is_empty(), "a commit gets on");
    assert!(cursors.inputs.len() >= before.inputs.len(), "records hold their index");
    let same = |(one, other): (&InputCursor, &InputCursor)| one.stream == other.stream;
    assert!(before.inputs.iter().zip(&cursors.inputs).all(same));
    assert!(cursors.rules.starts_with(&before.rules), "records hold their index");
    assert!(cursors.ledger.source_time_max_ns >= before.ledger.source_time_max_ns);

    let applied = world.ledger.iter().filter(|m| m.sequence > from && m.sequence <= to);
    let applied: Vec<&LedgerMessage> = applied.collect();
    let new_term = applied.iter().any(|m| matches!(entry_of(m), Some(Entry::Leading(_))));
    let forward = |(one, other): (&InputCursor, &InputCursor)| one.sequence <= other.sequence;
    let all_forward = before.inputs.iter().zip(&cursors.inputs).all(forward);
    assert!(all_forward || new_term, "only a new term puts an input back");
    let strange = applied.iter().filter(|m| entry_of(m).is_none()).map(|m| &m.sequence);
    assert!(strange.eq(foreign));
    if foreign.len() == applied.len() {
        assert_eq!(changes, []);
        let Cursors { ledger, filling, .. } = cursors.clone();
        let source_time_max_ns = ledger.source_time_max_ns;
        let moved = Cursors { ledger, filling, ..before };
        assert_eq!(moved, cursors, "only the ledger's position moves");
        assert_eq!(source_time_max_ns, before.ledger.source_time_max_ns);
    }
    table.cursors = Cursors::decode(&cursors.encode()).unwrap();
    assert_eq!(table.cursors, cursors, "stored as it is");
    table.change(changes);
}

// ---- What must hold

/// What a gate would have that has applied the first `known` entries.
fn table_up_to(world: &World, known: usize, window_ns: TimeNs) -> Table {
    let mut early = world.clone();
    early.ledger.truncate(known);
    early.ledger_last = world.ledger_first - 1 + early.ledger.len() as u64;
    let mut table = Table::default();
    recover(&early, &mut table, window_ns, &mut || (usize::MAX, false));
    table
}

/// However many entries are told at a time, and however often the gate starts anew in between: the same.
fn any_pace(world: &World, table: Table, window_ns: TimeNs, [chunk, every, again]: [u8; 3]) {
    let mut slow = table.clone();
    let end = recover(world, &mut slow, window_ns, &mut || (1, false));
    let mut fast = table.clone();
    let (mut turn, mut restarts) = (0_usize, 0);
    let mut pace = || {
        turn += 1;
        let restart = turn % (usize::from(every) + 1) == 0 && restarts < again;
        restarts += u8::from(restart);
        (usize::from(chunk) * (turn % 3 + 1), restart)
    };
    let other_end = recover(world, &mut fast, window_ns, &mut pace);
    same_end(&end, &other_end);
    if !world.is_whole() {
        return;
    }
    if let Some(newer) = world.newer() {
        assert!(
            matches!(end, End::Refused(Refusal::NewerEntries { sequence, .. }) if sequence == newer)
        );
        assert!(slow.cursors.ledger.sequence < newer && fast.cursors.ledger.sequence < newer);
        return;
    }
    assert_eq!(slow, fast);
    followed_alike(world, &table, &slow);
    as_the_ledger_means(world, &slow, &end, window_ns);
    // A supervisor starts it again.
    let mut later = slow.clone();
    let later_end = recover(world, &mut later, window_ns, &mut || (7, false));
    same_end(&end, &later_end);
    assert_eq!(slow, later);
}

fn same_end(one: &End, other: &End) {
    match (one, other) {
        (End::Done(one), End::Done(other)) => {
            assert_eq!(one.cursors, other.cursors);
            assert_eq!(one.inputs, other.inputs);
        }
        (End::Refused(one), End::Refused(other)) => assert_eq!(one, other),
        (End::Waits, End::Waits) => {}
        _ => panic!("{one:?} {other:?}"),
    }
}

/// A standby that sees all of it come.
fn followed_alike(world: &World, before: &Table, after: &Table) {
    if before.cursors.ledger.sequence < world.ledger_first - 1 {
        return;
    }
    let mut follow = Follow::new(NAME, before.cursors.clone());
    let read = follow.read(&world.ledger, world.ledger_last).unwrap();
    let records = before.records(read.keys());
    let applied = follow.apply_all(read, records);
    let mut table = before.clone();
    table.change(applied.commit.changes);
    table.cursors = applied.commit.cursors;
    assert_eq!(table, *after);
}

fn as_the_ledger_means(world: &World, table: &Table, end: &End, window_ns: TimeNs) {
    let entries = world.entries();
    let meaning = Meaning::of(&entries);
    meaning.is_that_of(&table.cursors, &table.keys, world.ledger_first);
    let Some(last) = world.ledger.last() else {
        return;
    };
    let LedgerCursor { sequence, fingerprint, anchor, .. } = table.cursors.ledger;
    assert_eq!(sequence, world.ledger_last);
    assert_eq!(fingerprint, fingerprint_of(last));
    assert_eq!(anchor, Some((last.sequence, last.time_ns)));

    let trimmed = world.ledger_first > 1;
    let actions = input_is(world, &meaning, INPUT);
    match end {
        End::Refused(Refusal::InputWentBack { stream, .. }) if &**stream == INPUT => {
            assert_eq!(actions, None);
        }
        _ if trimmed && must_wait(world, &meaning, window_ns, actions == Some(true)) => {
            assert!(matches!(end, End::Refused(Refusal::LedgerTrimmed { .. })), "{end:?}");
        }
        End::Refused(Refusal::InputWentBack { stream, .. }) => {
            assert_eq!(input_is(world, &meaning, stream), None);
        }
        End::Done(recovered) => {
            assert_eq!(recovered.cursors.filling, None);
            let names = recovered.inputs.iter().map(|input| &*input.stream);
            assert!(names.eq([INPUT, REPORTS]));
            for input in &recovered.inputs {
                recovered_as_it_is(world, &meaning, &recovered.cursors, input);
            }
        }
        other => panic!("{other:?}"),
    }
}

fn recovered_as_it_is(
    world: &World,
    meaning: &Meaning,
    cursors: &Cursors,
    RecoveredInput { stream, created_ns, is_new }: &RecoveredInput,
) {
    assert_eq!(*created_ns, world.input(stream).created_ns);
    assert_eq!(input_is(world, meaning, stream), Some(*is_new));
    let at = cursors.inputs.iter().find(|cursor| cursor.stream == *stream).unwrap();
    let judged = meaning.position(stream).map_or(0, |(sequence, ..)| sequence);
    assert_eq!(at.sequence, if *is_new { 0 } else { judged });
}

fn fingerprint_of(message: &LedgerMessage) -> u64 {
    let none = Headers::default();
    entry::fingerprint(&message.subject, message.headers.as_ref().unwrap_or(&none))
}

/// It ends one way or the other, and never well on a ledger that is another one.
fn a_table_of_whatever(world: &World, cursors: Cursors, window_ns: TimeNs) {
    let ledger = cursors.ledger.clone();
    let mut table = Table { keys: BTreeMap::new(), cursors };
    let end = recover(world, &mut table, window_ns, &mut || (3, false));
    let at = |sequence: u64| world.ledger.iter().find(|message| message.sequence == sequence);
    if let End::Done(recovered) = end {
        assert_eq!(recovered.cursors.ledger.sequence, world.ledger_last);
        assert!(ledger.sequence <= world.ledger_last);
        if let Some(entry) = at(ledger.sequence).filter(|_| ledger.sequence > 0) {
            assert_eq!(ledger.fingerprint, fingerprint_of(entry));
        }
    }
}
