//! The core: what an action is, whether its key was seen, what the ledger will hold.
//!
//! Everything here is a function of its arguments: no IO, no clock, no randomness, no logging. That is
//! what makes a replay decide the same (DESIGN invariant 1), and what lets a simulator drive it.
//!
//! In reading order: [`rules`] and [`headers`] (settings and input), [`pointer`] and [`canonical`]
//! (strict JSON), [`key`], [`digest`], [`action`] (a message becomes an action or has a reason not
//! to), [`report`] (what executors and operators tell), [`record`] and [`cursor`] (what the table keeps),
//! [`verdict`] (the table of the contract), [`entry`] (verdict to ledger entry and back), [`receipt`] (what a
//! caller is told), [`differences`] (a mismatch for a person to look at), [`engine`] (the protocol as a state
//! machine).

pub mod action;
pub mod canonical;
mod codec;
pub mod cursor;
pub mod differences;
pub mod digest;
pub mod engine;
pub mod entry;
pub mod headers;
pub mod key;
mod number;
mod plain;
pub mod pointer;
pub mod receipt;
pub mod record;
pub mod report;
pub mod rules;
pub mod source;
pub mod verdict;
