//! Keys that are given back count as not seen from there on: in a live worker, under whoever takes over, and in
//! a table that is made anew from the ledger.

use serde_json::json;

use crate::asking::{Caller, asking, known, run, unknown};
use crate::support::gate::Gate;
use crate::support::model::Rules;
use crate::support::model::Verdict::{Accepted, Duplicate};
use crate::support::model::reports::Outcome::Released;
use crate::support::world::{World, action, forget, result};

/// How the one that goes on comes by its table.
type GoOn = fn(&mut World);

/// `done`: a completed run; `back`, `gone`: given back by executor and operator; `anew`: given back, and accepted
/// again, with a result of its own.
struct Runs {
    done: String,
    back: String,
    anew: String,
}

fn begin(world: &mut World) -> Runs {
    let [done, back, gone, first] = ["done", "back", "gone", "anew"].map(|key| run(world, key));
    let reports = [
        result("done", &done, "succeeded", b"\"done\""),
        result("back", &back, "retry", b""),
        result("gone", &gone, "failed", b"1"),
        forget("gone"),
        result("anew", &first, "retry", b""),
    ];
    world.report_all(&reports);
    world.settle();
    let anew = run(world, "anew");
    assert_ne!(anew, first);
    world.report(&result("anew", &anew, "failed", b"\"anew\""));
    world.settle();
    Runs { done, back, anew }
}

/// Whoever goes on says the same of all of them.
fn must_agree(world: &mut World, runs: &Runs) {
    for (key, id, state, data) in
        [("done", &runs.done, "succeeded", "done"), ("anew", &runs.anew, "failed", "anew")]
    {
        let known = known(world, key);
        assert_eq!((&known["run_id"], &known["state"]), (&json!(id), &json!(state)));
        assert_eq!(known["result"]["data"], data);
    }
    unknown(world, "back");
    unknown(world, "gone");
    let done = world.act("done", "1");
    let back = world.act("back", "another payload");
    let gone = world.act("gone", "another payload");
    let report = world.check();
    assert_eq!(report.verdict(done), Duplicate);
    assert_eq!((report.verdict(back), report.verdict(gone)), (Accepted, Accepted));
    let again = run(world, "back");
    assert_ne!(again, runs.back);
    world.report(&result("back", &again, "succeeded", b"1"));
    world.report(&result("back", &runs.back, "succeeded", b"1"));
    world.check();
    assert_eq!(known(world, "back")["state"], "succeeded");
}

fn going_on(go_on: GoOn) {
    let mut world = World::started(Rules::default());
    let runs = begin(&mut world);
    go_on(&mut world);
    must_agree(&mut world, &runs);
}

#[test]
fn in_a_live_worker() {
    going_on(|_| {});
}

#[test]
fn after_a_restart() {
    going_on(|world| world.gate.restart());
}

#[test]
fn after_a_kill() {
    going_on(|world| {
        world.gate.kill9();
        world.gate.start();
    });
}

#[test]
fn in_a_table_that_is_lost() {
    going_on(|world| {
        world.gate.stop();
        std::fs::remove_dir_all(world.gate.table()).unwrap();
        world.gate.start();
    });
}

#[test]
fn in_a_table_that_is_rebuilt() {
    going_on(|world| {
        world.gate.stop();
        let ending = world.gate.call(&["rebuild"]);
        assert_eq!(ending.code, Some(0), "{ending:#?}");
        world.gate.start();
    });
}

/// A second worker, warm, that has followed all the time.
#[test]
fn under_a_standby_that_takes_over() {
    let mut world = World::started(Rules::default());
    let mut standby: Gate = world.gate.twin();
    standby.start();
    let runs = begin(&mut world);
    world.gate.stop();
    standby.wait_leading();
    std::mem::swap(&mut world.gate, &mut standby);
    must_agree(&mut world, &runs);
}

#[test]
fn an_operator_lets_a_key_be_forgotten_and_says_why() {
    let mut world = World::started(Rules::default());
    let mut caller = Caller::of(&world);
    let id = run(&mut world, "k");
    world.report(&asking(result("k", &id, "failed", b"1")));
    caller.receipt_of("completed");
    let sequence = world.report(&asking(forget("k")));
    let receipt = caller.receipt_of("released");
    assert_eq!((&receipt["run_id"], &receipt["key"]), (&json!(id), &json!("k")));
    world.publish(&asking(action("actions.pay", "k", "1")));
    let accepted = caller.receipt_of("accepted");
    assert_ne!(accepted["run_id"], json!(id));
    let report = world.check();
    assert_eq!(report.outcome(sequence), Released("operator"));
    let entry = report.report_entry(sequence);
    assert_eq!(entry.subject, "oncegate.released.operator");
    assert_eq!(entry.header("Oncegate-Detail"), Some("it was wrong"));
    assert_eq!(entry.header("Oncegate-Run-Id"), Some(id.as_str()));
    world.report(&forget("k"));
    world.report(&forget("k"));
    let report = world.check();
    assert_eq!(report.entries_of("released"), 2);
    unknown(&mut world, "k");
}
