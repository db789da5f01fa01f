//! What runs count, so that it can be shown that they met what they should.

use std::collections::BTreeMap;
use std::fmt;

use crate::faults::Fault;

#[derive(Clone, Debug, Default)]
pub struct Counts {
    pub runs: u64,
    pub steps: u64,
    pub actions: u64,
    pub entries: u64,
    pub duplicates: u64,
    pub missed: u64,
    pub reports: u64,
    pub completed: u64,
    pub released: u64,
    pub repeated: u64,
    pub receipts: u64,
    pub rejected: BTreeMap<&'static str, u64>,
    pub redelivered: u64,
    pub terms: u64,
    pub faults: BTreeMap<Fault, u64>,
    pub recoveries: BTreeMap<&'static str, u64>,
}

/// Every way into a recovery that the worker has; a run of many seeds meets them all.
pub const CAUSES: [&str; 9] = [
    "disconnected",
    "feed_request",
    "fenced",
    "hole",
    "input_changed",
    "ledger_refused",
    "ledger_timeout",
    "missed_heartbeat",
    "pull_ended",
];

/// Why actions and reports of these worlds may be rejected.
const REASONS: [&str; 7] = [
    "invalid_key",
    "invalid_result",
    "malformed_headers",
    "missing_key",
    "payload_mismatch",
    "result_conflict",
    "unknown_run",
];

impl Counts {
    pub fn add(&mut self, other: &Self) {
        self.runs += other.runs;
        self.steps += other.steps;
        self.actions += other.actions;
        self.entries += other.entries;
        self.duplicates += other.duplicates;
        self.missed += other.missed;
        self.reports += other.reports;
        self.completed += other.completed;
        self.released += other.released;
        self.repeated += other.repeated;
        self.receipts += other.receipts;
        for (reason, count) in &other.rejected {
            *self.rejected.entry(reason).or_default() += count;
        }
        self.redelivered += other.redelivered;
        self.terms += other.terms;
        for (fault, count) in &other.faults {
            *self.faults.entry(*fault).or_default() += count;
        }
        for (cause, count) in &other.recoveries {
            *self.recoveries.entry(cause).or_default() += count;
        }
    }

    /// What the runs never met.
    pub fn never_met(&self) -> Vec<String> {
        let faults = Fault::ALL.iter().filter(|fault| !self.faults.contains_key(fault));
        let faults = faults.map(|fault| format!("{fault:?}"));
        let causes = CAUSES.iter().filter(|cause| !self.recoveries.contains_key(**cause));
        let others = [
            ("a duplicate", self.duplicates),
            ("a redelivery", self.redelivered),
            ("a missed message", self.missed),
            ("a result", self.completed),
            ("a release", self.released),
            ("a result repeated", self.repeated),
            ("a receipt", self.receipts),
        ];
        let others = others.iter().filter(|(_, count)| *count == 0);
        let others = others.map(|(name, _)| (*name).to_owned());
        let reasons = REASONS.iter().filter(|reason| !self.rejected.contains_key(**reason));
        let named = causes.chain(reasons).map(|name| (*name).to_owned());
        faults.chain(named).chain(others).collect()
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let faults: u64 = self.faults.values().sum();
        let recoveries: u64 = self.recoveries.values().sum();
        writeln!(
            f,
            "{} runs, {} steps: {} actions, {} reports, {} entries, {} duplicates, {} dropped by an input \
             before their turn, {} redeliveries, {} terms, {faults} faults, {recoveries} recoveries",
            self.runs,
            self.steps,
            self.actions,
            self.reports,
            self.entries,
            self.duplicates,
            self.missed,
            self.redelivered,
            self.terms
        )?;
        let rejected = self.rejected.iter().map(|(reason, count)| format!("{reason} {count}"));
        writeln!(
            f,
            "{} results, {} repeated, {} keys given back, {} receipts; rejected: {}",
            self.completed,
            self.repeated,
            self.released,
            self.receipts,
            rejected.collect::<Vec<_>>().join(", ")
        )?;
        let faults = self.faults.iter().map(|(fault, count)| format!("{fault:?} {count}"));
        writeln!(f, "faults: {}", faults.collect::<Vec<_>>().join(", "))?;
        let causes = self.recoveries.iter().map(|(cause, count)| format!("{cause} {count}"));
        write!(f, "recoveries: {}", causes.collect::<Vec<_>>().join(", "))
    }
}
