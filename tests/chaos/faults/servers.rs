//! A server that dies or freezes.

use crate::stage::Stage;
use crate::support::server::Server;
use crate::support::wait_until;

/// SIGKILL and a start on the same files, while the publisher goes on.
pub fn killed(stage: &mut Stage<Server>) {
    stage.world.server.restart();
    stage.world.reconnect();
    stage.tally.server_kills += 1;
}

/// SIGSTOP until a worker sees that nothing answers.
pub fn frozen(stage: &mut Stage<Server>) {
    stage.world.server.freeze();
    wait_until("a worker to notice", || {
        stage.workers.iter().any(|worker| worker.gate.ready() != Some(200))
    });
    stage.world.server.thaw();
}
