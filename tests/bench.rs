//! `oncegate bench` from the outside: what it counts, and that it leaves nothing behind.
#![allow(
    dead_code,
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "a test fails by panicking, and each file uses its own part of the support"
)]

mod support;

use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

use support::gate::{Ending, oncegate};
use support::raw::{Client, Login, Outgoing};
use support::server::{Server, signal};
use support::{streams, wait_for};

/// A server with somebody's stream on it, and a directory with somebody's file.
struct Scene {
    server: Server,
    client: Client,
    dir: TempDir,
}

impl Scene {
    fn new(server: Server) -> Self {
        let mut client = server.client();
        streams::create(&mut client, &streams::input_config(&json!({})));
        client.publish(&Outgoing::new("actions.pay", &[], b"somebody's"));
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("somebody's"), "file").unwrap();
        Self { server, client, dir }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = oncegate(self.dir.path());
        command.arg("bench").args(arguments).env("NATS_URL", self.server.url());
        command
    }

    fn run(&self, arguments: &[&str]) -> Ending {
        self.command(arguments).output().unwrap().into()
    }

    fn spawn(&self, arguments: &[&str]) -> Child {
        let mut command = self.command(arguments);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    fn streams(&mut self) -> Vec<String> {
        let answer = self.client.api("STREAM.NAMES", &Value::Null);
        let names = answer["streams"].as_array().cloned().unwrap_or_default();
        names.iter().map(|name| name.as_str().unwrap().to_owned()).collect()
    }

    /// The measurement's input stream, and its output stream once a contender runs.
    fn wait_for_stream(&mut self, is_wanted: fn(&str) -> bool) -> String {
        wait_for("a stream of the measurement", || {
            let names = self.streams();
            names.into_iter().find(|name| name.starts_with("ONCEGATE-BENCH-") && is_wanted(name))
        })
    }

    /// Everything is as it was before.
    #[track_caller]
    fn nothing_is_left(&mut self) {
        assert_eq!(self.streams(), ["ACTIONS"]);
        let info = streams::info(&mut self.client, "ACTIONS");
        assert_eq!(
            (&info["state"]["messages"], &info["state"]["consumer_count"]),
            (&json!(1), &json!(0))
        );
        let files = std::fs::read_dir(self.dir.path()).unwrap();
        let files: Vec<_> = files.map(|file| file.unwrap().file_name()).collect();
        assert_eq!(files, ["somebody's"]);
    }
}

fn is_input(name: &str) -> bool {
    name.ends_with("_ACTIONS")
}

fn is_output(name: &str) -> bool {
    !name.contains('_')
}

/// The objects of this kind on standard output.
fn told(ending: &Ending, kind: &str) -> Vec<Value> {
    assert_eq!(ending.code, Some(0), "{ending:#?}");
    let objects =
        ending.stdout.lines().map(|line| serde_json::from_str::<Value>(line).expect(line));
    objects.filter(|object| object["kind"] == kind).collect()
}

#[test]
fn every_contender_is_counted_by_what_it_must_forward() {
    let mut scene = Scene::new(Server::start());
    let ending = scene.run(&[
        "--actions",
        "2000",
        "--payload",
        "300",
        "--duplicates",
        "20",
        "--mismatches",
        "5",
        "--rounds",
        "2",
        "--json",
    ]);
    let measured = told(&ending, "throughput");
    let counts: Vec<_> = measured
        .iter()
        .map(|one| {
            let number = |name: &str| one[name].as_u64().expect(name);
            assert_eq!(number("actions"), 2000);
            assert!(one["actions_per_second"].as_f64().unwrap() > 0.0, "{one}");
            assert!(
                one["server_cpu_us_per_action"].is_f64(),
                "the server is on this machine: {one}"
            );
            assert!(number("memory_peak_bytes") > 1_000_000, "{one}");
            let name = one["contender"].as_str().unwrap().to_owned();
            assert_eq!(one["disk_bytes_per_key"].is_f64(), name == "gate", "{one}");
            (number("round"), name, number("accepted"), number("rejected"))
        })
        .collect();
    let expected = [
        (1, "gate", 1500, 100),
        (1, "forwarder", 2000, 0),
        (1, "native", 1500, 0),
        (2, "forwarder", 2000, 0),
        (2, "native", 1500, 0),
        (2, "gate", 1500, 100),
    ];
    let expected = expected
        .map(|(round, who, accepted, rejected)| (round, who.to_owned(), accepted, rejected));
    assert_eq!(counts, expected);

    let summary = &told(&ending, "summary")[0];
    let against: Vec<_> = summary["comparisons"].as_array().unwrap().iter().collect();
    assert_eq!(against.len(), 2, "{summary}");
    for comparison in against {
        let ratio = |name: &str| comparison["throughput_ratio"][name].as_f64().expect(name);
        assert!(ratio("min") <= ratio("median") && ratio("median") <= ratio("max"), "{summary}");
        assert!(ratio("min") > 0.0, "{summary}");
    }
    assert_eq!(told(&ending, "latency").len(), 0);
    scene.nothing_is_left();
}

#[test]
fn latency_is_that_of_every_action() {
    let mut scene = Scene::new(Server::start());
    let ending = scene.run(&[
        "--actions",
        "1000",
        "--rate",
        "2000",
        "--rounds",
        "1",
        "--against",
        "forwarder",
        "--json",
    ]);
    let measured = told(&ending, "latency");
    let counts = measured.iter().map(|one| {
        let number = |name: &str| one[name].as_f64().expect(name);
        let rising = [0.0, number("p50_ms"), number("p99_ms"), number("p999_ms"), number("max_ms")];
        assert!(rising.is_sorted() && rising[1] > 0.0, "{one}");
        let text = |name: &str| one[name].as_str().unwrap().to_owned();
        (text("contender"), text("pace"), one["actions"].as_u64().unwrap())
    });
    let expected = [
        ("gate", "idle", 200),
        ("gate", "rate", 1000),
        ("forwarder", "idle", 200),
        ("forwarder", "rate", 1000),
    ];
    let expected = expected.map(|(who, pace, actions)| (who.to_owned(), pace.to_owned(), actions));
    assert_eq!(counts.collect::<Vec<_>>(), expected);
    let summary = &told(&ending, "summary")[0];
    assert!(summary["comparisons"][0]["latency"]["rate_p99_ms"]["median"].is_number(), "{summary}");
    scene.nothing_is_left();
}

#[test]
fn for_a_person_it_is_a_table() {
    let mut scene = Scene::new(Server::start());
    let ending = scene.run(&["--actions", "1000", "--rounds", "1"]);
    assert_eq!(ending.code, Some(0), "{ending:#?}");
    for words in [
        "1000 actions of 200 B",
        "on this machine",
        "gate / forwarder, actions/s",
        "gate / native, actions/s",
    ] {
        assert!(ending.stdout.contains(words), "{words}: {ending:#?}");
    }
    scene.nothing_is_left();
}

#[test]
fn an_interruption_leaves_nothing_behind() {
    let mut scene = Scene::new(Server::start());
    interrupt(&mut scene, "INT", is_input, &["--actions", "5000000"]);
    let long = ["--actions", "100000", "--rounds", "1000"];
    interrupt(&mut scene, "INT", is_output, &long);
    interrupt(&mut scene, "TERM", is_output, &[&long[..], &["--against", "native"]].concat());
}

/// Sends the signal as soon as there is such a stream.
#[track_caller]
fn interrupt(scene: &mut Scene, name: &str, stream: fn(&str) -> bool, arguments: &[&str]) {
    let bench = scene.spawn(arguments);
    let found = scene.wait_for_stream(stream);
    let contenders = children(&bench);
    assert_eq!(contenders.is_empty(), is_input(&found), "{found}");
    signal(&bench, name);
    let ending: Ending = bench.wait_with_output().unwrap().into();
    assert_eq!(ending.code, Some(1), "{ending:#?}");
    ending.says(&["interrupted"]);
    assert!(contenders.iter().all(|pid| !is_alive(*pid)), "{contenders:?}");
    scene.nothing_is_left();
}

/// Its processes.
fn children(of: &Child) -> Vec<u32> {
    let all = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = all.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let is_child = |pid: &u32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let parent = stat.rsplit(") ").next().and_then(|rest| rest.split(' ').nth(1)?.parse().ok());
        parent == Some(of.id())
    };
    pids.filter(is_child).collect()
}

fn is_alive(pid: u32) -> bool {
    Path::new("/proc").join(pid.to_string()).exists()
}

#[test]
fn an_output_that_is_wrong_has_no_number() {
    let mut scene = Scene::new(Server::start());
    let bench = scene.spawn(&["--actions", "20000", "--rounds", "1000", "--against", "forwarder"]);
    let output = scene.wait_for_stream(is_output);
    let name = output.to_lowercase();
    let subject = format!("{name}.accepted.{name}-actions.pay");
    scene.client.publish(&Outgoing::new(&subject, &[("Idempotency-Key", "a stranger's")], b"{}"));
    let ending: Ending = bench.wait_with_output().unwrap().into();
    assert_eq!(ending.code, Some(1), "{ending:#?}");
    ending.says(&["the output of the", "is wrong at its message", "a stranger's"]);
    scene.nothing_is_left();
}

#[test]
fn a_contender_that_ends_early_is_told_with_its_last_words() {
    let mut scene = Scene::new(Server::start());
    let bench = scene.spawn(&["--actions", "100000", "--rounds", "1000"]);
    scene.wait_for_stream(is_output);
    let contenders =
        wait_for("the gate's process", || Some(children(&bench)).filter(|found| !found.is_empty()));
    let done = Command::new("kill").args(["-KILL", &contenders[0].to_string()]).status().unwrap();
    assert!(done.success());
    let ending: Ending = bench.wait_with_output().unwrap().into();
    assert_eq!(ending.code, Some(1), "{ending:#?}");
    ending.says(&["ended by itself", "signal: 9"]);
    scene.nothing_is_left();
}

#[test]
fn where_there_is_no_room_nothing_is_made() {
    let accounts =
        "accounts { A { jetstream { max_file: 50MB }, users = [ { user: a, password: a } ] } }";
    let mut scene = Scene::new(Server::start_guarded(accounts, Login::user("a", "a")));
    let mut command = scene.command(&["--actions", "1000000"]);
    command.env("ONCEGATE__NATS__USER", "a").env("ONCEGATE__NATS__PASSWORD", "a");
    let ending: Ending = command.output().unwrap().into();
    assert_eq!(ending.code, Some(1), "{ending:#?}");
    ending.says(&["are left within this account's limit", "fewer --actions"]);

    let mut command = scene.command(&["--payload", "2000000"]);
    command.env("ONCEGATE__NATS__USER", "a").env("ONCEGATE__NATS__PASSWORD", "a");
    let ending: Ending = command.output().unwrap().into();
    assert_eq!(ending.code, Some(1), "{ending:#?}");
    ending.says(&["max_payload", "smaller --payload"]);
    scene.nothing_is_left();
}

#[test]
fn whoever_may_make_no_stream_is_told_so() {
    let users = r#"authorization { users = [ { user: admin, password: admin },
        { user: poor, password: poor, permissions: { publish: ["$JS.API.INFO"] } } ] }"#;
    let mut scene = Scene::new(Server::start_guarded(users, Login::user("admin", "admin")));
    let mut command = scene.command(&[]);
    command.env("ONCEGATE__NATS__USER", "poor").env("ONCEGATE__NATS__PASSWORD", "poor");
    let ending: Ending = command.output().unwrap().into();
    assert_eq!(ending.code, Some(1), "{ending:#?}");
    assert!(
        !ending.stderr.contains("STREAM.DELETE"),
        "nothing is there to be removed: {ending:#?}"
    );
    ending.says(&["permissions violation", "stream.create.oncegate-bench-", "streams of its own"]);
    scene.nothing_is_left();
}

#[test]
fn bad_usage_is_status_2() {
    let dir = tempfile::tempdir().unwrap();
    let wrong: &[&[&str]] = &[
        &["--actions", "10"],
        &["--actions", "many"],
        &["--payload", "5"],
        &["--duplicates", "91"],
        &["--duplicates", "60", "--mismatches", "40"],
        &["--rounds", "0"],
        &["--rate", "0"],
        &["--against", "nobody"],
        &["dance"],
    ];
    for arguments in wrong {
        let ending: Ending =
            oncegate(dir.path()).arg("bench").args(*arguments).output().unwrap().into();
        assert_eq!(ending.code, Some(2), "{arguments:?}: {ending:#?}");
        assert!(ending.stdout.is_empty() && !ending.stderr.is_empty(), "{ending:#?}");
    }
    let ending: Ending =
        oncegate(dir.path()).args(["bench", "--dir", "not there"]).output().unwrap().into();
    assert_eq!(ending.code, Some(1), "{ending:#?}");
    ending.says(&["not there", "--dir names another"]);
}
