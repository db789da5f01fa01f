//! Recovery from outside, driven by hand: what a gate that is started again must find again.

#![allow(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

#[path = "support/term.rs"]
mod term;

use oncegate::gate::cursor::Cursors;
use oncegate::gate::engine::recovery::{
    Answer, Ask, LedgerMessage, Records, Recovery, Refusal, Step,
};
use oncegate::gate::entry::{self, LeadingInput, Message};
use oncegate::gate::source::{Source, TimeNs};

use term::leading_of;

const SECOND: TimeNs = 1_000_000_000;

/// A ledger whose last sequence is that of its last message.
struct Ledger(Vec<LedgerMessage>);

/// The time of every message of the input, which was created at 0, from sequence 1.
type Input<'a> = &'a [TimeNs];

impl Ledger {
    fn beginning_at(first: u64, messages: &[(TimeNs, Message)]) -> Self {
        let stored = messages.iter().zip(first..=u64::MAX);
        let stored = stored.map(|((time_ns, message), sequence)| LedgerMessage {
            sequence,
            time_ns: *time_ns,
            subject: message.subject.clone(),
            headers: Ok(message.headers.iter().map(|(n, v)| (n, v)).collect()),
            payload: message.payload.clone(),
        });
        Self(stored.collect())
    }

    fn answer(&self, ask: Ask, input: Input) -> Answer {
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
            Ask::Records(_) => Answer::Records(Records::new()),
            Ask::InputState(_) => Answer::InputState { created_ns: 0, last: input.len() as u64 },
            Ask::InputFrom(_, from) => {
                let mut stored = (1..).zip(input.iter().copied());
                Answer::InputFrom(stored.find(|(at, _)| *at >= from))
            }
        }
    }
}

/// Starts a gate whose window is a second; what it commits stays.
fn start(ledger: &Ledger, table: &mut Cursors, input: Input) -> Result<Cursors, Refusal> {
    let name = "ACTIONS".into();
    let (mut recovery, ask) = Recovery::new("oncegate", [name], table.clone(), SECOND);
    let mut step = Step::Ask(ask);
    for _ in 0..100 {
        let answer = match step {
            Step::Ask(ask) => ledger.answer(ask, input),
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
    entry::leading("oncegate", &leading_of(window_ms))
}

/// Keys of the trimmed entries may be seen for the largest window that was in force since, however often
/// the gate is started meanwhile.
#[test]
fn a_table_filled_from_a_trimmed_ledger_waits_for_the_largest_window() {
    let ledger =
        Ledger::beginning_at(5, &[(100 * SECOND, leading(30_000)), (101 * SECOND, leading(1_000))]);
    let mut table = Cursors::default();
    for _ in 0..3 {
        let refused = start(&ledger, &mut table, &[129 * SECOND]);
        assert_eq!(refused, Err(Refusal::LedgerTrimmed { first: 6 }));
    }
    assert!(start(&ledger, &mut table, &[130 * SECOND]).is_ok());
}

/// Of an input that was made anew the first action is the next, not the one after the old position.
#[test]
fn a_new_input_shortens_no_wait_of_a_trimmed_ledger() {
    let old = Source { stream: "ACTIONS".into(), sequence: 2, time_ns: -7 };
    let mut term = leading_of(1_000);
    term.inputs = vec![LeadingInput {
        stream: old.stream.to_string(),
        created_ns: -1,
        sequence: old.sequence,
        time_ns: old.time_ns,
    }];
    let ledger = Ledger::beginning_at(5, &[(100 * SECOND, entry::leading("oncegate", &term))]);
    let input = [100 * SECOND, 100 * SECOND, 101 * SECOND];
    let mut table = Cursors::default();
    let refused = start(&ledger, &mut table, &input);
    assert_eq!(refused, Err(Refusal::LedgerTrimmed { first: 5 }));
    let input = [101 * SECOND; 3];
    let cursors = start(&ledger, &mut table, &input).unwrap();
    assert_eq!(cursors.position("ACTIONS"), None);
}

/// The epoch is a time like any other.
#[test]
fn a_trimmed_ledger_of_the_epoch_waits_too() {
    let ledger = Ledger::beginning_at(5, &[(0, leading(1_000))]);
    let mut table = Cursors::default();
    for _ in 0..2 {
        assert!(start(&ledger, &mut table, &[SECOND - 1]).is_err());
    }
    assert!(start(&ledger, &mut table, &[SECOND]).is_ok());
}

#[test]
fn the_last_sequence_of_all_is_read_once() {
    let source = Source { stream: "OTHER".into(), sequence: u64::MAX, time_ns: 7 };
    let marker = entry::judged("oncegate", &source, 1);
    let messages = [(0, leading(0)), (0, leading(0)), (1, marker)];
    let ledger = Ledger::beginning_at(u64::MAX - 2, &messages);
    let mut table = Cursors::default();
    for _ in 0..2 {
        let cursors = start(&ledger, &mut table, &[10 * SECOND]).unwrap();
        assert_eq!(cursors.ledger.sequence, u64::MAX);
        assert_eq!(cursors.position("OTHER"), Some(source.clone()));
    }
}
