//! The key table's directory is lost, or is an older copy.

use crate::stage::Stage;
use crate::support::server::copy_tree;
use crate::support::world::Site;

/// A worker that was killed comes again without its table.
pub fn deleted<S: Site>(stage: &mut Stage<S>) {
    let worker = stage.victim();
    stage.kill_worker(worker);
    let gate = &mut stage.workers[worker].gate;
    // It may have been killed before it made one.
    std::fs::remove_dir_all(gate.table()).ok();
    gate.spawn();
}

/// A worker that was killed comes again with its table as it was some kills ago. Killed itself when
/// the copy is made, so the copy is whole.
pub fn rolled_back<S: Site>(stage: &mut Stage<S>) {
    let worker = stage.victim();
    stage.kill_worker(worker);
    let gate = &mut stage.workers[worker].gate;
    let (table, copy) = (gate.table(), gate.dir().join("copy"));
    if copy.exists() && stage.dice.roll(4) > 0 {
        std::fs::remove_dir_all(&table).ok();
        copy_tree(&copy, &table);
    } else if table.exists() {
        std::fs::remove_dir_all(&copy).ok();
        copy_tree(&table, &copy);
    }
    gate.spawn();
}
