//! Two workers and a server that live long, under a mixed load with a small window: the ledger equals
//! the model, and nothing grows. `scripts/soak` runs it for as long as one likes.
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

mod check;
mod events;
mod flat;
mod load;
mod report;
mod run;
mod samples;
mod stage;
