//! Recovery from outside, driven by hand: what a gate that is started again must find again.

#![allow(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

use oncegate::gate::cursor::Cursors;
use oncegate::gate::engine::recovery::{Answer, Ask, LedgerMessage, Recovery, Refusal, Step};
use oncegate::gate::entry::{self, Leading, Message};
use oncegate::gate::headers::Headers;
use oncegate::gate::rules::RuleTexts;
use oncegate::gate::source::{Source, TimeNs};

const SECOND: TimeNs = 1_000_000_000;

/// A ledger whose last sequence is that of its last message.
struct Ledger(Vec<LedgerMessage>);

impl Ledger {
    fn beginning_at(first: u64, messages: &[(TimeNs, Message)]) -> Self {
        let stored = messages.iter().zip(first..=u64::MAX);
        let stored = stored.map(|((time_ns, message), sequence)| LedgerMessage {
            sequence,
            time_ns: *time_ns,
            subject: message.subject.clone(),
            headers: Ok(Headers(
                message.headers.iter().map(|(n, v)| (n.to_string(), v.clone())).collect(),
            )),
            payload: message.payload.clone(),
        });
        Self(stored.collect())
    }

    /// The input has one message, which no entry names yet.
    fn answer(&self, ask: Ask, next_ns: TimeNs) -> Answer {
        match ask {
            Ask::LedgerState => Answer::LedgerState {
                first: self.0.first().unwrap().sequence,
                last: self.0.last().unwrap().sequence,
            },
            Ask::LedgerEntry(at) => {
                Answer::LedgerEntry(self.0.iter().find(|m| m.sequence == at).cloned())
            }
            Ask::LedgerTail { from, to } => {
                let asked = self.0.iter().filter(|m| (from..=to).contains(&m.sequence));
                Answer::LedgerTail(asked.cloned().collect())
            }
            Ask::InputState => Answer::InputState { created_ns: 0, last: 1 },
            Ask::InputFrom(at) => Answer::InputFrom((at <= 1).then_some((1, next_ns))),
        }
    }
}

/// Starts a gate whose window is a second; what it commits stays. The next action is of `next_ns`.
fn start(ledger: &Ledger, table: &mut Cursors, next_ns: TimeNs) -> Result<Cursors, Refusal> {
    let input = "ACTIONS".into();
    let (mut recovery, ask) = Recovery::new("oncegate", input, table.clone(), SECOND);
    let mut step = Step::Ask(ask);
    for _ in 0..100 {
        let answer = match step {
            Step::Ask(ask) => ledger.answer(ask, next_ns),
            Step::Commit { commit, .. } => {
                *table = Cursors::decode(&commit.cursors.encode()).unwrap();
                Answer::Committed
            }
            Step::Done(recovered) => return Ok(recovered.cursors),
        };
        step = recovery.next(answer)?;
    }
    panic!("it comes to no end");
}

fn leading(window_ms: u64) -> Message {
    let rules = RuleTexts {
        key_from: vec!["header:Idempotency-Key".into()],
        key_scope: Vec::new(),
        key_max_bytes: 255,
        key_missing: "reject".into(),
        payload_compare: "auto".into(),
        payload_ignore: Vec::new(),
    };
    let leading = Leading {
        instance: "i".into(),
        host: "h".into(),
        version: "v".into(),
        window_ms,
        rules_fingerprint: rules.fingerprint().to_string(),
        rules,
        inputs: Vec::new(),
        ledger_sequence: 0,
        source_time_max_ns: 0,
    };
    entry::leading("oncegate", &leading)
}

/// Keys of the trimmed entries may be seen for the largest window that was in force since, however often
/// the gate is started meanwhile.
#[test]
fn a_table_filled_from_a_trimmed_ledger_waits_for_the_largest_window() {
    let ledger =
        Ledger::beginning_at(5, &[(100 * SECOND, leading(30_000)), (101 * SECOND, leading(1_000))]);
    let mut table = Cursors::default();
    for _ in 0..3 {
        let refused = start(&ledger, &mut table, 129 * SECOND);
        assert_eq!(refused, Err(Refusal::LedgerTrimmed { first: 6 }));
    }
    assert!(start(&ledger, &mut table, 130 * SECOND).is_ok());
}

/// The epoch is a time like any other.
#[test]
fn a_trimmed_ledger_of_the_epoch_waits_too() {
    let ledger = Ledger::beginning_at(5, &[(0, leading(1_000))]);
    let mut table = Cursors::default();
    for _ in 0..2 {
        assert!(start(&ledger, &mut table, SECOND - 1).is_err());
    }
    assert!(start(&ledger, &mut table, SECOND).is_ok());
}

#[test]
fn the_last_sequence_of_all_is_read_once() {
    let source = Source { stream: "OTHER".into(), sequence: u64::MAX, time_ns: 7 };
    let marker = entry::judged("oncegate", &source, 1);
    let messages = [(0, leading(0)), (0, leading(0)), (1, marker)];
    let ledger = Ledger::beginning_at(u64::MAX - 2, &messages);
    let mut table = Cursors::default();
    for _ in 0..2 {
        let cursors = start(&ledger, &mut table, 10 * SECOND).unwrap();
        assert_eq!(cursors.ledger.sequence, u64::MAX);
        assert_eq!(cursors.position("OTHER"), Some(source.clone()));
    }
}
