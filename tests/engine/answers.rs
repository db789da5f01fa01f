//! Receipts: built with the verdict, kept after a recovery only where the ledger bears them out.

use oncegate::gate::engine::{Decided, InputKind, Outcome};
use oncegate::gate::receipt::{Receipt, Shown};
use oncegate::gate::record::RunState;
use oncegate::gate::source::Source;
use oncegate::gate::verdict::Reason;

use super::world::{ACTIONS, REPORTS, World, forget, run_id, told};

fn receipt(decided: &Decided) -> &Receipt {
    decided.receipt.as_deref().unwrap()
}

#[test]
fn each_verdict_has_its_answer() {
    let mut world = World::new();
    world.act(1, &["a", "a"]);
    world.report([told(1, 1, "a", "succeeded", "1"), told(2, 1, "a", "succeeded", "1")]);
    world.act(3, &["a"]);
    world.report([told(3, 1, "a", "retry", "")]);
    world.pause();
    let told: Vec<_> = world
        .settled
        .iter()
        .map(|decided| {
            let Receipt { verdict, replayed, known, reply_to, .. } = receipt(decided);
            let state = known.as_ref().map(|known| known.state);
            (reply_to.as_str(), *verdict, *replayed, state)
        })
        .collect();
    let done = Some(RunState::Succeeded(3));
    let wanted = [
        ("_INBOX.a1", Shown::Accepted, false, Some(RunState::Pending)),
        ("_INBOX.a2", Shown::Duplicate, true, Some(RunState::Pending)),
        ("_INBOX.r1", Shown::Completed, false, done),
        ("_INBOX.a3", Shown::Duplicate, true, done),
        ("_INBOX.r2", Shown::Completed, true, done),
        ("_INBOX.r3", Shown::Rejected, false, None),
    ];
    assert_eq!(told, wanted);
    for decided in
        world.settled.iter().filter(|one| one.outcome != Outcome::Rejected(Reason::ResultConflict))
    {
        let known = receipt(decided).known.as_ref().unwrap();
        assert_eq!(known.run_id.to_string(), run_id(1, "a"));
        assert_eq!((known.ledger_sequence, known.expires_ns), (2, Some(1_000_000_001)));
    }
}

/// The connection broke; all of it is in the ledger.
fn in_doubt() -> World {
    let mut world = World::new();
    world.is_silent = true;
    world.act(1, &["a", "a", "b"]);
    world.pause();
    assert_eq!(world.settled, []);
    world
}

fn at(stream: &str, sequence: u64) -> Source {
    Source { stream: stream.into(), sequence, time_ns: 1 }
}

#[test]
fn what_the_ledger_holds_as_it_was_sent_is_answered() {
    let mut unsettled = in_doubt().into_unsettled();
    unsettled
        .read(&[(at(ACTIONS, 1), 2, Outcome::Accepted), (at(ACTIONS, 3), 3, Outcome::Accepted)]);
    let shown = unsettled.take_settled(|_| 3);
    assert_eq!(shown.len(), 3);
    assert!(shown.iter().all(|decided| decided.receipt.is_some()));
}

/// The next leader took a report first, which moved *now*, or gave the key back: the runs are others, or live
/// longer, and what was prepared as an answer tells of none that there is.
#[test]
fn what_came_in_another_order_is_not_answered() {
    let mut unsettled = in_doubt().into_unsettled();
    unsettled.read(&[(at(REPORTS, 1), 2, Outcome::Rejected(Reason::UnknownRun))]);
    unsettled
        .read(&[(at(ACTIONS, 1), 3, Outcome::Accepted), (at(ACTIONS, 3), 4, Outcome::Accepted)]);
    let shown = unsettled.take_settled(|_| 3);
    let outcomes = shown.iter().map(|decided| (decided.outcome, decided.receipt.is_some()));
    use Outcome::{Accepted, Duplicate};
    assert_eq!(
        outcomes.collect::<Vec<_>>(),
        [(Accepted, false), (Duplicate, false), (Accepted, false)]
    );
}

#[test]
fn what_stands_before_the_difference_is_answered() {
    let mut world = in_doubt();
    world.report([forget(1, "b")]);
    let mut unsettled = world.into_unsettled();
    unsettled
        .read(&[(at(ACTIONS, 1), 2, Outcome::Accepted), (at(ACTIONS, 2), 3, Outcome::Accepted)]);
    let shown = unsettled.take_settled(|input| if input == InputKind::Actions { 2 } else { 0 });
    let answered: Vec<_> = shown.iter().map(|decided| decided.receipt.is_some()).collect();
    assert_eq!(answered, [true, false]);
}
