//! A later version has led: this one stops, rather than to pass over what it can't read.

use oncegate::gate::engine::Commit;
use oncegate::gate::entry;
use oncegate::gate::headers::Headers;
use oncegate::table::{KeyTable, RocksTable};
use serde_json::json;

use crate::support::gate::Gate;
use crate::support::load;
use crate::support::model::Rules;
use crate::support::raw::Outgoing;
use crate::support::world::World;
use crate::support::{streams, wait_until};

const SAID: &[&str] = &["format 3", "oncegate 9.0.0", "up to 2", "docs/upgrades.md"];

/// The beginning of a term of a later version, in a shape of its own; its ledger sequence.
fn a_later_version_leads(world: &mut World) -> u64 {
    let body = json!({ "format": 3, "version": "9.0.0", "leader": { "host": "elsewhere" } });
    let entry = Outgoing::new("oncegate.leading", &[], body.to_string().as_bytes());
    world.client.publish(&entry).sequence
}

fn stopped_after_work() -> World {
    let mut world = World::started(Rules::default());
    world.publish_all(&load::mixed(100, "k", 1));
    world.check();
    world.gate.stop();
    world
}

/// Refuses again and again, and the ledger stays as it is.
fn refuses(world: &mut World) {
    let last = streams::last_sequence(&mut world.client, "ONCEGATE");
    world.act("next", "{}");
    for _ in 0..2 {
        world.gate.refuses(SAID);
    }
    assert_eq!(streams::last_sequence(&mut world.client, "ONCEGATE"), last);
}

#[test]
fn a_newer_entry_in_the_tail() {
    let mut world = stopped_after_work();
    let sequence = a_later_version_leads(&mut world);
    refuses(&mut world);
    let table = RocksTable::open(&world.gate.table(), "oncegate").unwrap();
    assert_eq!(table.cursors().unwrap().ledger.sequence, sequence - 1, "it is not passed over");
}

#[test]
fn a_newer_entry_and_no_table() {
    let mut world = stopped_after_work();
    a_later_version_leads(&mut world);
    std::fs::remove_dir_all(world.gate.table()).unwrap();
    refuses(&mut world);
}

/// The later version has used the table too, so that the tail is behind its entry.
#[test]
fn a_newer_entry_that_the_table_has_applied() {
    let mut world = stopped_after_work();
    let sequence = a_later_version_leads(&mut world);
    let time = streams::get(&mut world.client, "ONCEGATE", sequence).unwrap().time;
    {
        let table = RocksTable::open(&world.gate.table(), "oncegate").unwrap();
        let mut cursors = table.cursors().unwrap();
        cursors.ledger.sequence = sequence;
        cursors.ledger.fingerprint = entry::fingerprint("oncegate.leading", &Headers::default());
        cursors.ledger.anchor = Some((sequence, time.as_nanosecond().try_into().unwrap()));
        table.commit(Commit { changes: Vec::new(), cursors }).unwrap();
    }
    refuses(&mut world);
}

#[test]
fn a_leader_and_a_standby_that_a_later_version_takes_over_from() {
    let mut world = World::started(Rules::default());
    world.gate.wait_leading();
    let mut standby = world.gate.twin();
    standby.start();
    let last = a_later_version_leads(&mut world);
    world.act("next", "{}");
    let ends = |gate: &mut Gate| {
        wait_until("the worker to end", || gate.has_ended());
        let ending = gate.ending();
        assert_eq!(ending.code, Some(1), "{ending:#?}");
        ending.says(SAID);
    };
    ends(&mut world.gate);
    ends(&mut standby);
    assert_eq!(streams::last_sequence(&mut world.client, "ONCEGATE"), last);
}

/// Whoever writes nonsense is a stranger, not a later version.
#[test]
fn a_format_that_is_none() {
    let mut world = World::started(Rules::default());
    for body in
        ["{\"format\":\"2\"}", "{\"format\":2.5}", "{\"format\":-2}", "[2]", "{\"format\":0}"]
    {
        let ack = world.client.publish(&Outgoing::new("oncegate.leading", &[], body.as_bytes()));
        world.foreign(ack.sequence);
        world.act(body, "{}");
    }
    world.check();
}

/// As ledgers before the first release have it.
#[test]
fn a_leading_entry_that_names_no_format_has_the_first() {
    let mut world = stopped_after_work();
    let subject = "oncegate.leading";
    let body = json!({ "last_by_subj": subject });
    let found = streams::must(world.client.api("STREAM.MSG.GET.ONCEGATE", &body));
    let sequence = found["message"]["seq"].as_u64().unwrap();
    let written = streams::get(&mut world.client, "ONCEGATE", sequence).unwrap().payload;
    let mut first: serde_json::Value = serde_json::from_slice(&written).unwrap();
    assert_eq!(first["format"], entry::FORMAT);
    first["format"] = 1.into();
    let mut bare = first.clone();
    bare.as_object_mut().unwrap().remove("format");
    let read = |body: &serde_json::Value| {
        entry::decode("oncegate", subject, &Headers::default(), body.to_string().as_bytes())
    };
    assert_eq!(read(&bare), read(&first));
    assert!(read(&first).is_ok());
}
