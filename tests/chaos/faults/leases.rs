//! Somebody else at the lease.

use serde_json::Value;

use crate::stage::Stage;
use crate::support::raw::Outgoing;
use crate::support::world::Site;

const LEASE: &str = "$KV.oncegate.leader";

/// The lease is deleted under the leader.
pub fn deleted<S: Site>(stage: &mut Stage<S>) {
    let gone = Outgoing::new(LEASE, &[("KV-Operation", "DEL")], b"");
    stage.world.client.publish(&gone);
}

/// Somebody writes another holder into the lease, or what is none.
pub fn overwritten<S: Site>(stage: &mut Stage<S>) {
    let values = ["", "nonsense", "{\"instance\":\"x\",\"host\":\"y\",\"since\":\"z\"}"];
    let value = values[stage.dice.roll(3) as usize];
    stage.world.client.publish(&Outgoing::new(LEASE, &[], value.as_bytes()));
}

/// The bucket goes, with the lease in it.
pub fn bucket_deleted<S: Site>(stage: &mut Stage<S>) {
    stage.world.client.api("STREAM.DELETE.KV_oncegate", &Value::Null);
}
