//! What the loop needs before it runs: a session of the ledger, the table's thread, both feeds.

use std::time::Duration;

use tokio::sync::mpsc;

use super::Pump;
use super::inlet::Inlet;
use crate::config::InputStream;
use crate::gate::action::{self, RawAction};
use crate::gate::engine::recovery::{Recovered, RecoveredInput};
use crate::gate::engine::{Bounds, Engine, InputKind, Setting};
use crate::gate::entry::Limits;
use crate::gate::receipt;
use crate::gate::report;
use crate::nats::connect::Connection;
use crate::nats::ledger;
use crate::worker::answering::Answering;
use crate::worker::kill::{self, Step};
use crate::worker::term::{FeedMemory, Memory};
use crate::worker::{Trouble, Worker, clock};

impl<'a> Pump<'a> {
    pub(in crate::worker) async fn new(
        (worker, answering): (&'a Worker, &'a Answering),
        connection: &Connection,
        recovered: Recovered,
        limits: Limits,
        (memory, term_left): (&Memory, Duration),
    ) -> Result<Self, Trouble> {
        let broken = |error: &dyn std::fmt::Display| Trouble::Wait(error.to_string());
        let around = kill::around(Step::OpenSession);
        let (session, replies) =
            ledger::session(connection, &worker.config.name).await.map_err(|e| broken(&e))?;
        around.done();
        let feed = |kind| feed_of(worker, &recovered, kind, memory);
        let (rules, reply) = (worker.rules.clone(), reply_filter(worker));
        let decode = move |raw: RawAction| {
            let mut action = Box::new(action::decode(raw, &rules));
            reply(&mut action.reply_to);
            action
        };
        let (input, known) = feed(InputKind::Actions);
        let actions =
            Inlet::open(worker, connection, (input, InputKind::Actions), known, decode).await?;
        let (name, reply) = (worker.config.name.clone(), reply_filter(worker));
        let decode = move |raw: RawAction| {
            let mut report = Box::new(report::decode(raw, &name));
            reply(&mut report.reply_to);
            report
        };
        let (input, known) = feed(InputKind::Reports);
        let reports =
            Inlet::open(worker, connection, (input, InputKind::Reports), known, decode).await?;
        let cursors = recovered.cursors;
        let input = worker.config.actions().stream;
        let judged = cursors.position(&input).map_or(0, |source| source.sequence);
        worker.metrics.set_input_sequence(judged);
        worker.metrics.set_ledger_sequence(cursors.ledger.sequence);
        let setting = Setting {
            name: worker.config.name.clone(),
            input,
            rules: worker.rules.clone(),
            limits,
            clock_skew_ns: i64::try_from(worker.config.retention.clock_skew.as_nanos())
                .unwrap_or(i64::MAX),
            bounds: Bounds::default(),
        };
        let batches = clock::wall_ns().unsigned_abs();
        Ok(Self {
            engine: Engine::new(setting, cursors, clock::wall_ns(), batches),
            answering,
            actions,
            reports,
            worker,
            connection: connection.clone(),
            session,
            replies,
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
            feed_ended: None,
            term_ends: clock::monotonic() + term_left,
            term_over: false,
        })
    }
}

/// What a feed goes by: the stream, up to where it is judged, when it was created, and what the feed before
/// has taught.
fn feed_of<'m>(
    worker: &Worker,
    recovered: &Recovered,
    kind: InputKind,
    memory: &'m Memory,
) -> (InputStream, (u64, i64, &'m FeedMemory)) {
    let input = match kind {
        InputKind::Actions => worker.config.actions(),
        InputKind::Reports => worker.config.reports(),
    };
    let of = |found: &&RecoveredInput| found.stream == input.stream;
    let created_ns = recovered.inputs.iter().find(of).map_or(0, |found| found.created_ns);
    let judged = recovered.cursors.position(&input.stream).map_or(0, |source| source.sequence);
    (input, (judged, created_ns, memory.of(kind)))
}

/// Drops wishes for an answer where the gate may not answer.
fn reply_filter(worker: &Worker) -> impl Fn(&mut Option<String>) + Send + 'static {
    let (prefixes, metrics) =
        (worker.config.answers.reply_prefixes.clone(), worker.metrics.clone());
    move |reply_to| {
        if reply_to.as_ref().is_some_and(|subject| !receipt::may_answer(subject, &prefixes)) {
            metrics.reply_ignored();
            *reply_to = None;
        }
    }
}
