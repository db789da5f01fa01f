//! What other payload rules change for keys that were accepted before.

use oncegate::gate::key::ActionKey;
use oncegate::table::{KeyTable, RocksTable};

use crate::support::model::Rules;
use crate::support::model::Verdict::{Accepted, Duplicate, Rejected};
use crate::support::raw::Outgoing;
use crate::support::world::{World, action};
use crate::support::{streams, wait_until};
use crate::{MALFORMED, MISMATCH};

fn ignoring() -> Rules {
    Rules { ignore: vec!["/sent_at"], ..Rules::default() }
}

fn comparing(compare: &'static str) -> Rules {
    Rules { compare, ..Rules::default() }
}

/// A payload that says when it was sent.
fn sent(n: u64, at: u64) -> String {
    format!("{{\"n\":{n},\"sent_at\":{at}}}")
}

#[test]
fn other_payload_rules_judge_both_payloads_anew() {
    let mut world = World::started(Rules::default());
    world.act("k", &sent(1, 1));
    world.act("raw", r#"{"n": 1}"#);
    let before = world.act("k", &sent(1, 2));
    assert_eq!(world.check().verdict(before), MISMATCH);
    world.change_rules(ignoring(), &[]);
    let same = world.act("k", &sent(1, 2));
    let other = world.act("k", &sent(2, 1));
    world.act("new", &sent(1, 1));
    let later = world.act("new", &sent(1, 9));
    let report = world.check();
    assert_eq!(report.verdict(same), Duplicate);
    assert_eq!(report.verdict(other), MISMATCH);
    assert_eq!(report.verdict(later), Duplicate);
    world.change_rules(comparing("bytes"), &[]);
    let respelled = world.act("raw", r#"{"n":1}"#);
    let exact = world.act("raw", r#"{"n": 1}"#);
    let report = world.check();
    assert_eq!(report.verdict(respelled), MISMATCH);
    assert_eq!(report.verdict(exact), Duplicate);
}

/// Every spelling of every key so far, under each of the rules in turn; each step is compared with the model.
#[test]
fn rules_forth_and_back_while_keys_are_live() {
    let mut world = World::started(Rules::default());
    let turns = [
        ignoring(),
        Rules::default(),
        comparing("bytes"),
        comparing("json"),
        ignoring(),
        comparing("bytes"),
        Rules::default(),
    ];
    let mut duplicates = 0;
    for (turn, rules) in turns.into_iter().enumerate() {
        let turn = turn as u64;
        for (kind, payload) in [("json", sent(turn, 1)), ("text", format!("no JSON {turn}"))] {
            world.act(&format!("{kind} {turn}"), &payload);
        }
        world.change_rules(rules, &[]);
        for earlier in 0..=turn {
            for payload in [
                sent(earlier, 1),
                sent(earlier, 2),
                format!("{{ \"sent_at\": 1.0, \"n\": {earlier}e0 }}"),
                sent(earlier + 1, 1),
                "no JSON".to_owned(),
            ] {
                world.act(&format!("json {earlier}"), &payload);
            }
            for payload in [format!("no JSON {earlier}"), format!("no JSON  {earlier}")] {
                world.act(&format!("text {earlier}"), &payload);
            }
        }
        match turn {
            3 => {
                world.gate.kill9();
                world.gate.start();
            }
            5 => world.gate.restart(),
            _ => {}
        }
        let report = world.check();
        let found = report.count(|verdict| verdict == Duplicate);
        assert!(found > duplicates, "some are the same under these rules, too");
        duplicates = found;
    }
    let report = world.check();
    for verdict in [Accepted, Duplicate, MISMATCH, MALFORMED] {
        assert!(report.count(|other| other == verdict) > 0, "{verdict:?}");
    }
    assert_eq!(report.count(|verdict| verdict == Rejected("rules_changed")), 0);
    world.gate.stop();
    let table = RocksTable::open(&world.gate.table(), "oncegate").unwrap();
    assert_eq!(table.cursors().unwrap().rules.len(), 4, "rules that come back are the same rules");
}

/// Each waits for its original, and none overtakes another; the worker is killed among them.
#[test]
fn many_retries_at_once_under_other_rules() {
    const KEYS: u64 = 1_500;
    let mut world = World::started(Rules::default());
    let all = |at: u64| -> Vec<Outgoing> {
        (0..KEYS).map(|n| action("actions.pay", &format!("k{n}"), &sent(n, at))).collect()
    };
    world.publish_all(&all(1));
    world.change_rules(ignoring(), &[]);
    world.gate.stop();
    let mut mixed = Vec::new();
    for (n, retry) in all(2).into_iter().enumerate() {
        let key = format!("k{n}");
        mixed.push(retry);
        if n % 3 == 0 {
            mixed.push(action("actions.pay", &key, &sent(n as u64 + 1, 2)));
            mixed.push(action("actions.pay", &format!("new {n}"), &sent(1, 1)));
            mixed.push(action("actions.pay", &format!("new {n}"), &sent(1, 2)));
        }
    }
    let before = streams::last_sequence(&mut world.client, "ONCEGATE");
    world.publish_all(&mixed);
    for more in [100, 400] {
        world.gate.spawn();
        wait_until("some of them to be judged", || {
            streams::last_sequence(&mut world.client, "ONCEGATE") > before + more
        });
        world.gate.kill9();
    }
    world.gate.start();
    let report = world.check();
    assert_eq!(report.count(|verdict| verdict == MISMATCH), KEYS.div_ceil(3) as usize);
    assert_eq!(report.count(|verdict| verdict == Duplicate), (KEYS + KEYS.div_ceil(3)) as usize);
}

#[test]
fn an_original_that_is_gone_is_not_guessed() {
    let gone = Rejected("rules_changed");
    let mut world = World::started(Rules::default());
    world.act("gone", &sent(1, 1));
    world.act("kept", &sent(1, 1));
    world.check();
    world.gate.stop();
    world.trim_ledger(1);
    world.gate.start();
    let plain = world.act("gone", &sent(1, 1));
    assert_eq!(
        world.check().verdict(plain),
        Duplicate,
        "under its own rules no original is needed"
    );
    world.change_rules(ignoring(), &[]);
    let same = world.act("gone", &sent(1, 1));
    let other = world.act("gone", &sent(2, 1));
    let kept = world.act("kept", &sent(1, 2));
    let report = world.check();
    assert_eq!(report.verdict(same), gone);
    assert_eq!(report.verdict(other), gone);
    assert_eq!(report.verdict(kept), Duplicate, "its original is there");
    let label = [("verdict", "rejected"), ("reason", "rules_changed")];
    let counted = world.gate.metrics().sum("oncegate_actions_total", &label);
    assert_eq!(counted, 2.0);
    world.change_rules(Rules::default(), &[]);
    let back = world.act("gone", &sent(1, 1));
    let changed = world.act("gone", &sent(1, 2));
    let report = world.check();
    assert_eq!(report.verdict(back), Duplicate, "the key stayed, and is judged as before");
    assert_eq!(report.verdict(changed), MISMATCH);
}

/// What stands where the original should be is no accepted action: then the ledger is not the table's.
#[test]
fn an_original_that_is_something_else_stops_the_gate() {
    let mut world = World::started(Rules::default());
    world.act("k", &sent(1, 1));
    world.act("k", &sent(2, 1));
    let report = world.check();
    world.gate.stop();
    let rejected = report.entries.iter().find(|entry| entry.kind() == "rejected").unwrap();
    point_to(&world, "k", rejected.sequence);
    ignoring().write(&mut world.gate.settings);
    world.act("k", &sent(1, 1));
    let entries = streams::last_sequence(&mut world.client, "ONCEGATE");
    world.gate.spawn();
    let ending = world.gate.ending();
    assert_eq!(ending.code, Some(1), "{ending:#?}");
    ending.says(&["not the accepted action", "Restore the right ledger stream"]);
    let after = streams::last_sequence(&mut world.client, "ONCEGATE");
    assert_eq!(after, entries + 1, "it led, and judged nothing");
}

/// The table says that this key was accepted by another entry.
fn point_to(world: &World, key: &str, ledger_sequence: u64) {
    let table = RocksTable::open(&world.gate.table(), "oncegate").unwrap();
    let key = ActionKey::new::<&str>(&[], key);
    let mut record = table.load_many(&[&key]).unwrap().pop().flatten().unwrap();
    record.ledger_sequence = ledger_sequence;
    let cursors = table.cursors().unwrap();
    let changes = vec![(key, Some(record))];
    table.commit(oncegate::gate::engine::Commit { changes, cursors }).unwrap();
}
