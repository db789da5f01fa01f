//! The load: which actions there are, decided by a seed alone.
//!
//! Every contender gets the same actions, and whoever checks an output knows what it must hold without having
//! kept any of them.

use bytes::Bytes;
use uuid::{Builder, Uuid};
use xxhash_rust::xxh3::{xxh3_64_with_seed, xxh3_128_with_seed};

/// The least size of a payload.
pub const PAYLOAD_BYTES_MIN: usize = 128;
/// So near is every second repeat to what it repeats: it comes while that is still in flight.
const NEAR_ACTIONS: usize = 1000;

/// What a load is like.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// How many actions.
    pub actions: u32,
    /// Size of each payload, at least [`PAYLOAD_BYTES_MIN`].
    pub payload_bytes: usize,
    /// Exact repeats of an earlier action; together with `mismatches_percent` below 100.
    pub duplicates_percent: u8,
    /// The key of an earlier action with another payload.
    pub mismatches_percent: u8,
    /// Everything else follows from it.
    pub seed: u64,
}

/// What an action is to those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The first with its key.
    New,
    /// An exact repeat.
    Duplicate,
    /// Its key was there, with another payload.
    Mismatch,
}

/// One action.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    /// The index of the first action with its key; its own if it is new.
    pub original: u32,
    /// What it is.
    pub kind: Kind,
}

/// See the module.
#[derive(Debug)]
pub struct Plan {
    shape: Shape,
    steps: Vec<Step>,
}

impl Plan {
    /// The first and the last action are new.
    pub fn new(shape: Shape) -> Self {
        let mut kinds = kinds(&shape);
        let inner = kinds.len().saturating_sub(1);
        if let Some(middle) = kinds.get_mut(1..inner) {
            shuffle(middle, shape.seed);
        }
        let mut news = Vec::with_capacity(kinds.len());
        let steps = (0..).zip(kinds).map(|(index, kind)| {
            if kind == Kind::New {
                news.push(index);
            }
            Step { original: original(&news, (index, kind), shape.seed), kind }
        });
        Self { shape, steps: steps.collect() }
    }

    /// Its shape.
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// In order.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// How many are of this kind.
    pub fn count(&self, kind: Kind) -> u64 {
        self.steps.iter().filter(|step| step.kind == kind).count() as u64
    }

    /// The key of an action: a UUID as its text.
    pub fn key(&self, step: Step) -> String {
        let random = xxh3_128_with_seed(&step.original.to_le_bytes(), self.shape.seed);
        let uuid: Uuid = Builder::from_random_bytes(random.to_le_bytes()).into_uuid();
        uuid.to_string()
    }

    /// Its payload: JSON.
    pub fn payload(&self, step: Step) -> Bytes {
        let amount = 149 + u16::from(step.kind == Kind::Mismatch);
        let mut text = format!(
            r#"{{"customer":"c_{}","amount":{amount}.90,"currency":"EUR","number":{},"note":""#,
            step.original % 10_007,
            step.original
        );
        let end = "\"}";
        let note = self.shape.payload_bytes.saturating_sub(text.len() + end.len());
        text.extend("a note for whoever reads this; ".chars().cycle().take(note));
        text.push_str(end);
        text.into()
    }
}

/// As many of each as the shape wants, not yet in order.
fn kinds(shape: &Shape) -> Vec<Kind> {
    let share = |percent: u8| shape.actions as usize * usize::from(percent) / 100;
    let (duplicates, mismatches) =
        (share(shape.duplicates_percent), share(shape.mismatches_percent));
    let mut kinds = vec![Kind::New; shape.actions as usize];
    for (place, kind) in kinds.iter_mut().skip(1).zip(
        std::iter::repeat_n(Kind::Duplicate, duplicates)
            .chain(std::iter::repeat_n(Kind::Mismatch, mismatches)),
    ) {
        *place = kind;
    }
    kinds
}

fn shuffle(kinds: &mut [Kind], seed: u64) {
    for at in (1..kinds.len()).rev() {
        kinds.swap(at, below(at + 1, (0, at as u64), seed));
    }
}

fn original(news: &[u32], (index, kind): (u32, Kind), seed: u64) -> u32 {
    let chosen = match kind {
        Kind::New => None,
        Kind::Duplicate | Kind::Mismatch => {
            let near = below(2, (1, index.into()), seed) == 0;
            let reach = if near { NEAR_ACTIONS.min(news.len()) } else { news.len() };
            news.get(news.len() - 1 - below(reach, (2, index.into()), seed))
        }
    };
    chosen.copied().unwrap_or(index)
}

/// A number below `bound` that follows from the seed, a purpose and a place.
fn below(bound: usize, (purpose, place): (u64, u64), seed: u64) -> usize {
    let drawn = xxh3_64_with_seed(&place.to_le_bytes(), seed.wrapping_add(purpose + 1));
    ((u128::from(drawn) * bound as u128) >> 64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    fn plan(actions: u32, duplicates_percent: u8, mismatches_percent: u8) -> Plan {
        let shape =
            Shape { actions, payload_bytes: 200, duplicates_percent, mismatches_percent, seed: 7 };
        Plan::new(shape)
    }

    #[test]
    fn it_holds_exactly_what_was_asked_for() {
        let plan = plan(10_000, 30, 5);
        assert_eq!(plan.count(Kind::Duplicate), 3000);
        assert_eq!(plan.count(Kind::Mismatch), 500);
        let mut seen = HashSet::new();
        for (index, step) in (0..).zip(plan.steps()) {
            let payload = plan.payload(*step);
            assert_eq!(payload.len(), 200);
            assert!(serde_json::from_slice::<serde_json::Value>(&payload).is_ok());
            let is_first = seen.insert(plan.key(*step));
            assert_eq!(is_first, step.kind == Kind::New, "{index} {step:?}");
        }
        let ends = [plan.steps().first(), plan.steps().last()].map(|end| end.unwrap().kind);
        assert_eq!(ends, [Kind::New, Kind::New]);
    }

    #[test]
    fn a_repeat_has_the_payload_of_its_original_and_a_mismatch_another() {
        let plan = plan(1000, 45, 45);
        for step in plan.steps() {
            let original = plan.steps()[step.original as usize];
            assert_eq!(original.kind, Kind::New);
            let same = plan.payload(*step) == plan.payload(original);
            assert_eq!(same, step.kind != Kind::Mismatch);
        }
    }

    #[test]
    fn payloads_of_the_least_size_are_whole() {
        let step = Step { original: u32::MAX, kind: Kind::Mismatch };
        let shape = Shape { payload_bytes: PAYLOAD_BYTES_MIN, ..plan(1000, 0, 0).shape };
        assert_eq!(Plan::new(shape).payload(step).len(), PAYLOAD_BYTES_MIN);
    }
}
