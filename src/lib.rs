//! Oncegate: the gate that makes an AI agent's actions happen once.
//!
//! Publishers retry, queues deliver at least once. The gate reads actions from a JetStream stream and lets
//! each idempotency key through exactly once. Its output stream is the ledger: to forward an action *is* to
//! record its key, and every append is compare-and-set on the ledger's last sequence. A RocksDB table
//! indexes the ledger and may lag it, never lead it. So whatever happens the answer is the same: in
//! doubt, drop what is in flight, read the ledger's tail into the table, go on from the last entry's
//! position.
//!
//! In reading order:
//! - [`gate`]: the core. What an action is, the verdicts, the ledger's entries, the protocol as a state
//!   machine. Pure.
//! - [`table`]: the key table, on RocksDB. Knows the core only.
//! - [`nats`]: streams, feed, ledger session, lease. Knows the core only.
//! - [`worker`]: joins them: waits for the next event, hands it to the engine, does its commands.
//! - [`audit`]: judges everything again from the streams alone.
//! - [`bench`]: what users measure on their own machines.
//! - [`config`], [`http`], [`metrics`]: what operators set and see.
//! - [`cli`]: one file a command.
//!
//! ARCHITECTURE.md has the bird's-eye view, the invariants, and what is absent on purpose.

pub mod audit;
pub mod bench;
pub mod cli;
pub mod clock;
pub mod config;
pub mod gate;
pub mod http;
pub mod metrics;
pub mod nats;
pub mod progress;
pub mod table;
pub mod worker;
