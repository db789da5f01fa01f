//! What happened, in words, for whoever looks at one run.

use std::fmt::Write as _;

use crate::agenda::SECOND;

pub struct Trace {
    /// `None`: nobody looks.
    text: Option<String>,
}

impl Trace {
    pub fn new(wanted: bool) -> Self {
        Self { text: wanted.then(String::new) }
    }

    pub fn is_wanted(&self) -> bool {
        self.text.is_some()
    }

    pub fn note(&mut self, now_ns: i64, what: impl FnOnce() -> String) {
        if let Some(text) = &mut self.text {
            let (seconds, rest) = (now_ns / SECOND, now_ns % SECOND / 1_000);
            let _ = writeln!(text, "{seconds:>4}.{rest:06} {}", what());
        }
    }

    pub fn text(self) -> String {
        self.text.unwrap_or_default()
    }
}
