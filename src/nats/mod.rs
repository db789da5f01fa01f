//! The NATS edge: the only code that knows `async-nats`.
//!
//! In reading order: [`connect`] (a connection and what happens to it), [`api`] (one JetStream request),
//! [`setup`] (streams, consumer, permissions), [`raw`] (messages read one by one, whatever their bytes),
//! [`feed`] (actions, in order and without a hole), [`ledger`] (appends and their answers), [`lease`]
//! (who may lead).

pub mod api;
pub mod connect;
pub mod feed;
pub mod lease;
pub mod ledger;
pub mod raw;
pub mod setup;
