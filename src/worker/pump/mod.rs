//! The loop: wait for the next event, hand it to the engine, do what it says.

mod commands;
mod inlet;
mod opening;

use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::gate::action::Action;
use crate::gate::digest::Digest;
use crate::gate::engine::session::Reply;
use crate::gate::engine::{Commit, Engine, Event, InputKind};
use crate::gate::key::ActionKey;
use crate::gate::record::KeyRecord;
use crate::gate::report::Report;
use crate::http::Status;
use crate::nats::connect::Connection;
use crate::nats::ledger::{LedgerReplies, LedgerSession};
use crate::table::KeyTable;
use crate::worker::answering::Answering;
use crate::worker::input::Decoded;
use crate::worker::kill::{self, Place, Step};
use crate::worker::term::Memory;
use crate::worker::{Trouble, Worker, clock};
use inlet::Inlet;

/// The ledger answers within this, or the outcome counts as unknown.
const LEDGER_DEADLINE: Duration = Duration::from_secs(5);
/// After the last action at hand, while the stream is said to hold more.
const PAUSE_AFTER: Duration = Duration::from_millis(2);
/// Stands for the cause that the feed itself gives.
pub(in crate::worker) const FEED: &str = "feed";
const TICK: Duration = Duration::from_millis(500);
/// After a try that settled nothing, a new one without trouble for so long is ready.
const CALM: Duration = Duration::from_secs(2);
/// What is in flight at a stop is waited for so long.
const DRAIN_MAX: Duration = Duration::from_secs(8);

/// Why the loop ended.
pub enum End {
    /// Told to, and all that was taken is settled or given up.
    Stopped,
    /// Somebody else may lead now.
    LeaseLost,
    /// Time for another `leading` entry.
    TermOver,
    /// The server forbids what the feed needs.
    Denied(String),
    /// The outcome of something is not known.
    Recover {
        /// The label of the metric.
        cause: &'static str,
        /// For a person.
        why: String,
        /// Something was settled since the last recovery.
        settled_any: bool,
    },
}

/// What the loop waits for.
pub(in crate::worker) enum Happened {
    Reply(Option<Reply>),
    Original(OriginalRead),
    Anchor(Anchor),
    Actions(Option<Decoded<Box<Action>>>),
    Reports(Option<Decoded<Box<Report>>>),
    Pause,
    Tick,
    LeaseLost,
    Stop,
}

/// What a command led to, if not on.
enum Halt {
    Recover(&'static str, String),
    Stop(anyhow::Error),
}

/// One engine and everything around it, from one recovery to the next.
pub struct Pump<'a> {
    worker: &'a Worker,
    connection: Connection,
    engine: Engine,
    session: LedgerSession,
    replies: LedgerReplies,
    answering: &'a Answering,
    actions: Inlet<Box<Action>>,
    reports: Inlet<Box<Report>>,
    originals: (mpsc::Sender<OriginalRead>, mpsc::Receiver<OriginalRead>),
    anchors: (mpsc::Sender<Anchor>, mpsc::Receiver<Anchor>),
    anchored: u64,
    anchoring: bool,
    pause_at: Option<Instant>,
    last_progress: Instant,
    settled_any: bool,
    /// Fit to be called ready.
    proven: bool,
    begun: Instant,
    draining_since: Option<Instant>,
    /// The ledger's side is not in doubt: what is in flight is settled before the recovery.
    feed_ended: Option<InputKind>,
    /// Another `leading` entry is due then.
    term_ends: Instant,
    /// No more input in this term.
    term_over: bool,
}

/// Sequence and server time of a ledger entry; `None` if it could not be read now.
type Anchor = Option<(u64, i64)>;
/// The original's digest under today's rules, as [`Event::Original`] takes it.
type OriginalRead = Result<Option<Option<Digest>>, Trouble>;

impl<'a> Pump<'a> {
    /// Runs until something ends it.
    pub(in crate::worker) async fn run(
        mut self,
        lost: &CancellationToken,
        memory: &mut Memory,
    ) -> anyhow::Result<End> {
        if self.proven {
            self.worker.health.set(Status::Leading);
        }
        let mut tick = tokio::time::interval(TICK);
        let end = loop {
            let happened = self.wait(lost, &mut tick).await;
            let around = kill::around(&happened);
            let taken = self.take(happened).await;
            around.done();
            match taken {
                Ok(None) => {}
                Ok(Some(end)) => break end,
                Err(Halt::Recover(cause, why)) => break self.to_recovery(cause, why),
                Err(Halt::Stop(error)) => return Err(error),
            }
        };
        Ok(self.close(end, memory).await)
    }

    fn to_recovery(&self, cause: &'static str, why: String) -> End {
        End::Recover { cause, why, settled_any: self.settled_any }
    }

    async fn wait(
        &mut self,
        lost: &CancellationToken,
        tick: &mut tokio::time::Interval,
    ) -> Happened {
        let draining = self.draining_since.is_some();
        let taking = !draining && self.feed_ended.is_none() && !self.term_over;
        let wants_input = taking && self.engine.wants_input();
        let pause_at = self.pause_at;
        let (actions, reports) = (&mut self.actions, &mut self.reports);
        // In a fair order: neither input waits for the other to be empty.
        let arrivals = async {
            tokio::select! {
                actions = actions.next(), if wants_input => Happened::Actions(actions),
                reports = reports.next(), if wants_input => Happened::Reports(reports),
                else => std::future::pending().await,
            }
        };
        let pause = async {
            match pause_at {
                Some(at) => tokio::time::sleep_until(at.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = lost.cancelled() => Happened::LeaseLost,
            () = self.worker.stop.cancelled(), if !draining => Happened::Stop,
            reply = self.replies.next() => Happened::Reply(reply),
            Some(original) = self.originals.1.recv() => Happened::Original(original),
            Some(anchor) = self.anchors.1.recv() => Happened::Anchor(anchor),
            _ = tick.tick() => Happened::Tick,
            arrived = arrivals => arrived,
            () = pause => Happened::Pause,
        }
    }

    async fn take(&mut self, happened: Happened) -> Result<Option<End>, Halt> {
        match happened {
            Happened::LeaseLost => return Ok(Some(End::LeaseLost)),
            Happened::Stop => {
                tracing::info!("draining");
                self.worker.health.set(Status::Draining);
                self.draining_since = Some(clock::monotonic());
                self.on(Event::Pause).await?;
            }
            Happened::Reply(Some(reply)) => {
                self.last_progress = clock::monotonic();
                self.on(Event::Ledger(reply)).await?;
            }
            Happened::Reply(None) => {
                return Err(Halt::Recover("ledger_session", "its subscription ended".to_owned()));
            }
            Happened::Original(Ok(original)) => self.on(Event::Original(original)).await?,
            Happened::Original(Err(Trouble::Wait(why))) => {
                return Err(Halt::Recover("original_unread", why));
            }
            Happened::Original(Err(Trouble::Doubt(why))) => {
                return Err(Halt::Recover("original_unread", why.to_string()));
            }
            Happened::Original(Err(Trouble::Stop(error))) => return Err(Halt::Stop(error)),
            Happened::Anchor(anchor) => self.on_anchor(anchor),
            Happened::Actions(Some(decoded)) => self.on_actions(decoded).await?,
            Happened::Reports(Some(decoded)) => self.on_reports(decoded).await?,
            Happened::Actions(None) => self.on_feed_ended(InputKind::Actions).await?,
            Happened::Reports(None) => self.on_feed_ended(InputKind::Reports).await?,
            Happened::Pause => {
                self.pause_at = None;
                self.on(Event::Pause).await?;
            }
            Happened::Tick => self.on_tick().await?,
        }
        self.kill_in_flight();
        let feed_ended = self.feed_ended.is_some();
        if feed_ended && self.draining_since.is_none() && self.engine.is_settled() {
            return Err(Halt::Recover(FEED, String::new()));
        }
        if self.term_over && self.engine.is_settled() {
            return Ok(Some(End::TermOver));
        }
        let drained = self
            .draining_since
            .is_some_and(|since| self.engine.is_settled() || since.elapsed() > DRAIN_MAX);
        Ok(drained.then_some(End::Stopped))
    }

    /// The way out, while something is in flight.
    fn kill_in_flight(&self) {
        match (self.engine.is_settled(), self.draining_since) {
            (false, Some(_)) => kill::at(Place::DrainingInFlight),
            (false, None) if self.feed_ended.is_some() => kill::at(Place::FeedBrokenInFlight),
            _ => {}
        }
    }

    /// What is in flight is settled first.
    async fn on_feed_ended(&mut self, input: InputKind) -> Result<(), Halt> {
        self.feed_ended = Some(input);
        self.on(Event::Pause).await
    }

    async fn on_actions(&mut self, decoded: Decoded<Box<Action>>) -> Result<(), Halt> {
        let actions = self.actions.take(decoded, |action| action.raw.source.sequence);
        self.worker.metrics.set_input_lag(self.actions.pending);
        self.on(Event::Clock(clock::wall_ns())).await?;
        // No commit may come between the look-ups and the judging: both are in this one step.
        let looked = self.look_up(actions, |action| action.key.as_ref())?;
        self.on(Event::Actions(looked)).await?;
        self.pause_if_idle().await
    }

    async fn on_reports(&mut self, decoded: Decoded<Box<Report>>) -> Result<(), Halt> {
        let reports = self.reports.take(decoded, |report| report.raw.source.sequence);
        self.on(Event::Clock(clock::wall_ns())).await?;
        // As for actions.
        let looked = self.look_up(reports, |report| report.key())?;
        self.on(Event::Reports(looked)).await?;
        self.pause_if_idle().await
    }

    async fn pause_if_idle(&mut self) -> Result<(), Halt> {
        self.pause_at = None;
        if self.actions.is_idle() && self.reports.is_idle() {
            return self.on(Event::Pause).await;
        }
        if self.actions.at_hand() + self.reports.at_hand() == 0 {
            self.pause_at = Some(clock::monotonic() + PAUSE_AFTER);
        }
        Ok(())
    }

    fn look_up<T>(
        &self,
        all: Vec<T>,
        key: impl Fn(&T) -> Option<&ActionKey>,
    ) -> Result<Vec<(T, Option<KeyRecord>)>, Halt> {
        let keys: Vec<_> = all.iter().filter_map(&key).collect();
        let found = self.worker.table.load_many(&keys);
        let mut found = found.map_err(|error| Halt::Stop(error.into()))?.into_iter();
        let with = |one: T| {
            let record = if key(&one).is_some() { found.next().flatten() } else { None };
            (one, record)
        };
        Ok(all.into_iter().map(with).collect())
    }

    async fn on_tick(&mut self) -> Result<(), Halt> {
        let waited = self.last_progress.elapsed();
        if self.engine.awaits_ledger() && waited > LEDGER_DEADLINE {
            let why = format!("the ledger has not answered for {waited:.0?}");
            return Err(match self.refused(&why) {
                Halt::Recover(..) => Halt::Recover("ledger_timeout", why),
                stop => stop,
            });
        }
        // The tail of a slow batch is acknowledged only by its end.
        if self.engine.awaits_ledger() && waited > LEDGER_DEADLINE / 5 {
            self.on(Event::Pause).await?;
        }
        if !self.term_over && clock::monotonic() > self.term_ends {
            self.term_over = true;
            self.on(Event::Pause).await?;
        }
        if self.engine.is_settled() && self.engine.wants_input() && self.begun.elapsed() > CALM {
            self.proves_itself();
        }
        // Else a gate that is idle would be called ready, and stop at its next action.
        let checked = self.worker.table.check();
        checked.map_err(|error| Halt::Stop(error.into()))?;
        self.anchor();
        let stats = self.worker.table.stats();
        self.worker.metrics.set_table(stats.keys, stats.bytes);
        self.on(Event::Clock(clock::wall_ns())).await
    }

    /// Ready, if it was not.
    fn proves_itself(&mut self) {
        if !self.proven && self.draining_since.is_none() {
            self.worker.health.set(Status::Leading);
        }
        self.proven = true;
    }

    /// Ends the parts, in an order that leaves nothing behind.
    async fn close(mut self, end: End, memory: &mut Memory) -> End {
        let (actions, reports) = (self.actions.end().await, self.reports.end().await);
        let cursors = self.engine.committed().clone();
        let settled = self.engine.is_settled();
        let worker = self.worker;
        memory.unsettled = self.engine.into_unsettled();
        if settled && matches!(end, End::Stopped) {
            let commit = Commit { changes: Vec::new(), cursors };
            let around = kill::around(Step::CommitLastPosition);
            if let Err(error) = worker.table.commit(commit) {
                tracing::warn!(%error, "the last position was not written");
            }
            around.done();
        }
        let mut ended_by = None;
        for (kind, ended) in [(InputKind::Actions, actions), (InputKind::Reports, reports)] {
            let Some((broken, highest)) = ended else { continue };
            let broke =
                matches!(end, End::Recover { cause: FEED, .. }) && self.feed_ended == Some(kind);
            memory.feed(kind).learn(highest, broke);
            if broke {
                ended_by = Some(broken);
            }
        }
        match (end, ended_by) {
            (End::Recover { .. }, Some(broken)) if broken.denied => End::Denied(broken.why),
            (End::Recover { settled_any, .. }, Some(broken)) => {
                End::Recover { cause: broken.label, why: broken.why, settled_any }
            }
            (end, _) => end,
        }
    }
}
