//! What workers and servers say to each other.

use oncegate::gate::action::RawAction;
use oncegate::gate::engine::InputKind;
use oncegate::gate::engine::recovery::LedgerMessage;

use crate::ledger_server::{Publish, Reply};

/// Tells one request, inbox or batch from all others of a run.
pub type Id = u64;

/// From a worker to the servers.
#[derive(Debug)]
pub enum Up {
    Ask {
        id: Id,
        call: Call,
    },
    Append(Publish),
    Pull {
        input: InputKind,
        inbox: Id,
        messages: u64,
    },
    /// The real server goes by the sequence alone.
    Ack {
        input: InputKind,
        sequence: u64,
        time_ns: i64,
    },
}

/// A request.
#[derive(Debug)]
pub enum Call {
    LedgerState,
    LedgerEntry(u64),
    LedgerTail { from: u64, to: u64 },
    AppendAlone { message: oncegate::gate::entry::Message, expected: u64 },
    InputState(InputKind),
    InputFrom(InputKind, u64),
    DeleteInput { input: InputKind, sequence: u64, time_ns: i64 },
    ConsumerDelete(InputKind),
    ConsumerCreate(InputKind),
    ConsumerReset(InputKind, u64),
    LeaseGet,
    LeaseCreate { holder: usize },
    LeaseUpdate { holder: usize, revision: u64 },
    LeaseDelete { revision: u64 },
}

/// The answer to a [`Call`].
#[derive(Debug)]
pub enum Found {
    Refused,
    Done,
    LedgerState { first: u64, last: u64 },
    LedgerEntry(Option<LedgerMessage>),
    LedgerTail(Vec<LedgerMessage>),
    Stored(u64),
    InputState { created_ns: i64, last: u64 },
    InputMessage(Option<RawAction>),
    Lease(Option<(usize, u64)>),
    LeaseRevision(u64),
}

/// From the servers to a worker.
#[derive(Debug)]
pub enum Down {
    Answer { id: Id, found: Found },
    Ledger(Reply),
    Delivery { inbox: Id, delivery: Delivery },
    PullEnded { inbox: Id },
    Heartbeat { inbox: Id, idle: Idle },
}

/// What a consumer with nothing to deliver says of itself.
#[derive(Clone, Copy, Debug)]
pub struct Idle {
    /// The number of the last delivery.
    pub last: u64,
    /// Everything up to this stream sequence is delivered.
    pub up_to: u64,
}

/// A message that a consumer brings.
#[derive(Clone, Debug)]
pub struct Delivery {
    pub number: u64,
    /// 0 if nothing is behind it.
    pub pending: u64,
    pub raw: RawAction,
}

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Ledger,
    Feed(InputKind),
    Lease,
}
