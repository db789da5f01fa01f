//! Reports, as executors and operators publish them: results of runs that the ledger shows, the same again,
//! others, keys given back, and what makes no sense.

use bytes::Bytes;
use fastrand::Rng;
use oncegate::gate::action::RawAction;
use oncegate::gate::headers::{Headers, MalformedHeaders};
use oncegate::gate::source::Source;
use uuid::Uuid;

use crate::plan::{Plan, pick};

/// A run that the ledger shows.
#[derive(Clone, Debug)]
pub struct Run {
    pub key: u8,
    pub run_id: Uuid,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Says {
    Result { succeeded: bool, number: u8, spelling: u8 },
    Retry,
    Forget,
    Odd(Odd),
}

/// What is wrong with a report that says nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Odd {
    MalformedHeaders,
    NoKey,
    NoRunId,
    NoStatus,
    OtherStatus,
    OtherSubject,
    ForgetWithoutReason,
}

/// What was published.
#[derive(Clone, Debug)]
pub struct Told {
    pub says: Says,
    pub run: Run,
    /// Where an answer is wanted.
    pub reply_to: Option<String>,
}

impl Told {
    pub fn draw(rng: &mut Rng, plan: &Plan, runs: &[Run], before: &[Self]) -> Self {
        let wants = rng.u32(..100) < plan.answers;
        let reply_to = wants.then(|| format!("_INBOX.r{}", before.len()));
        Self { reply_to, ..Self::any(rng, plan, runs, before) }
    }

    fn any(rng: &mut Rng, plan: &Plan, runs: &[Run], before: &[Self]) -> Self {
        let mut run = Self::run(rng, plan, runs);
        if rng.u32(..100) < plan.odd {
            let says = Says::Odd(*pick(rng, &Odd::ALL));
            return Self { says, run, reply_to: None };
        }
        if rng.u32(..100) < plan.releases {
            let says = if rng.u8(..3) == 0 { Says::Forget } else { Says::Retry };
            if says == Says::Forget {
                run.key = rng.u8(..plan.keys);
            }
            return Self { says, run, reply_to: None };
        }
        if !before.is_empty() && rng.u32(..100) < plan.repeats {
            let recent = before.len().min(20);
            let mut again = before[before.len() - 1 - rng.usize(..recent)].clone();
            if let Says::Result { succeeded, number, spelling } = &mut again.says {
                *spelling = rng.u8(..3);
                if rng.u32(..100) < plan.conflicts {
                    *number += 1;
                    *succeeded ^= rng.bool();
                }
            }
            return again;
        }
        let (succeeded, number, spelling) = (rng.u8(..4) > 0, rng.u8(..3), rng.u8(..3));
        Self { says: Says::Result { succeeded, number, spelling }, run, reply_to: None }
    }

    /// Mostly one of the last; now and then none that there is.
    fn run(rng: &mut Rng, plan: &Plan, runs: &[Run]) -> Run {
        let stray = Run { key: rng.u8(..plan.keys), run_id: Uuid::from_u128(rng.u128(..)) };
        if runs.is_empty() || rng.u8(..40) == 0 {
            return stray;
        }
        let mut run = runs[runs.len() - 1 - rng.usize(..runs.len().min(10))].clone();
        if rng.u8(..40) == 0 {
            run.key = stray.key;
        }
        run
    }

    pub fn key_text(&self) -> String {
        format!("k{}", self.run.key)
    }

    pub fn status(&self) -> &'static str {
        match self.says {
            Says::Result { succeeded: true, .. } => "succeeded",
            Says::Result { succeeded: false, .. } => "failed",
            Says::Retry => "retry",
            Says::Forget | Says::Odd(_) => "",
        }
    }

    /// Whether its headers can be read.
    pub fn is_readable(&self) -> bool {
        self.says != Says::Odd(Odd::MalformedHeaders)
    }

    /// Whether the gate must take the two for the same result.
    pub fn is_same(&self, other: &Self) -> bool {
        match (self.says, other.says) {
            (
                Says::Result { succeeded, number, .. },
                Says::Result { succeeded: other_succeeded, number: other, .. },
            ) => succeeded == other_succeeded && number == other,
            _ => false,
        }
    }

    fn subject(&self) -> &'static str {
        match self.says {
            Says::Forget | Says::Odd(Odd::ForgetWithoutReason) => "oncegate.operator.forget",
            Says::Odd(Odd::OtherSubject) => "oncegate.operator.remember",
            Says::Result { .. } | Says::Retry | Says::Odd(_) => "oncegate.results.pay",
        }
    }

    pub fn payload(&self) -> Bytes {
        match self.says {
            Says::Result { number: 0, .. } => Bytes::from_static(b"done"),
            Says::Result { number, spelling: 0, .. } => format!("{{\"id\":{number}}}").into(),
            Says::Result { number, spelling: 1, .. } => format!("{{ \"id\" : {number} }}").into(),
            Says::Result { number, .. } => format!("{{\"id\":{number}.0}}").into(),
            Says::Retry | Says::Forget | Says::Odd(_) => Bytes::new(),
        }
    }

    fn headers(&self) -> Result<Headers, MalformedHeaders> {
        let odd = match self.says {
            Says::Odd(Odd::MalformedHeaders) => {
                return Err(MalformedHeaders("a line has no colon"));
            }
            Says::Odd(odd) => Some(odd),
            _ => None,
        };
        let status = match self.says {
            Says::Odd(Odd::OtherStatus) => Some("done"),
            Says::Odd(Odd::NoStatus) | Says::Forget => None,
            Says::Odd(_) => Some("succeeded"),
            _ => Some(self.status()),
        };
        let pairs = [
            ("Idempotency-Key", (odd != Some(Odd::NoKey)).then(|| self.key_text())),
            ("Oncegate-Run-Id", (odd != Some(Odd::NoRunId)).then(|| self.run.run_id.to_string())),
            ("Oncegate-Status", status.map(str::to_owned)),
            ("Oncegate-Detail", (self.says == Says::Forget).then(|| "it is known why".to_owned())),
            ("Oncegate-Reply-To", self.reply_to.clone()),
        ];
        let pairs = pairs.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
        Ok(pairs.collect())
    }

    pub fn stored(&self, sequence: u64, time_ns: i64) -> RawAction {
        RawAction {
            source: Source { stream: "ONCEGATE_REPORTS".into(), sequence, time_ns },
            subject: self.subject().to_owned(),
            subject_exact: true,
            headers: self.headers(),
            payload: self.payload(),
        }
    }
}

impl Odd {
    const ALL: [Self; 7] = [
        Self::MalformedHeaders,
        Self::NoKey,
        Self::NoRunId,
        Self::NoStatus,
        Self::OtherStatus,
        Self::OtherSubject,
        Self::ForgetWithoutReason,
    ];
}
