//! How long a key is remembered, and what other rules change.

use std::time::Duration;

use crate::MISMATCH;
use crate::support::model::Rules;
use crate::support::model::Verdict::{Accepted, Duplicate};
use crate::support::world::World;
use crate::support::{streams, wait_until};

/// Waits until the source time of a message published now is this much later than that one's.
fn let_pass(world: &mut World, after: u64, time: Duration) {
    let then = streams::get(&mut world.client, "ACTIONS", after).unwrap().time;
    let until = then + time;
    wait_until("time to pass", || jiff::Timestamp::now() > until);
}

#[test]
fn a_key_is_free_again_when_its_window_is_over() {
    let mut world = World::started(Rules::window(2));
    let first = world.act("k", "1");
    let within = world.act("k", "1");
    let changed = world.act("k", "2");
    let_pass(&mut world, first, Duration::from_millis(2_050));
    let renewed = world.act("k", "2");
    let again = world.act("k", "2");
    let report = world.check();
    assert_eq!(report.verdict(within), Duplicate);
    assert_eq!(report.verdict(changed), MISMATCH);
    assert_eq!(report.verdict(renewed), Accepted);
    assert_eq!(report.verdict(again), Duplicate);
    let run = |sequence| report.entry(sequence).header("Oncegate-Run-Id");
    assert_ne!(run(first), run(renewed));
}

#[test]
fn age_is_measured_between_source_times() {
    let mut world = World::started(Rules::window(2));
    let first = world.act("k", "1");
    world.settle();
    world.gate.stop();
    let inside = world.act("k", "1");
    let_pass(&mut world, first, Duration::from_millis(3_000));
    world.gate.start();
    let report = world.check();
    assert_eq!(report.verdict(inside), Duplicate, "judged late, published in time");
    let after = world.act("k", "1");
    assert_eq!(world.check().verdict(after), Accepted);
}

#[test]
fn another_window_is_for_later_keys_only() {
    let mut world = World::started(Rules::window(2));
    let short = world.act("short", "1");
    world.change_rules(Rules::window(3_600), &[]);
    let long = world.act("long", "1");
    let_pass(&mut world, short, Duration::from_millis(2_050));
    let freed = world.act("short", "1");
    assert_eq!(world.check().verdict(freed), Accepted, "not made longer");
    world.change_rules(Rules::window(1), &[]);
    let_pass(&mut world, long, Duration::from_millis(2_050));
    let kept = world.act("long", "1");
    assert_eq!(world.check().verdict(kept), Duplicate, "not made shorter");
}

/// Longer, shorter and longer again, with keys accepted under each; then the same of a table that is filled
/// from the ledger.
#[test]
fn windows_forth_and_back_and_a_table_made_anew() {
    let (long, short) = (Rules::window(3_600), Rules::window(2));
    let mut world = World::started(short.clone());
    let first = world.act("short, first", "1");
    world.change_rules(long.clone(), &[]);
    world.act("long, first", "1");
    world.change_rules(short, &[]);
    let later = world.act("short, later", "1");
    world.change_rules(long, &[]);
    world.act("long, later", "1");
    let_pass(&mut world, first.max(later), Duration::from_millis(2_050));
    let keys = ["short, first", "long, first", "short, later", "long, later"];
    // Expired keys stay expired, whether or not the table that says so is the one that saw them.
    let free = |key: &str| key.starts_with("short");
    for (round, anew) in [false, true, true].into_iter().enumerate() {
        if anew {
            world.gate.stop();
            std::fs::remove_dir_all(world.gate.table()).unwrap();
            world.gate.start();
        }
        for key in keys {
            let other = world.act(key, "2");
            let report = world.check();
            let taken = free(key) && round == 0;
            assert_eq!(report.verdict(other) == Accepted, taken, "{key}, round {round}");
        }
        let again: Vec<u64> = keys.iter().map(|key| world.act(key, "1")).collect();
        let report = world.check();
        for (key, sequence) in keys.into_iter().zip(again) {
            let wanted = if free(key) { MISMATCH } else { Duplicate };
            assert_eq!(report.verdict(sequence), wanted, "{key}, round {round}");
        }
    }
}

/// The table is made anew before anyone has found out what is expired.
#[test]
fn a_table_made_anew_knows_each_keys_own_window() {
    let mut world = World::started(Rules::window(2));
    let first = world.act("short", "1");
    world.change_rules(Rules::window(3_600), &[]);
    world.act("long", "1");
    world.change_rules(Rules::window(1), &[]);
    let_pass(&mut world, first, Duration::from_millis(2_050));
    world.gate.stop();
    std::fs::remove_dir_all(world.gate.table()).unwrap();
    world.gate.start();
    let freed = world.act("short", "1");
    let kept = world.act("long", "1");
    let report = world.check();
    assert_eq!(report.verdict(freed), Accepted);
    assert_eq!(report.verdict(kept), Duplicate);
}
