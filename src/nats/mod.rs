//! The NATS edge: the only code that knows `async-nats`.
//!
//! In reading order: [`connect`] (a connection and what happens to it), [`api`] (one JetStream request),
//! [`setup`] (streams, consumer, permissions), [`raw`] (messages read one by one, whatever their bytes),
//! [`pull`] (a consumer's deliveries without a hole), [`feed`] (actions, in order), [`tail`] (the ledger's
//! entries, in order), [`walk`] (a stream's messages from here to there), [`ledger`] (appends and their answers), [`lease`] (who may lead).

pub mod api;
pub mod connect;
pub mod feed;
pub mod lease;
pub mod ledger;
mod place;
pub mod pull;
pub mod raw;
pub mod service;
pub mod setup;
pub mod tail;
pub mod walk;
