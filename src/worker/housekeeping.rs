//! Frees the space of expired keys, beside the loop. No verdict depends on it.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::table::rocks::RocksTable;

/// Each collection is a flush: not oftener, for the sake of windows of seconds.
const INTERVAL_MIN: Duration = Duration::from_secs(1);
/// A worker that is started again every day collects all the same.
const INTERVAL_MAX: Duration = Duration::from_secs(10 * 60);

/// Collects every eighth of the window, or every ten minutes if that is sooner, until `stop`.
pub fn start(table: Arc<RocksTable>, window: Duration, stop: CancellationToken) -> JoinHandle<()> {
    tokio::spawn(async move {
        let interval = (window / 8).clamp(INTERVAL_MIN, INTERVAL_MAX);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(interval) => {}
            }
            let (collecting, interrupting) = (table.clone(), table.clone());
            let mut collected = tokio::task::spawn_blocking(move || collecting.collect_expired());
            let outcome = tokio::select! {
                outcome = &mut collected => outcome,
                () = stop.cancelled() => {
                    interrupting.interrupt();
                    collected.await
                }
            };
            match outcome {
                Ok(Ok(collected)) => tracing::debug!(?collected, "expired keys collected"),
                Ok(Err(error)) => tracing::warn!(%error, "expired keys were not collected"),
                Err(error) => tracing::warn!(%error, "the collection of expired keys failed"),
            }
        }
    })
}
