//! What a seed chooses before anything happens.

use std::sync::Arc;

use fastrand::Rng;
use oncegate::gate::engine::Bounds;
use oncegate::gate::rules::{RuleTexts, Rules};

use crate::agenda::{MILLISECOND, SECOND};
use crate::faults::{AHEAD_NS, Fault};
use crate::ledger_server::Release;

pub const CLOCK_SKEW_NS: i64 = 5 * SECOND;
pub const TAKEOVER_NS: i64 = 3 * SECOND;
/// So far the clock of an input may be wrong where its order is all there is to go by.
pub const STEP_NS: i64 = 450 * MILLISECOND;

pub struct Plan {
    pub release: Release,
    pub work_queue: bool,
    pub workers: usize,
    pub actions: u32,
    pub keys: u8,
    /// In a hundred.
    pub retries: u32,
    pub mismatches: u32,
    pub odd: u32,
    pub reports: u32,
    /// Of the results: those that come once more, and once more but different.
    pub repeats: u32,
    pub conflicts: u32,
    /// Of the reports: those that give a key back.
    pub releases: u32,
    /// In a hundred actions and reports, those that want an answer.
    pub answers: u32,
    /// Messages in a burst, at most, and the pause after it.
    pub burst: u32,
    pub pause_ns: i64,
    pub latency_ns: (i64, i64),
    pub table_write_ns: i64,
    pub pull_messages: u64,
    pub bounds: Bounds,
    /// What the server grants between two acknowledgements, at most.
    pub flow_max: u64,
    /// A `leading` entry is due so often.
    pub term_max_ns: i64,
    /// What windows and rules the workers may be given.
    pub windows_ns: Vec<i64>,
    pub rules: Vec<RuleSet>,
    pub faults: Vec<Fault>,
    pub fault_every_ns: i64,
    pub faults_max: u32,
    /// Answers may come from a replica that lags.
    pub replicated: bool,
    /// How far the input's clock may be wrong, back and ahead.
    pub clock_ns: (i64, i64),
}

/// Rules that differ in what is compared and what needs a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RuleSet {
    Plain,
    IgnoreTry,
    ForwardKeyless,
}

impl RuleSet {
    pub const ALL: [Self; 3] = [Self::Plain, Self::IgnoreTry, Self::ForwardKeyless];

    pub fn compiled(self) -> Arc<Rules> {
        let ignore = (self == Self::IgnoreTry).then(|| "/try".to_owned());
        let missing = if self == Self::ForwardKeyless { "forward" } else { "reject" };
        let texts = RuleTexts {
            key_from: vec!["header:Idempotency-Key".to_owned()],
            key_scope: Vec::new(),
            key_max_bytes: 255,
            key_missing: missing.to_owned(),
            payload_compare: "auto".to_owned(),
            payload_ignore: ignore.into_iter().collect(),
        };
        Arc::new(Rules::new(texts).unwrap())
    }
}

impl Plan {
    pub fn draw(rng: &mut Rng) -> Self {
        let work_queue = rng.u8(..4) == 0;
        let faults = Self::draw_faults(rng);
        // Where the message at the cursor may be gone, only the order of times is left to go by.
        let drops_messages = work_queue || faults.contains(&Fault::InputTrimmed);
        Self {
            release: *pick(rng, &[Release::V2_14, Release::V2_15]),
            work_queue,
            workers: *pick(rng, &[1, 2, 2, 2, 3]),
            actions: rng.u32(10..160),
            keys: rng.u8(2..40),
            retries: rng.u32(..70),
            mismatches: rng.u32(..25),
            odd: *pick(rng, &[0, 3, 10]),
            reports: *pick(rng, &[0, 30, 100]),
            repeats: rng.u32(..60),
            conflicts: rng.u32(..40),
            releases: rng.u32(..40),
            answers: *pick(rng, &[0, 50, 100]),
            burst: rng.u32(1..60),
            pause_ns: rng.i64(1..1500) * MILLISECOND,
            latency_ns: *pick(
                rng,
                &[(50_000, 100_000), (50_000, 3 * MILLISECOND), (50_000, 40 * MILLISECOND)],
            ),
            table_write_ns: *pick(rng, &[100_000, 5 * MILLISECOND, 300 * MILLISECOND]),
            pull_messages: *pick(rng, &[2, 8, 40, 200]),
            bounds: Self::draw_bounds(rng),
            flow_max: *pick(rng, &[1, 2, 5, 20, 500]),
            term_max_ns: *pick(rng, &[3 * SECOND, 20 * SECOND, 86_400 * SECOND, 86_400 * SECOND]),
            windows_ns: Self::draw_windows(rng),
            rules: match rng.u8(..3) {
                0 => RuleSet::ALL.to_vec(),
                _ => vec![*pick(rng, &RuleSet::ALL)],
            },
            fault_every_ns: rng.i64(50..2500) * MILLISECOND,
            faults_max: *pick(rng, &[0, 2, 5, 10, 20]),
            replicated: faults.contains(&Fault::AnswersLag),
            clock_ns: match drops_messages {
                true => (STEP_NS, STEP_NS),
                false => (60 * SECOND, AHEAD_NS),
            },
            faults,
        }
    }

    /// A few kinds for each run: with all of them in each, none would be seen for long.
    fn draw_faults(rng: &mut Rng) -> Vec<Fault> {
        let kinds = rng.usize(1..8);
        let mut faults: Vec<_> = (0..kinds).map(|_| *pick(rng, &Fault::ALL)).collect();
        // A stream that is made anew is known by a first message that is not older than it. Where that is
        // not so (the clock went back; it was restored at once) the gate stops and says so.
        if faults.contains(&Fault::InputRecreated) {
            let hides_it = [Fault::ClockStepped, Fault::InputRestored];
            faults.retain(|fault| !hides_it.contains(fault));
        }
        faults
    }

    fn draw_bounds(rng: &mut Rng) -> Bounds {
        match rng.u8(..3) {
            0 => Bounds::default(),
            _ => Bounds {
                inflight_entries_max: rng.usize(1..30),
                inflight_bytes_max: rng.usize(500..20_000),
                unacknowledged_bytes_max: rng.usize(300..5_000),
                duplicates_per_marker_max: rng.u64(1..8),
                credit_before_first_answer: rng.u64(1..10),
            },
        }
    }

    fn draw_windows(rng: &mut Rng) -> Vec<i64> {
        let all = [SECOND, 3 * SECOND, 20 * SECOND, 7 * 86_400 * SECOND];
        match rng.u8(..3) {
            0 => all.to_vec(),
            _ => vec![*pick(rng, &all)],
        }
    }
}

pub fn pick<'a, T>(rng: &mut Rng, all: &'a [T]) -> &'a T {
    &all[rng.usize(..all.len())]
}
