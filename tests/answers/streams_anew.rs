//! The stream of reports as an input like any: made anew, gone back, missing messages, and ledgers of an older
//! format.

use crate::asking::{known, run};
use crate::support::model::Rules;
use crate::support::model::reports::Outcome::Completed;
use crate::support::stores::{copy_of, roll_back};
use crate::support::world::{World, result};
use crate::support::{streams, wait_until};

#[test]
fn a_stream_made_anew_is_an_input_like_the_one_before() {
    let mut world = World::started(Rules::default());
    let first = run(&mut world, "a");
    let second = run(&mut world, "b");
    world.report_all(&[result("a", &first, "succeeded", b"1"), result("x", &first, "failed", b"")]);
    world.check();
    let stream = world.reports_stream();
    streams::delete(&mut world.client, &stream);
    world.make_reports_stream();
    world.reports_are_new();
    let sequence = world.report(&result("b", &second, "failed", b"2"));
    assert_eq!(sequence, 1);
    assert_eq!(world.check().outcome(sequence), Completed("failed"));
    // The keys stay.
    assert_eq!(known(&mut world, "a")["state"], "succeeded");
    world.act("a", "1");
    world.check();
}

#[test]
fn a_stream_made_anew_while_the_worker_is_down() {
    let mut world = World::started(Rules::default());
    let id = run(&mut world, "a");
    world.report(&result("a", &id, "succeeded", b"1"));
    world.check();
    world.gate.stop();
    let stream = world.reports_stream();
    streams::delete(&mut world.client, &stream);
    // `run` makes it.
    world.gate.start();
    world.reports_are_new();
    let id = run(&mut world, "b");
    world.report(&result("b", &id, "succeeded", b"1"));
    world.check();
}

#[test]
fn a_stream_that_went_back_is_refused() {
    let mut world = World::started(Rules::default());
    let id = run(&mut world, "a");
    let stream = world.reports_stream();
    world.report(&result("x", &id, "succeeded", b"1"));
    world.check();
    world.gate.stop();
    let copy = copy_of(&mut world, &stream);
    world.gate.start();
    world.report_all(&[result("a", &id, "succeeded", b"1"), result("x", &id, "retry", b"1")]);
    world.check();
    world.gate.stop();
    roll_back(&mut world, &stream, copy.path());
    world.gate.refuses(&["ONCEGATE_REPORTS", "went back"]);
    // And where it has grown beyond: another message stands at the position.
    world.client.publish_all(&vec![result("a", &id, "failed", b"2"); 5]);
    world.gate.refuses(&["ONCEGATE_REPORTS"]);
}

/// Reports that somebody took out of the queue are missed, and no reason to stop.
#[test]
fn reports_that_are_gone_before_they_are_judged_count_as_missed() {
    let mut world = World::started(Rules::default());
    let id = run(&mut world, "a");
    world.gate.stop();
    let stolen = vec![result("a", &id, "failed", b"stolen"); 3];
    for ack in world.client.publish_all(&stolen) {
        let call = format!("STREAM.MSG.DELETE.{}", ack.stream);
        let body = serde_json::json!({ "seq": ack.sequence });
        streams::must(world.client.api(&call, &body));
    }
    world.gate.start();
    let sequence = world.report(&result("a", &id, "succeeded", b"1"));
    assert_eq!(world.check().outcome(sequence), Completed("succeeded"));
    wait_until("the missed to be counted", || {
        world.gate.metrics().sum("oncegate_input_missed_total", &[]) == 3.0
    });
}

/// As the version before wrote it: its `leading` entry names format 1, and no reports.
#[test]
fn a_ledger_of_the_format_before_is_gone_on_with() {
    let mut world = World::started(Rules::default());
    let id = run(&mut world, "a");
    world.gate.stop();
    let of_before = format_one(&mut world);
    let table = world.gate.table();
    std::fs::remove_dir_all(&table).unwrap();
    streams::delete(&mut world.client, "ONCEGATE");
    streams::create(&mut world.client, &streams::ledger_config(&serde_json::Value::Null));
    world.client.publish_all(&of_before);
    world.gate.start();
    assert_eq!(known(&mut world, "a")["run_id"], id.as_str());
    world.report(&result("a", &id, "succeeded", b"1"));
    world.act("a", "1");
    world.act("b", "1");
    world.check();
    assert_eq!(known(&mut world, "a")["state"], "succeeded");
}

/// The ledger's messages, its terms as the version before wrote them.
fn format_one(world: &mut World) -> Vec<crate::support::raw::Outgoing> {
    let last = streams::last_sequence(&mut world.client, "ONCEGATE");
    let stored = streams::read(&mut world.client, "ONCEGATE", 1..=last);
    let entries = stored.into_iter().map(|entry| {
        let mut payload = entry.payload;
        if entry.subject == "oncegate.leading" {
            let mut body: serde_json::Value = serde_json::from_slice(&payload).unwrap();
            assert_eq!(body["format"], 2, "{body}");
            body["format"] = serde_json::json!(1);
            let inputs = body["inputs"].as_array_mut().unwrap();
            inputs.retain(|input| input["stream"] == "ACTIONS");
            payload = body.to_string().into_bytes();
        }
        let headers = entry.headers.map(without_fence);
        crate::support::raw::Outgoing { subject: entry.subject.into_bytes(), headers, payload }
    });
    entries.collect()
}

/// A header block without what only the first writing needs.
fn without_fence(block: Vec<u8>) -> Vec<u8> {
    let text = String::from_utf8(block).unwrap();
    let kept = text.split_inclusive("\r\n").filter(|line| !line.starts_with("Nats-"));
    kept.collect::<String>().into_bytes()
}
