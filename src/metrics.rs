//! What the gate counts, as `/metrics` shows it.
//!
//! The names are those of the contract's section 6, and every one of them is there from the start, at 0.
//! Whatever the worker counts for every action is a plain atomic: the children of labelled families are
//! made once, in [`Metrics::new`].

use std::sync::Arc;

use anyhow::Context as _;
use prometheus::core::{AtomicU64, Collector, GenericGauge};
use prometheus::{
    Histogram, HistogramOpts, IntCounter, IntCounterVec, Opts, Registry, TextEncoder,
};

use crate::gate::source::{NS_PER_S, TimeNs};
use crate::gate::verdict::Reason;

/// Content type of what [`Metrics::render`] gives.
pub use prometheus::TEXT_FORMAT as CONTENT_TYPE;

/// The causes of a recovery that are shown at 0 before the first one; others may be counted too.
pub const RECOVERY_CAUSES: [&str; 8] = [
    "feed",
    "fenced",
    "input_changed",
    "ledger_refused",
    "ledger_session",
    "ledger_timeout",
    "original_unread",
    "retry",
];

/// Seconds. From a server next door to one that is far away, slow to sync, or just back.
const DURATION_BUCKETS: [f64; 14] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// Actions; powers of 4.
const BATCH_BUCKETS: [f64; 9] = [1.0, 4.0, 16.0, 64.0, 256.0, 1024.0, 4096.0, 16384.0, 65536.0];

/// A gauge of what is never negative.
type Gauge = GenericGauge<AtomicU64>;

/// The metrics of one process. A clone is another handle on the same numbers.
#[derive(Clone, Debug)]
pub struct Metrics(Arc<Numbers>);

#[derive(Debug)]
struct Numbers {
    registry: Registry,
    actions: Actions,
    reports: IntCounterVec,
    receipts: IntCounter,
    receipts_dropped: IntCounter,
    replies_ignored: IntCounter,
    lookup_waiters: Gauge,
    redeliveries: IntCounter,
    input_missed: IntCounter,
    foreign_entries: IntCounter,
    input_sequence: Gauge,
    input_lag: Gauge,
    ledger_sequence: Gauge,
    inflight: Gauge,
    leading: Gauge,
    table_keys: Gauge,
    table_bytes: Gauge,
    recoveries: IntCounterVec,
    backups_ok: IntCounter,
    backups_failed: IntCounter,
    backup_last_success: Gauge,
    decision_duration: Histogram,
    batch_actions: Histogram,
}

/// `oncegate_actions_total` and its children.
#[derive(Debug)]
struct Actions {
    family: IntCounterVec,
    accepted: IntCounter,
    duplicate: IntCounter,
    /// In the order of [`Reason::OF_ACTIONS`].
    rejected: Vec<IntCounter>,
}

impl Metrics {
    /// All metrics at 0, in a registry of their own.
    ///
    /// # Errors
    ///
    /// If a name here is not a Prometheus name or is there twice: a mistake in this file.
    pub fn new() -> anyhow::Result<Self> {
        let registry = Registry::new();
        let numbers = Numbers::new(registry).context("the metrics could not be set up")?;
        Ok(Self(Arc::new(numbers)))
    }

    /// `n` actions were accepted, and that is committed.
    pub fn accepted(&self, n: u64) {
        self.0.actions.accepted.inc_by(n);
    }

    /// `n` actions were duplicates, and that is committed.
    pub fn duplicates(&self, n: u64) {
        self.0.actions.duplicate.inc_by(n);
    }

    /// `n` actions were rejected for this reason, and that is committed.
    pub fn rejected(&self, reason: Reason, n: u64) {
        self.0.actions.rejected(reason, n);
    }

    /// A report led to this, and that is committed. Looks the label up.
    pub fn reported(&self, verdict: &str, reason: &str) {
        self.0.reports.with_label_values(&[verdict, reason]).inc();
    }

    /// `n` receipts were sent.
    pub fn receipts(&self, n: u64) {
        self.0.receipts.inc_by(n);
    }

    /// `n` receipts were not sent: they are made faster than they can be.
    pub fn receipts_dropped(&self, n: u64) {
        self.0.receipts_dropped.inc_by(n);
    }

    /// A publisher wants its answer where the gate may not answer.
    pub fn reply_ignored(&self) {
        self.0.replies_ignored.inc();
    }

    /// How many look-ups wait for a result.
    pub fn set_lookup_waiters(&self, waiters: u64) {
        self.0.lookup_waiters.set(waiters);
    }

    /// `n` positions came again that were committed before.
    pub fn redeliveries(&self, n: u64) {
        self.0.redeliveries.inc_by(n);
    }

    /// The input stream dropped `n` messages before they were judged.
    pub fn input_missed(&self, n: u64) {
        self.0.input_missed.inc_by(n);
    }

    /// `n` messages in the ledger are not the gate's.
    pub fn foreign_entries(&self, n: u64) {
        self.0.foreign_entries.inc_by(n);
    }

    /// The input position judged and committed so far.
    pub fn set_input_sequence(&self, sequence: u64) {
        self.0.input_sequence.set(sequence);
    }

    /// How many messages the input holds after that position.
    pub fn set_input_lag(&self, messages: u64) {
        self.0.input_lag.set(messages);
    }

    /// The ledger sequence that the table has applied.
    pub fn set_ledger_sequence(&self, sequence: u64) {
        self.0.ledger_sequence.set(sequence);
    }

    /// How many actions are taken in and not yet committed.
    pub fn set_inflight(&self, actions: u64) {
        self.0.inflight.set(actions);
    }

    /// Whether this instance leads.
    pub fn set_leading(&self, leading: bool) {
        self.0.leading.set(u64::from(leading));
    }

    /// The size of the key table.
    pub fn set_table(&self, keys: u64, bytes: u64) {
        self.0.table_keys.set(keys);
        self.0.table_bytes.set(bytes);
    }

    /// The worker goes back to the ledger, for this cause. Looks the label up: not for the hot path.
    pub fn recovery(&self, cause: &'static str) {
        self.0.recoveries.with_label_values(&[cause]).inc();
    }

    /// A backup was made, at this time.
    pub fn backup_made(&self, created_ns: TimeNs) {
        self.0.backups_ok.inc();
        self.backup_found(created_ns);
    }

    /// The newest backup, made by an earlier process.
    pub fn backup_found(&self, created_ns: TimeNs) {
        let seconds = created_ns.div_euclid(NS_PER_S);
        self.0.backup_last_success.set(seconds.try_into().unwrap_or_default());
    }

    /// A backup could not be made.
    pub fn backup_failed(&self) {
        self.0.backups_failed.inc();
    }

    /// From an action's source time to the ledger's acknowledgement, in seconds.
    ///
    /// The two times are of two clocks: what is below 0 (or no number) counts as 0.
    pub fn decision_duration(&self, seconds: f64) {
        self.0.decision_duration.observe(not_negative(seconds));
    }

    /// The same for many actions, with one update of the shared histogram.
    pub fn decision_durations(&self, seconds: &[f64]) {
        let local = self.0.decision_duration.local();
        for &seconds in seconds {
            local.observe(not_negative(seconds));
        }
        local.flush();
    }

    /// A batch of `n` actions ended.
    pub fn batch_actions(&self, n: u32) {
        self.0.batch_actions.observe(f64::from(n));
    }

    /// Everything in the Prometheus text format, version 0.0.4.
    #[must_use]
    pub fn render(&self) -> String {
        let mut text = String::new();
        let families = self.0.registry.gather();
        if let Err(error) = TextEncoder::new().encode_utf8(&families, &mut text) {
            tracing::error!(%error, "the metrics could not be written in full");
        }
        text
    }
}

impl Numbers {
    fn new(registry: Registry) -> prometheus::Result<Self> {
        let made = Maker(&registry);
        let backups = made.counters(
            "oncegate_backups_total",
            "Backups of the key table that were made, or could not be.",
            &["outcome"],
        )?;
        made.build_info()?;
        made.process()?;
        Ok(Self {
            actions: Actions::new(&made)?,
            reports: made.reports()?,
            receipts: made.counter("oncegate_receipts_total", "Answers to publishers, sent.")?,
            receipts_dropped: made.counter(
                "oncegate_receipts_dropped_total",
                "Answers to publishers that were not sent: the server took them too slowly.",
            )?,
            replies_ignored: made.counter(
                "oncegate_replies_ignored_total",
                "Wishes for an answer on a subject outside answers.reply_prefixes.",
            )?,
            lookup_waiters: made
                .gauge("oncegate_lookup_waiters", "Look-ups that wait for a result.")?,
            redeliveries: made.counter(
                "oncegate_redeliveries_total",
                "Input messages that were delivered again after they were committed.",
            )?,
            input_missed: made.counter(
                "oncegate_input_missed_total",
                "Messages that the input stream dropped before they were judged.",
            )?,
            foreign_entries: made.counter(
                "oncegate_foreign_entries_total",
                "Messages in the ledger that the gate did not write.",
            )?,
            input_sequence: made.gauge(
                "oncegate_input_sequence",
                "Input stream sequence judged and committed so far.",
            )?,
            input_lag: made.gauge(
                "oncegate_input_lag_messages",
                "Messages in the input stream that are not yet committed.",
            )?,
            ledger_sequence: made.gauge(
                "oncegate_ledger_sequence",
                "Ledger sequence that the key table has applied.",
            )?,
            inflight: made
                .gauge("oncegate_inflight_actions", "Actions taken in and not yet committed.")?,
            leading: made.gauge("oncegate_leading", "1 if this instance leads, else 0.")?,
            table_keys: made.gauge("oncegate_table_keys", "Keys in the key table, estimated.")?,
            table_bytes: made.gauge("oncegate_table_bytes", "Size of the key table on disk.")?,
            recoveries: made.recoveries()?,
            backups_ok: backups.get_metric_with_label_values(&["ok"])?,
            backups_failed: backups.get_metric_with_label_values(&["failed"])?,
            backup_last_success: made.gauge(
                "oncegate_backup_last_success_timestamp_seconds",
                "When the newest backup was made, in seconds since the epoch; 0 while none is known.",
            )?,
            decision_duration: made.histogram(
                "oncegate_decision_duration_seconds",
                "From an action's source time to the ledger's acknowledgement.",
                &DURATION_BUCKETS,
            )?,
            batch_actions: made.histogram(
                "oncegate_batch_actions",
                "Actions in a batch.",
                &BATCH_BUCKETS,
            )?,
            registry,
        })
    }
}

impl Actions {
    fn new(made: &Maker<'_>) -> prometheus::Result<Self> {
        let family =
            made.counters("oncegate_actions_total", "Committed verdicts.", &["verdict", "reason"])?;
        let child = |labels: [&str; 2]| family.get_metric_with_label_values(&labels);
        Ok(Self {
            accepted: child(["accepted", ""])?,
            duplicate: child(["duplicate", ""])?,
            rejected: Reason::OF_ACTIONS
                .iter()
                .map(|reason| child(["rejected", reason.as_str()]))
                .collect::<prometheus::Result<_>>()?,
            family,
        })
    }

    fn rejected(&self, reason: Reason, n: u64) {
        match self.rejected.get(reason as usize) {
            Some(counter) => counter.inc_by(n),
            // A reason that is not among those is counted all the same.
            None => self.family.with_label_values(&["rejected", reason.as_str()]).inc_by(n),
        }
    }
}

/// Makes metrics and registers them.
struct Maker<'a>(&'a Registry);

impl Maker<'_> {
    fn counter(&self, name: &str, help: &str) -> prometheus::Result<IntCounter> {
        self.registered(IntCounter::new(name, help)?)
    }

    fn counters(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> prometheus::Result<IntCounterVec> {
        self.registered(IntCounterVec::new(Opts::new(name, help), labels)?)
    }

    fn gauge(&self, name: &str, help: &str) -> prometheus::Result<Gauge> {
        self.registered(Gauge::new(name, help)?)
    }

    fn histogram(&self, name: &str, help: &str, buckets: &[f64]) -> prometheus::Result<Histogram> {
        let opts = HistogramOpts::new(name, help).buckets(buckets.to_vec());
        self.registered(Histogram::with_opts(opts)?)
    }

    fn reports(&self) -> prometheus::Result<IntCounterVec> {
        let family = self.counters(
            "oncegate_reports_total",
            "Committed outcomes of reports.",
            &["verdict", "reason"],
        )?;
        for verdict in ["completed", "released", "repeated"] {
            family.get_metric_with_label_values(&[verdict, ""])?;
        }
        for reason in Reason::OF_REPORTS {
            family.get_metric_with_label_values(&["rejected", reason.as_str()])?;
        }
        Ok(family)
    }

    fn recoveries(&self) -> prometheus::Result<IntCounterVec> {
        let family = self.counters(
            "oncegate_recoveries_total",
            "How often the worker went back to the ledger, and why.",
            &["cause"],
        )?;
        for cause in RECOVERY_CAUSES {
            family.get_metric_with_label_values(&[cause])?;
        }
        Ok(family)
    }

    fn build_info(&self) -> prometheus::Result<()> {
        let opts = Opts::new("oncegate_build_info", "1, with the version as a label.")
            .const_label("version", env!("CARGO_PKG_VERSION"));
        self.registered(Gauge::with_opts(opts)?)?.set(1);
        Ok(())
    }

    #[cfg(target_os = "linux")]
    fn process(&self) -> prometheus::Result<()> {
        use prometheus::process_collector::ProcessCollector;
        self.0.register(Box::new(ProcessCollector::for_self()))
    }

    /// The crate reads `/proc`: elsewhere there are no `process_*` metrics.
    #[cfg(not(target_os = "linux"))]
    fn process(&self) -> prometheus::Result<()> {
        Ok(())
    }

    fn registered<M: Collector + Clone + 'static>(&self, metric: M) -> prometheus::Result<M> {
        self.0.register(Box::new(metric.clone()))?;
        Ok(metric)
    }
}

/// Infinity too would spoil the histogram's sum for good.
fn not_negative(seconds: f64) -> f64 {
    if seconds.is_finite() && seconds > 0.0 { seconds } else { 0.0 }
}
