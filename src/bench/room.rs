//! Whether there is room for a measurement, before anything is made.

use anyhow::Context as _;
use serde::Deserialize;
use serde_json::Value;

use super::plan::Shape;
use super::stage::Stage;

/// What a message takes in a stream beyond its payload, at most: subject, headers, framing.
const AROUND_PAYLOAD_BYTES: u64 = 600;
/// What a key takes in the table at most, while it is being compacted.
const KEY_BYTES: u64 = 300;
/// The headers and the subject of an action, and of its entry.
const ENTRY_HEADERS_BYTES: usize = 2000;

#[derive(Deserialize)]
struct Account {
    storage: u64,
    #[serde(default)]
    limits: Limits,
}

#[derive(Default, Deserialize)]
struct Limits {
    /// -1: none.
    #[serde(default)]
    max_storage: i64,
}

/// What the server, the account and this machine's disk say to this load.
pub async fn check(stage: &Stage, shape: &Shape) -> anyhow::Result<()> {
    let message_bytes_max = stage.connection.message_bytes_max();
    anyhow::ensure!(
        shape.payload_bytes + ENTRY_HEADERS_BYTES <= message_bytes_max,
        "an action with a payload of {} bytes does not fit into the server's messages of at most \
         {message_bytes_max} (max_payload): choose a smaller --payload",
        shape.payload_bytes
    );
    let (actions, payload) = (u64::from(shape.actions), shape.payload_bytes as u64);
    let replicas = stage.config.input.replicas + stage.config.ledger.replicas;
    let streams = actions * (payload + AROUND_PAYLOAD_BYTES) * replicas as u64;
    let account: Account = stage
        .connection
        .call("INFO", &Value::Null)
        .await
        .context("asking what JetStream allows this account")?;
    let limit = u64::try_from(account.limits.max_storage).unwrap_or(u64::MAX);
    must_fit(
        streams,
        limit.saturating_sub(account.storage),
        "within this account's limit for JetStream",
    )?;
    let disk = rustix::fs::statvfs(stage.place.dir()).context("looking for room for the table")?;
    let place = format!("in {} (--dir names another place)", stage.place.dir().display());
    must_fit(actions * KEY_BYTES, disk.f_bavail * disk.f_frsize, &place)
}

fn must_fit(needed: u64, free: u64, place: &str) -> anyhow::Result<()> {
    const MEGABYTE: u64 = 1_000_000;
    anyhow::ensure!(
        needed <= free,
        "the measurement may need {} MB, and {} MB are left {place}: choose fewer --actions",
        needed.div_ceil(MEGABYTE),
        free / MEGABYTE
    );
    Ok(())
}
