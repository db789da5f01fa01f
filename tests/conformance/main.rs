//! The simulated ledger server is held to the real ones: the same scripts, the same answers, in order,
//! and the same stream in the end.
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

#[path = "../simulation/ledger_server.rs"]
mod ledger_server;
#[path = "../support/mod.rs"]
mod support;

mod real;
mod scripts;
mod simulated;

use ledger_server::{Release, ReplyKind};
use support::server::{V2_14, V2_15};

/// One thing that a publisher, or the world, does.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// A message of a batch.
    Send { batch: u64, number: u64, op: u8, expected: Option<u64> },
    /// A publish outside any batch.
    Plain { expected: Option<u64> },
    /// Nothing, until batches that nobody goes on with are dropped.
    Idle,
    /// The server is killed and starts again.
    Restart,
}

/// An answer, and to which batch.
type Answer = (Option<u64>, ReplyKind);

/// What came of a script.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    /// For each step, in the order in which the answers came.
    answers: Vec<Vec<Answer>>,
    /// Payloads of the stream in the end; each is the number of the step that sent it.
    stored: Vec<String>,
}

/// The window that every batch asks for.
const FLOW_ASKED: u64 = 500;

/// Runs it against the simulated server and both real ones.
fn agree(script: &[Step]) {
    for (version, release) in [(V2_14, Release::V2_14), (V2_15, Release::V2_15)] {
        let simulated = simulated::run(release, script);
        let real = real::run(version, script);
        for (index, step) in script.iter().enumerate() {
            let (real, simulated) = (&real.answers[index], &simulated.answers[index]);
            assert_eq!(simulated, real, "step {index} ({step:?}) on nats-server {version}");
        }
        assert_eq!(simulated.stored, real.stored, "the stream on nats-server {version}");
    }
}
