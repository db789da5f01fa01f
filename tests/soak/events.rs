//! What befalls the workers and the server. After each the steady worker leads again, and the other
//! one stands by.

use std::time::Duration;

use serde_json::json;

use crate::stage::{INPUT, Stage};
use crate::support::{streams, wait_until};

/// One thing that happens, and is over when the function returns.
pub type Event = fn(&mut Stage);

/// In this order once, then by the dice.
pub const EVENTS: &[Event] = &[
    standby_stopped,
    leader_killed,
    server_stopped,
    consumer_moved_back,
    standby_killed,
    leader_stopped,
    server_killed,
];

/// Actions that are judged under a leader before it goes.
const TERM_ACTIONS: u64 = 500;

fn standby_stopped(stage: &mut Stage) {
    stage.restarted.stop();
    stage.tally.worker_stops += 1;
    stage.restarted.start();
    stage.wait_for_order();
}

fn standby_killed(stage: &mut Stage) {
    stage.restarted.kill9();
    stage.tally.worker_kills += 1;
    stage.restarted.start();
    stage.wait_for_order();
}

/// The standby takes over, leads for a while, and is killed.
fn leader_killed(stage: &mut Stage) {
    take_over(stage);
    stage.restarted.kill9();
    stage.tally.worker_kills += 1;
    stage.steady.wait_leading();
    stage.restarted.start();
    stage.wait_for_order();
}

/// The standby takes over, leads for a while, and is stopped.
fn leader_stopped(stage: &mut Stage) {
    take_over(stage);
    stage.restarted.stop();
    stage.tally.worker_stops += 1;
    stage.steady.wait_leading();
    stage.restarted.start();
    stage.wait_for_order();
}

/// The steady worker stands still until the other one leads.
fn take_over(stage: &mut Stage) {
    stage.steady.freeze();
    stage.restarted.wait_leading();
    stage.tally.take_overs += 1;
    stage.steady.thaw();
    stage.wait_for_verdicts(TERM_ACTIONS);
}

fn server_stopped(stage: &mut Stage) {
    stage.server.stop();
    stage.tally.server_stops += 1;
    server_started(stage);
}

fn server_killed(stage: &mut Stage) {
    stage.server.kill();
    stage.tally.server_kills += 1;
    server_started(stage);
}

fn server_started(stage: &mut Stage) {
    stage.server.restart();
    stage.client = stage.server.client();
    stage.wait_for_order();
    stage.wait_for_verdicts(1);
}

/// Somebody moves the gate's consumer back: what is judged already is delivered again.
fn consumer_moved_back(stage: &mut Stage) {
    let last = streams::last_sequence(&mut stage.client, INPUT);
    let to = last.saturating_sub(2_000).max(1);
    // A reset is not answered while the consumer is being made anew.
    let mut somebody = stage.server.client();
    somebody.patience(Duration::from_secs(1));
    let reset =
        somebody.try_api(&format!("CONSUMER.RESET.{INPUT}.oncegate"), &json!({ "seq": to }));
    stage.tally.consumer_moves += u64::from(reset.is_some());
    wait_until("the steady worker to be ready", || stage.steady.ready() == Some(200));
    stage.wait_for_verdicts(TERM_ACTIONS);
}
