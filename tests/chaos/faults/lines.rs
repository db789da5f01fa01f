//! What the network does to a worker's connections: to all of them, or to one only.

use std::time::Duration;

use crate::stage::Stage;
use crate::support::proxy::{Told, Which};
use crate::support::world::Site;

/// Which of a worker's connections.
fn which<S: Site>(stage: &mut Stage<S>) -> Which {
    let roles = ["ledger", "lease", "feed", "reports", "receipts", "look-ups"].map(Which::Role);
    roles.get(stage.dice.roll(7) as usize).copied().unwrap_or(Which::All)
}

/// The connections end, and may be made again at once.
pub fn cut<S: Site>(stage: &mut Stage<S>) {
    let (worker, which) = (stage.victim(), which(stage));
    stage.workers[worker].lines.iter().for_each(|line| line.cut(which));
}

/// Nothing goes through for a moment, or until somebody notices; then all that was held back arrives.
pub fn stalled<S: Site>(stage: &mut Stage<S>) {
    let (worker, which) = (stage.wait_for_leader(), which(stage));
    stage.workers[worker].lines.iter().for_each(|line| line.stall(which));
    stage.publish();
    match which {
        Which::All | Which::Role("lease") => stage.wait_for_lead_of(1 - worker),
        Which::Role(_) => stage.published(),
    }
    stage.workers[worker].lines.iter().for_each(|line| line.heal());
}

/// Every chunk is late, in both directions.
pub fn delayed<S: Site>(stage: &mut Stage<S>) {
    let (worker, ms) = (stage.victim(), 1 + stage.dice.roll(40));
    let lines = |stage: &Stage<S>, by| {
        stage.workers[worker].lines.iter().for_each(|line| line.delay(Duration::from_millis(by)));
    };
    lines(stage, ms);
    stage.publish();
    stage.settle();
    lines(stage, 0);
}

/// One side is told that the connection ended, the other waits for what never comes.
pub fn half_closed<S: Site>(stage: &mut Stage<S>) {
    let (worker, which) = (stage.victim(), which(stage));
    let told = if stage.dice.roll(2) == 0 { Told::Client } else { Told::Server };
    stage.workers[worker].lines.iter().for_each(|line| line.half_close(which, told));
    stage.publish();
    stage.settle();
}
