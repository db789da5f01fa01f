//! The engine from outside, driven by hand: a ledger that answers as the server does, and no more.

#![allow(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

use std::sync::Arc;

use bytes::Bytes;
use oncegate::gate::action::{self, Action, RawAction};
use oncegate::gate::cursor::{Cursors, InForce};
use oncegate::gate::engine::session::{Append, FLOW_ASKED, Op, Reply, ReplyKind};
use oncegate::gate::engine::{Bounds, Command, Engine, Event, Outcome, Setting};
use oncegate::gate::entry::Limits;
use oncegate::gate::headers::Headers;
use oncegate::gate::rules::{RuleTexts, Rules};
use oncegate::gate::source::Source;

struct World {
    engine: Engine,
    rules: Arc<Rules>,
    /// Messages stored, and how many of the open batch.
    ledger: u64,
    in_batch: u64,
    settled: Vec<(u64, Outcome)>,
}

impl World {
    fn new() -> Self {
        let texts = RuleTexts {
            key_from: vec!["header:Idempotency-Key".into()],
            key_scope: Vec::new(),
            key_max_bytes: 255,
            key_missing: "reject".into(),
            payload_compare: "bytes".into(),
            payload_ignore: Vec::new(),
        };
        let rules = Arc::new(Rules::new(texts).unwrap());
        let mut cursors = Cursors::default();
        let index = cursors.rules_index(rules.fingerprint());
        cursors.in_force = Some(InForce { window_ns: 1_000_000_000, rules: index });
        cursors.input(&"ACTIONS".into());
        let setting = Setting {
            name: "oncegate".into(),
            input: "ACTIONS".into(),
            rules: rules.clone(),
            limits: Limits { message_bytes_max: 8 << 20 },
            clock_skew_ns: 1_000_000_000,
            bounds: Bounds::default(),
        };
        let engine = Engine::new(setting, cursors, 0, 7);
        Self { engine, rules, ledger: 0, in_batch: 0, settled: Vec::new() }
    }

    fn action(&self, sequence: u64, key: &str, payload: &Bytes) -> Action {
        let headers = Headers::from_iter([("Idempotency-Key", key)]);
        let raw = RawAction {
            source: Source { stream: "ACTIONS".into(), sequence, time_ns: 1 },
            subject: "actions.a".into(),
            subject_exact: true,
            headers: Ok(headers),
            payload: payload.clone(),
        };
        action::decode(raw, &self.rules)
    }

    fn tell(&mut self, event: Event) {
        let mut events = vec![event];
        while let Some(event) = events.pop() {
            for command in self.engine.on(event) {
                events.extend(self.obey(command));
            }
        }
    }

    /// The server's part: an ack every flow window, an answer at the end of a batch, nothing else.
    fn obey(&mut self, command: Command) -> Option<Event> {
        match command {
            Command::Append(append) => self.append(append),
            Command::Commit(_) => Some(Event::Committed),
            Command::Settle(settled) => {
                let decided = settled.decided.iter();
                self.settled.extend(decided.map(|one| (one.source.sequence, one.outcome)));
                None
            }
            other => panic!("not expected: {other:?}"),
        }
    }

    fn append(&mut self, append: Append) -> Option<Event> {
        let Append { batch, op, expected, number, message } = append;
        if message.is_some() {
            assert_eq!(expected, self.ledger, "the fence");
            self.ledger += 1;
            self.in_batch += 1;
            assert_eq!(number, self.in_batch);
        }
        let kind = match op {
            Op::Commit | Op::End => {
                let count = Some(std::mem::take(&mut self.in_batch));
                ReplyKind::End { sequence: self.ledger, count }
            }
            _ if self.in_batch.is_multiple_of(FLOW_ASKED) => {
                ReplyKind::Flow { number: self.in_batch, flow: FLOW_ASKED }
            }
            _ => return None,
        };
        Some(Event::Ledger(Reply { batch, kind }))
    }
}

/// The limit on unacknowledged bytes is reached long before the server owes an acknowledgement.
#[test]
fn large_payloads_do_not_wait_for_an_acknowledgement_that_nobody_owes() {
    let mut world = World::new();
    let payload = Bytes::from(vec![b'x'; 1 << 20]);
    for sequence in 1..=100 {
        let action = world.action(sequence, &format!("k{sequence}"), &payload);
        world.tell(Event::Actions(vec![(action, None)]));
    }
    let unsettled = 100 - world.settled.len();
    assert!(unsettled <= 16, "{unsettled} wait");
    world.tell(Event::Pause);
    assert_eq!(world.settled.len(), 100);
    assert!(world.engine.is_settled());
}

#[test]
fn more_large_payloads_at_once_than_may_be_unacknowledged() {
    let mut world = World::new();
    let payload = Bytes::from(vec![b'x'; 1 << 20]);
    let actions = (1..=60).map(|n| (world.action(n, &format!("k{n}"), &payload), None)).collect();
    world.tell(Event::Actions(actions));
    world.tell(Event::Pause);
    assert_eq!(world.settled.len(), 60);
    assert_eq!(world.ledger, 60);
}

#[test]
fn duplicates_settle_with_the_entry_or_marker_behind_them() {
    let mut world = World::new();
    let payload = Bytes::from_static(b"x");
    let actions = [(1, "a"), (2, "a"), (3, "b"), (4, "a"), (5, "b")];
    let actions = actions.map(|(n, key)| (world.action(n, key, &payload), None)).into();
    world.tell(Event::Actions(actions));
    assert!(world.settled.is_empty(), "nothing is acknowledged yet");
    world.tell(Event::Pause);
    use Outcome::{Accepted, Duplicate};
    let wanted = [(1, Accepted), (2, Duplicate), (3, Accepted), (4, Duplicate), (5, Duplicate)];
    assert_eq!(world.settled, wanted);
    assert_eq!(world.ledger, 3, "two accepted, one marker");
}
