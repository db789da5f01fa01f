//! What befalls a cluster of three, with everything in three replicas.

use super::{consumers, ledgers};
use crate::stage::Stage;
use crate::support::cluster::{Cluster, NODES};
use crate::support::wait_until;

const STREAMS: [&str; 4] = ["ACTIONS", "ONCEGATE", "ONCEGATE_REPORTS", "KV_oncegate"];

fn stream(stage: &mut Stage<Cluster>) -> &'static str {
    STREAMS[stage.dice.roll(4) as usize]
}

/// The stream's leader, mostly; else any node.
fn node(stage: &mut Stage<Cluster>) -> usize {
    let any = stage.dice.roll(NODES as u64) as usize;
    let stream = stream(stage);
    if stage.dice.roll(4) == 0 { any } else { stage.world.server.leader(stream).unwrap_or(any) }
}

/// Waits until every replica is there again; the old connection may have been to a node that was not.
pub fn whole(stage: &mut Stage<Cluster>) {
    wait_until("every replica to be there", || {
        stage.must_run();
        STREAMS.iter().all(|stream| stage.world.server.is_whole(stream))
    });
    stage.world.reconnect();
}

pub fn stream_leader_steps_down(stage: &mut Stage<Cluster>) {
    for _ in 0..=stage.dice.roll(2) {
        let stream = stream(stage);
        stage.world.server.ask(&format!("STREAM.LEADER.STEPDOWN.{stream}"));
        stage.publish();
    }
    whole(stage);
}

/// Odd actions, each of which is read by a request of its own, while the input's leader changes.
pub fn poison_and_step_down(stage: &mut Stage<Cluster>) {
    for _ in 0..3 {
        ledgers::poison(stage);
        stage.world.server.ask("STREAM.LEADER.STEPDOWN.ACTIONS");
    }
    whole(stage);
}

pub fn consumer_leader_steps_down(stage: &mut Stage<Cluster>) {
    let input = consumers::some_input(stage);
    stage.world.server.ask(&format!("CONSUMER.LEADER.STEPDOWN.{input}.oncegate"));
    stage.publish();
}

/// SIGKILL of one node, and its start.
pub fn node_killed(stage: &mut Stage<Cluster>) {
    let node = node(stage);
    stage.world.server.nodes[node].kill();
    stage.tally.server_kills += 1;
    stage.publish();
    stage.world.server.nodes[node].restart();
    whole(stage);
}

/// One node after the other is stopped and started, as for an upgrade.
pub fn nodes_restarted(stage: &mut Stage<Cluster>) {
    for node in 0..NODES {
        stage.world.server.nodes[node].stop();
        stage.publish();
        stage.world.server.nodes[node].restart();
        whole(stage);
    }
}

/// The routes of one node break and can't be made again; its clients still reach it.
pub fn node_cut_off(stage: &mut Stage<Cluster>) {
    cut_off(stage, false);
}

/// The routes of one node stay open and carry nothing; then all that was held back.
pub fn node_cut_off_silently(stage: &mut Stage<Cluster>) {
    cut_off(stage, true);
}

fn cut_off(stage: &mut Stage<Cluster>, silently: bool) {
    let node = node(stage);
    stage.world.server.isolate(node, silently);
    stage.publish();
    wait_until("the two others to lead every stream", || {
        stage.must_run();
        let leader = |stream| stage.world.server.leader(stream);
        STREAMS.iter().all(|stream| leader(stream).is_some_and(|leader| leader != node))
    });
    stage.publish();
    stage.published();
    stage.world.server.heal();
    whole(stage);
}

/// Two nodes of three are gone: nothing is taken, and everything waits.
pub fn quorum_lost(stage: &mut Stage<Cluster>) {
    let left = stage.dice.roll(NODES as u64) as usize;
    let gone: Vec<usize> = (0..NODES).filter(|node| *node != left).collect();
    gone.iter().for_each(|node| stage.world.server.nodes[*node].kill());
    stage.tally.server_kills += gone.len() as u64;
    wait_until("a worker to say that it waits", || {
        stage.must_run();
        stage.workers.iter().any(|worker| worker.gate.ready() == Some(503))
    });
    gone.iter().for_each(|node| stage.world.server.nodes[*node].restart());
    whole(stage);
}
