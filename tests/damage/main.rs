//! Real files that are flipped, cut, lost or of somebody else, and disks that are full or read-only: the gate
//! stops and says why, or it can be shown that nothing came of it. Never an empty start, never a wrong verdict.
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

#[path = "../support/numbered.rs"]
mod numbered;
#[path = "../support/mod.rs"]
mod support;

mod disk;
mod files;
mod worker;
