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

#[test]
fn other_payload_rules_judge_both_payloads_anew() {
    let mut world = World::started(Rules::default());
    world.act("k", r#"{"n":1,"sent_at":1}"#);
    world.act("raw", r#"{"n": 1}"#);
    let before = world.act("k", r#"{"n":1,"sent_at":2}"#);
    assert_eq!(world.check().verdict(before), MISMATCH);
    let ignoring = Rules { ignore: vec!["/sent_at"], ..Rules::default() };
    world.change_rules(ignoring, &[]);
    let same = world.act("k", r#"{"n":1,"sent_at":2}"#);
    let other = world.act("k", r#"{"n":2,"sent_at":1}"#);
    world.act("new", r#"{"n":1,"sent_at":1}"#);
    let later = world.act("new", r#"{"n":1,"sent_at":9}"#);
    let report = world.check();
    assert_eq!(report.verdict(same), Duplicate);
    assert_eq!(report.verdict(other), MISMATCH);
    assert_eq!(report.verdict(later), Duplicate);
    let strict = Rules { compare: "bytes", ..Rules::default() };
    world.change_rules(strict, &[]);
    let respelled = world.act("raw", r#"{"n":1}"#);
    let exact = world.act("raw", r#"{"n": 1}"#);
    let report = world.check();
    assert_eq!(report.verdict(respelled), MISMATCH);
    assert_eq!(report.verdict(exact), Duplicate);
}
