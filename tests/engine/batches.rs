//! Batches, acknowledgements and markers.

use bytes::Bytes;
use oncegate::gate::engine::{Event, InputKind, Outcome};

use super::world::World;

/// The limit on unacknowledged bytes is reached long before the server owes an acknowledgement.
#[test]
fn large_payloads_do_not_wait_for_an_acknowledgement_that_nobody_owes() {
    let mut world = World::new();
    let payload = Bytes::from(vec![b'x'; 1 << 20]);
    for sequence in 1..=100 {
        let action = world.action(sequence, &format!("k{sequence}"), &payload);
        world.tell(Event::Actions(vec![(Box::new(action), None)]));
    }
    let unsettled = 100 - world.settled.len();
    assert!(unsettled <= 16, "{unsettled} wait");
    world.pause();
    assert_eq!(world.settled.len(), 100);
    assert!(world.engine.is_settled());
}

#[test]
fn more_large_payloads_at_once_than_may_be_unacknowledged() {
    let mut world = World::new();
    let payload = Bytes::from(vec![b'x'; 1 << 20]);
    let actions =
        (1..=60).map(|n| (Box::new(world.action(n, &format!("k{n}"), &payload)), None)).collect();
    world.tell(Event::Actions(actions));
    world.pause();
    assert_eq!(world.settled.len(), 60);
    assert_eq!(world.subjects().len(), 60);
}

/// A batch asks for acknowledgements once, by what is under way when it begins; it need not end for hours.
#[test]
fn a_batch_that_began_with_large_payloads_gives_way_when_small_ones_follow() {
    let mut world = World::new();
    let (large, small) = (Bytes::from(vec![b'x'; 1 << 20]), Bytes::from_static(b"x"));
    for first in (1..=4_001).step_by(8) {
        let payload = if first == 1 { &large } else { &small };
        let actions = (first..first + 8).map(|n| world.action(n, &format!("k{n}"), payload));
        let actions = actions.map(|action| (Box::new(action), None)).collect();
        world.tell(Event::Actions(actions));
    }
    assert_eq!(world.flows, [5, 500]);
    world.pause();
    assert_eq!(world.settled.len(), 4_008);
}

#[test]
fn duplicates_settle_with_the_entry_or_marker_behind_them() {
    let mut world = World::new();
    world.act(1, &["a", "a", "b", "a", "b"]);
    assert!(world.settled.is_empty(), "nothing is acknowledged yet");
    world.pause();
    use Outcome::{Accepted, Duplicate};
    let wanted = [(1, Accepted), (2, Duplicate), (3, Accepted), (4, Duplicate), (5, Duplicate)];
    assert_eq!(world.outcomes(InputKind::Actions), wanted);
    assert_eq!(world.subjects().len(), 3, "two accepted, one marker");
}
