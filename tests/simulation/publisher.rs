//! Actions, as agents publish them: new ones, retries of old ones, and keys used for something else.

use bytes::Bytes;
use fastrand::Rng;
use oncegate::gate::action::RawAction;
use oncegate::gate::headers::MalformedHeaders;
use oncegate::gate::source::Source;

use crate::plan::{Plan, RuleSet};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyHeader {
    Key(u8),
    None,
    Invalid,
    /// The header block is none.
    Malformed,
}

/// What was published.
#[derive(Clone, Debug)]
pub struct Sent {
    pub key: KeyHeader,
    amount: u8,
    attempt: u8,
    /// Where an answer is wanted.
    pub reply_to: Option<String>,
}

impl Sent {
    pub fn draw(rng: &mut Rng, plan: &Plan, before: &[Self]) -> Self {
        let wants = rng.u32(..100) < plan.answers;
        let reply_to = wants.then(|| format!("_INBOX.a{}", before.len()));
        Self { reply_to, ..Self::any(rng, plan, before) }
    }

    fn any(rng: &mut Rng, plan: &Plan, before: &[Self]) -> Self {
        if rng.u32(..100) < plan.odd {
            let keys = [KeyHeader::None, KeyHeader::Invalid, KeyHeader::Malformed];
            let key = keys[rng.usize(..keys.len())];
            return Self { key, amount: 0, attempt: 0, reply_to: None };
        }
        if !before.is_empty() && rng.u32(..100) < plan.retries {
            let recent = before.len().min(30);
            let mut again = before[before.len() - 1 - rng.usize(..recent)].clone();
            if rng.u8(..4) == 0 {
                again.attempt += 1;
            }
            if rng.u32(..100) < plan.mismatches {
                again.amount = again.amount.wrapping_add(1);
            }
            return again;
        }
        let key = KeyHeader::Key(rng.u8(..plan.keys));
        Self { key, amount: rng.u8(..3), attempt: 0, reply_to: None }
    }

    pub fn subject(&self) -> &'static str {
        "actions.pay"
    }

    pub fn payload(&self) -> Bytes {
        format!("{{\"amount\":{},\"try\":{}}}", self.amount, self.attempt).into()
    }

    pub fn key_text(&self) -> String {
        match self.key {
            KeyHeader::Key(key) => format!("k{key}"),
            KeyHeader::None | KeyHeader::Invalid | KeyHeader::Malformed => String::new(),
        }
    }

    /// Whether its headers can be read.
    pub fn is_readable(&self) -> bool {
        self.key != KeyHeader::Malformed
    }

    /// Whether the gate must take the two payloads for the same.
    pub fn is_same(&self, other: &Self, rules: RuleSet) -> bool {
        self.amount == other.amount
            && (self.attempt == other.attempt || rules == RuleSet::IgnoreTry)
    }

    pub fn stored(&self, sequence: u64, time_ns: i64) -> RawAction {
        let key = match self.key {
            KeyHeader::Key(_) => Some(self.key_text()),
            KeyHeader::Invalid => Some("a\tb".to_owned()),
            KeyHeader::None | KeyHeader::Malformed => None,
        };
        let pairs = [("idempotency-key", key), ("Oncegate-Reply-To", self.reply_to.clone())];
        let pairs = pairs.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
        let headers = match self.key {
            KeyHeader::Malformed => Err(MalformedHeaders("a line has no colon")),
            _ => Ok(pairs.collect()),
        };
        RawAction {
            source: Source { stream: "ACTIONS".into(), sequence, time_ns },
            subject: self.subject().to_owned(),
            subject_exact: true,
            headers,
            payload: self.payload(),
        }
    }
}
