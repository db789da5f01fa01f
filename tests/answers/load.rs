//! Actions and reports mixed, many of them.

use crate::support::executor::Executor;
use crate::support::load::{self, Dice, payment};
use crate::support::model::Rules;
use crate::support::model::reports::Outcome;
use crate::support::raw::Outgoing;
use crate::support::world::{Report, World};
use crate::support::{streams, wait_until};

const LEDGER: &str = "ONCEGATE";

/// Bursts of actions, with reports on the runs of those before while they are judged.
fn bursts(
    world: &mut World,
    seed: u64,
    count: u64,
    more: impl Fn(&mut World, &mut Dice),
) -> Report {
    let (mut dice, mut executor) = (Dice::new(seed), Executor::new(seed));
    for burst in 0..count {
        let prefix = format!("{}-", dice.roll(burst + 1));
        let actions = load::mixed(200, &prefix, seed + dice.roll(1 << 30));
        world.publish_all(&actions);
        let reports = executor.reports(&mut world.client, LEDGER, 60);
        world.report_all(&reports);
        more(world, &mut dice);
        if dice.roll(4) == 0 {
            world.settle();
        }
    }
    world.check()
}

#[track_caller]
fn has_everything(report: &Report) {
    let count = |fits: fn(Outcome) -> bool| report.count_reports(fits);
    let counts = [
        count(|outcome| matches!(outcome, Outcome::Completed(_))),
        count(|outcome| outcome == Outcome::Released("retry")),
        count(|outcome| outcome == Outcome::Released("operator")),
        count(|outcome| outcome == Outcome::Repeated),
        count(|outcome| outcome == Outcome::Rejected("result_conflict")),
        count(|outcome| outcome == Outcome::Rejected("unknown_run")),
        count(|outcome| outcome == Outcome::Rejected("invalid_result")),
    ];
    assert!(counts.iter().all(|count| *count > 0), "{counts:?}");
}

#[test]
fn the_ledger_equals_the_model() {
    let mut world = World::started(Rules::default());
    let report = bursts(&mut world, 1, 40, |_, _| {});
    has_everything(&report);
    let stream = world.reports_stream();
    wait_until("the stream of reports to be empty", || {
        streams::info(&mut world.client, &stream)["state"]["messages"] == 0
    });
}

#[test]
fn with_a_window_of_a_second() {
    let mut world = World::started(Rules::window(1));
    bursts(&mut world, 2, 30, |_, _| {});
}

#[test]
fn while_the_worker_is_killed_again_and_again() {
    let mut world = World::started(Rules::default());
    let report = bursts(&mut world, 3, 30, |world, dice| {
        if dice.roll(2) == 0 {
            world.gate.kill9();
            world.gate.start();
        }
    });
    has_everything(&report);
}

#[test]
fn on_a_work_queue_of_actions() {
    let mut world = World::prepared(crate::support::server::Server::start(), Rules::default());
    let fields = serde_json::json!({ "retention": "workqueue" });
    streams::create(&mut world.client, &streams::input_config(&fields));
    world.gate.start();
    let mut executor = Executor::new(4);
    for burst in 0..12 {
        world.gate.freeze();
        world.publish_all(&load::mixed(150, "k", burst));
        world.capture();
        world.gate.thaw();
        let reports = executor.reports(&mut world.client, LEDGER, 40);
        world.report_all(&reports);
    }
    world.check();
    wait_until("the queues to be empty", || {
        ["ACTIONS", "ONCEGATE_REPORTS"]
            .into_iter()
            .all(|stream| streams::info(&mut world.client, stream)["state"]["messages"] == 0)
    });
}

/// Neither input waits for the other to be empty.
#[test]
fn reports_are_judged_while_actions_keep_coming() {
    let mut world = World::started(Rules::default());
    let mut executor = Executor::new(5);
    world.publish_all(&(0..200).map(|n| payment("early", n, n, 0)).collect::<Vec<_>>());
    world.settle();
    let reports = executor.reports(&mut world.client, LEDGER, 200);
    let many: Vec<Outgoing> = (0..40_000).map(|n| payment("k", n, n, 0)).collect();
    world.gate.freeze();
    world.publish_all(&many);
    world.report_all(&reports);
    world.gate.thaw();
    let report = world.check();
    let last_of = |stream: &str| {
        let of = |entry: &&_| source_is(entry, stream);
        report.entries.iter().rfind(of).unwrap().sequence
    };
    assert!(last_of("ONCEGATE_REPORTS") < last_of("ACTIONS"), "the reports waited for all actions");
}

fn source_is(entry: &crate::support::ledger::Entry, stream: &str) -> bool {
    entry.source().is_some_and(|source| source.stream == stream)
}
