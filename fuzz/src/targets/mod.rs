//! What is asserted of any bytes. Each `check` reads its bytes as it likes and panics where the core does
//! not hold to the contract.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a target fails by panicking"
)]

pub mod action;
pub mod canonical;
pub mod codecs;
pub mod entry;
pub mod recovery;
pub mod report;

mod choices;
mod cursors;
mod ledger;
mod meaning;
mod messages;

#[path = "../../../tests/canonical/decimal.rs"]
mod decimal;
#[path = "../../../tests/canonical/slow.rs"]
mod slow;
#[path = "../../../tests/canonical/spelling.rs"]
mod spelling;

type Target = fn(&[u8]);

/// Every target by the name of its corpus.
pub const ALL: [(&str, Target); 6] = [
    ("action", action::check),
    ("canonical", canonical::check),
    ("codecs", codecs::check),
    ("entry", entry::check),
    ("recovery", recovery::check),
    ("report", report::check),
];
