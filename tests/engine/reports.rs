//! Reports between actions: what is in flight counts, and the order is the ledger's.

use oncegate::gate::engine::{Command, Event, InputKind, Outcome};
use oncegate::gate::record::RunState;
use oncegate::gate::report;
use oncegate::gate::source::Source;
use oncegate::gate::verdict::Reason;

use super::world::{REPORTS, World, forget, run_id, told};

const JUDGED: &str = "Oncegate-Judged";

#[test]
fn a_result_in_the_same_batch_as_its_acceptance() {
    let mut world = World::new();
    world.act(1, &["a"]);
    world.report([told(1, 1, "a", "succeeded", "1")]);
    assert!(world.settled.is_empty(), "neither is acknowledged yet");
    world.pause();
    assert_eq!(world.subjects(), ["oncegate.accepted.actions.a", "oncegate.completed.succeeded"]);
    assert_eq!(world.header(3, JUDGED), Some("ACTIONS 1 1970-01-01T00:00:00.000000001Z"));
    assert_eq!(world.record("a").unwrap().state, RunState::Succeeded(3));
    assert_eq!(world.outcomes(InputKind::Reports), [(1, Outcome::Completed)]);
}

#[test]
fn a_release_and_a_new_acceptance_in_one_flight() {
    let mut world = World::new();
    world.act(1, &["a", "a"]);
    world.report([told(1, 1, "a", "retry", "")]);
    world.act(3, &["a", "a"]);
    world.report([told(2, 1, "a", "succeeded", "old"), told(3, 3, "a", "failed", "new")]);
    world.pause();
    use Outcome::{Accepted, Completed, Duplicate, Rejected, Released};
    let actions = [(1, Accepted), (2, Duplicate), (3, Accepted), (4, Duplicate)];
    assert_eq!(world.outcomes(InputKind::Actions), actions);
    let reports = [(1, Released), (2, Rejected(Reason::UnknownRun)), (3, Completed)];
    assert_eq!(world.outcomes(InputKind::Reports), reports);
    let runs = [2, 4].map(|at| world.header(at, "Oncegate-Run-Id").unwrap());
    assert_eq!(runs, [run_id(1, "a"), run_id(3, "a")], "a new run");
    let record = world.record("a").unwrap();
    assert_eq!((record.sequence, record.state), (3, RunState::Failed(6)));
}

/// The ledger may not hold the first yet: it is not read back.
#[test]
fn a_result_is_compared_with_one_in_flight() {
    let mut world = World::new();
    world.act(1, &["a"]);
    world.report([
        told(1, 1, "a", "succeeded", r#"{"id":1,"n":2}"#),
        told(2, 1, "a", "succeeded", r#"{ "n":2.0, "id":1 }"#),
        told(3, 1, "a", "succeeded", r#"{"id":2}"#),
        told(4, 1, "a", "failed", r#"{"id":1,"n":2}"#),
    ]);
    world.pause();
    use Outcome::{Completed, Rejected, Repeated};
    let conflict = Rejected(Reason::ResultConflict);
    let wanted = [(1, Completed), (2, Repeated), (3, conflict), (4, conflict)];
    assert_eq!(world.outcomes(InputKind::Reports), wanted);
    assert_eq!(world.reads, []);
}

#[test]
fn all_else_waits_behind_a_result_that_is_read_back() {
    let mut world = World::new();
    world.act(1, &["a"]);
    world.report([told(1, 1, "a", "succeeded", "1")]);
    world.pause();
    world.report([told(2, 1, "a", "succeeded", "1.0"), told(3, 1, "a", "retry", "")]);
    assert_eq!(world.reads, [Command::ReadResult(3)]);
    assert!(!world.engine.wants_input(), "no action either");
    world.pause();
    assert_eq!(world.outcomes(InputKind::Reports), [(1, Outcome::Completed)]);
    world.tell(Event::Original(Some(Some(report::digest(b"1")))));
    let wanted = [
        (1, Outcome::Completed),
        (2, Outcome::Repeated),
        (3, Outcome::Rejected(Reason::ResultConflict)),
    ];
    assert_eq!(world.outcomes(InputKind::Reports), wanted);
    assert!(world.engine.wants_input());
}

#[test]
fn a_result_whose_first_is_gone_is_a_conflict() {
    let mut world = World::new();
    world.act(1, &["a"]);
    world.report([told(1, 1, "a", "succeeded", "1")]);
    world.pause();
    world.report([told(2, 1, "a", "succeeded", "1")]);
    world.tell(Event::Original(None));
    world.pause();
    let conflict = Outcome::Rejected(Reason::ResultConflict);
    assert_eq!(world.outcomes(InputKind::Reports)[1], (2, conflict));
}

#[test]
fn a_report_closes_both_stretches_and_an_action_its_own() {
    let mut world = World::new();
    world.act(1, &["a", "a"]);
    let result = |sequence| told(sequence, 1, "a", "succeeded", "1");
    world.report([result(1), result(2)]);
    world.act(3, &["b", "b"]);
    world.report([forget(3, "nobody's"), result(4)]);
    world.act(5, &["b"]);
    world.pause();
    let wanted = [
        "oncegate.accepted.actions.a",
        "oncegate.completed.succeeded",
        "oncegate.accepted.actions.a",
        "oncegate.rejected.unknown_run",
        "oncegate.judged",
        "oncegate.judged",
    ];
    assert_eq!(world.subjects(), wanted);
    let judged = |at| world.header(at, JUDGED).unwrap().rsplit_once(' ').unwrap().0;
    assert_eq!(
        [3, 5, 6, 7].map(judged),
        ["ACTIONS 2", "ACTIONS 4", "ACTIONS 5", "ONCEGATE_REPORTS 4"]
    );
    assert_eq!(world.settled.len(), 9);
    assert!(world.engine.is_settled());
}

#[test]
fn a_report_from_the_future_waits_as_an_action_does() {
    let mut world = World::new();
    let mut early = forget(1, "a");
    early.raw.source.time_ns = 2_000_000_000;
    world.report([early]);
    let source = Source { stream: REPORTS.into(), sequence: 1, time_ns: 2_000_000_000 };
    assert_eq!(world.awaits, [source]);
    assert!(!world.engine.wants_input());
    world.tell(Event::Clock(1_500_000_000));
    world.pause();
    let unknown = Outcome::Rejected(Reason::UnknownRun);
    assert_eq!(world.outcomes(InputKind::Reports), [(1, unknown)]);
}

#[test]
fn a_report_s_time_counts_for_now() {
    let mut world = World::new();
    world.act(1, &["a"]);
    world.tell(Event::Clock(2_000_000_000));
    let mut late = forget(1, "nobody's");
    late.raw.source.time_ns = 1_000_000_001;
    world.report([late]);
    world.act(2, &["a"]);
    world.pause();
    assert_eq!(world.outcomes(InputKind::Actions)[1], (2, Outcome::Accepted), "the window is over");
}
