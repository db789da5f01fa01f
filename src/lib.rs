//! Oncegate: the gate that makes an AI agent's actions happen once.

pub mod cli;
pub mod config;
pub mod gate;
pub mod http;
pub mod metrics;
pub mod nats;
pub mod table;
pub mod worker;
