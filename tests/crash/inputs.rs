//! Input streams that are made anew, restored, trimmed or changed for another.

use serde_json::{Value, json};

use crate::support::model::Rules;
use crate::support::model::Verdict::{Accepted, Duplicate};
use crate::support::world::{World, action};
use crate::support::{ledger, load, streams, wait_until};

#[test]
fn an_input_made_anew_while_the_worker_is_down() {
    let mut world = World::started(Rules::default());
    world.act("k", "1");
    world.act("other", "1");
    world.settle();
    world.gate.stop();
    make_input_anew(&mut world);
    let again = world.act("k", "1");
    assert_eq!(again, 1);
    let fresh = world.act("new", "1");
    world.gate.start();
    let report = world.check();
    assert_eq!(report.verdict(again), Duplicate, "the keys stay");
    assert_eq!(report.verdict(fresh), Accepted);
    assert!(report.entries_of("leading") >= 2);
}

#[test]
fn an_input_made_anew_under_the_running_worker() {
    let mut world = World::started(Rules::default());
    for key in ["a", "b", "c"] {
        world.act(key, "1");
    }
    world.settle();
    make_input_anew(&mut world);
    let again = world.act("b", "1");
    let report = world.check();
    assert_eq!(report.verdict(again), Duplicate);
    for key in ["d", "e", "f", "a"] {
        world.act(key, "1");
    }
    world.check();
    world.gate.restart();
    world.act("d", "2");
    world.check();
}

#[test]
fn an_input_that_is_away_for_a_while() {
    let mut world = World::started(Rules::default());
    world.act("k", "1");
    world.settle();
    streams::delete(&mut world.client, "ACTIONS");
    wait_until("the worker to say what it waits for", || {
        world.gate.must_run();
        let answer = world.gate.get("/readyz");
        answer.is_some_and(|(status, why)| status == 503 && why.contains("ACTIONS"))
    });
    streams::create(&mut world.client, &streams::input_config(&json!({})));
    world.input_is_new();
    world.gate.wait_ready();
    let again = world.act("k", "1");
    let fresh = world.act("new", "1");
    let report = world.check();
    assert_eq!(report.verdict(again), Duplicate);
    assert_eq!(report.verdict(fresh), Accepted);
}

fn make_input_anew(world: &mut World) {
    streams::delete(&mut world.client, "ACTIONS");
    streams::create(&mut world.client, &streams::input_config(&json!({})));
    world.input_is_new();
}

#[test]
fn streams_restored_from_a_backup_are_the_same_streams() {
    let mut world = World::started(Rules::default());
    world.publish_all(&load::mixed(300, "k", 22));
    world.check();
    world.gate.stop();
    for stream in ["ACTIONS", "ONCEGATE"] {
        let backup = streams::back_up(&mut world.client, stream);
        streams::delete(&mut world.client, stream);
        streams::restore(&mut world.client, &backup);
    }
    world.publish_all(&load::mixed(300, "k", 23));
    world.gate.start();
    world.check();
}

#[test]
fn another_input_stream_and_back() {
    let mut world = World::started(Rules::default());
    world.act("a", "1");
    world.act("a", "1");
    world.check();
    let more = json!({ "name": "MORE", "subjects": ["more.>"], "storage": "file" });
    streams::create(&mut world.client, &more);
    let use_input = |world: &mut World, stream: &str, subjects: &str| {
        world.gate.stop();
        world.gate.settings.set("input.stream", stream);
        world.gate.settings.set("input.subjects", subjects);
        world.gate.start();
    };
    use_input(&mut world, "\"MORE\"", "[\"more.>\"]");
    for key in ["a", "b", "b"] {
        world.publish(&action("more.pay", key, "1"));
    }
    let judged = |world: &mut World, stream: &str, sequence: u64| {
        wait_until("the input to be judged", || {
            ledger::last_named(&mut world.client, "ONCEGATE")
                .is_some_and(|named| named.stream == stream && named.sequence == sequence)
        });
    };
    judged(&mut world, "MORE", 3);
    use_input(&mut world, "\"ACTIONS\"", "[\"actions.>\"]");
    world.act("a", "1");
    world.act("b", "1");
    judged(&mut world, "ACTIONS", 4);
    let entries = ledger::read_all(&mut world.client, "ONCEGATE");
    let verdicts: Vec<(String, u64, Option<&str>)> = entries
        .iter()
        .filter_map(|entry| Some((entry.source()?, entry.reason())))
        .map(|(source, reason)| (source.stream, source.sequence, reason))
        .collect();
    let mismatch = Some("payload_mismatch");
    let expected = [
        ("ACTIONS".to_string(), 1, None),
        ("MORE".to_string(), 1, mismatch),
        ("MORE".to_string(), 2, None),
        ("ACTIONS".to_string(), 4, mismatch),
    ];
    assert_eq!(verdicts, expected);
}

#[test]
fn what_the_input_dropped_is_counted() {
    let mut world = World::with_input(Rules::default(), &json!({ "max_msgs": 5 }));
    world.gate.start();
    for number in 0..3 {
        world.act(&format!("k{number}"), "{}");
        world.settle();
    }
    world.gate.stop();
    for number in 3..13 {
        world.act(&format!("k{number}"), "{}");
    }
    world.skip_input_to(8);
    world.gate.start();
    let report = world.check();
    assert_eq!(report.entries_of("accepted"), 3 + 5);
    // Counted when it is settled, which is after the ledger shows it.
    let missed = |world: &World, count: f64, what: &str| {
        wait_until(what, || world.gate.metrics().sum("oncegate_input_missed_total", &[]) == count);
    };
    missed(&world, 5.0, "what the limit dropped to be counted");
    world.gate.stop();
    world.act("k13", "{}");
    let lost = world.act("k14", "{}");
    world.act("k15", "{}");
    let call = json!({ "seq": lost });
    streams::must(world.client.api("STREAM.MSG.DELETE.ACTIONS", &call));
    world.gate.start();
    world.check();
    missed(&world, 1.0, "what was deleted by hand to be counted");
    world.gate.stop();
    world.act("k16", "{}");
    world.act("k17", "{}");
    streams::must(world.client.api("STREAM.PURGE.ACTIONS", &Value::Null));
    world.gate.start();
    world.act("k18", "{}");
    world.check();
    missed(&world, 2.0, "what was purged to be counted");
}

/// Nothing is delivered after what was left out, so that no later delivery shows the hole: at first not even
/// one before it.
#[test]
fn a_consumer_that_somebody_moves_ahead_of_its_stream() {
    let mut world = World::started(Rules::default());
    for round in 0..3 {
        wait_until("the worker to pull", || {
            let call = "CONSUMER.INFO.ACTIONS.oncegate";
            world.client.api(call, &Value::Null)["num_waiting"].as_u64() > Some(0)
        });
        let call = json!({ "seq": 1000 });
        streams::must(world.client.api("CONSUMER.RESET.ACTIONS.oncegate", &call));
        world.act(&format!("k{round}"), "1");
        world.act(&format!("k{round}"), "2");
        world.settle();
    }
    let report = world.check();
    assert_eq!(report.entries_of("accepted"), 3);
}

/// A library that sets a process's clock back by twenty minutes.
fn clock_set_back(dir: &std::path::Path) -> std::path::PathBuf {
    let (source, library) = (dir.join("clock.c"), dir.join("clock.so"));
    let text = "#define _GNU_SOURCE\n#include <time.h>\n#include <unistd.h>\n\
                #include <sys/syscall.h>\n\
                int clock_gettime(clockid_t id, struct timespec *t) {\n\
                int r = syscall(SYS_clock_gettime, id, t);\n\
                if (r == 0 && id == CLOCK_REALTIME) t->tv_sec -= 1200;\n\
                return r; }\n";
    std::fs::write(&source, text).unwrap();
    let done = std::process::Command::new("cc")
        .args(["-shared", "-fPIC", "-o"])
        .args([&library, &source])
        .status()
        .unwrap();
    assert!(done.success());
    library
}

#[test]
fn an_action_far_ahead_of_the_workers_clock_is_waited_for() {
    let mut world = World::with_input(Rules::default(), &json!({}));
    world.act("k", "1");
    world.act("k", "1");
    let library = clock_set_back(world.gate.dir());
    let preload = ("LD_PRELOAD".to_string(), library.to_str().unwrap().to_string());
    world.gate.env.push(preload);
    world.gate.spawn();
    wait_until("the worker to wait", || {
        let answer = world.gate.get("/readyz");
        answer.is_some_and(|(status, why)| status == 503 && why.contains("clock"))
    });
    assert_eq!(world.gate.get("/healthz").unwrap().0, 200);
    assert!(ledger::last_named(&mut world.client, "ONCEGATE").is_none());
    world.gate.stop();
    world.gate.env.clear();
    world.gate.start();
    world.check();
}
