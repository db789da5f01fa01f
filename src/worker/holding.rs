//! Keeps the lease renewed while a term lasts.

use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::clock;
use super::kill::{self, Step};
use crate::nats::lease::Lease;

/// A stop does not wait longer for the server to take the lease back.
const RELEASE_MAX: Duration = Duration::from_secs(1);

/// A lease that was taken.
pub struct Taken {
    /// The lease.
    pub lease: Lease,
    /// When it was asked for: its time runs from then, not from when the answer came.
    pub asked: Instant,
}

/// A lease being renewed.
pub struct Holding {
    /// Cancelled when the lease is, or may be, lost.
    pub lost: CancellationToken,
    give_back: CancellationToken,
    /// Asked for by number, and how far it got.
    wanted: watch::Sender<u64>,
    renewed: watch::Receiver<u64>,
    task: JoinHandle<Option<String>>,
}

/// Renews at a third of `takeover`. With a renewal that fails, or is not answered within the lease's
/// time, the lease counts as lost. `on`: must not wait for the loop, which may wait for the disk.
pub fn hold(taken: Taken, takeover: Duration, on: &Handle) -> Holding {
    let (lost, give_back) = (CancellationToken::new(), CancellationToken::new());
    let (wanted, asked) = watch::channel(0);
    let (told, renewed) = watch::channel(0);
    let keeping = keep(taken, takeover, give_back.clone(), asked, told);
    let tell = lost.clone();
    let task = on.spawn(async move {
        match keeping.await {
            Ok(lease) => {
                release(lease).await;
                None
            }
            Err(why) => {
                tell.cancel();
                Some(why)
            }
        }
    });
    Holding { lost, give_back, wanted, renewed, task }
}

/// Until asked to give it back; an error says why it counts as lost.
async fn keep(
    Taken { mut lease, asked: mut renewed }: Taken,
    takeover: Duration,
    give_back: CancellationToken,
    mut asked: watch::Receiver<u64>,
    told: watch::Sender<u64>,
) -> Result<Lease, String> {
    loop {
        tokio::select! {
            () = give_back.cancelled() => return Ok(lease),
            Ok(()) = asked.changed() => {}
            () = tokio::time::sleep((takeover / 3).saturating_sub(renewed.elapsed())) => {}
        }
        let number = *asked.borrow_and_update();
        let time_left = takeover.saturating_sub(renewed.elapsed());
        let begun = clock::monotonic();
        let stuck = async {
            give_back.cancelled().await;
            tokio::time::sleep(RELEASE_MAX).await;
        };
        let around = kill::around(Step::Renew);
        // Not cut short by a stop: only what it returns is the revision to give back.
        let renewal = tokio::select! {
            renewal = tokio::time::timeout(time_left, lease.renew()) => renewal,
            () = stuck => return Err("the lease was not given back in time".to_owned()),
        };
        around.done();
        match renewal {
            Ok(Ok(())) => renewed = begun,
            Ok(Err(error)) => return Err(format!("the lease was not renewed: {error}")),
            Err(_) => return Err("the lease was not renewed in time".to_owned()),
        }
        told.send_replace(number);
    }
}

async fn release(lease: Lease) {
    let around = kill::around(Step::GiveBackLease);
    let given_back = tokio::time::timeout(RELEASE_MAX, lease.release()).await;
    around.done();
    match given_back {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(%error, "the lease was not given back; it ends by itself"),
        Err(_) => tracing::warn!("the lease was not given back in time; it ends by itself"),
    }
}

impl Holding {
    /// Renews now; false if the lease is lost. Whoever was fenced asks before going on: perhaps another
    /// leads.
    pub async fn confirm(&self) -> bool {
        let number = *self.wanted.borrow() + 1;
        self.wanted.send_replace(number);
        let mut renewed = self.renewed.clone();
        tokio::select! {
            () = self.lost.cancelled() => false,
            renewal = renewed.wait_for(|done| *done >= number) => renewal.is_ok(),
        }
    }

    /// Gives the lease back, so that a standby need not wait for it to end. If it was lost: why.
    pub async fn give_back(self) -> Option<String> {
        self.give_back.cancel();
        match self.task.await {
            Ok(lost) => lost,
            Err(error) => Some(format!("the task that renews the lease has failed: {error}")),
        }
    }
}
