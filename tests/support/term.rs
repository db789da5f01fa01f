//! What a term begins with, where a test drives the gate by hand.

use oncegate::gate::entry::{self, Leading};
use oncegate::gate::rules::RuleTexts;

/// Under the rules of the defaults, on an empty ledger.
pub fn leading_of(window_ms: u64) -> Leading {
    let rules = RuleTexts {
        key_from: vec!["header:Idempotency-Key".into()],
        key_scope: Vec::new(),
        key_max_bytes: 255,
        key_missing: "reject".into(),
        payload_compare: "auto".into(),
        payload_ignore: Vec::new(),
    };
    Leading {
        format: entry::FORMAT,
        instance: "i".into(),
        host: "h".into(),
        version: "v".into(),
        window_ms,
        rules_fingerprint: rules.fingerprint().to_string(),
        rules,
        inputs: Vec::new(),
        ledger_sequence: 0,
        source_time_max_ns: 0,
    }
}
