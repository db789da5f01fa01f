//! Workers that die, stop and freeze.

use crate::stage::Stage;
use crate::support::wait_until;
use crate::support::world::Site;

/// SIGKILL, mostly of the leader.
pub fn killed<S: Site>(stage: &mut Stage<S>) {
    let worker = stage.victim();
    stage.kill_worker(worker);
    stage.workers[worker].gate.spawn();
}

/// SIGKILL of both; in what order they come again is a matter of luck.
pub fn both_killed<S: Site>(stage: &mut Stage<S>) {
    let first = stage.dice.roll(2) as usize;
    for worker in [first, 1 - first] {
        stage.kill_worker(worker);
    }
    for worker in [first, 1 - first] {
        stage.workers[worker].gate.spawn();
    }
}

/// SIGTERM, and it must end well.
pub fn stopped<S: Site>(stage: &mut Stage<S>) {
    let worker = stage.victim();
    let gate = &mut stage.workers[worker].gate;
    wait_until("it to heed signals", || gate.ready().is_some());
    gate.stop();
    gate.spawn();
}

/// SIGSTOP of the leader until the other one leads; then it wakes up with what it had in its hands.
pub fn frozen<S: Site>(stage: &mut Stage<S>) {
    let worker = stage.wait_for_leader();
    stage.workers[worker].gate.freeze();
    stage.workers[worker].frozen = true;
    stage.publish();
    stage.wait_for_lead_of(1 - worker);
    stage.publish();
    stage.workers[worker].frozen = false;
    stage.workers[worker].gate.thaw();
}
