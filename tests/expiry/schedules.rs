//! No verdict depends on when the table was flushed, collected, killed or robbed of its log.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use crate::stage::{Deed, Stage};

#[derive(Clone, Debug)]
enum Step {
    Judge(Vec<Deed>),
    Flush,
    Collect,
    JudgeDuringCollection(Vec<Vec<Deed>>),
    Window(u16),
    /// During a collection or not; how much of the log is left where power failed.
    Crash(bool, Option<u64>),
}

fn deeds() -> impl Strategy<Value = Vec<Deed>> {
    // A thousandth of a window to a third of it; now and then the clock steps back.
    let later_ms = prop_oneof![8 => 1_i16..350, 1 => -40_i16..0];
    let deed = (0_u8..12, 0_u8..2, later_ms);
    let deed = deed.prop_map(|(key, payload, later_ms)| Deed { key, payload, later_ms });
    prop::collection::vec(deed, 1..6)
}

fn step() -> impl Strategy<Value = Step> {
    let log_left = prop_oneof![Just(None), Just(Some(0)), (1_u64..100).prop_map(Some)];
    prop_oneof![
        8 => deeds().prop_map(Step::Judge),
        1 => Just(Step::Flush),
        4 => Just(Step::Collect),
        2 => prop::collection::vec(deeds(), 1..4).prop_map(Step::JudgeDuringCollection),
        1 => prop_oneof![Just(300), Just(1_000), Just(4_000)].prop_map(Step::Window),
        1 => (any::<bool>(), log_left).prop_map(|(collecting, left)| Step::Crash(collecting, left)),
    ]
}

fn take(stage: &mut Stage, step: &Step) {
    match step {
        Step::Judge(deeds) => stage.judge(deeds),
        Step::Flush => stage.table().flush().unwrap(),
        Step::Collect => drop(stage.table().collect_expired().unwrap()),
        Step::JudgeDuringCollection(commits) => stage.judge_meanwhile(commits),
        Step::Window(window_ms) => stage.lead(*window_ms),
        Step::Crash(collecting, log_left) => stage.crash(*collecting, *log_left),
    }
}

#[test]
fn no_verdict_depends_on_when_anything_was_collected() {
    let forgotten = AtomicUsize::new(0);
    let mut runner = TestRunner::new(ProptestConfig { cases: 24, ..ProptestConfig::default() });
    let schedules = prop::collection::vec(step(), 20..60);
    let held = runner.run(&schedules, |steps| {
        let mut stage = Stage::new();
        steps.iter().for_each(|step| take(&mut stage, step));
        forgotten.fetch_add(stage.forgotten, Relaxed);
        Ok(())
    });
    held.unwrap_or_else(|failed| panic!("{failed}"));
    let forgotten = forgotten.into_inner();
    assert!(forgotten > 100, "the table really forgot: {forgotten}");
}
