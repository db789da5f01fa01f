//! A term begins: what its entry says of the state before it, and what holds from there on.

use super::{Auditor, Position, Stretch, Term};
use crate::audit::compare::Stored;
use crate::audit::finding::{Difference, Kind};
use crate::gate::entry::Leading;
use crate::gate::rules::Rules;
use crate::gate::source::TimeNs;

impl Auditor {
    /// A term begins. The inputs whose stream was made anew before it.
    pub fn lead(&mut self, found: &Stored, leading: &Leading) {
        self.summary.entries += 1;
        let rules = match Rules::new(leading.rules.clone()) {
            Ok(rules) => rules,
            Err(bad) => {
                let difference = Difference::new("rules", "rules that can be used", bad);
                return self.find(
                    Kind::Different,
                    (Some(found.sequence), None),
                    None,
                    vec![difference],
                );
            }
        };
        let differences = self.differences_of_term(found, leading, &rules);
        if !differences.is_empty() {
            self.find(Kind::Different, (Some(found.sequence), None), None, differences);
        }
        for input in &leading.inputs {
            let position = Position {
                sequence: input.sequence,
                time_ns: input.time_ns,
                created_ns: input.created_ns,
            };
            self.positions.insert(input.stream.as_str().into(), position);
        }
        self.source_time_max_ns = self.source_time_max_ns.max(leading.source_time_max_ns);
        if self.term.is_none() && self.summary.ledger_from > 1 {
            self.unknown_until_ns = self.source_time_max_ns.saturating_add(self.window_max_ns);
            self.summary.unknown_until_ns = Some(self.unknown_until_ns);
        }
        let fingerprint = rules.fingerprint();
        let known = self.rules.iter().position(|known| *known == fingerprint);
        let rules_index = known.unwrap_or(self.rules.len());
        if known.is_none() {
            self.rules.push(fingerprint);
        }
        self.stretch = Stretch::default();
        let window_ns = window_ns(leading);
        self.term = Some(Term { rules, rules_index, window_ns, proven_bytes: 0 });
    }

    fn differences_of_term(
        &self,
        found: &Stored,
        leading: &Leading,
        rules: &Rules,
    ) -> Vec<Difference> {
        let mut differences = Vec::new();
        let mut same = |what: &str, expected: String, said: String| {
            if expected != said {
                differences.push(Difference::new(what, expected, said));
            }
        };
        let fingerprint = rules.fingerprint().to_string();
        same("rules_fingerprint", fingerprint, leading.rules_fingerprint.clone());
        same(
            "ledger_sequence",
            (found.sequence - 1).to_string(),
            leading.ledger_sequence.to_string(),
        );
        if self.term.is_none() {
            return differences;
        }
        let max_ns = self.source_time_max_ns;
        same("source_time_max_ns", max_ns.to_string(), leading.source_time_max_ns.to_string());
        for input in &leading.inputs {
            let ours = self.position(&input.stream);
            let anew = input.sequence == 0 && input.created_ns != ours.created_ns;
            if !anew {
                let said = format!("{} at {}", input.sequence, input.time_ns);
                same(&input.stream, format!("{} at {}", ours.sequence, ours.time_ns), said);
            }
        }
        differences
    }
}

fn window_ns(leading: &Leading) -> TimeNs {
    i64::try_from(leading.window_ms).unwrap_or(i64::MAX).saturating_mul(1_000_000)
}
