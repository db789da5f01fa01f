//! The caller gets an answer: receipts, look-ups, results and keys given back, on a real server and worker. The
//! ledger, actions and reports in its order, equals the model.
#![allow(
    dead_code,
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "a test fails by panicking, and each file uses its own part of the support"
)]

#[path = "../support/mod.rs"]
mod support;

mod asking;
mod keys;
mod load;
mod lookup;
mod oddities;
mod receipts;
mod reports;
mod streams_anew;
