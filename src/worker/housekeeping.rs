//! What the table needs beside the loop: its keys are learnt, and the space of expired ones is freed. No verdict depends on
//! it.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::{JoinHandle, spawn_blocking};
use tokio_util::sync::CancellationToken;

use crate::table::TableError;
use crate::table::rocks::RocksTable;

/// Each collection is a flush: not oftener, for the sake of windows of seconds.
const INTERVAL_MIN: Duration = Duration::from_secs(1);
/// A worker that is started again every day collects all the same.
const INTERVAL_MAX: Duration = Duration::from_secs(10 * 60);

/// Learns the keys, and collects every eighth of the window, or every ten minutes if that is sooner, until `stop`.
pub fn start(table: Arc<RocksTable>, window: Duration, stop: CancellationToken) -> JoinHandle<()> {
    tokio::spawn(async move {
        let interval = (window / 8).clamp(INTERVAL_MIN, INTERVAL_MAX);
        loop {
            beside(&table, &stop, "keys learnt", |table| table.learn()).await;
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(interval) => {}
            }
            beside(&table, &stop, "expired keys collected", |table| {
                table.collect_expired().map(drop)
            })
            .await;
        }
    })
}

/// Does this work on a thread of its own, and has it ended early by `stop`.
async fn beside(
    table: &Arc<RocksTable>,
    stop: &CancellationToken,
    what: &str,
    work: fn(&RocksTable) -> Result<(), TableError>,
) {
    let working = table.clone();
    let mut working = spawn_blocking(move || work(&working));
    let outcome = tokio::select! {
        outcome = &mut working => outcome,
        () = stop.cancelled() => {
            table.interrupt();
            working.await
        }
    };
    match outcome {
        Ok(Ok(())) => tracing::debug!("{what}"),
        Ok(Err(error)) => tracing::warn!(%error, "not done: {what}"),
        Err(error) => tracing::warn!(%error, "not done: {what}"),
    }
}
