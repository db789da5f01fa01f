//! Real faults on real workers, servers and connections; at the end the ledger equals the model,
//! entry by entry. Each fault alone, then all of them mixed by a seed; `scripts/chaos` runs the mix
//! for longer.
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

mod each;
mod faults;
mod mixed;
mod stage;
