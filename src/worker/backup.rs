//! Backups of the table that the worker has open, beside the loop: when asked, and by the clock.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::bail;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::clock;
use crate::config;
use crate::metrics::Metrics;
use crate::table::WriteBehind;
use crate::table::backup::{BackupError, Backups, Made, back_up};

/// After a backup that failed, the next is tried no later.
const RETRY_MAX: Duration = Duration::from_mins(5);
/// At a stop, a backup under way gets so long to end; then the process ends without it.
const STOP_MAX: Duration = Duration::from_secs(3);

/// Makes backups, one at a time. A clone is another handle.
#[derive(Clone)]
pub struct BackupMaker {
    table: Arc<WriteBehind>,
    gate: String,
    metrics: Metrics,
    turn: Arc<tokio::sync::Mutex<()>>,
}

impl BackupMaker {
    /// For this open table of this gate.
    pub fn new(table: Arc<WriteBehind>, gate: &str, metrics: Metrics) -> Self {
        Self { table, gate: gate.to_owned(), metrics, turn: Arc::default() }
    }

    /// Makes one now, and drops all but the newest `keep`. Goes on to its end even if nobody waits for it.
    /// A failure is logged and counted here, and hurts nothing else.
    pub async fn make(&self, directory: PathBuf, keep: Option<usize>) -> anyhow::Result<Made> {
        let Ok(turn) = self.turn.clone().try_lock_owned() else {
            bail!("the worker is making a backup already: wait until that one is done");
        };
        let maker = self.clone();
        let making = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            let written = maker.table.write_out().map_err(BackupError::Table);
            let table = maker.table.table();
            let made = written.and_then(|()| back_up(table, &directory, &maker.gate, keep));
            maker.report(&directory, &made);
            made
        });
        Ok(making.await??)
    }

    fn report(&self, directory: &Path, made: &Result<Made, BackupError>) {
        match made {
            Ok(Made { backup, new_bytes, .. }) => {
                self.metrics.backup_made(backup.created_ns);
                tracing::info!(id = backup.id, new_bytes, directory = %directory.display(), "backup made");
            }
            Err(error) => {
                self.metrics.backup_failed();
                tracing::warn!(%error, "no backup was made");
            }
        }
    }

    /// Makes one whenever the newest is as old as `backup.every`, until `stop`.
    pub fn schedule(self, settings: config::Backup, stop: CancellationToken) -> JoinHandle<()> {
        tokio::spawn(async move {
            let Some(directory) = settings.path else { return };
            let mut wait = self.until_due(&directory, settings.every).await;
            while stop.run_until_cancelled(tokio::time::sleep(wait)).await.is_some() {
                let made = self.make(directory.clone(), Some(settings.keep)).await;
                wait = match made {
                    Ok(_) => settings.every,
                    Err(_) => settings.every.min(RETRY_MAX),
                };
            }
        })
    }

    /// A worker that was started again goes on where it was.
    async fn until_due(&self, directory: &Path, every: Duration) -> Duration {
        let (directory, gate) = (directory.to_owned(), self.gate.clone());
        let looked = tokio::task::spawn_blocking(move || {
            Ok::<_, BackupError>(Backups::open(&directory, &gate)?.list()?.pop())
        });
        let Ok(Ok(Some(newest))) = looked.await else {
            return Duration::ZERO;
        };
        self.metrics.backup_found(newest.created_ns);
        let age_ns = clock::wall_ns().saturating_sub(newest.created_ns);
        let age = Duration::from_nanos(age_ns.try_into().unwrap_or_default());
        every.saturating_sub(age)
    }

    /// Waits a moment for a backup that is under way.
    pub async fn finish(self) {
        let ended = tokio::time::timeout(STOP_MAX, self.turn.lock()).await;
        if ended.is_err() {
            tracing::warn!("a backup is under way, and is given up; the earlier ones are whole");
        }
    }
}
