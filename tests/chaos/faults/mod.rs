//! What goes wrong, as data: a name, how often, and what to do.

pub mod cluster;
pub mod consumers;
pub mod leases;
pub mod ledgers;
pub mod lines;
pub mod servers;
pub mod tables;
pub mod workers;

use crate::stage::Fault;
use crate::support::cluster::Cluster;
use crate::support::server::Server;
use crate::support::world::Site;

const fn fault<S: Site>(
    name: &'static str,
    weight: u64,
    happens: fn(&mut crate::stage::Stage<S>),
) -> Fault<S> {
    Fault { name, weight, happens }
}

/// On one server, whatever kind of input it has.
pub const SINGLE: &[Fault<Server>] = &[
    fault("worker-killed", 40, workers::killed),
    fault("workers-killed", 10, workers::both_killed),
    fault("worker-stopped", 3, workers::stopped),
    fault("worker-frozen", 3, workers::frozen),
    fault("server-killed", 25, servers::killed),
    fault("server-frozen", 2, servers::frozen),
    fault("line-cut", 4, lines::cut),
    fault("line-stalled", 2, lines::stalled),
    fault("line-delayed", 3, lines::delayed),
    fault("line-half-closed", 2, lines::half_closed),
    fault("consumer-deleted", 3, consumers::deleted),
    fault("consumer-moved", 3, consumers::moved),
    fault("consumer-pulled", 3, consumers::pulled),
    fault("lease-deleted", 2, leases::deleted),
    fault("lease-overwritten", 2, leases::overwritten),
    fault("lease-bucket-deleted", 1, leases::bucket_deleted),
    fault("table-deleted", 3, tables::deleted),
    fault("table-rolled-back", 4, tables::rolled_back),
    fault("stranger", 3, ledgers::stranger),
    fault("poison", 2, ledgers::poison),
];

/// On a work queue only: somebody else takes messages, which counts as missed.
pub const STOLEN: Fault<Server> = fault("messages-stolen", 1, consumers::stolen);

/// On three servers.
pub const CLUSTER: &[Fault<Cluster>] = &[
    fault("worker-killed", 8, workers::killed),
    fault("worker-frozen", 1, workers::frozen),
    fault("line-cut", 2, lines::cut),
    fault("stream-leader-steps-down", 4, cluster::stream_leader_steps_down),
    fault("consumer-leader-steps-down", 3, cluster::consumer_leader_steps_down),
    fault("poison", 2, cluster::poison_and_step_down),
    fault("node-killed", 4, cluster::node_killed),
    fault("nodes-restarted", 1, cluster::nodes_restarted),
    fault("node-cut-off", 2, cluster::node_cut_off),
    fault("node-cut-off-silently", 2, cluster::node_cut_off_silently),
    fault("quorum-lost", 1, cluster::quorum_lost),
];

/// The fault of this name.
pub fn named<S: Site>(faults: &'static [Fault<S>], name: &str) -> Option<&'static Fault<S>> {
    faults.iter().find(|fault| fault.name == name)
}
