//! From an action with its key's record to its entry, its commit and its end: the engine alone, with a ledger that
//! acknowledges and keeps nothing.
//!
//!     cargo bench --bench judge

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    missing_docs,
    reason = "a measurement stops at what it did not expect"
)]

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use oncegate::gate::action::{Action, RawAction, decode};
use oncegate::gate::cursor::Cursors;
use oncegate::gate::engine::lead::{Beginning, Leader};
use oncegate::gate::engine::recovery::{Recovered, RecoveredInput};
use oncegate::gate::engine::session::{Append, Op, Reply, ReplyKind};
use oncegate::gate::engine::{Bounds, Command, Engine, Event, Setting};
use oncegate::gate::entry::Limits;
use oncegate::gate::headers::Headers;
use oncegate::gate::record::{KeyRecord, RunState};
use oncegate::gate::rules::{RuleTexts, Rules};
use oncegate::gate::source::Source;

const STREAM: &str = "ACTIONS";
const ACTIONS: u64 = 1_000;
const HOUR_MS: u64 = 3_600_000;

struct Gate {
    engine: Engine,
    ledger_sequence: u64,
    in_batch: u64,
}

impl Gate {
    fn new(rules: &Arc<Rules>) -> Self {
        let leader = Leader {
            instance: "i".into(),
            host: "h".into(),
            version: "v".into(),
            window_ms: HOUR_MS,
            rules: rules.clone(),
        };
        let input =
            |stream: &str| RecoveredInput { stream: stream.into(), created_ns: 1, is_new: false };
        let inputs = [STREAM, "ONCEGATE_REPORTS"].map(input).into();
        let recovered = Recovered { cursors: Cursors::default(), inputs };
        let begun = Beginning::new("oncegate", &leader, &recovered).stored_at(1).unwrap();
        let setting = Setting {
            name: "oncegate".into(),
            input: STREAM.into(),
            rules: rules.clone(),
            limits: Limits { message_bytes_max: 8 << 20 },
            clock_skew_ns: 1_000_000_000,
            bounds: Bounds::default(),
        };
        let engine = Engine::new(setting, begun.cursors, i64::MAX / 2, 7);
        Self { engine, ledger_sequence: 1, in_batch: 0 }
    }

    /// All of them, to the end.
    fn judge(&mut self, actions: Vec<(Box<Action>, Option<KeyRecord>)>) {
        self.tell(Event::Actions(actions));
        self.tell(Event::Pause);
        assert!(self.engine.is_settled());
    }

    fn tell(&mut self, event: Event) {
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            for command in self.engine.on(event) {
                match command {
                    Command::Append(append) => events.extend(self.append(&append)),
                    Command::Commit(_) => events.push_back(Event::Committed),
                    Command::Settle(_) => {}
                    other => panic!("not expected: {other:?}"),
                }
            }
        }
    }

    fn append(&mut self, append: &Append) -> Option<Event> {
        if append.message.is_some() {
            self.ledger_sequence += 1;
            self.in_batch += 1;
        }
        let kind = match append.op {
            Op::Commit | Op::End => {
                let count = Some(std::mem::take(&mut self.in_batch));
                ReplyKind::End { sequence: self.ledger_sequence, count }
            }
            Op::Start => ReplyKind::Flow { number: 0, flow: append.flow },
            _ if self.in_batch.is_multiple_of(append.flow) => {
                ReplyKind::Flow { number: self.in_batch, flow: append.flow }
            }
            _ => return None,
        };
        Some(Event::Ledger(Reply { batch: append.batch, kind }))
    }
}

/// Under a key of its own, decoded.
fn action(sequence: u64, rules: &Rules) -> Action {
    let block =
        format!("NATS/1.0\r\nIdempotency-Key: 0199b2f0-7c1e-4000-8000-{sequence:012x}\r\n\r\n");
    let raw = RawAction {
        source: Source { stream: STREAM.into(), sequence, time_ns: sequence as i64 },
        subject: "actions.pay".into(),
        subject_exact: true,
        headers: Headers::parse(block.as_bytes()),
        payload: Bytes::from_static(&[b'x'; 200]),
    };
    decode(raw, rules)
}

/// What makes it a duplicate.
fn record(action: &Action) -> KeyRecord {
    KeyRecord {
        digest: action.digest.unwrap(),
        rules: 0,
        stream: 0,
        sequence: 1,
        time_ns: 1,
        expires_ns: i64::MAX,
        ledger_sequence: 1,
        state: RunState::Pending,
    }
}

fn judging(c: &mut Criterion) {
    let rules = Arc::new(
        Rules::new(RuleTexts {
            key_from: vec!["header:Idempotency-Key".into()],
            key_scope: Vec::new(),
            key_max_bytes: 255,
            key_missing: "reject".into(),
            payload_compare: "bytes".into(),
            payload_ignore: Vec::new(),
        })
        .unwrap(),
    );
    let mut group = c.benchmark_group("judge 1,000 actions");
    group.throughput(Throughput::Elements(ACTIONS));
    for (name, seen) in [("all new", false), ("all duplicates", true)] {
        let mut gate = Gate::new(&rules);
        let mut next = 1;
        group.bench_function(name, |b| {
            b.iter_batched(
                || {
                    let actions = (next..next + ACTIONS).map(|sequence| {
                        let action = action(sequence, &rules);
                        let record = seen.then(|| record(&action));
                        (Box::new(action), record)
                    });
                    let actions = actions.collect();
                    next += ACTIONS;
                    actions
                },
                |actions| gate.judge(actions),
                BatchSize::LargeInput,
            );
        });
    }
    group.finish();
}

criterion_group!(benches, judging);
criterion_main!(benches);
