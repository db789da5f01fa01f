//! Two workers for one gate: the second keeps its table warm, says so, and takes over by itself.
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

use support::gate::Gate;
use support::model::Rules;
use support::proxy::{Proxy, Which};
use support::raw::{Client, Outgoing};
use support::server::Server;
use support::world::World;
use support::{ledger, load, streams, wait_until};

const LEASE: &str = "$KV.oncegate.leader";

/// A leader and a warm standby.
fn pair(takeover: &str) -> (World, Gate) {
    let mut world = World::prepared(Server::start(), Rules::default());
    world.gate.settings.set("ha.takeover", format!("{takeover:?}"));
    world.gate.start();
    world.gate.wait_leading();
    let mut standby = world.gate.twin();
    standby.start();
    (world, standby)
}

/// The same, with a proxy between the leader and its server.
fn pair_with_line(takeover: &str) -> (World, Gate, Proxy) {
    let mut world = World::prepared(Server::start(), Rules::default());
    world.gate.settings.set("ha.takeover", format!("{takeover:?}"));
    let mut standby = world.gate.twin();
    let line = Proxy::to(world.server.port());
    let url = format!("nats://127.0.0.1:{}", line.port());
    world.gate.settings.set("nats.servers", json!([url]).to_string());
    world.gate.start();
    world.gate.wait_leading();
    standby.start();
    (world, standby, line)
}

fn is_warm_standby(gate: &Gate) -> bool {
    let ready = gate.get("/readyz");
    let warm = |(status, text): (u16, String)| status == 200 && text.contains("standing by, warm");
    ready.is_some_and(warm) && !gate.leads()
}

fn follows(gate: &Gate, client: &mut Client) -> bool {
    let last = streams::last_sequence(client, "ONCEGATE") as f64;
    gate.metrics().sum("oncegate_ledger_sequence", &[]) == last
}

fn swap(world: &mut World, standby: &mut Gate) {
    std::mem::swap(&mut world.gate, standby);
}

fn lines(gate: &Gate, words: &str) -> usize {
    gate.log().lines().filter(|line| line.contains(words)).count()
}

#[test]
fn a_standby_says_so_and_follows_the_ledger() {
    let (mut world, mut standby) = pair("3s");
    assert!(is_warm_standby(&standby) && world.gate.leads());
    world.publish_all(&load::mixed(5_000, "k", 1));
    world.settle();
    wait_until("the standby to have followed", || follows(&standby, &mut world.client));
    let keys = |gate: &Gate| gate.metrics().sum("oncegate_table_keys", &[]);
    assert!(keys(&world.gate) > 0.0);
    standby.stop();
    world.check();
}

/// The lease would last for minutes: only its return can be what the standby waits for.
#[test]
fn a_clean_stop_hands_over_at_once() {
    let (mut world, mut standby) = pair("5m");
    for round in 0..3 {
        world.publish_all(&load::mixed(1_000, "k", 10 + round));
        world.gate.stop();
        standby.wait_leading();
        swap(&mut world, &mut standby);
        standby.start();
        assert!(!standby.leads());
    }
    world.check();
}

#[test]
fn an_idle_gate_has_a_leader_too() {
    let (mut world, mut standby) = pair("1s");
    world.gate.kill9();
    standby.wait_leading();
    swap(&mut world, &mut standby);
    world.act("k", "1");
    world.check();
}

/// Nothing is published, so nothing but the lease tells that the leader is gone.
#[test]
fn an_idle_leader_that_freezes_is_replaced() {
    let (mut world, mut standby) = pair("1s");
    world.gate.freeze();
    standby.wait_leading();
    world.gate.thaw();
    wait_until("the old leader to stand by, warm", || is_warm_standby(&world.gate));
    assert_eq!(lines(&world.gate, "no longer leading"), 1, "{}", world.gate.log());
    assert_eq!(lines(&standby, " leading ledger_sequence"), 1, "{}", standby.log());
    swap(&mut world, &mut standby);
    world.act("k", "1");
    world.check();
}

/// Its connections end and can't be made again, or stay open and carry nothing.
#[test]
fn an_idle_leader_that_loses_its_connection_is_replaced() {
    for silently in [false, true] {
        let (mut world, mut standby, line) = pair_with_line("1s");
        if silently {
            line.stall(Which::All)
        } else {
            line.refuse()
        }
        standby.wait_leading();
        wait_until("the old leader to say that it waits", || {
            world.gate.ready() == Some(503) && !world.gate.leads()
        });
        world.act("k", "1");
        line.heal();
        wait_until("the old leader to stand by, warm", || is_warm_standby(&world.gate));
        assert_eq!(lines(&world.gate, "no longer leading"), 1, "{}", world.gate.log());
        assert_eq!(lines(&standby, " leading ledger_sequence"), 1, "{}", standby.log());
        assert!(standby.leads());
        swap(&mut world, &mut standby);
        world.check();
    }
}

#[test]
fn a_leader_that_loses_its_connection_in_the_middle_of_its_work() {
    let (mut world, mut standby, line) = pair_with_line("1s");
    for round in 0..3 {
        world.publish_all(&load::mixed(2_000, "k", 80 + round));
        if round == 1 {
            line.stall(Which::All)
        } else {
            line.refuse()
        }
        standby.wait_leading();
        world.publish_all(&load::mixed(500, "k", 90 + round));
        line.heal();
        wait_until("the old leader to stand by, warm", || is_warm_standby(&world.gate));
        standby.stop();
        world.gate.wait_leading();
        standby.start();
    }
    world.check();
}

#[test]
fn a_standby_that_loses_its_connection_says_so_and_comes_back() {
    let (mut world, mut standby, line) = pair_with_line("1s");
    // The one behind the proxy stands by.
    standby.stop();
    world.gate.stop();
    standby.start();
    standby.wait_leading();
    world.gate.start();
    line.refuse();
    wait_until("it to be not ready", || world.gate.ready() == Some(503));
    world.publish_all(&load::mixed(1_000, "k", 100));
    line.heal();
    wait_until("it to be warm again", || is_warm_standby(&world.gate));
    wait_until("it to have followed", || follows(&world.gate, &mut world.client));
    assert_eq!(lines(&world.gate, "leading ledger_sequence"), 0, "{}", world.gate.log());
    world.check();
}

#[test]
fn a_frozen_leader_that_wakes_up_becomes_the_standby() {
    let (mut world, mut standby) = pair("1s");
    world.publish_all(&load::mixed(2_000, "k", 20));
    world.gate.freeze();
    standby.wait_leading();
    world.publish_all(&load::mixed(2_000, "k", 21));
    world.gate.thaw();
    wait_until("the old leader to stand by, warm", || is_warm_standby(&world.gate));
    assert!(standby.leads());
    assert_eq!(lines(&world.gate, "no longer leading"), 1, "{}", world.gate.log());
    assert_eq!(lines(&standby, " leading ledger_sequence"), 1, "{}", standby.log());
    swap(&mut world, &mut standby);
    world.check();
    wait_until("it to follow", || follows(&standby, &mut world.client));
    world.gate.kill9();
    standby.wait_leading();
    swap(&mut world, &mut standby);
    world.publish_all(&load::mixed(500, "k", 22));
    world.check();
}

#[test]
fn a_take_over_reads_the_tail_only() {
    let (mut world, mut standby) = pair("1s");
    world.publish_all(&load::mixed(30_000, "k", 30));
    world.settle();
    wait_until("the standby to have followed", || follows(&standby, &mut world.client));
    world.gate.kill9();
    standby.wait_leading();
    assert_eq!(lines(&standby, "tail_entries=0"), 1, "{}", standby.log());
    swap(&mut world, &mut standby);
    world.check();
}

#[test]
fn other_rules_are_told_and_hold_from_the_take_over_on() {
    let (mut world, mut standby) = pair("1s");
    standby.stop();
    standby.settings.set("retention.window", "\"3d\"");
    standby.settings.set("payload.ignore", "[\"/sent_at\"]");
    standby.start();
    wait_until("a warning", || lines(&standby, "rules or window differ") == 1);
    world.act("k", r#"{"a":1,"sent_at":1}"#);
    world.settle();
    world.gate.kill9();
    standby.wait_leading();
    let entries = ledger::read_all(&mut world.client, "ONCEGATE");
    let leading = entries.iter().rfind(|entry| entry.kind() == "leading").unwrap();
    let body: Value = serde_json::from_slice(&leading.payload).unwrap();
    assert_eq!(body["window_ms"], 3 * 24 * 3_600_000);
    assert_eq!(body["rules"]["payload_ignore"], json!(["/sent_at"]));
}

/// Another leads for a moment under other rules, while a leader that has confirmed its lease is at its
/// recovery: it judges on under its own rules, and says so first.
#[test]
fn a_leader_after_whom_another_led_says_its_rules_again() {
    let (mut world, mut standby, line) = pair_with_line("20s");
    standby.stop();
    let ignoring = Rules { ignore: vec!["/sent_at"], ..Rules::default() };
    ignoring.write(&mut standby.settings);
    standby.start();
    world.act("before", r#"{"a":1,"sent_at":1}"#);
    world.settle();
    line.stall(Which::Role("ledger"));
    let renewals = |world: &mut World| streams::last_sequence(&mut world.client, "KV_oncegate");
    let renewed = renewals(&mut world);
    streams::must(world.client.api("CONSUMER.DELETE.ACTIONS.oncegate", &Value::Null));
    wait_until("the leader to confirm its lease", || renewals(&mut world) > renewed);
    world.client.publish(&Outgoing::new(LEASE, &[("KV-Operation", "DEL")], b""));
    standby.wait_leading();
    world.rules_are(ignoring);
    world.act("between", r#"{"a":1,"sent_at":1}"#);
    world.act("between", r#"{"a":1,"sent_at":2}"#);
    world.rules_are(Rules::default());
    standby.kill9();
    line.heal();
    world.act("between", r#"{"a":1,"sent_at":1}"#);
    world.act("between", r#"{"a":1,"sent_at":2}"#);
    world.act("before", r#"{"a":1,"sent_at":1}"#);
    world.act("after", r#"{"a":1,"sent_at":1}"#);
    world.act("after", r#"{"a":1,"sent_at":1}"#);
    world.check();
}

#[test]
fn key_rules_that_it_would_refuse_to_lead_under_make_it_not_ready() {
    let (mut world, mut standby) = pair("1s");
    standby.stop();
    standby.settings.set("key.scope", "[\"subject:2\"]");
    standby.spawn();
    wait_until("it to say so", || {
        standby.get("/readyz").is_some_and(|(status, text)| {
            status == 503 && text.contains("key.scope") && text.trim().lines().count() == 1
        })
    });
    world.act("k", "1");
    world.check();
    world.gate.kill9();
    let ending = standby.ending();
    assert_eq!(ending.code, Some(1), "{ending:#?}");
    ending.says(&["--accept-key-rules"]);
}

#[test]
fn strangers_in_the_ledger_do_not_stop_a_standby() {
    let (mut world, mut standby) = pair("1s");
    for round in 0..3 {
        let strays: [&[u8]; 3] = [
            b"NATS/1.0\r\nno colon\r\n\r\n",
            b"NATS/1.0\r\nX: \xff\r\n\r\n",
            b"NATS/1.0\r\nX: a\rb\r\n\r\n",
        ];
        for block in strays {
            let stray = Outgoing::with_block("oncegate.accepted.actions.pay", block, b"{}");
            let ack = world.client.publish(&stray);
            world.foreign(ack.sequence);
        }
        world.publish_all(&load::mixed(300, "k", 40 + round));
        world.settle();
    }
    wait_until("the standby to have followed", || follows(&standby, &mut world.client));
    wait_until("it to be warm", || is_warm_standby(&standby));
    world.gate.kill9();
    standby.wait_leading();
    swap(&mut world, &mut standby);
    world.check();
}

/// More than what is read one by one, with strangers in it that the client library can't read.
#[test]
fn a_new_standby_reads_a_long_ledger_with_strangers_in_it() {
    let mut world = World::started(Rules::default());
    for round in 0..3 {
        world.publish_all(&load::mixed(5_000, "k", 50 + round));
        world.settle();
        let block = b"NATS/1.0\r\nX: a\rb\r\n\r\n";
        let stray = Outgoing::with_block("oncegate.accepted.actions.pay", block, b"{}");
        let ack = world.client.publish(&stray);
        world.foreign(ack.sequence);
    }
    world.publish_all(&load::mixed(3_000, "k", 54));
    world.settle();
    let mut standby = world.gate.twin();
    standby.start();
    assert!(follows(&standby, &mut world.client));
    world.gate.kill9();
    standby.wait_leading();
    swap(&mut world, &mut standby);
    world.publish_all(&load::mixed(5_000, "k", 55));
    world.check();
}

#[test]
fn a_standby_outlives_the_server() {
    let (mut world, mut standby) = pair("1s");
    world.publish_all(&load::mixed(500, "k", 60));
    world.settle();
    for _ in 0..2 {
        world.server.restart();
        world.reconnect();
        wait_until("both to be ready, one of them leading", || {
            let ready = [&world.gate, &standby].iter().all(|gate| gate.ready() == Some(200));
            ready && world.gate.leads() != standby.leads()
        });
    }
    if standby.leads() {
        swap(&mut world, &mut standby);
    }
    world.publish_all(&load::mixed(500, "k", 61));
    world.check();
    wait_until("the standby to have followed", || follows(&standby, &mut world.client));
}

/// Somebody takes the lease away: whoever held it stops, and somebody leads again.
#[test]
fn a_lease_that_somebody_deletes_or_overwrites() {
    let (mut world, mut standby) = pair("1s");
    for round in 0..4 {
        let value: &[u8] = if round % 2 == 0 { b"{\"instance\":\"x\"}" } else { b"" };
        world.client.publish(&Outgoing::new(LEASE, &[], value));
        world.publish_all(&load::mixed(500, "k", 70 + round));
        wait_until("one to lead and both to be ready", || {
            world.gate.must_run();
            standby.must_run();
            let ready = [&world.gate, &standby].iter().all(|gate| gate.ready() == Some(200));
            ready && world.gate.leads() != standby.leads()
        });
        if standby.leads() {
            swap(&mut world, &mut standby);
        }
    }
    world.check();
}
