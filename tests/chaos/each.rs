//! Every fault alone, some times in a row.

use serde_json::{Value, json};

use crate::faults::{self, CLUSTER, SINGLE, STOLEN, named};
use crate::mixed::in_three_replicas;
use crate::stage::{Fault, Stage};
use crate::support::cluster::Cluster;
use crate::support::gate::Settings;
use crate::support::server::Server;
use crate::support::streams;

const TIMES: u64 = 3;

fn on_one_server(fault: &Fault<Server>, fields: &Value) {
    let mut stage = Stage::begin(Server::start(), 1, fields, &Settings::default());
    for _ in 0..TIMES {
        stage.step(fault);
    }
    stage.end();
}

fn on_limits(name: &str) {
    on_one_server(named(SINGLE, name).unwrap(), &json!({}));
}

fn on_a_work_queue(name: &str) {
    on_one_server(named(SINGLE, name).unwrap(), &json!({ "retention": "workqueue" }));
}

/// Each on a cluster of its own, at the same time: they mostly wait for elections.
fn on_clusters(names: &[&'static str]) {
    std::thread::scope(|scope| {
        for name in names {
            let thread = std::thread::Builder::new().name((*name).into());
            thread.spawn_scoped(scope, || on_a_cluster(name)).unwrap();
        }
    });
}

fn on_a_cluster(name: &str) {
    let (fields, settings) = in_three_replicas();
    let mut stage = Stage::begin(Cluster::start(), 1, &fields, &settings);
    faults::cluster::whole(&mut stage);
    for _ in 0..TIMES {
        stage.step(named(CLUSTER, name).unwrap());
    }
    stage.end();
}

macro_rules! each {
    ($run:ident: $($test:ident = $name:literal,)+) => {
        $(#[test]
        fn $test() {
            $run($name);
        })+
    };
}

each! { on_limits:
    a_worker_that_is_killed = "worker-killed",
    both_workers_killed = "workers-killed",
    a_worker_that_is_stopped = "worker-stopped",
    a_worker_that_freezes = "worker-frozen",
    a_server_that_is_killed = "server-killed",
    a_server_that_freezes = "server-frozen",
    connections_that_are_cut = "line-cut",
    connections_that_stall = "line-stalled",
    connections_that_are_slow = "line-delayed",
    connections_that_are_half_closed = "line-half-closed",
    a_consumer_that_is_deleted = "consumer-deleted",
    a_consumer_that_is_moved = "consumer-moved",
    a_consumer_that_somebody_pulls_from = "consumer-pulled",
    a_lease_that_is_deleted = "lease-deleted",
    a_lease_that_is_overwritten = "lease-overwritten",
    a_lease_bucket_that_is_deleted = "lease-bucket-deleted",
    a_table_that_is_deleted = "table-deleted",
    a_table_that_is_rolled_back = "table-rolled-back",
    strangers_in_the_ledger = "stranger",
    poison_in_the_input = "poison",
}

each! { on_a_work_queue:
    a_worker_that_is_killed_on_a_work_queue = "worker-killed",
    a_worker_that_freezes_on_a_work_queue = "worker-frozen",
    a_server_that_is_killed_on_a_work_queue = "server-killed",
    connections_that_are_cut_on_a_work_queue = "line-cut",
    a_consumer_that_is_deleted_on_a_work_queue = "consumer-deleted",
    a_consumer_that_is_moved_on_a_work_queue = "consumer-moved",
    a_consumer_that_somebody_pulls_from_on_a_work_queue = "consumer-pulled",
    a_table_that_is_deleted_on_a_work_queue = "table-deleted",
    a_table_that_is_rolled_back_on_a_work_queue = "table-rolled-back",
    poison_in_a_work_queue = "poison",
}

#[test]
fn messages_that_somebody_takes_out_of_a_work_queue_count_as_missed() {
    on_one_server(&STOLEN, &json!({ "retention": "workqueue" }));
}

#[test]
fn leaders_of_streams_and_consumers_that_step_down() {
    on_clusters(&["stream-leader-steps-down", "consumer-leader-steps-down", "poison"]);
}

#[test]
fn nodes_that_are_killed_and_restarted() {
    on_clusters(&["node-killed", "nodes-restarted", "quorum-lost"]);
}

#[test]
fn nodes_that_are_cut_off() {
    on_clusters(&["node-cut-off", "node-cut-off-silently"]);
}

/// The next delivery is the consumer's first, so its number shows no hole.
#[test]
fn a_consumer_that_is_moved_before_it_has_delivered_anything() {
    for kind in ["limits", "workqueue"] {
        let fields = json!({ "retention": kind });
        let mut stage = Stage::begin(Server::start(), 1, &fields, &Settings::default());
        for _ in 0..TIMES {
            stage.publish();
            stage.settle();
            faults::workers::both_killed(&mut stage);
            faults::consumers::wait_for_pull(&mut stage);
            let last = streams::last_sequence(&mut stage.world.client, "ACTIONS");
            faults::consumers::move_to(&mut stage, last + 6);
            stage.publish();
        }
        stage.end();
    }
}
