//! Reports from outside: what they say, what becomes of them, the entries they lead to, and what is answered.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test stops at what it did not expect"
)]

mod decoding;
mod entries;
mod judging;
mod receipts;

use bytes::Bytes;
use oncegate::gate::action::RawAction;
use oncegate::gate::headers::Headers;
use oncegate::gate::key::ActionKey;
use oncegate::gate::report::{self, Report};
use oncegate::gate::source::Source;

const RUN: &str = "0199b2f0-7c1e-7000-8000-0123456789ab";

fn key(text: &str) -> ActionKey {
    ActionKey::new::<&str>(&[], text)
}

fn source(stream: &str, sequence: u64) -> Source {
    Source { stream: stream.into(), sequence, time_ns: 1_000_000_000 }
}

/// A message to the gate `oncegate`: subject, header lines, payload.
fn report(subject: &str, lines: &str, payload: impl Into<Vec<u8>>) -> Report {
    let block = match lines {
        "" => String::new(),
        lines => format!("NATS/1.0\r\n{lines}\r\n\r\n"),
    };
    let raw = RawAction {
        source: source("ONCEGATE_REPORTS", 7),
        subject: subject.into(),
        subject_exact: true,
        headers: Headers::parse(block.as_bytes()),
        payload: Bytes::from(payload.into()),
    };
    report::decode(raw, "oncegate")
}

/// A result of the run [`RUN`] of key `a`.
fn result(status: &str, payload: impl Into<Vec<u8>>) -> Report {
    let lines =
        format!("Idempotency-Key: a\r\nOncegate-Run-Id: {RUN}\r\nOncegate-Status: {status}");
    report("oncegate.results.worker.1", &lines, payload)
}

fn forget() -> Report {
    let lines = "Idempotency-Key: a\r\nOncegate-Detail: a typing error";
    report("oncegate.operator.forget", lines, "")
}
