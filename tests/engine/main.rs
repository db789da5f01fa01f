//! The engine from outside, driven by hand: a ledger that answers as the server does, and no more.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test stops at what it did not expect"
)]

mod answers;
mod batches;
mod ledger;
mod reports;
mod world;
