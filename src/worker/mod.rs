//! The worker: joins the two edges around the core, and does what the engine says.
//!
//! In reading order: [`run`] (from start to stop), [`recover`] (the engine's recovery, carried out),
//! [`standby`] (a warm table, and the lease tried for), [`term`] (to begin to lead, and what ends it),
//! [`pump`] (the loop), [`input`] (feed and decoding),
//! [`writing`] (out what the table has gathered), [`answering`], [`lookup`] and [`waiting`] (answers beside the loop),
//! [`holding`] (the lease), [`housekeeping`] (keys learnt, expired ones freed), [`backup`] (copies of the table), [`control`] (what
//! commands ask of a running worker), [`kill`] (where tests end it). Without the loop: [`rebuild`], [`identity`]
//! (whether a table at rest fits the ledger).

mod answering;
mod backup;
pub mod control;
mod holding;
mod housekeeping;
pub mod identity;
mod input;
pub mod kill;
mod lookup;
mod pump;
pub mod rebuild;
mod recover;
mod standby;
mod term;
mod waiting;
mod writing;

use std::num::NonZero;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::runtime::{self, Handle};
use tokio_util::sync::CancellationToken;

use backup::BackupMaker;

use crate::clock;
use crate::config::{Compare, Config, MissingKey};
use crate::gate::rules::{RuleTexts, Rules};
use crate::gate::source::rfc3339;
use crate::http::{self, Health, Status};
use crate::metrics::Metrics;
use crate::nats::api::ApiError;
use crate::nats::connect::{ConnectFailure, Connection};
use crate::nats::lease::Holder;
use crate::nats::setup::{self, SetupError};
use crate::table::{RocksTable, WriteBehind};

/// Between two tries while the server is away.
const RETRY_MIN: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(5);

/// Everything that the parts of the worker share.
struct Worker {
    config: Arc<Config>,
    rules: Arc<Rules>,
    table: Arc<WriteBehind>,
    holder: Holder,
    metrics: Metrics,
    health: Health,
    accept_key_rules: bool,
    stop: CancellationToken,
    /// Where everything runs that the loop does not wait for, and that must not wait for the loop: the lease, look-ups.
    beside: Handle,
}

/// Why something did not work out.
enum Trouble {
    /// The server is away, or the ledger takes no more: wait and try again.
    Wait(String),
    /// Going on would be wrong, if the server that said so knows: one of several may not have caught up
    /// with the others yet. Ask again for a while, then stop and explain.
    Doubt(anyhow::Error),
    /// Going on would be wrong: stop and explain.
    Stop(anyhow::Error),
}

/// What a replicated stream answers is taken for its last word after so long: longer than a leader that is
/// cut off from the others goes on answering (it steps down after 10 s or a little more).
const CERTAIN_AFTER: Duration = Duration::from_secs(30);

/// Since when every try has found that going on would be wrong.
#[derive(Default)]
struct Doubts(Option<std::time::Instant>);

impl Doubts {
    /// What to wait for; or the error to stop with.
    fn settle(&mut self, trouble: Trouble) -> anyhow::Result<String> {
        match trouble {
            Trouble::Stop(error) => Err(error),
            Trouble::Wait(why) => {
                self.0 = None;
                Ok(why)
            }
            Trouble::Doubt(error) => {
                let since = *self.0.get_or_insert_with(clock::monotonic);
                if since.elapsed() > CERTAIN_AFTER {
                    return Err(error);
                }
                Ok(format!("asking again, before the gate stops: {error}"))
            }
        }
    }
}

impl From<ApiError> for Trouble {
    fn from(error: ApiError) -> Self {
        match error {
            ApiError::Denied(_) => Self::Stop(error.into()),
            _ => Self::Wait(error.to_string()),
        }
    }
}

impl From<crate::table::TableError> for Trouble {
    fn from(error: crate::table::TableError) -> Self {
        Self::Stop(error.into())
    }
}

/// The rules of a configuration, as they are written into the ledger.
pub fn rule_texts(config: &Config) -> RuleTexts {
    RuleTexts {
        key_from: config.key.from.clone(),
        key_scope: config.key.scope.clone(),
        key_max_bytes: config.key.max_bytes,
        key_missing: match config.key.missing {
            MissingKey::Reject => "reject",
            MissingKey::Forward => "forward",
        }
        .to_owned(),
        payload_compare: match config.payload.compare {
            Compare::Auto => "auto",
            Compare::Json => "json",
            Compare::Bytes => "bytes",
        }
        .to_owned(),
        payload_ignore: config.payload.ignore.clone(),
    }
}

/// Runs the gate until `stop`; an error is the paragraph to end with.
pub async fn run(
    config: Config,
    accept_key_rules: bool,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    kill::arm()?;
    let config = Arc::new(config);
    let metrics = Metrics::new()?;
    let health = Health::new(Status::Starting("opening the key table".to_owned()));
    let serving = CancellationToken::new();
    if let Some(address) = config.http.listen {
        let listener = http::bind(address).await?;
        let until = serving.clone().cancelled_owned();
        tokio::spawn(http::serve(listener, metrics.clone(), health.clone(), until));
    }
    let _serving = serving.drop_guard();
    let (memory_bytes, path) = (config.table.memory_bytes(), &config.table.path);
    let table = RocksTable::open_within(memory_bytes, path, &config.name)?;
    let table = Arc::new(WriteBehind::new(table));
    let holder = Holder {
        instance: crate::table::instance_id(&config.table.path)?.to_string(),
        host: host_name(),
        since: rfc3339(clock::wall_ns()).to_string(),
    };
    let rules = Arc::new(Rules::new(rule_texts(&config))?);
    let beside = Handle::current();
    let worker =
        Worker { config, rules, table, holder, metrics, health, accept_key_rules, stop, beside };
    let worker = Arc::new(worker);
    tracing::info!(name = worker.config.name, instance = worker.holder.instance, "starting");
    let tidying = CancellationToken::new();
    let window = worker.config.retention.window;
    let tidy = housekeeping::start(worker.table.table().clone(), window, tidying.clone());
    let backups =
        BackupMaker::new(worker.table.clone(), &worker.config.name, worker.metrics.clone());
    let writing = writing::start(worker.table.clone());
    let socket = control::start(worker.table.path(), backups.clone());
    let scheduled = backups.clone().schedule(worker.config.backup.clone(), tidying.clone());
    let ended = on_the_loop_s_runtime(worker.clone()).await;
    if let Err(error) = &ended {
        worker.health.set(Status::Failed(format!("{error:#}")));
    }
    worker.metrics.set_leading(false);
    let around = kill::around(kill::Step::FlushTable);
    let flushed = worker.table.flush();
    around.done();
    tidying.cancel();
    worker.table.close();
    writing.await.ok();
    backups.finish().await;
    drop(socket);
    scheduled.abort();
    tidy.await.ok();
    // What ended the worker says more than what it left behind.
    ended.and_then(|()| Ok(flushed?))
}

/// The loop, and the tasks and connections that it hands each message on to and gets it from. Where there are no more
/// than two processors, which the server may want as well, all of them are on one thread: to hand a message on to
/// another costs more than is gained (docs/performance.md).
async fn on_the_loop_s_runtime(worker: Arc<Worker>) -> anyhow::Result<()> {
    let processors = std::thread::available_parallelism().map_or(1, NonZero::get);
    let mut builder = match processors {
        ..=2 => runtime::Builder::new_current_thread(),
        _ => runtime::Builder::new_multi_thread(),
    };
    let runtime = builder.enable_all().build()?;
    let living = tokio::task::spawn_blocking(move || {
        let ended = runtime.block_on(worker.live());
        // Not for a name that is being resolved.
        runtime.shutdown_background();
        ended
    });
    living.await.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
}

impl Worker {
    async fn live(&self) -> anyhow::Result<()> {
        let Some(connection) = self.connect("ledger", &Handle::current()).await? else {
            return Ok(());
        };
        if !self.prepare(&connection).await? {
            return Ok(());
        }
        // A connection of its own: a renewal must not queue behind what is being forwarded.
        let Some(leasing) = self.connect("lease", &self.beside).await? else { return Ok(()) };
        while let Some(taken) = self.stand_by(&connection, &leasing).await? {
            self.lead(&connection, taken).await?;
        }
        Ok(())
    }

    /// With its task on `on`. `None`: asked to stop before a server answered.
    async fn connect(&self, role: &'static str, on: &Handle) -> anyhow::Result<Option<Connection>> {
        let mut waiting = Backoff::default();
        while !self.stop.is_cancelled() {
            let config = self.config.clone();
            let opening = on.spawn(async move { Connection::open(&config.nats, role).await });
            match self.or_stop(opening).await.transpose()? {
                None => break,
                Some(Ok(connection)) => return Ok(Some(connection)),
                Some(Err(failure @ ConnectFailure::Unreachable { .. })) => {
                    self.wait_for(&failure.to_string());
                }
                Some(Err(failure)) => return Err(failure.into()),
            }
            self.pause(waiting.next()).await;
        }
        Ok(None)
    }

    /// Streams and bucket; false if asked to stop before the server answered.
    async fn prepare(&self, connection: &Connection) -> anyhow::Result<bool> {
        let mut waiting = Backoff::default();
        while !self.stop.is_cancelled() {
            let prepared = async {
                setup::input(connection, &self.config).await?;
                setup::ledger(connection, &self.config).await?;
                setup::reports(connection, &self.config).await?;
                setup::may_append(connection, &self.config.name).await?;
                setup::lease_bucket(connection, &self.config).await
            };
            match self.or_stop(prepared).await {
                None => break,
                Some(Ok(())) => return Ok(true),
                Some(Err(SetupError::Api(error @ ApiError::Unavailable { .. }))) => {
                    self.wait_for(&error.to_string());
                }
                Some(Err(SetupError::Api(error @ ApiError::Server { .. }))) => {
                    self.wait_for(&error.to_string());
                }
                Some(Err(error)) => return Err(error.into()),
            }
            self.pause(waiting.next()).await;
        }
        Ok(false)
    }

    fn wait_for(&self, why: &str) {
        let status = Status::Waiting(why.to_owned());
        if self.health.status() != status {
            tracing::warn!(why, "waiting");
            self.health.set(status);
        }
    }

    async fn pause(&self, time: Duration) {
        self.or_stop(tokio::time::sleep(time)).await;
    }

    async fn or_stop<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            () = self.stop.cancelled() => None,
            done = work => Some(done),
        }
    }
}

/// Doubles from try to try.
#[derive(Default)]
struct Backoff(u32);

impl Backoff {
    fn next(&mut self) -> Duration {
        let time = RETRY_MIN.saturating_mul(1 << self.0.min(10)).min(RETRY_MAX);
        self.0 += 1;
        time
    }
}

fn host_name() -> String {
    let read = std::fs::read_to_string("/proc/sys/kernel/hostname").context("the host name");
    read.map_or_else(|_| "unknown".to_owned(), |name| name.trim().to_owned())
}
