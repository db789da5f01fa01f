//! A connection: two pipes that keep their order, take time, stall, and break.
//!
//! What a client wrote before a break may have arrived, or is lost, or is still in its queue and arrives
//! after it has connected again, however late.

use std::collections::VecDeque;

use crate::messages::{Down, Id, Role, Up};

pub struct Pipe<T> {
    pub queue: VecDeque<T>,
    /// When the last of them arrives.
    last_ns: i64,
    pub stalled_until_ns: i64,
}

impl<T> Pipe<T> {
    fn new() -> Self {
        Self { queue: VecDeque::new(), last_ns: 0, stalled_until_ns: 0 }
    }

    /// When what is sent now arrives.
    pub fn push(&mut self, message: T, now_ns: i64, latency_ns: i64) -> i64 {
        self.queue.push_back(message);
        self.last_ns = self.last_ns.max(now_ns + latency_ns).max(self.stalled_until_ns);
        self.last_ns
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Up,
    /// Nothing passes; the client does not know yet.
    Cut,
    /// The client knows, and tries to connect.
    Down,
}

pub struct Link {
    pub worker: usize,
    /// The process it belongs to; of one that is gone, only what it sent still arrives.
    pub life: u64,
    pub role: Role,
    pub state: State,
    /// The client is gone.
    pub closed: bool,
    pub to_server: Pipe<Up>,
    pub to_client: Pipe<Down>,
    /// Subscriptions of the client.
    pub inboxes: Vec<Id>,
}

impl Link {
    pub fn new(worker: usize, life: u64, role: Role) -> Self {
        Self {
            worker,
            life,
            role,
            state: State::Up,
            closed: false,
            to_server: Pipe::new(),
            to_client: Pipe::new(),
            inboxes: Vec::new(),
        }
    }

    /// What was under way to the client is lost.
    pub fn cut(&mut self) {
        self.state = State::Cut;
        self.to_client.queue.clear();
    }

    /// The client is gone; of what it sent, the first `arriving` are with the operating system.
    pub fn close(&mut self, arriving: usize) {
        self.closed = true;
        self.to_server.queue.truncate(arriving);
        self.to_client.queue.clear();
    }
}
