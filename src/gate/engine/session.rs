//! One fast-ingest batch (NATS ADR-50), gap mode `fail`, an expected sequence on every message.
//!
//! The server takes a prefix of a batch and nothing after the first error. It says every `flow` messages
//! how far it is; what lies between is acknowledged only by the batch's end. The next batch begins after
//! the last one's final answer: with two at once, the second could line up by accident behind an intruder.

use super::Bounds;
use crate::gate::entry::Message;

/// How many messages between two acknowledgements are asked for, at most; the server answers with its own.
const FLOW_ASKED_MAX: u64 = 500;
/// Windows in flight, so that the server never waits for us.
const WINDOWS_OUTSTANDING: u64 = 3;
/// A batch that asks for acknowledgements so many times as often as it need is ended, but not before so many messages:
/// each end waits for its answer.
const OUTGROWN_TIMES: u64 = 4;
const OUTGROWN_MESSAGES_MIN: u64 = 1000;
/// The server's code for an expected sequence that is not the last one.
const WRONG_LAST_SEQUENCE: u64 = 10_071;

/// The operation in a fast-ingest reply subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// First message of a batch.
    Start = 0,
    /// One more message.
    Append = 1,
    /// The last message.
    Commit = 2,
    /// No message: the batch ends with the one before.
    End = 3,
}

/// One step of a batch, for the shell to send.
#[derive(Debug, PartialEq, Eq)]
pub struct Append {
    /// Which batch.
    pub batch: u64,
    /// Position in the batch, from 1.
    pub number: u64,
    /// The acknowledgements that the batch asks for: one every so many messages.
    pub flow: u64,
    /// What it does.
    pub op: Op,
    /// `Nats-Expected-Last-Sequence`.
    pub expected: u64,
    /// `None` for [`Op::End`].
    pub message: Option<Message>,
}

/// What the ledger stream answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// Which batch.
    pub batch: u64,
    /// What.
    pub kind: ReplyKind,
}

/// See [`Reply`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReplyKind {
    /// All messages up to `number` are stored; from here on an ack comes every `flow` messages.
    Flow {
        /// Position in the batch; 0 is the answer to the first message and commits nothing.
        number: u64,
        /// The server's word on the window.
        flow: u64,
    },
    /// The batch was refused from some message on.
    Error {
        /// The server's error code.
        code: u64,
        /// Its description.
        description: String,
    },
    /// A message was missing.
    Gap,
    /// The batch is over.
    End {
        /// The ledger's last sequence.
        sequence: u64,
        /// How many messages of the batch are stored; `None` where a lone message was answered.
        count: Option<u64>,
    },
}

/// Why a session can't go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Not about this batch; nothing to do.
    Stale,
    /// Another writer took a sequence.
    Fenced,
    /// What the server said.
    Refused(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Batch {
    None,
    Open { sent: u64, stored: u64, flow: Option<u64> },
    Ending { sent: u64, stored: u64 },
}

/// See the module.
#[derive(Debug)]
pub struct Session {
    id: u64,
    batch: Batch,
    /// Of the batch.
    flow_asked: u64,
    bounds: Bounds,
}

impl Session {
    /// `first_id` keeps the batches of one recovery apart from those of the one before.
    pub fn new(first_id: u64, bounds: Bounds) -> Self {
        Self { id: first_id, batch: Batch::None, flow_asked: FLOW_ASKED_MAX, bounds }
    }

    /// Whether a message may be sent now.
    pub fn has_credit(&self) -> bool {
        self.credit() > 0
    }

    /// So many messages may be sent now.
    pub fn credit(&self) -> u64 {
        let (waiting, flow) = match self.batch {
            Batch::None => (0, None),
            Batch::Open { sent, stored, flow } => (sent - stored, flow),
            Batch::Ending { .. } => return 0,
        };
        let granted = flow.map_or(self.bounds.credit_before_first_answer, |flow| {
            flow.saturating_mul(WINDOWS_OUTSTANDING)
        });
        granted.saturating_sub(waiting)
    }

    /// The final answer is due.
    pub fn is_ending(&self) -> bool {
        matches!(self.batch, Batch::Ending { .. })
    }

    /// The next message; `last` ends the batch with it. `mean_bytes`: of the messages that are under way.
    pub fn append(
        &mut self,
        message: Message,
        expected: u64,
        (last, mean_bytes): (bool, usize),
    ) -> Append {
        let (number, stored, flow) = match self.batch {
            Batch::Open { sent, stored, flow } => (sent + 1, stored, flow),
            Batch::None | Batch::Ending { .. } => {
                self.id += 1;
                self.flow_asked = self.flow_for(mean_bytes);
                (1, 0, None)
            }
        };
        let op = match (last, number) {
            (true, _) => Op::Commit,
            (false, 1) => Op::Start,
            (false, _) => Op::Append,
        };
        self.batch = if last {
            Batch::Ending { sent: number, stored }
        } else {
            Batch::Open { sent: number, stored, flow }
        };
        let (batch, flow) = (self.id, self.flow_asked);
        Append { batch, number, flow, op, expected, message: Some(message) }
    }

    /// All windows together stay within the bound on bytes. Where that is reached without an acknowledgement being due,
    /// only the batch's end brings one, and everything waits for it.
    fn flow_for(&self, mean_bytes: usize) -> u64 {
        let messages = self.bounds.unacknowledged_bytes_max / mean_bytes.max(1);
        (messages as u64 / WINDOWS_OUTSTANDING).clamp(1, FLOW_ASKED_MAX)
    }

    /// Messages were larger when the batch began, and now so few are let through at once for no reason.
    pub fn is_outgrown(&self, mean_bytes: usize) -> bool {
        let needed = self.flow_asked.saturating_mul(OUTGROWN_TIMES) > self.flow_for(mean_bytes);
        let is_long = |sent| sent >= OUTGROWN_MESSAGES_MIN;
        !needed && matches!(self.batch, Batch::Open { sent, .. } if is_long(sent))
    }

    /// Ends an open batch whose last message is sent already.
    pub fn end(&mut self) -> Option<Append> {
        let Batch::Open { sent, stored, .. } = self.batch else {
            return None;
        };
        self.batch = Batch::Ending { sent, stored };
        let (batch, number, flow) = (self.id, sent + 1, self.flow_asked);
        Some(Append { batch, number, flow, op: Op::End, expected: 0, message: None })
    }

    /// How many more messages are stored; `stored_up_to` is the ledger's last known sequence.
    pub fn on_reply(&mut self, reply: Reply, stored_up_to: u64) -> Result<u64, Ended> {
        if reply.batch != self.id || self.batch == Batch::None {
            return Err(Ended::Stale);
        }
        match reply.kind {
            ReplyKind::Flow { number, flow } => self.on_flow(number, flow),
            ReplyKind::Gap => Err(Ended::Refused("a message of the batch was missing".to_owned())),
            ReplyKind::Error { code: WRONG_LAST_SEQUENCE, .. } => Err(Ended::Fenced),
            ReplyKind::Error { code, description } => {
                Err(Ended::Refused(format!("{description} (error {code})")))
            }
            ReplyKind::End { sequence, count } => self.on_end(sequence, count, stored_up_to),
        }
    }

    fn on_flow(&mut self, number: u64, granted: u64) -> Result<u64, Ended> {
        let (sent, stored) = match &mut self.batch {
            Batch::Open { sent, stored, flow } => {
                *flow = Some(granted.max(1));
                (*sent, stored)
            }
            Batch::Ending { sent, stored } => (*sent, stored),
            Batch::None => return Err(Ended::Stale),
        };
        if number > sent {
            return Err(Ended::Refused("an acknowledgement of what was not sent".to_owned()));
        }
        let more = number.saturating_sub(*stored);
        *stored += more;
        Ok(more)
    }

    /// The count settles the batch: fewer than were sent means that the rest is not in the ledger.
    fn on_end(
        &mut self,
        sequence: u64,
        count: Option<u64>,
        stored_up_to: u64,
    ) -> Result<u64, Ended> {
        let Batch::Ending { sent, stored } = self.batch else {
            return Err(Ended::Refused("the server ended the batch".to_owned()));
        };
        let count = count.unwrap_or(1);
        if count != sent {
            return Err(Ended::Refused(format!("{count} of {sent} messages are stored")));
        }
        let more = sent - stored;
        if sequence != stored_up_to.saturating_add(more) {
            return Err(Ended::Fenced);
        }
        self.batch = Batch::None;
        Ok(more)
    }
}
