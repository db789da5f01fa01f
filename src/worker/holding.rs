//! Keeps the lease renewed while a term lasts.

use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::clock;
use super::kill::{self, Step};
use crate::nats::lease::Lease;

/// A stop does not wait longer for the server to take the lease back.
const RELEASE_MAX: Duration = Duration::from_secs(1);

/// A lease being renewed.
pub struct Holding {
    /// Cancelled when the lease is, or may be, lost.
    pub lost: CancellationToken,
    give_back: CancellationToken,
    task: JoinHandle<()>,
}

/// Renews at a third of `takeover`. With a renewal that fails, or is not answered within the lease's
/// time, the lease counts as lost.
pub fn hold(mut lease: Lease, takeover: Duration) -> Holding {
    let (lost, give_back) = (CancellationToken::new(), CancellationToken::new());
    let (tell, asked) = (lost.clone(), give_back.clone());
    let task = tokio::spawn(async move {
        let mut renewed = clock::monotonic();
        loop {
            tokio::select! {
                () = asked.cancelled() => break,
                () = tokio::time::sleep(takeover / 3) => {}
            }
            let time_left = takeover.saturating_sub(renewed.elapsed());
            let begun = clock::monotonic();
            let around = kill::around(Step::Renew);
            let renewal = tokio::time::timeout(time_left, lease.renew());
            let renewal = tokio::select! {
                renewal = renewal => renewal,
                () = asked.cancelled() => break,
            };
            around.done();
            match renewal {
                Ok(Ok(())) => renewed = begun,
                Ok(Err(error)) => {
                    tracing::warn!(%error, "the lease was not renewed");
                    return tell.cancel();
                }
                Err(_) => {
                    tracing::warn!("the lease was not renewed in time");
                    return tell.cancel();
                }
            }
        }
        let around = kill::around(Step::GiveBackLease);
        let given_back = tokio::time::timeout(RELEASE_MAX, lease.release()).await;
        around.done();
        match given_back {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::warn!(%error, "the lease was not given back; it ends by itself")
            }
            Err(_) => tracing::warn!("the lease was not given back in time; it ends by itself"),
        }
    });
    Holding { lost, give_back, task }
}

impl Holding {
    /// Gives the lease back, so that a standby need not wait for it to end.
    pub async fn give_back(self) {
        self.give_back.cancel();
        if self.task.await.is_err() {
            tracing::warn!("the task that renews the lease has failed");
        }
    }
}
