//! Frees the space of expired keys, beside the loop. No verdict depends on it.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::table::rocks::RocksTable;

const INTERVAL_MIN: Duration = Duration::from_secs(5 * 60);

/// Collects every few minutes or every eighth of the window, whichever is longer, until `stop`.
pub fn start(table: Arc<RocksTable>, window: Duration, stop: CancellationToken) -> JoinHandle<()> {
    tokio::spawn(async move {
        let interval = (window / 8).max(INTERVAL_MIN);
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
