//! What is wrong with a ledger, and where.

use std::fmt;

use serde_json::{Value, json};

use crate::gate::source::{Source, rfc3339};

/// What kind of thing is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An input has no entry and must have one, or the ledger has a hole.
    Missing,
    /// An input has a second entry.
    Doubled,
    /// An entry stands behind one of a later input.
    OutOfOrder,
    /// An entry is not the one that must stand there.
    Different,
    /// The gate did not write it.
    Foreign,
}

impl Kind {
    /// As shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Doubled => "doubled",
            Self::OutOfOrder => "out_of_order",
            Self::Different => "different",
            Self::Foreign => "foreign",
        }
    }
}

/// One thing that is not as it must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Of what: `verdict`, `digest`, `payload`, a header's name.
    pub what: String,
    /// What must stand there.
    pub expected: String,
    /// What stands there.
    pub found: String,
}

/// One discrepancy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What kind.
    pub kind: Kind,
    /// The ledger sequence, where there is an entry.
    pub ledger_sequence: Option<u64>,
    /// The input that it is about, where one is known.
    pub input: Option<Source>,
    /// Its key, if it has one.
    pub key: Option<String>,
    /// At least one.
    pub differences: Vec<Difference>,
}

/// What is shown of a value at most.
const SHOWN_CHARS: usize = 200;

impl Difference {
    /// Takes anything that can be written; what is long is cut.
    pub fn new(
        what: impl Into<String>,
        expected: impl fmt::Display,
        found: impl fmt::Display,
    ) -> Self {
        let (expected, found) = (cut(&expected.to_string()), cut(&found.to_string()));
        Self { what: what.into(), expected, found }
    }
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(SHOWN_CHARS) {
        Some((at, _)) => format!("{}...", text.get(..at).unwrap_or_default()),
        None => text.to_owned(),
    }
}

impl Finding {
    /// One line of `--json`.
    pub fn to_json(&self) -> Value {
        let input = self.input.as_ref().map(|source| {
            json!({
                "stream": &*source.stream, "sequence": source.sequence,
                "time": rfc3339(source.time_ns).to_string(),
            })
        });
        let differences: Vec<Value> = self
            .differences
            .iter()
            .map(|Difference { what, expected, found }| {
                json!({ "what": what, "expected": expected, "found": found })
            })
            .collect();
        json!({
            "kind": self.kind.as_str(), "ledger_sequence": self.ledger_sequence, "input": input,
            "key": self.key, "differences": differences,
        })
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind.as_str())?;
        if let Some(sequence) = self.ledger_sequence {
            write!(f, "  ledger {sequence}")?;
        }
        if let Some(input) = &self.input {
            write!(f, "  input {input}")?;
        }
        if let Some(key) = &self.key {
            write!(f, "  key {key:?}")?;
        }
        for Difference { what, expected, found } in &self.differences {
            write!(f, "\n    {what}: expected {expected}, found {found}")?;
        }
        Ok(())
    }
}
