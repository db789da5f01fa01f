//! Backups by the clock, and a standby's.

use crate::support::gate::Gate;
use crate::support::http::Metrics;
use crate::support::load;
use crate::support::model::Rules;
use crate::support::server::Server;
use crate::support::world::World;
use crate::support::{streams, wait_until};
use crate::{BACKUPS, back_up, backups, json, lose_table, restore};

const LAST: &str = "oncegate_backup_last_success_timestamp_seconds";

fn outcomes(metrics: &Metrics, outcome: &str) -> f64 {
    metrics.sum("oncegate_backups_total", &[("outcome", outcome)])
}

fn wait_for_outcomes(gate: &mut Gate, outcome: &str, count: f64) {
    wait_until("scheduled backups", || {
        gate.must_run();
        outcomes(&gate.metrics(), outcome) >= count
    });
}

fn scheduled(every: &str) -> World {
    let mut world = World::prepared(Server::start(), Rules::default());
    world.gate.settings.set("backup.path", format!("{BACKUPS:?}"));
    world.gate.settings.set("backup.every", format!("{every:?}"));
    world.gate.settings.set("backup.keep", "2");
    world
}

#[test]
fn made_by_the_clock() {
    let mut world = scheduled("10s");
    world.gate.start();
    world.publish_all(&load::mixed(500, "k", 1));
    wait_for_outcomes(&mut world.gate, "ok", 3.0);
    let last = world.gate.metrics().sum(LAST, &[]);
    world.gate.stop();
    let kept = json(&world.gate, &["backup", BACKUPS, "--verify"]);
    assert_eq!(kept.len(), 2, "{kept:#?}");

    // Whoever starts again knows of the last one, and goes on from there.
    world.gate.settings.set("backup.every", "\"1h\"");
    world.gate.start();
    wait_until("the last one to be found", || world.gate.metrics().sum(LAST, &[]) >= last);
    world.check();
    assert_eq!(outcomes(&world.gate.metrics(), "ok"), 0.0, "none is due");
    world.gate.stop();

    lose_table(&world.gate);
    restore(&world.gate);
    world.gate.start();
    world.publish_all(&load::mixed(500, "k", 1));
    world.check();
}

#[test]
fn one_that_fails_is_told_and_does_no_harm() {
    let mut world = scheduled("10s");
    let foreign = backups(&world.gate);
    std::fs::create_dir(&foreign).unwrap();
    std::fs::write(foreign.join("thesis.txt"), "years of work").unwrap();
    world.gate.start();
    wait_for_outcomes(&mut world.gate, "failed", 1.0);
    wait_until("the log to say so", || world.gate.log().contains("no directory of backups"));
    world.publish_all(&load::mixed(500, "k", 1));
    world.check();
    assert_eq!(world.gate.metrics().sum(LAST, &[]), 0.0);
    // Once the directory is fit, the next one is made without help.
    std::fs::remove_file(foreign.join("thesis.txt")).unwrap();
    wait_for_outcomes(&mut world.gate, "ok", 1.0);
}

#[test]
fn a_standby_makes_its_own() {
    let mut world = World::started(Rules::default());
    world.gate.wait_leading();
    let mut standby = world.gate.twin();
    standby.start();
    world.publish_all(&load::mixed(1_000, "k", 1));
    world.settle();
    let last = streams::last_sequence(&mut world.client, "ONCEGATE");
    wait_until("the standby to follow", || {
        standby.metrics().sum("oncegate_ledger_sequence", &[]) == last as f64
    });
    assert!(!standby.leads());
    assert_eq!(back_up(&standby)["ledger_sequence"], last);
    standby.kill9();
    lose_table(&standby);
    world.publish_all(&load::mixed(500, "while it was away", 2));
    world.settle();
    world.gate.kill9();

    assert!(restore(&standby)["entries_to_replay"].as_u64() >= Some(300));
    standby.start();
    standby.wait_leading();
    std::mem::swap(&mut world.gate, &mut standby);
    world.publish_all(&load::mixed(1_000, "k", 1));
    world.check();
}
