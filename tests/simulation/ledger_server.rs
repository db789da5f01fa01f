//! A ledger stream as the server keeps it: plain publishes and fast-ingest batches (NATS ADR-50) in gap
//! mode `fail`, with an expected last sequence.
//!
//! It follows nats-server 2.14 and 2.15 (`server/jetstream_batching.go`, `processJetStreamFastBatchMsg` in
//! `server/stream.go`), and `tests/conformance` holds it to them: the same scripts, the same answers. It
//! shares no type with the gate, so that no misunderstanding is shared either.

use std::collections::BTreeMap;

use bytes::Bytes;

/// The server's code for an expected sequence that is not the last one.
pub const WRONG_LAST_SEQUENCE: u64 = 10_071;
/// The server's code for a batch that it does not know.
pub const UNKNOWN_BATCH: u64 = 10_208;
/// The server's code for a reply subject that makes no sense.
const INVALID_PATTERN: u64 = 10_206;
/// The most messages between two acknowledgements, shared by all open batches.
const FLOW_MAX: u64 = 500;
/// A batch that hears nothing for so long is dropped, in silence.
const IDLE_NS: i64 = 10_000_000_000;

/// A protocol message as it arrives at the stream.
#[derive(Clone, Debug)]
pub struct Publish {
    pub subject: String,
    pub headers: Vec<(String, String)>,
    pub payload: Bytes,
    pub expected_last_sequence: Option<u64>,
    pub reply: ReplyTo,
}

/// Where answers go; for a batch, what its reply subject says.
#[derive(Clone, Debug)]
pub enum ReplyTo {
    Plain { inbox: u64 },
    Batch { inbox: u64, batch: u64, flow: u64, number: u64, op: u8 },
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Reply {
    pub inbox: u64,
    pub batch: Option<u64>,
    pub kind: ReplyKind,
}

/// What it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReplyKind {
    Flow { number: u64, flow: u64 },
    Error { code: u64 },
    Gap { expected: u64, current: u64 },
    PubAck { sequence: u64, count: Option<u64> },
}

/// The two differ in one word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Release {
    /// Says nothing of a gap where a number comes a second time.
    #[default]
    V2_14,
    /// Calls that a gap too.
    V2_15,
}

/// A message in the stream.
#[derive(Clone, Debug)]
pub struct Stored {
    pub sequence: u64,
    pub time_ns: i64,
    pub subject: String,
    pub headers: Vec<(String, String)>,
    pub payload: Bytes,
}

/// An open batch. Whatever it takes is stored at once, so it has nothing pending.
#[derive(Clone, Debug)]
struct Batch {
    /// Of its last message.
    inbox: u64,
    /// Messages stored.
    stored: u64,
    /// Ledger sequence of the last of them.
    sequence: u64,
    /// As far as flow acknowledgements went.
    acknowledged: u64,
    /// Messages between two of them, now.
    flow: u64,
    /// The most that its publisher asked for.
    flow_max: u64,
    active_ns: i64,
}

/// One stream; a clone is a copy of its store, with what is open.
#[derive(Clone, Debug, Default)]
pub struct LedgerServer {
    release: Release,
    messages: BTreeMap<u64, Stored>,
    trimmed_below: u64,
    last: u64,
    /// By id.
    batches: BTreeMap<u64, Batch>,
    /// Every append is refused with this code, as by a stream that is full.
    refuses: Option<u64>,
    /// Less than [`FLOW_MAX`] is granted.
    flow_max: Option<u64>,
}

impl LedgerServer {
    pub fn new(release: Release) -> Self {
        Self { release, ..Self::default() }
    }

    /// Takes one message; what is sent back, in order.
    pub fn publish(&mut self, message: Publish, now_ns: i64) -> Vec<Reply> {
        match message.reply {
            ReplyTo::Plain { inbox } => {
                let kind = match self.store(message, now_ns) {
                    Ok(sequence) => ReplyKind::PubAck { sequence, count: None },
                    Err(code) => ReplyKind::Error { code },
                };
                vec![Reply { inbox, batch: None, kind }]
            }
            ReplyTo::Batch { inbox, batch, flow, number, op } => {
                self.drop_idle(now_ns);
                let answers = self.in_batch(message, now_ns, batch, (flow, number, op), inbox);
                let reply = |kind| Reply { inbox, batch: Some(batch), kind };
                answers.into_iter().map(reply).collect()
            }
        }
    }

    /// From here on every append is refused with this code, or none.
    pub fn refuse(&mut self, code: Option<u64>) {
        self.refuses = code;
    }

    /// From here on no more than this is granted.
    pub fn limit_flow(&mut self, most: u64) {
        self.flow_max = Some(most);
    }

    fn flow_most(&self) -> u64 {
        self.flow_max.unwrap_or(FLOW_MAX)
    }

    /// Time goes by. The server says nothing about a batch that it drops.
    pub fn tick(&mut self, now_ns: i64) -> Vec<Reply> {
        self.drop_idle(now_ns);
        Vec::new()
    }

    /// The server starts again: batches live in memory only.
    pub fn restart(&mut self) -> Vec<Reply> {
        self.batches.clear();
        Vec::new()
    }

    /// Another replica leads. It has followed the batches, goes on from what is stored, and says so.
    pub fn leader_change(&mut self, now_ns: i64) -> Vec<Reply> {
        let (open, most) = (self.batches.len(), self.flow_most());
        let mut replies = Vec::new();
        for (id, batch) in &mut self.batches {
            batch.flow = first_flow(batch.flow_max.min(most), open);
            batch.acknowledged = batch.stored;
            batch.active_ns = now_ns;
            let kind = ReplyKind::Flow { number: batch.stored, flow: batch.flow };
            replies.push(Reply { inbox: batch.inbox, batch: Some(*id), kind });
        }
        replies
    }

    pub fn first_sequence(&self) -> u64 {
        self.trimmed_below.max(1)
    }

    pub fn last_sequence(&self) -> u64 {
        self.last
    }

    pub fn get(&self, sequence: u64) -> Option<&Stored> {
        self.messages.get(&sequence)
    }

    /// The stream's limits dropped what is before `first`.
    pub fn trim_to(&mut self, first: u64) {
        self.messages = self.messages.split_off(&first);
        self.trimmed_below = first;
    }

    fn drop_idle(&mut self, now_ns: i64) {
        self.batches.retain(|_, batch| now_ns - batch.active_ns < IDLE_NS);
    }

    fn in_batch(
        &mut self,
        message: Publish,
        now_ns: i64,
        id: u64,
        (flow, number, op): (u64, u64, u8),
        inbox: u64,
    ) -> Vec<ReplyKind> {
        let sensible = match op {
            0 => number == 1,
            1 | 3 => number > 1,
            _ => number > 0,
        };
        if !sensible {
            return vec![ReplyKind::Error { code: INVALID_PATTERN }];
        }
        if !self.batches.contains_key(&id) {
            if number != 1 {
                return vec![ReplyKind::Error { code: UNKNOWN_BATCH }];
            }
            self.open(id, flow, now_ns);
        }
        let Some(batch) = self.batches.get_mut(&id) else { return Vec::new() };
        batch.active_ns = now_ns;
        match op {
            4 => self.ping(id, number),
            // A number that was taken already, or one that is missing, ends the batch.
            _ if number != batch.stored + 1 => {
                let (expected, current) = (batch.stored + 1, number);
                let told = current > expected || self.release == Release::V2_15;
                let gap = told.then_some(ReplyKind::Gap { expected, current });
                gap.into_iter().chain(self.end(id)).collect()
            }
            3 => self.end(id).into_iter().collect(),
            _ => {
                batch.inbox = inbox;
                self.append(message, now_ns, id, number, op == 2)
            }
        }
    }

    fn open(&mut self, id: u64, flow_max: u64, now_ns: i64) {
        let flow = first_flow(flow_max.min(self.flow_most()), self.batches.len() + 1);
        let batch = Batch {
            inbox: 0,
            stored: 0,
            sequence: 0,
            acknowledged: 0,
            flow,
            flow_max,
            active_ns: now_ns,
        };
        self.batches.insert(id, batch);
    }

    fn ping(&mut self, id: u64, number: u64) -> Vec<ReplyKind> {
        let Some(batch) = self.batches.get(&id) else { return Vec::new() };
        if number <= batch.stored {
            return vec![ReplyKind::Flow { number: batch.acknowledged, flow: batch.flow }];
        }
        let gap = ReplyKind::Gap { expected: batch.stored + 1, current: number + 1 };
        std::iter::once(gap).chain(self.end(id)).collect()
    }

    fn append(
        &mut self,
        message: Publish,
        now_ns: i64,
        id: u64,
        number: u64,
        commit: bool,
    ) -> Vec<ReplyKind> {
        let mut answers = Vec::new();
        let most = (self.flow_most() / self.batches.len().max(1) as u64).max(1);
        let stored = self.store(message, now_ns);
        let Some(batch) = self.batches.get_mut(&id) else { return answers };
        if number == 1 && !commit {
            answers.push(ReplyKind::Flow { number: 0, flow: batch.flow });
        }
        match stored {
            Ok(sequence) => {
                (batch.stored, batch.sequence) = (number, sequence);
                answers.extend(if commit { self.end(id) } else { batch.flow_ack(most) });
            }
            Err(code) => {
                answers.push(ReplyKind::Error { code });
                // Where nothing of the batch is stored, the error is the only answer.
                let end = self.end(id);
                answers.extend(end.filter(|_| number > 1));
            }
        }
        answers
    }

    /// The batch is over; how much of it is stored.
    fn end(&mut self, id: u64) -> Option<ReplyKind> {
        let Batch { sequence, stored, .. } = self.batches.remove(&id)?;
        Some(ReplyKind::PubAck { sequence, count: Some(stored) })
    }

    fn store(&mut self, message: Publish, now_ns: i64) -> Result<u64, u64> {
        if let Some(code) = self.refuses {
            return Err(code);
        }
        if message.expected_last_sequence.is_some_and(|expected| expected != self.last) {
            return Err(WRONG_LAST_SEQUENCE);
        }
        self.last += 1;
        let Publish { subject, headers, payload, .. } = message;
        let stored = Stored { sequence: self.last, time_ns: now_ns, subject, headers, payload };
        self.messages.insert(self.last, stored);
        Ok(self.last)
    }
}

impl Batch {
    /// Every so many messages; how many changes, with the number of batches that are open.
    fn flow_ack(&mut self, most: u64) -> Option<ReplyKind> {
        if self.stored < self.acknowledged + self.flow {
            return None;
        }
        self.acknowledged += (self.stored - self.acknowledged) / self.flow * self.flow;
        let most = most.min(self.flow_max);
        if self.flow < most {
            self.flow = (self.flow * 2).min(most);
        } else if self.flow > most {
            self.flow = (self.flow / 2).max(most);
        }
        Some(ReplyKind::Flow { number: self.acknowledged, flow: self.flow })
    }
}

/// A batch beside others begins slowly.
fn first_flow(flow_max: u64, open: usize) -> u64 {
    if open > 1 { 1 } else { flow_max.min(FLOW_MAX) }
}
