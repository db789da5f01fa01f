//! The loop: wait for the next event, hand it to the engine, do what it says.

mod commands;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::gate::action;
use crate::gate::digest::Digest;
use crate::gate::engine::recovery::Recovered;
use crate::gate::engine::session::Reply;
use crate::gate::engine::{Bounds, Commit, Engine, Event, Setting};
use crate::gate::entry::Limits;
use crate::http::Status;
use crate::nats::connect::Connection;
use crate::nats::feed::{Ack, Feed};
use crate::nats::ledger::{self, LedgerReplies, LedgerSession};
use crate::table::{KeyTable, TableError};
use crate::worker::committer::Committer;
use crate::worker::input::{Decoded, Input};
use crate::worker::kill::{self, Place, Step};
use crate::worker::term::Memory;
use crate::worker::{Trouble, Worker, clock};

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
    Committed(Option<Result<(), TableError>>),
    Original(OriginalRead),
    Anchor(Anchor),
    Actions(Option<Decoded>),
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
    committer: Committer,
    committed: mpsc::UnboundedReceiver<Result<(), TableError>>,
    input: Option<Input>,
    /// Of actions that are not settled yet; a work queue's only.
    acks: BTreeMap<u64, Ack>,
    /// Under way; over before another feed begins, which may find a stream that was made anew.
    acknowledging: JoinSet<()>,
    work_queue: bool,
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
    feed_ended: bool,
    /// Another `leading` entry is due then.
    term_ends: Instant,
    /// No more input in this term.
    term_over: bool,
    /// Sequences that the input dropped before the one named, and how many; counted when that is settled.
    missed: BTreeMap<u64, u64>,
}

/// Sequence and server time of a ledger entry; `None` if it could not be read now.
type Anchor = Option<(u64, i64)>;
/// The original's digest under today's rules, as [`Event::Original`] takes it.
type OriginalRead = Result<Option<Option<Digest>>, Trouble>;

impl<'a> Pump<'a> {
    pub(in crate::worker) async fn new(
        worker: &'a Worker,
        connection: &Connection,
        Recovered { cursors, input_created_ns, .. }: Recovered,
        limits: Limits,
        (memory, term_left): (&Memory, Duration),
    ) -> Result<Self, Trouble> {
        let broken = |error: &dyn std::fmt::Display| Trouble::Wait(error.to_string());
        let around = kill::around(Step::OpenSession);
        let (session, replies) =
            ledger::session(connection, &worker.config.name).await.map_err(|e| broken(&e))?;
        around.done();
        let stop = |error: std::io::Error| Trouble::Stop(error.into());
        let (committer, committed) = Committer::start(worker.table.clone()).map_err(stop)?;
        let around = kill::around(Step::AskInput);
        let info = worker.input_stream(connection).await?;
        around.done();
        if info.created_ns() != input_created_ns {
            return Err(Trouble::Wait("the input stream was made anew".to_owned()));
        }
        let input: Arc<str> = worker.config.input.stream.as_str().into();
        let judged = cursors.position(&input).map_or(0, |source| source.sequence);
        // A connection of its own: what breaks the feed must not break the ledger.
        let around = kill::around(Step::ConnectFeed);
        let feeding =
            Connection::open(&worker.config.nats, "feed").await.map_err(|e| broken(&e))?;
        around.done();
        let raw_until = (memory.breaks_in_a_row > 0).then(|| memory.raw_until(judged));
        // What a work queue still holds of judged actions is there to be acknowledged.
        let from = if info.is_work_queue() { 1 } else { judged + 1 };
        let around = kill::around(Step::StartFeed);
        let feed = Feed::new(feeding, worker.config.clone(), &info, (from, judged), raw_until);
        let highest_seen = judged.max(memory.highest_seen);
        let input = Input::start(feed, worker.rules.clone(), highest_seen);
        around.done();
        worker.metrics.set_input_sequence(judged);
        worker.metrics.set_ledger_sequence(cursors.ledger.sequence);
        let setting = Setting {
            name: worker.config.name.clone(),
            rules: worker.rules.clone(),
            limits,
            clock_skew_ns: i64::try_from(worker.config.retention.clock_skew.as_nanos())
                .unwrap_or(i64::MAX),
            bounds: Bounds::default(),
        };
        let batches = clock::wall_ns().unsigned_abs();
        Ok(Self {
            engine: Engine::new(setting, cursors, clock::wall_ns(), batches),
            input: Some(input),
            work_queue: info.is_work_queue(),
            worker,
            connection: connection.clone(),
            session,
            replies,
            committer,
            committed,
            acks: BTreeMap::new(),
            acknowledging: JoinSet::new(),
            originals: mpsc::channel(1),
            anchors: mpsc::channel(1),
            anchored: 0,
            anchoring: false,
            pause_at: None,
            last_progress: clock::monotonic(),
            settled_any: false,
            proven: !memory.unproven,
            begun: clock::monotonic(),
            draining_since: None,
            feed_ended: false,
            term_ends: clock::monotonic() + term_left,
            term_over: false,
            missed: BTreeMap::new(),
        })
    }

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
        let taking = !draining && !self.feed_ended && !self.term_over;
        let wants_input = taking && self.engine.wants_input();
        let pause_at = self.pause_at;
        let batches = async {
            match &mut self.input {
                Some(input) if wants_input => input.batches.recv().await,
                _ => std::future::pending().await,
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
            done = self.committed.recv() => Happened::Committed(done),
            reply = self.replies.next() => Happened::Reply(reply),
            Some(original) = self.originals.1.recv() => Happened::Original(original),
            Some(anchor) = self.anchors.1.recv() => Happened::Anchor(anchor),
            _ = tick.tick() => Happened::Tick,
            actions = batches => Happened::Actions(actions),
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
            Happened::Committed(Some(Ok(()))) => self.on(Event::Committed).await?,
            Happened::Committed(Some(Err(error))) => return Err(Halt::Stop(error.into())),
            Happened::Committed(None) => {
                return Err(Halt::Stop(anyhow::anyhow!("the table's thread has ended")));
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
            Happened::Actions(None) => {
                self.feed_ended = true;
                self.on(Event::Pause).await?;
            }
            Happened::Pause => {
                self.pause_at = None;
                self.on(Event::Pause).await?;
            }
            Happened::Tick => self.on_tick().await?,
        }
        self.kill_in_flight();
        if self.feed_ended && self.draining_since.is_none() && self.engine.is_settled() {
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
            (false, None) if self.feed_ended => kill::at(Place::FeedBrokenInFlight),
            _ => {}
        }
    }

    async fn on_actions(&mut self, decoded: Decoded) -> Result<(), Halt> {
        let Decoded { actions, pending, missed } = decoded;
        if let Some((action, _)) = actions.first().filter(|_| missed > 0) {
            *self.missed.entry(action.raw.source.sequence).or_default() += missed;
        }
        self.worker.metrics.set_input_lag(pending);
        let at_hand = self.input.as_ref().map_or(0, |input| input.batches.len());
        let mut keyed = Vec::with_capacity(actions.len());
        for (action, ack) in actions {
            if self.work_queue {
                self.acks.insert(action.raw.source.sequence, ack);
            }
            keyed.push(action);
        }
        self.on(Event::Clock(clock::wall_ns())).await?;
        // No commit may come between the look-ups and the judging: both are in this one step.
        let looked = self.look_up(keyed).map_err(|error| Halt::Stop(error.into()))?;
        self.on(Event::Actions(looked)).await?;
        match (at_hand, pending) {
            (0, 0) => {
                self.pause_at = None;
                self.on(Event::Pause).await
            }
            (0, _) => {
                self.pause_at = Some(clock::monotonic() + PAUSE_AFTER);
                Ok(())
            }
            _ => {
                self.pause_at = None;
                Ok(())
            }
        }
    }

    fn look_up(
        &self,
        actions: Vec<action::Action>,
    ) -> Result<Vec<(action::Action, Option<crate::gate::record::KeyRecord>)>, TableError> {
        let keys: Vec<_> = actions.iter().filter_map(|action| action.key.as_ref()).collect();
        let found = tokio::task::block_in_place(|| self.worker.table.load_many(&keys))?;
        let mut found = found.into_iter();
        let with = |action: action::Action| {
            let record = if action.key.is_some() { found.next().flatten() } else { None };
            (action, record)
        };
        Ok(actions.into_iter().map(with).collect())
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
        let around = kill::around(Step::EndInput);
        let ended = match self.input.take() {
            Some(input) => Some(input.end().await),
            None => None,
        };
        around.done();
        self.acknowledging.shutdown().await;
        let cursors = self.engine.committed().clone();
        let settled = self.engine.is_settled();
        let worker = self.worker;
        let around = kill::around(Step::EndCommitter);
        drop(self.committer);
        around.done();
        memory.unsettled = self.engine.into_unsettled();
        if settled && matches!(end, End::Stopped) {
            let commit = Commit { puts: Vec::new(), cursors };
            let around = kill::around(Step::CommitLastPosition);
            if let Err(error) = tokio::task::block_in_place(|| worker.table.commit(&commit)) {
                tracing::warn!(%error, "the last position was not written");
            }
            around.done();
        }
        let Some((broken, highest)) = ended else {
            return end;
        };
        memory.learn(highest, &end);
        match end {
            End::Recover { cause: FEED, .. } if broken.denied => End::Denied(broken.why),
            End::Recover { cause: FEED, settled_any, .. } => {
                End::Recover { cause: broken.label, why: broken.why, settled_any }
            }
            end => end,
        }
    }
}
