//! When the gate must not work it says so, ends with status 1, and changes nothing.
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

use serde_json::{Value, json};

use support::load;
use support::model::Rules;
use support::raw::{Client, Login, Outgoing};
use support::server::{Server, V2_12};
use support::stores::{copy_of, roll_back};
use support::streams;
use support::wait_until;
use support::world::World;

/// A gate that judged some actions and was stopped.
fn stopped_after_work() -> World {
    let mut world = World::started(Rules::default());
    world.publish_all(&load::mixed(100, "k", 1));
    world.check();
    world.gate.stop();
    world
}

fn messages(client: &mut Client, stream: &str) -> Value {
    streams::info(client, stream)["state"]["messages"].clone()
}

#[test]
fn an_unfit_ledger_names_the_field() {
    let unfit: &[(&str, Value)] = &[
        ("storage", json!("memory")),
        ("retention", json!("workqueue")),
        ("retention", json!("interest")),
        ("allow_batched", json!(false)),
        ("discard", json!("old")),
        ("deny_delete", json!(false)),
        ("deny_purge", json!(false)),
        ("persist_mode", json!("async")),
        ("max_age", json!(3_600_000_000_000_u64)),
        ("max_msgs_per_subject", json!(5)),
        ("allow_msg_ttl", json!(true)),
        ("sources", json!([{ "name": "ACTIONS" }])),
        (
            "subject_transform",
            json!({ "src": "oncegate.accepted.>", "dest": "oncegate.accepted.x.>" }),
        ),
        ("subjects", json!(["oncegate.>"])),
        ("subjects", json!(["oncegate.accepted.>", "oncegate.rejected.>", "oncegate.leading"])),
    ];
    let mut world = World::with_input(Rules::default(), &json!({}));
    for (field, value) in unfit {
        let config = streams::ledger_config(&json!({ *field: value }));
        let before = streams::create(&mut world.client, &config)["config"].clone();
        let ending = world.gate.refuses(&[field, "ONCEGATE"]);
        let shown = value.as_str().map_or(value.to_string(), String::from);
        if value.is_string() || value.is_boolean() {
            ending.says(&[&shown]);
        }
        let after = streams::info(&mut world.client, "ONCEGATE");
        assert_eq!(after["config"], before, "{field}");
        assert_eq!(after["state"]["messages"], 0, "{field}");
        streams::delete(&mut world.client, "ONCEGATE");
    }
    let both = json!({ "discard": "old", "deny_delete": false });
    streams::create(&mut world.client, &streams::ledger_config(&both));
    world.gate.refuses(&["discard", "deny_delete"]);
}

#[test]
fn interest_retention_of_the_input() {
    let fields = json!({ "retention": "interest" });
    let mut world = World::with_input(Rules::default(), &fields);
    world.gate.refuses(&["ACTIONS", "interest", "retention"]);
    assert!(!streams::info(&mut world.client, "ACTIONS")["config"].is_null());
}

#[test]
fn streams_that_it_may_not_make() {
    let mut world = World::prepared(Server::start(), Rules::default());
    world.gate.settings.set("manage", "false");
    world.gate.refuses(&["ACTIONS"]);
    let names = world.client.api("STREAM.NAMES", &Value::Null);
    assert_eq!(names["total"], 0, "{names}");
}

#[test]
fn subjects_of_the_ledger_in_another_stream() {
    let mut world = World::with_input(Rules::default(), &json!({}));
    let config = json!({ "name": "OTHER", "subjects": ["oncegate.accepted.>"], "storage": "file" });
    streams::create(&mut world.client, &config);
    world.gate.refuses(&["ONCEGATE"]);
}

#[test]
fn a_ledger_that_is_gone() {
    let mut world = stopped_after_work();
    streams::delete(&mut world.client, "ONCEGATE");
    world.gate.refuses(&["ledger", "ONCEGATE"]);
}

#[test]
fn a_ledger_made_anew() {
    let mut world = stopped_after_work();
    let config = streams::info(&mut world.client, "ONCEGATE")["config"].clone();
    streams::delete(&mut world.client, "ONCEGATE");
    streams::create(&mut world.client, &config);
    world.gate.refuses(&["ledger", "ONCEGATE"]);
    assert_eq!(messages(&mut world.client, "ONCEGATE"), 0);
}

#[test]
fn a_ledger_made_anew_and_grown_longer() {
    let mut world = stopped_after_work();
    let info = streams::info(&mut world.client, "ONCEGATE");
    let length = info["state"]["last_seq"].as_u64().unwrap();
    streams::delete(&mut world.client, "ONCEGATE");
    streams::create(&mut world.client, &info["config"]);
    let filler = Outgoing::new("oncegate.accepted.x", &[], b"");
    world.client.publish_all(&vec![filler; length as usize + 50]);
    world.gate.refuses(&["ledger", "ONCEGATE"]);
    assert_eq!(messages(&mut world.client, "ONCEGATE"), length + 50);
}

/// The gate is stopped, and its ledger is as it was 100 actions ago. Its length before, too.
fn rolled_back() -> (World, Value) {
    let mut world = stopped_after_work();
    let copy = copy_of(&mut world, "ONCEGATE");
    world.gate.start();
    world.publish_all(&load::mixed(100, "k", 2));
    world.check();
    world.gate.stop();
    let length = messages(&mut world.client, "ONCEGATE");
    roll_back(&mut world, "ONCEGATE", copy.path());
    (world, length)
}

#[test]
fn a_ledger_rolled_back() {
    let (mut world, _) = rolled_back();
    let before = messages(&mut world.client, "ONCEGATE");
    world.gate.refuses(&["ledger", "ONCEGATE"]);
    assert_eq!(messages(&mut world.client, "ONCEGATE"), before);
}

#[test]
fn a_ledger_rolled_back_and_grown_again() {
    let (mut world, length) = rolled_back();
    let filler = Outgoing::new("oncegate.accepted.x", &[], b"");
    world.client.publish_all(&vec![filler; 300]);
    assert!(messages(&mut world.client, "ONCEGATE").as_u64() > length.as_u64());
    world.gate.refuses(&["ledger", "ONCEGATE"]);
}

/// Entries as good as those that are lost, by a gate that did not know of them.
#[test]
fn a_ledger_rolled_back_and_grown_again_by_another_worker() {
    let (mut world, length) = rolled_back();
    let mut other = world.gate.twin();
    other.start();
    world.publish_all(&load::mixed(300, "k", 3));
    wait_until("the ledger to grow past its old end", || {
        messages(&mut world.client, "ONCEGATE").as_u64() > length.as_u64().map(|n| n + 50)
    });
    other.stop();
    let before = messages(&mut world.client, "ONCEGATE");
    world.gate.refuses(&["ledger", "ONCEGATE"]);
    assert_eq!(messages(&mut world.client, "ONCEGATE"), before);
}

/// An old backup restores what was lost since as little as an old copy of the files does; of the input it does
/// not make a new stream, though the server says that it was created just now.
#[test]
fn an_old_backup_restored() {
    for stream in ["ONCEGATE", "ACTIONS"] {
        let mut world = stopped_after_work();
        let backup = streams::back_up(&mut world.client, stream);
        world.gate.start();
        world.publish_all(&load::mixed(100, "k", 2));
        world.check();
        world.gate.stop();
        streams::delete(&mut world.client, stream);
        streams::restore(&mut world.client, &backup);
        let before = messages(&mut world.client, "ONCEGATE");
        world.gate.refuses(&[stream, "went back"]);
        assert_eq!(messages(&mut world.client, "ONCEGATE"), before);
    }
}

#[test]
fn an_input_rolled_back() {
    let mut world = stopped_after_work();
    let copy = copy_of(&mut world, "ACTIONS");
    world.gate.start();
    world.publish_all(&load::mixed(100, "k", 2));
    world.check();
    world.gate.stop();
    roll_back(&mut world, "ACTIONS", copy.path());
    world.gate.refuses(&["ACTIONS"]);
    world.publish_all(&load::mixed(200, "k", 3));
    world.gate.refuses(&["ACTIONS"]);
}

#[test]
fn no_table_and_a_ledger_that_was_trimmed() {
    let mut world = stopped_after_work();
    std::fs::remove_dir_all(world.gate.table()).unwrap();
    streams::trim(&mut world.client, "ONCEGATE", 70);
    world.act("next", "{}");
    let before = messages(&mut world.client, "ONCEGATE");
    world.gate.refuses(&["ledger"]);
    assert_eq!(messages(&mut world.client, "ONCEGATE"), before);
}

#[test]
fn changed_key_rules_need_a_flag() {
    let mut world = stopped_after_work();
    let before = messages(&mut world.client, "ONCEGATE");
    let changes = [("key.scope", r#"["subject:2"]"#), ("key.from", r#"["header:Request-Id"]"#)];
    for (setting, value) in changes {
        let settings = world.gate.settings.clone();
        world.gate.settings.set(setting, value);
        world.gate.refuses(&[setting, "--accept-key-rules"]);
        world.gate.settings = settings;
    }
    assert_eq!(messages(&mut world.client, "ONCEGATE"), before);
    let scoped = Rules { scope: vec!["subject:2"], ..Rules::default() };
    world.gate.start();
    world.change_rules(scoped, &["--accept-key-rules"]);
    world.publish_all(&load::mixed(100, "k", 1));
    world.check();
    world.gate.flags.clear();
    world.gate.restart();
    world.publish_all(&load::mixed(100, "k", 1));
    world.check();
}

#[test]
fn a_server_that_takes_only_tiny_messages() {
    let mut world = World::prepared(Server::start_with("max_payload: 10000"), Rules::default());
    world.gate.refuses(&["10000", "20000", "max_payload"]);
    let names = world.client.api("STREAM.NAMES", &Value::Null);
    assert!(!names.to_string().contains("ONCEGATE"), "{names}");
}

#[test]
fn a_server_that_is_too_old() {
    let mut world = World::prepared(Server::start_version(V2_12), Rules::default());
    let ending = world.gate.refuses(&["2.12.8", "2.14"]);
    let said = ending.stderr.lines().filter(|line| line.contains("2.12.8"));
    assert!(said.clone().all(|line| line.contains("2.14")), "{ending:#?}");
    assert_eq!(said.count(), 1, "{ending:#?}");
    let names = world.client.api("STREAM.NAMES", &Value::Null);
    assert_eq!(names["total"], 0, "{names}");
    let check = world.gate.call(&["check"]);
    assert_eq!(check.code, Some(1), "{check:#?}");
}

#[test]
fn a_server_without_jetstream() {
    let extra = "accounts { A { users: [{ user: a, password: p }] } }\nno_auth_user: a";
    let server = Server::start_with(extra);
    let gate = support::gate::Gate::on(&server.url());
    let check = gate.call(&["check"]);
    assert_eq!(check.code, Some(1), "{check:#?}");
    assert!(check.stdout.contains("JetStream"), "{check:#?}");
}

const USERS: &str = r#"
    authorization { users = [
        { user: admin, password: admin }
        { user: gate, password: secret-of-the-gate, permissions: PERMISSIONS }
    ] }"#;

/// A server where the gate's user has these permissions.
fn guarded(permissions: &str) -> World {
    let config = USERS.replace("PERMISSIONS", permissions);
    let server = Server::start_guarded(&config, Login::user("admin", "admin"));
    let mut world = World::prepared(server, Rules::default());
    let password = world.gate.dir().join("password");
    std::fs::write(&password, "secret-of-the-gate\n").unwrap();
    world.gate.settings.set("nats.user", "\"gate\"");
    world.gate.settings.set("nats.password_file", "\"password\"");
    world
}

#[test]
fn wrong_credentials() {
    let mut world = guarded("{}");
    std::fs::write(world.gate.dir().join("password"), "wrong-secret").unwrap();
    let ending = world.gate.refuses(&["authoriz"]);
    assert!(!ending.stderr.contains("wrong-secret"), "{ending:#?}");
    world.gate.settings.unset("nats.user");
    world.gate.settings.unset("nats.password_file");
    world.gate.refuses(&["authoriz"]);
}

#[test]
fn permissions_that_forbid_the_ledger() {
    let forbidden = [
        r#"{ publish: { deny: ["oncegate.>"] } }"#,
        r#"{ publish: { deny: ["oncegate.accepted.>"] } }"#,
        r#"{ publish: { deny: ["oncegate.rejected.>"] } }"#,
        r#"{ publish: { deny: ["oncegate.leading"] } }"#,
        r#"{ publish: { deny: ["oncegate.judged"] } }"#,
    ];
    for permissions in forbidden {
        let mut world = guarded(permissions);
        let ending = world.gate.refuses(&["permission", "oncegate."]);
        assert!(!ending.stderr.contains("secret-of-the-gate"), "{ending:#?}");
        let last = streams::last_sequence(&mut world.client, "ONCEGATE");
        assert_eq!(last, 0, "{permissions}");
    }
}

#[test]
fn permissions_that_forbid_the_api() {
    let forbidden = [
        (r#"{ publish: { deny: ["$JS.API.STREAM.INFO.ACTIONS"] } }"#, "ACTIONS"),
        (r#"{ publish: { deny: ["$JS.API.STREAM.INFO.ONCEGATE"] } }"#, "ONCEGATE"),
        (r#"{ publish: { deny: ["$JS.API.CONSUMER.>"] } }"#, "CONSUMER"),
        (r#"{ publish: { deny: ["$KV.>"] } }"#, "$KV"),
        (r#"{ subscribe: { deny: ["_ONCEGATE.>"] } }"#, "_ONCEGATE"),
    ];
    for (permissions, named) in forbidden {
        let mut world = guarded(permissions);
        world.gate.refuses(&["permission", named]);
    }
}
