//! The core under a fuzzer. It is compiled here from its sources with a handful of small crates, which
//! also shows that it needs neither RocksDB nor a NATS client.
//!
//! What is asserted is in [`targets`], plain functions of bytes: `tests/fuzz_corpus.rs` of the gate runs
//! the same ones over the corpus.

#[path = "../../src/gate/mod.rs"]
pub mod gate;
pub mod targets;
