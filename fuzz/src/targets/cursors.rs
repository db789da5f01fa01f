//! Cursors out of fuzzed bytes.

use std::sync::Arc;

use super::choices::Choices;
use crate::gate::cursor::{Cursors, Filling, InForce, InputCursor, LedgerCursor};
use crate::gate::rules::RulesFingerprint;

/// Such as can be: an anchor stands at an entry.
pub fn cursors(
    choices: &mut Choices,
    stream: impl Fn(&mut Choices) -> Arc<str>,
    most: usize,
) -> Cursors {
    let input = |choices: &mut Choices| InputCursor {
        stream: stream(choices),
        sequence: choices.number(),
        time_ns: choices.signed(),
        created_ns: choices.signed(),
    };
    let in_force = |choices: &mut Choices| InForce {
        window_ns: choices.signed(),
        rules: choices.number() as u32,
    };
    Cursors {
        ledger: LedgerCursor {
            sequence: choices.number(),
            fingerprint: choices.number(),
            anchor: choices.coin().then(|| (choices.number().max(1), choices.signed())),
            source_time_max_ns: choices.signed(),
        },
        inputs: (0..choices.below(most)).map(|_| input(choices)).collect(),
        rules: (0..choices.below(most)).map(|_| RulesFingerprint(choices.number())).collect(),
        in_force: choices.coin().then(|| in_force(choices)),
        filling: choices
            .coin()
            .then(|| Filling { from_ns: choices.signed(), window_ns: choices.signed() }),
    }
}
