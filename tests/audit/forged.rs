//! Messages that somebody else put into the ledger.

use serde_json::json;

use crate::stage::{Audit, Copied, difference, of_input, rewrite};
use crate::support::ledger;
use crate::support::model::Rules;
use crate::support::raw::Outgoing;
use crate::support::world::World;

fn world() -> World {
    let mut world = World::started(Rules::default());
    world.act("k", "1");
    world.act("l", "2");
    world.settle();
    world
}

#[test]
fn clumsy_forgeries_are_listed_and_passed_over() {
    let mut world = world();
    let clumsy = [
        Outgoing::new("oncegate.accepted.x", &[], b"mine"),
        Outgoing::new("oncegate.accepted.x", &[("Oncegate-Source", "ACTIONS 3")], b"mine"),
        Outgoing::with_block(
            "oncegate.rejected.x",
            b"NATS/1.0\r\nA: b\rc\r\n\r\n",
            b"breaks clients",
        ),
        Outgoing { subject: b"oncegate.accepted.\xff".to_vec(), ..Outgoing::default() },
        Outgoing::new("oncegate.leading", &[], b"{}"),
        Outgoing::new("oncegate.judged", &[("Oncegate-Duplicates", "1")], b""),
    ];
    let first = ledger::read_all(&mut world.client, "ONCEGATE").len() as u64 + 1;
    for message in &clumsy {
        world.client.publish(message);
    }
    world.act("k", "1");
    world.act("m", "3");
    world.settle();
    let audit = Audit::of(&world);
    assert_eq!(audit.code, Some(1));
    audit.counts("foreign", clumsy.len());
    audit.counts("discrepancies", clumsy.len());
    for (finding, sequence) in audit.findings.iter().zip(first..) {
        assert_eq!(
            (&finding["kind"], &finding["ledger_sequence"]),
            (&json!("foreign"), &json!(sequence))
        );
    }
    let told = world.gate.call(&["audit"]);
    assert_eq!(told.code, Some(1));
    assert!(told.stdout.contains("6 messages in the ledger are not the gate's"), "{told:#?}");
}

/// An entry that could be the gate's, for the input of this sequence.
fn well_made(entries: &[Copied], sequence: u64, payload: &str) -> Copied {
    use oncegate::gate::digest::{Digest, Form};
    use oncegate::gate::key::ActionKey;
    use oncegate::gate::source::Source;
    let mut forged = entries[of_input(entries, "accepted", 1)].clone();
    let place: Source = forged.header("Oncegate-Source").parse().unwrap();
    let place = Source { sequence, ..place };
    let key = ActionKey::new::<&str>(&[], "forged");
    forged.set("Idempotency-Key", "forged");
    forged.set("Oncegate-Source", &place.to_string());
    forged.set("Oncegate-Run-Id", &place.run_id(Some(&key)).hyphenated().to_string());
    let digest = Digest::of("actions.pay", Form::Json, payload.as_bytes());
    forged.set("Oncegate-Digest", &digest.to_string());
    forged.payload = payload.as_bytes().to_vec();
    forged
}

#[test]
fn a_well_made_forgery_for_an_input_that_had_its_turn() {
    let mut world = world();
    rewrite(&mut world, |entries| entries.push(well_made(entries, 1, "7")));
    let audit = Audit::of(&world);
    let finding = audit.only();
    assert_eq!((&finding["kind"], &finding["key"]), (&json!("doubled"), &json!("forged")));
}

#[test]
fn a_well_made_forgery_in_the_place_of_an_entry() {
    let mut world = world();
    rewrite(&mut world, |entries| {
        let at = of_input(entries, "accepted", 2);
        entries[at] = well_made(entries, 2, "7");
    });
    let audit = Audit::of(&world);
    let finding = audit.only();
    assert_eq!((&finding["kind"], &finding["key"]), (&json!("different"), &json!("l")));
    let whats: Vec<_> = finding["differences"]
        .as_array()
        .unwrap()
        .iter()
        .map(|difference| difference["what"].as_str().unwrap())
        .collect();
    for what in
        ["Idempotency-Key", "Oncegate-Run-Id", "Oncegate-Source", "Oncegate-Digest", "payload"]
    {
        assert!(whats.contains(&what), "{finding}");
    }
}

#[test]
fn a_well_made_forgery_for_an_input_that_never_was() {
    let mut world = world();
    rewrite(&mut world, |entries| entries.push(well_made(entries, 9, "7")));
    let audit = Audit::of(&world);
    let finding = audit.only();
    assert_eq!(finding["kind"], "different");
    let (what, expected, _) = difference(finding);
    assert_eq!(what, "Oncegate-Source");
    assert!(expected.contains("at most 2"), "{finding}");
}
