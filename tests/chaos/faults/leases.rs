//! Somebody else at the lease.

use serde_json::Value;

use crate::stage::Stage;
use crate::support::raw::Outgoing;
use crate::support::wait_until;
use crate::support::world::Site;

const LEASE: &str = "$KV.oncegate.leader";

/// The lease is deleted under the leader.
pub fn deleted<S: Site>(stage: &mut Stage<S>) {
    write(stage, &Outgoing::new(LEASE, &[("KV-Operation", "DEL")], b""));
}

/// Somebody writes another holder into the lease, or what is none.
pub fn overwritten<S: Site>(stage: &mut Stage<S>) {
    let values = ["", "nonsense", "{\"instance\":\"x\",\"host\":\"y\",\"since\":\"z\"}"];
    let value = values[stage.dice.roll(3) as usize];
    write(stage, &Outgoing::new(LEASE, &[], value.as_bytes()));
}

/// Somebody may have deleted the bucket just before: then a worker makes it anew.
fn write<S: Site>(stage: &mut Stage<S>, message: &Outgoing) {
    wait_until("the bucket to take it", || {
        stage.must_run();
        stage.world.client.try_publish(message).is_ok()
    });
}

/// The bucket goes, with the lease in it.
pub fn bucket_deleted<S: Site>(stage: &mut Stage<S>) {
    stage.world.client.api("STREAM.DELETE.KV_oncegate", &Value::Null);
}
