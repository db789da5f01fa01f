//! The input stream and the gate's consumer on it, as far as the gate can tell them from the real ones.
//!
//! On a limits stream (acknowledgement policy none) a delivery that a broken connection loses is gone. On a
//! work queue (explicit) it comes again after `ACK_WAIT_NS`, behind newer ones.

use std::collections::{BTreeMap, VecDeque};

use oncegate::gate::action::RawAction;

use crate::agenda::SECOND;
use crate::messages::{Delivery, Id};

const ACK_WAIT_NS: i64 = 4 * SECOND;

pub struct InputServer {
    pub work_queue: bool,
    pub created_ns: i64,
    messages: BTreeMap<u64, RawAction>,
    last: u64,
    consumer: Option<Consumer>,
}

#[derive(Default)]
struct Consumer {
    floor: u64,
    number: u64,
    pulls: VecDeque<Pull>,
    /// Delivered and not acknowledged, and when that is too late.
    pending: BTreeMap<u64, i64>,
}

struct Pull {
    link: usize,
    inbox: Id,
    left: u64,
}

/// Something for a link.
pub struct ToLink<T> {
    pub link: usize,
    pub inbox: Id,
    pub what: T,
}

impl InputServer {
    pub fn new(work_queue: bool, now_ns: i64) -> Self {
        Self { work_queue, created_ns: now_ns, messages: BTreeMap::new(), last: 0, consumer: None }
    }

    pub fn last_sequence(&self) -> u64 {
        self.last
    }

    pub fn publish(&mut self, stored: impl FnOnce(u64) -> RawAction) {
        self.last += 1;
        self.messages.insert(self.last, stored(self.last));
    }

    pub fn from(&self, sequence: u64) -> Option<&RawAction> {
        self.messages.range(sequence..).next().map(|(_, raw)| raw)
    }

    /// The stream's limits drop what is before `first`; their sequences.
    pub fn trim_to(&mut self, first: u64) -> Vec<u64> {
        let kept = self.messages.split_off(&first);
        std::mem::replace(&mut self.messages, kept).into_keys().collect()
    }

    /// Whether it was there; one of an earlier stream with this name is not.
    pub fn delete(&mut self, sequence: u64, time_ns: i64) -> bool {
        let is_it = self.messages.get(&sequence).is_some_and(|raw| raw.source.time_ns == time_ns);
        is_it && self.messages.remove(&sequence).is_some()
    }

    /// Deleted and made anew; pulls that end.
    pub fn recreate(&mut self, now_ns: i64) -> Vec<ToLink<()>> {
        self.messages.clear();
        self.last = 0;
        self.created_ns = now_ns;
        self.delete_consumer()
    }

    /// Deleted and restored from a backup of this very moment: the same sequences and times.
    pub fn restore(&mut self, now_ns: i64) -> Vec<ToLink<()>> {
        self.created_ns = now_ns;
        self.delete_consumer()
    }

    pub fn create_consumer(&mut self) {
        self.consumer.get_or_insert_with(|| Consumer { floor: 1, ..Consumer::default() });
    }

    pub fn reset_consumer(&mut self, sequence: u64) -> bool {
        let Some(consumer) = &mut self.consumer else { return false };
        consumer.floor = sequence;
        consumer.number = 0;
        consumer.pending.clear();
        true
    }

    /// Pulls that end.
    pub fn delete_consumer(&mut self) -> Vec<ToLink<()>> {
        let pulls = self.consumer.take().map(|consumer| consumer.pulls).unwrap_or_default();
        pulls.into_iter().map(|Pull { link, inbox, .. }| ToLink { link, inbox, what: () }).collect()
    }

    pub fn pull(&mut self, link: usize, inbox: Id, messages: u64) -> bool {
        let Some(consumer) = &mut self.consumer else { return false };
        consumer.pulls.push_back(Pull { link, inbox, left: messages });
        true
    }

    /// Somebody else takes so many deliveries.
    pub fn steal(&mut self, messages: u64) {
        let Some(mut consumer) = self.consumer.take() else { return };
        for _ in 0..messages {
            let Some(sequence) = self.due(&consumer, 0) else { break };
            consumer.floor = consumer.floor.max(sequence + 1);
            consumer.number += 1;
        }
        self.consumer = Some(consumer);
    }

    pub fn acknowledge(&mut self, sequence: u64, time_ns: i64) -> bool {
        if let Some(consumer) = &mut self.consumer {
            consumer.pending.remove(&sequence);
        }
        self.delete(sequence, time_ns)
    }

    /// The client's subscriptions are gone.
    pub fn forget_link(&mut self, link: usize) {
        if let Some(consumer) = &mut self.consumer {
            consumer.pulls.retain(|pull| pull.link != link);
        }
    }

    /// Pulls that wait, with the number of the last delivery.
    pub fn waiting(&self) -> Vec<ToLink<u64>> {
        let Some(Consumer { pulls, number, .. }) = &self.consumer else { return Vec::new() };
        let to = |pull: &Pull| ToLink { link: pull.link, inbox: pull.inbox, what: *number };
        pulls.iter().map(to).collect()
    }

    /// What can be delivered now.
    pub fn deliver(&mut self, now_ns: i64) -> Vec<ToLink<Delivery>> {
        let mut out = Vec::new();
        let Some(mut consumer) = self.consumer.take() else { return out };
        while !consumer.pulls.is_empty() {
            let Some(sequence) = self.due(&consumer, now_ns) else { break };
            let Some(raw) = self.messages.get(&sequence).cloned() else { break };
            consumer.floor = consumer.floor.max(sequence + 1);
            consumer.number += 1;
            if self.work_queue {
                consumer.pending.insert(sequence, now_ns + ACK_WAIT_NS);
            }
            let pending = u64::from(self.messages.range(consumer.floor..).next().is_some());
            let delivery = Delivery { number: consumer.number, pending, raw };
            let Some(pull) = consumer.pulls.front_mut() else { break };
            out.push(ToLink { link: pull.link, inbox: pull.inbox, what: delivery });
            pull.left -= 1;
            if pull.left == 0 {
                consumer.pulls.pop_front();
            }
        }
        self.consumer = Some(consumer);
        out
    }

    fn due(&self, consumer: &Consumer, now_ns: i64) -> Option<u64> {
        let late = consumer.pending.iter().find(|(sequence, late_ns)| {
            **late_ns <= now_ns && self.messages.contains_key(sequence)
        });
        let late = late.map(|(sequence, _)| *sequence);
        late.or_else(|| self.messages.range(consumer.floor..).next().map(|(sequence, _)| *sequence))
    }
}
