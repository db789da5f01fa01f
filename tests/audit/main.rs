//! `oncegate audit` beside a real worker's ledger: silent where the ledger is as it must be, and exact
//! where somebody has tampered with it.
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

mod clean;
mod forged;
mod lost;
mod reports;
mod stage;
mod tampered;
