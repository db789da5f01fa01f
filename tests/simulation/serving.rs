//! What the servers do with what arrives.

use oncegate::gate::engine::InputKind;
use oncegate::gate::engine::recovery::LedgerMessage;

use crate::input_server::ToLink;
use crate::ledger_server::{Publish, Reply, ReplyKind, ReplyTo, Stored};
use crate::messages::{Call, Down, Found, Id, Up};
use crate::plan::TAKEOVER_NS;
use crate::world::{What, World};

const SERVER_TICK_NS: i64 = crate::agenda::SECOND;

impl World {
    pub fn serve(&mut self, link: usize, up: Up) {
        let appends = matches!(&up, Up::Append(_) | Up::Ask { call: Call::AppendAlone { .. }, .. });
        if let Some(held) = self.held.as_mut().filter(|_| appends) {
            return held.push_back((link, up));
        }
        match up {
            Up::Append(publish) => {
                let replies = self.store(publish);
                self.reply_all(replies);
            }
            Up::Pull { input, inbox, messages } => {
                let closed = self.links[link].closed;
                if !closed && self.inputs[input].pull(link, inbox, messages) {
                    self.deliver();
                } else {
                    self.send_down(link, Down::PullEnded { inbox });
                }
            }
            Up::Ack { input, sequence, time_ns } => {
                let checked = self.truth.check_acknowledged(input, sequence, time_ns);
                self.violated(checked);
                self.inputs[input].acknowledge(sequence, time_ns);
            }
            Up::Ask { id, call } => {
                if let Some(found) = self.answer(call) {
                    self.send_down(link, Down::Answer { id, found });
                }
            }
        }
    }

    fn answer(&mut self, call: Call) -> Option<Found> {
        let ledger_last = self.lag.as_ref().map_or(u64::MAX, |lag| lag.ledger);
        let ledger_last = self.ledger.last_sequence().min(ledger_last);
        let input_last = |input| self.lag.as_ref().map_or(u64::MAX, |lag| lag.inputs[input]);
        Some(match call {
            Call::LedgerState => {
                Found::LedgerState { first: self.ledger.first_sequence(), last: ledger_last }
            }
            Call::LedgerEntry(at) => {
                let stored = self.ledger.get(at).filter(|stored| stored.sequence <= ledger_last);
                Found::LedgerEntry(stored.map(read))
            }
            Call::LedgerTail { from, to } => {
                let to = to.min(ledger_last).min(from + self.rng.u64(..20));
                let found = (from..=to).filter_map(|at| self.ledger.get(at));
                Found::LedgerTail(found.map(read).collect())
            }
            Call::AppendAlone { message, expected } => {
                let headers = message.headers.into_iter().map(|(n, v)| (n.into_owned(), v));
                let publish = Publish {
                    subject: message.subject,
                    headers: headers.collect(),
                    payload: message.payload,
                    expected_last_sequence: Some(expected),
                    reply: ReplyTo::Plain { inbox: 0 },
                };
                match self.store(publish).pop().map(|reply| reply.kind) {
                    Some(ReplyKind::PubAck { sequence, .. }) => Found::Stored(sequence),
                    _ => Found::Refused,
                }
            }
            Call::InputState(input) => Found::InputState {
                created_ns: self.inputs[input].created_ns,
                last: self.inputs[input].last_sequence().min(input_last(input)),
            },
            Call::InputFrom(input, at) => {
                let last = input_last(input);
                let found = self.inputs[input].from(at).filter(|raw| raw.source.sequence <= last);
                Found::InputMessage(found.cloned())
            }
            Call::DeleteInput { input, sequence, time_ns } => {
                let checked = self.truth.check_acknowledged(input, sequence, time_ns);
                self.violated(checked);
                self.inputs[input].delete(sequence, time_ns);
                Found::Done
            }
            call => self.change(call),
        })
    }

    /// Consumer and lease.
    fn change(&mut self, call: Call) -> Found {
        let now_ns = self.now_ns;
        let revision =
            |revision: Option<u64>| revision.map_or(Found::Refused, Found::LeaseRevision);
        match call {
            Call::ConsumerDelete(input) => {
                let ended = self.inputs[input].delete_consumer();
                self.pulls_end(ended);
                Found::Done
            }
            Call::ConsumerCreate(input) => {
                self.inputs[input].create_consumer();
                Found::Done
            }
            Call::ConsumerReset(input, at) => {
                let done = self.inputs[input].reset_consumer(at);
                self.deliver();
                if done { Found::Done } else { Found::Refused }
            }
            Call::LeaseGet => Found::Lease(self.lease.get(now_ns)),
            Call::LeaseCreate { holder } => {
                revision(self.lease.create(holder, now_ns, TAKEOVER_NS))
            }
            Call::LeaseUpdate { holder, revision: known } => {
                revision(self.lease.update(holder, known, now_ns, TAKEOVER_NS))
            }
            Call::LeaseDelete { revision } => {
                self.lease.delete(revision, now_ns);
                Found::Done
            }
            _ => Found::Refused,
        }
    }

    /// Every entry is held to the model as it is stored.
    fn store(&mut self, publish: Publish) -> Vec<Reply> {
        let before = self.ledger.last_sequence();
        let replies = self.ledger.publish(publish, self.now_ns);
        if self.ledger.last_sequence() > before
            && let Some(stored) = self.ledger.get(before + 1).cloned()
        {
            self.note(|| {
                format!("stored {}: {} {:?}", stored.sequence, stored.subject, stored.headers)
            });
            let checked = self.truth.on_entry(&stored);
            self.violated(checked);
        }
        replies
    }

    pub fn reply_all(&mut self, replies: Vec<Reply>) {
        for reply in replies {
            if let Some(link) = self.link_of(reply.inbox) {
                self.note(|| format!("answered {reply:?}"));
                self.send_down(link, Down::Ledger(reply));
            }
        }
    }

    pub fn deliver(&mut self) {
        for input in InputKind::ALL {
            for ToLink { link, inbox, what } in self.inputs[input].deliver(self.now_ns) {
                self.send_down(link, Down::Delivery { inbox, delivery: what });
            }
        }
    }

    pub fn pulls_end(&mut self, ended: Vec<ToLink<()>>) {
        for ToLink { link, inbox, .. } in ended {
            self.send_down(link, Down::PullEnded { inbox });
        }
    }

    pub fn server_tick(&mut self) {
        let mut told: Vec<Id> = Vec::new();
        let waiting = InputKind::ALL.map(|input| self.inputs[input].waiting());
        for ToLink { link, inbox, what: idle } in waiting.into_iter().flatten() {
            if !told.contains(&inbox) {
                told.push(inbox);
                self.send_down(link, Down::Heartbeat { inbox, idle });
            }
        }
        self.deliver();
        let replies = self.ledger.tick(self.now_ns);
        self.reply_all(replies);
        self.plan(SERVER_TICK_NS, What::ServerTick);
    }
}

fn read(stored: &Stored) -> LedgerMessage {
    LedgerMessage {
        sequence: stored.sequence,
        time_ns: stored.time_ns,
        subject: stored.subject.clone(),
        headers: Ok(stored.headers.iter().map(|(n, v)| (n, v)).collect()),
        payload: stored.payload.clone(),
    }
}
