//! Somebody else at the gate's consumer.

use std::time::Duration;

use serde_json::{Value, json};

use crate::stage::Stage;
use crate::support::raw::Outgoing;
use crate::support::world::Site;
use crate::support::{streams, wait_until};

const CONSUMER: &str = "ACTIONS.oncegate";

/// The stream of actions, or that of reports.
pub fn some_input<S: Site>(stage: &mut Stage<S>) -> &'static str {
    if stage.dice.roll(2) == 0 { "ACTIONS" } else { "ONCEGATE_REPORTS" }
}

/// A consumer is deleted, again and again by some chance.
pub fn deleted<S: Site>(stage: &mut Stage<S>) {
    for _ in 0..=stage.dice.roll(3) {
        let input = some_input(stage);
        stage.world.client.api(&format!("CONSUMER.DELETE.{input}.oncegate"), &Value::Null);
        stage.publish();
    }
}

/// A consumer is reset to some place: what is judged already, or beyond what is not.
pub fn moved<S: Site>(stage: &mut Stage<S>) {
    let input = some_input(stage);
    let last = streams::last_sequence(&mut stage.world.client, input);
    let to = 1 + stage.dice.roll(last + 30);
    reset(stage, input, to);
    stage.publish();
}

/// The next delivery of an action is of this sequence, or a later one. A reset of a consumer that is not there at
/// the moment is not answered.
pub fn move_to<S: Site>(stage: &mut Stage<S>, to: u64) {
    reset(stage, "ACTIONS", to);
}

fn reset<S: Site>(stage: &mut Stage<S>, input: &str, to: u64) {
    let mut somebody = stage.world.server.client();
    somebody.patience(Duration::from_secs(1));
    somebody.try_api(&format!("CONSUMER.RESET.{input}.oncegate"), &json!({ "seq": to }));
}

/// Waits until a worker has asked the consumer for messages.
pub fn wait_for_pull<S: Site>(stage: &mut Stage<S>) {
    wait_until("a worker to pull", || {
        stage.must_run();
        let info = stage.world.client.query(&format!("CONSUMER.INFO.{CONSUMER}"));
        info["num_waiting"].as_u64() > Some(0)
    });
}

/// Somebody else pulls messages of a consumer of the gate, and never acknowledges them.
pub fn pulled<S: Site>(stage: &mut Stage<S>) {
    let count = 1 + stage.dice.roll(20);
    let input = some_input(stage);
    pull(stage, input, count);
    stage.publish();
}

fn pull<S: Site>(stage: &mut Stage<S>, input: &str, count: u64) {
    let ask = json!({ "batch": count, "expires": 2_000_000_000_u64 }).to_string();
    let subject = format!("$JS.API.CONSUMER.MSG.NEXT.{input}.oncegate");
    stage
        .world
        .client
        .send(&Outgoing::new(&subject, &[], ask.as_bytes()), Some("_INBOX.somebody.else"));
}

/// On a work queue somebody else pulls messages and acknowledges them: they are gone before they
/// could be judged. Done while no worker is up, so that it is certain which they are.
pub fn stolen<S: Site>(stage: &mut Stage<S>) {
    stage.settle();
    let leader = stage.wait_for_leader();
    // The standby first: stopped while it takes over, it may leave no consumer behind.
    for worker in [1 - leader, leader] {
        stage.workers[worker].gate.stop();
    }
    stage.publish();
    let mut thief = stage.world.server.client();
    thief.subscribe("_INBOX.thief");
    let count = 1 + stage.dice.roll(20);
    let ask = json!({ "batch": count, "no_wait": true }).to_string();
    let subject = format!("$JS.API.CONSUMER.MSG.NEXT.{CONSUMER}");
    thief.send(&Outgoing::new(&subject, &[], ask.as_bytes()), Some("_INBOX.thief"));
    let replies: Vec<String> = (0..count)
        .map(|_| thief.delivery().and_then(|taken| taken.reply).expect("a message to acknowledge"))
        .collect();
    for reply in &replies {
        thief.request(&Outgoing::new(reply, &[], b"+ACK"));
    }
    let sequence = |reply: &String| reply.split('.').nth(5).unwrap().parse().unwrap();
    let sequences: Vec<u64> = replies.iter().map(sequence).collect();
    wait_until("them to be gone", || {
        let client = &mut stage.world.client;
        sequences.iter().all(|sequence| streams::get(client, "ACTIONS", *sequence).is_none())
    });
    stage.world.stolen(&sequences);
    for worker in 0..2 {
        stage.workers[worker].gate.spawn();
    }
    stage.settle();
    let leader = stage.wait_for_leader();
    let metrics = stage.workers[leader].gate.metrics();
    let missed = metrics.sum("oncegate_input_missed_total", &[]);
    assert_eq!(missed, sequences.len() as f64, "what others took counts as missed");
}
