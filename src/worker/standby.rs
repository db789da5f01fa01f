//! To stand by: the table follows the ledger, and the lease is tried for.
//!
//! A standby judges nothing. It recovers as a leader would, so that what would keep it from leading shows
//! now and not in the worst night, then applies what the leader writes as it comes.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::holding::Taken;
use super::kill::{self, Step};
use super::{Backoff, Doubts, Trouble, Worker, clock, recover};
use crate::gate::engine::Unsettled;
use crate::gate::engine::follow::Follow;
use crate::gate::engine::recovery::Refusal;
use crate::gate::entry::Leading;
use crate::http::Status;
use crate::nats::api::ApiError;
use crate::nats::connect::Connection;
use crate::nats::lease::{Candidate, Holder, LeaseError, Tried};
use crate::nats::pull::Broken;
use crate::nats::setup;
use crate::nats::tail::{Chunk, Tail};
use crate::table::KeyTable;

/// Between two tries for the lease: a leader that gives it back is followed within a fraction of a second.
const TRY_EVERY_MAX: Duration = Duration::from_millis(200);
/// While the server does not answer.
const RETRY_LEASE_MAX: Duration = Duration::from_secs(1);
/// A table that lags by no more takes over in a moment.
const WARM_BEHIND_MAX: u64 = 10_000;

/// What a standby tells of itself.
#[derive(Clone, Default)]
struct Shown {
    leader: Option<Holder>,
    warm: bool,
    /// Why the lease can't be tried for.
    lease_trouble: Option<String>,
    /// Why the table can't follow.
    table_trouble: Option<String>,
    /// It would refuse to lead.
    refusal: Option<String>,
}

struct Standby<'a> {
    worker: &'a Worker,
    connection: &'a Connection,
    shown: Mutex<Shown>,
}

impl Worker {
    /// Until the lease is this instance's, or the gate is told to stop (`None`). An error is final.
    pub(super) async fn stand_by(
        &self,
        connection: &Connection,
        leasing: &Connection,
    ) -> anyhow::Result<Option<Taken>> {
        let mut candidate = Candidate::new(leasing, self.config.bucket(), &self.holder);
        let standby = Standby { worker: self, connection, shown: Mutex::default() };
        let asked = clock::monotonic();
        if let Some(Ok(Tried::Held(lease))) = self.or_stop(try_take(&mut candidate)).await {
            return Ok(Some(Taken { lease: *lease, asked }));
        }
        tokio::select! {
            biased;
            () = self.stop.cancelled() => Ok(None),
            taken = standby.try_for_lease(candidate, leasing) => taken.map(Some),
            error = standby.keep_warm() => Err(error),
        }
    }
}

async fn try_take(candidate: &mut Candidate<'_>) -> Result<Tried, LeaseError> {
    let around = kill::around(Step::TryLease);
    let tried = candidate.try_take().await;
    around.done();
    tried
}

impl Standby<'_> {
    async fn try_for_lease(
        &self,
        mut candidate: Candidate<'_>,
        leasing: &Connection,
    ) -> anyhow::Result<Taken> {
        let worker = self.worker;
        let every = (worker.config.ha.takeover / 8).min(TRY_EVERY_MAX);
        let mut waiting = Backoff::default();
        loop {
            let asked = clock::monotonic();
            match try_take(&mut candidate).await {
                Ok(Tried::Held(lease)) => return Ok(Taken { lease: *lease, asked }),
                Ok(Tried::HeldBy(holder)) => {
                    waiting = Backoff::default();
                    self.led_by(holder);
                    tokio::time::sleep(every).await;
                }
                Err(error) => {
                    self.lease_unknown(leasing, &error)?;
                    tokio::time::sleep(waiting.next().min(RETRY_LEASE_MAX)).await;
                    // Somebody may have deleted the bucket.
                    setup::lease_bucket(leasing, &worker.config).await.ok();
                }
            }
        }
    }

    fn led_by(&self, holder: Holder) {
        let new = self.shown().leader.as_ref() != Some(&holder);
        if new {
            tracing::info!(leader = holder.instance, host = holder.host, "standing by");
            self.show(|shown| {
                shown.leader = Some(holder);
                shown.lease_trouble = None;
            });
        }
    }

    fn lease_unknown(&self, leasing: &Connection, error: &LeaseError) -> anyhow::Result<()> {
        if let Some(denied) = leasing.denied() {
            return Err(ApiError::Denied(denied).into());
        }
        tracing::debug!(%error, "the lease is not known");
        self.show(|shown| {
            shown.leader = None;
            shown.lease_trouble = Some(error.to_string());
        });
        Ok(())
    }

    /// Comes back only with what is final.
    async fn keep_warm(&self) -> anyhow::Error {
        let (mut waiting, mut doubts) = (Backoff::default(), Doubts::default());
        loop {
            let followed = match self.catch_up().await {
                Ok((mut tail, mut follow)) => {
                    (waiting, doubts) = (Backoff::default(), Doubts::default());
                    self.follow(&mut tail, &mut follow).await
                }
                Err(trouble) => Err(trouble),
            };
            match followed.map_err(|trouble| doubts.settle(trouble)) {
                Err(Err(error)) => return error,
                Err(Ok(why)) => self.show(|shown| {
                    shown.warm = false;
                    shown.table_trouble = Some(why);
                }),
                Ok(broken) => tracing::debug!(%broken, "the ledger is read anew"),
            }
            tokio::time::sleep(waiting.next()).await;
        }
    }

    /// Recovers, which brings the table to the ledger's end, and opens what comes behind it.
    async fn catch_up(&self) -> Result<(Tail, Follow), Trouble> {
        let worker = self.worker;
        worker.recover(self.connection, &mut Unsettled::default()).await?;
        let cursors = worker.table.cursors()?;
        let at = cursors.ledger.sequence;
        worker.metrics.set_ledger_sequence(at);
        self.compare(worker.last_leading(self.connection).await?.as_ref());
        let around = kill::around(Step::OpenTail);
        let tail =
            Tail::open(&worker.config, at + 1).await.map_err(|broken| match broken.denied {
                true => Trouble::Stop(anyhow::anyhow!(broken.why)),
                false => Trouble::Wait(broken.why),
            })?;
        around.done();
        self.is_warm(true);
        Ok((tail, Follow::new(&worker.config.name, cursors)))
    }

    /// Applies what comes, until something is in the way.
    async fn follow(&self, tail: &mut Tail, follow: &mut Follow) -> Result<Broken, Trouble> {
        let worker = self.worker;
        loop {
            let Chunk { entries, behind } = match tail.next().await {
                Ok(chunk) => chunk,
                Err(broken) => return Ok(broken),
            };
            let entries: Vec<_> = entries.into_iter().map(recover::entry).collect();
            // Whether that is final is for the recovery to say.
            let refused = |refusal: Refusal| Trouble::Wait(refusal.to_string());
            let read = follow.read(&entries, u64::MAX).map_err(refused)?;
            let records = recover::records(&*worker.table, read.keys())?;
            let applied = follow.apply_all(read, records);
            worker.report_foreign(&applied.foreign);
            let sequence = applied.commit.cursors.ledger.sequence;
            let around = kill::around(Step::CommitFollowed);
            worker.table.commit(applied.commit)?;
            around.done();
            worker.metrics.set_ledger_sequence(sequence);
            if applied.leading.is_some() {
                self.compare(applied.leading.as_deref());
            }
            self.is_warm(behind <= WARM_BEHIND_MAX);
        }
    }

    fn is_warm(&self, warm: bool) {
        if self.shown().warm != warm {
            self.show(|shown| {
                shown.warm = warm;
                shown.table_trouble = None;
            });
        }
    }

    /// Other rules or another window than the leader's change what is decided from the take-over on.
    fn compare(&self, leading: Option<&Leading>) {
        let Some(leading) = leading else { return };
        let worker = self.worker;
        let refusal = worker.refusal_to_lead_after(leading).map(|refusal| refusal.to_string());
        let window_ms = worker.config.retention.window.as_millis();
        let rules = worker.rules.fingerprint().to_string();
        if let Some(why) = &refusal {
            tracing::warn!(why, "this standby would refuse to lead");
        } else if rules != leading.rules_fingerprint || window_ms != leading.window_ms.into() {
            tracing::warn!(
                leader = leading.instance,
                leader_rules = leading.rules_fingerprint,
                leader_window_ms = leading.window_ms,
                rules,
                window_ms,
                "this standby's rules or window differ from the leader's; when it leads, they hold, and its \
                 leading entry says so"
            );
        }
        self.show(|shown| shown.refusal = refusal);
    }

    fn shown(&self) -> Shown {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn show(&self, change: impl FnOnce(&mut Shown)) {
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut shown);
        let leader = shown.leader.as_ref();
        let trouble = shown.table_trouble.as_ref().or(shown.lease_trouble.as_ref());
        let status = match (trouble, &shown.refusal) {
            (Some(trouble), _) => Status::Waiting(trouble.clone()),
            (None, Some(refusal)) => Status::Waiting(format!("standing by in vain: {refusal}")),
            (None, None) => Status::StandingBy {
                warm: shown.warm,
                leader: leader.map_or(String::new(), |l| format!("{} on {}", l.instance, l.host)),
            },
        };
        if let (Status::Waiting(why), true) = (&status, self.worker.health.status() != status) {
            tracing::warn!(why, "waiting");
        }
        self.worker.health.set(status);
    }
}
