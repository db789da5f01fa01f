//! What a publisher may do, and what may happen to it.

use crate::{Step, agree};
use Step::{Idle, Plain, Restart};

const START: u8 = 0;
const APPEND: u8 = 1;
const COMMIT: u8 = 2;
const END: u8 = 3;
const PING: u8 = 4;

/// A message of batch 1 that expects what a lone writer would.
fn one(number: u64, op: u8) -> Step {
    of(1, number, op, Some(number - 1))
}

fn of(batch: u64, number: u64, op: u8, expected: Option<u64>) -> Step {
    Step::Send { batch, number, op, expected }
}

fn plain(expected: u64) -> Step {
    Plain { expected: Some(expected) }
}

#[test]
fn a_batch_that_its_last_message_ends() {
    agree(&[one(1, START), one(2, APPEND), one(3, COMMIT)]);
}

#[test]
fn a_batch_that_is_ended_without_a_message() {
    agree(&[one(1, START), one(2, APPEND), of(1, 3, END, None), plain(2)]);
}

#[test]
fn a_batch_of_one_message() {
    agree(&[one(1, COMMIT), of(2, 1, COMMIT, Some(1)), of(3, 1, COMMIT, Some(0))]);
}

#[test]
fn a_plain_publish_expects_right_or_wrong_or_nothing() {
    agree(&[plain(0), plain(0), plain(1), plain(7), Plain { expected: None }, plain(3)]);
}

#[test]
fn an_intruder_in_the_middle() {
    agree(&[
        one(1, START),
        one(2, APPEND),
        Plain { expected: None },
        one(3, APPEND),
        one(4, APPEND),
        one(5, COMMIT),
    ]);
}

#[test]
fn an_intruder_before_the_end_alone() {
    agree(&[one(1, START), one(2, APPEND), Plain { expected: None }, of(1, 3, END, None)]);
}

#[test]
fn an_intruder_before_the_last_message() {
    agree(&[one(1, START), one(2, APPEND), Plain { expected: None }, one(3, COMMIT), plain(3)]);
}

#[test]
fn a_stale_start() {
    agree(&[plain(0), of(1, 1, START, Some(0)), of(1, 2, APPEND, Some(1)), plain(1)]);
    agree(&[plain(0), of(1, 1, START, Some(7)), of(1, 1, START, Some(1)), of(1, 2, END, None)]);
}

/// The expected sequence fits by accident; the batch is dead all the same.
#[test]
fn late_messages_of_a_dead_batch() {
    agree(&[
        one(1, START),
        Plain { expected: None },
        one(2, APPEND),
        of(1, 3, APPEND, Some(2)),
        plain(2),
        of(1, 4, APPEND, Some(3)),
        of(1, 5, COMMIT, Some(3)),
        of(1, 6, END, None),
    ]);
}

#[test]
fn a_message_is_missing() {
    agree(&[one(1, START), one(2, APPEND), of(1, 4, APPEND, Some(2)), of(1, 5, APPEND, Some(2))]);
    agree(&[one(1, START), of(1, 3, COMMIT, Some(1)), plain(1)]);
    agree(&[one(1, START), of(1, 4, END, None), plain(1)]);
}

#[test]
fn a_message_comes_twice() {
    agree(&[one(1, START), one(2, APPEND), of(1, 2, APPEND, Some(2)), one(3, APPEND)]);
    agree(&[one(1, START), of(1, 1, START, Some(1)), one(2, APPEND)]);
}

#[test]
fn a_batch_begins_in_its_middle() {
    agree(&[one(2, APPEND), one(3, COMMIT), of(1, 2, END, None), of(1, 2, PING, None)]);
}

#[test]
fn numbers_that_make_no_sense() {
    agree(&[of(1, 2, START, None), of(1, 1, APPEND, None), of(1, 1, END, None), plain(0)]);
}

#[test]
fn a_ping_tells_nothing_new() {
    agree(&[
        one(1, START),
        of(1, 1, PING, None),
        one(2, APPEND),
        of(1, 2, PING, None),
        one(3, APPEND),
        of(1, 5, PING, None),
        one(4, APPEND),
    ]);
}

#[test]
fn after_its_end_a_batch_takes_nothing() {
    agree(&[one(1, START), one(2, COMMIT), one(3, APPEND), of(1, 3, END, None), plain(2)]);
    agree(&[one(1, START), one(2, COMMIT), of(1, 1, START, Some(2)), of(1, 2, COMMIT, Some(3))]);
}

/// The chain of expected sequences goes across both; an intruder lets the second line up.
#[test]
fn two_batches_at_once() {
    agree(&[
        one(1, START),
        one(2, APPEND),
        of(2, 1, START, Some(2)),
        of(2, 2, APPEND, Some(3)),
        of(1, 3, END, None),
        of(2, 3, COMMIT, Some(4)),
    ]);
    agree(&[
        one(1, START),
        Plain { expected: None },
        one(2, APPEND),
        of(2, 1, START, Some(2)),
        of(2, 2, COMMIT, Some(3)),
    ]);
}

/// Windows are acknowledged, and grow and shrink with the number of open batches.
#[test]
fn windows_alone_and_beside_another() {
    let mut script: Vec<Step> = (1..=700).map(|n| one(n, u8::from(n > 1))).collect();
    script.push(of(2, 1, START, Some(700)));
    script.extend((2..=900).map(|n| of(2, n, APPEND, Some(699 + n))));
    script.extend((701..=1_300).map(|n| of(1, n, APPEND, Some(899 + n))));
    script.push(of(2, 901, END, None));
    script.extend((1_301..=2_300).map(|n| of(1, n, APPEND, Some(899 + n))));
    script.push(of(1, 2_301, COMMIT, Some(3_200)));
    agree(&script);
}

#[test]
fn a_window_shrinks_step_by_step_beside_many() {
    let mut script = vec![of(1, 1, START, None)];
    script.extend((2..=4).map(|batch| of(batch, 1, START, None)));
    script.extend((2..=2_000).map(|n| of(1, n, APPEND, None)));
    script.push(of(1, 2_001, END, None));
    agree(&script);
}

#[test]
fn an_idle_batch_is_dropped() {
    agree(&[one(1, START), one(2, APPEND), Idle, one(3, APPEND), of(1, 4, END, None), plain(2)]);
    agree(&[one(1, START), Idle, of(1, 2, PING, None), of(1, 1, START, Some(1))]);
}

#[test]
fn the_server_starts_again_in_the_middle() {
    agree(&[one(1, START), one(2, APPEND), Restart, one(3, APPEND), of(1, 4, END, None), plain(2)]);
}
