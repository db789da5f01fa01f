//! Deliveries of one of the gate's consumers, in order and without a hole; after a break, messages read one by one.

use std::collections::VecDeque;

use oncegate::gate::action::RawAction;
use oncegate::gate::engine::InputKind;
use oncegate::gate::engine::delivery::{Due, Numbered};

use super::{Core, Effect, Io, Purpose};
use crate::agenda::SECOND;
use crate::messages::{Call, Delivery, Found, Id, Idle, Role, Up};
use crate::wrong::Wrong;

const SILENCE_MAX_NS: i64 = 6 * SECOND;

/// How a message is acknowledged once it is judged; a work queue's.
#[derive(Clone, Copy)]
pub enum Ack {
    Delivery,
    Delete,
}

enum Stage {
    /// One by one, up to and with the first beyond this.
    Raw {
        until: u64,
        id: Id,
    },
    RawComparing {
        id: Id,
        until: u64,
        raw: Box<RawAction>,
    },
    Deleting(Id),
    Creating(Id),
    Resetting(Id),
    /// Whether it is still the stream of the recovery.
    Comparing(Id),
    Pulling,
    /// Whether the stream still holds what was left out.
    Asking {
        id: Id,
        delivery: Box<Delivery>,
    },
    /// The same for what the consumer takes for delivered.
    AskingIdle {
        id: Id,
        up_to: u64,
    },
}

pub struct Feed {
    pub input: InputKind,
    stage: Stage,
    due: Due,
    numbered: Numbered,
    inbox: Id,
    outstanding: u64,
    brought: VecDeque<Delivery>,
    pub at_hand: VecDeque<(RawAction, Ack)>,
    pub pending: u64,
    pub highest_seen: u64,
    created_ns: i64,
    heard_ns: i64,
    pub ended: Option<&'static str>,
}

impl Feed {
    pub fn begin(
        core: &mut Core,
        io: &mut Io,
        input: InputKind,
        (from, judged): (u64, u64),
        created_ns: i64,
        raw_until: Option<u64>,
        highest_seen: u64,
    ) -> Self {
        io.effects.push(Effect::OpenFeed(input));
        let mut feed = Self {
            input,
            stage: Stage::Pulling,
            due: Due::new(from, judged, true),
            numbered: Numbered::default(),
            inbox: io.fresh(),
            outstanding: 0,
            brought: VecDeque::new(),
            at_hand: VecDeque::new(),
            pending: 0,
            highest_seen,
            created_ns,
            heard_ns: io.now_ns,
            ended: None,
        };
        feed.stage = match raw_until {
            Some(until) => {
                let call = Call::InputFrom(input, feed.due.sequence());
                Stage::Raw { until, id: feed.ask(core, io, call) }
            }
            None => feed.consumer(core, io),
        };
        feed
    }

    fn consumer(&self, core: &mut Core, io: &mut Io) -> Stage {
        if core.is(Wrong::TrustFloor) {
            return Stage::Resetting(self.ask(core, io, Call::ConsumerCreate(self.input)));
        }
        Stage::Deleting(self.ask(core, io, Call::ConsumerDelete(self.input)))
    }

    fn ask(&self, core: &mut Core, io: &mut Io, call: Call) -> Id {
        core.ask(io, Role::Feed(self.input), call, Purpose::Feed(self.input))
    }

    pub fn on_answer(&mut self, core: &mut Core, io: &mut Io, id: Id, found: Option<Found>) {
        let is_it = match &self.stage {
            Stage::Raw { id: asked, .. }
            | Stage::RawComparing { id: asked, .. }
            | Stage::Deleting(asked)
            | Stage::Creating(asked)
            | Stage::Resetting(asked)
            | Stage::Comparing(asked)
            | Stage::Asking { id: asked, .. }
            | Stage::AskingIdle { id: asked, .. } => *asked == id,
            Stage::Pulling => false,
        };
        if !is_it || self.ended.is_some() {
            return;
        }
        match found {
            None | Some(Found::Refused) => self.ended = Some("feed_request"),
            Some(found) => self.go_on(core, io, found),
        }
    }

    fn go_on(&mut self, core: &mut Core, io: &mut Io, found: Found) {
        match (std::mem::replace(&mut self.stage, Stage::Pulling), found) {
            (Stage::Raw { until, .. }, Found::InputMessage(found)) => {
                self.on_raw(core, io, until, found);
            }
            (Stage::RawComparing { until, raw, .. }, Found::InputState { created_ns, last }) => {
                match self.is_the_same(created_ns, last) {
                    true => self.take_raw(core, io, until, *raw),
                    false => self.ended = Some("input_changed"),
                }
            }
            (Stage::Deleting(_), _) => {
                let id = self.ask(core, io, Call::ConsumerCreate(self.input));
                self.stage = Stage::Creating(id);
            }
            (Stage::Creating(_), _) => {
                let call = Call::ConsumerReset(self.input, self.due.sequence());
                self.stage = Stage::Resetting(self.ask(core, io, call));
            }
            (Stage::Resetting(_), _) => {
                let id = self.ask(core, io, Call::InputState(self.input));
                self.stage = Stage::Comparing(id);
            }
            (Stage::Comparing(_), Found::InputState { created_ns, last }) => {
                let same = self.is_the_same(created_ns, last);
                if !same && !core.is(Wrong::TrustFloor) {
                    self.ended = Some("input_changed");
                    return;
                }
                io.effects.push(Effect::Listen(Role::Feed(self.input), self.inbox));
                self.heard_ns = io.now_ns;
                self.replenish(core, io);
            }
            (Stage::Asking { delivery, .. }, Found::InputMessage(held)) => {
                let held = held.map(|raw| raw.source.sequence);
                match Due::nothing_before(delivery.raw.source.sequence, held) {
                    Ok(()) => self.take(*delivery),
                    Err(_) => self.ended = Some("hole"),
                }
            }
            (Stage::AskingIdle { up_to, .. }, Found::InputMessage(held)) => {
                let held = held.map(|raw| raw.source.sequence);
                if Due::nothing_up_to(up_to, held).is_err() {
                    self.ended = Some("hole");
                }
            }
            _ => self.ended = Some("feed_request"),
        }
        self.advance(core, io);
    }

    fn on_raw(&mut self, core: &mut Core, io: &mut Io, until: u64, found: Option<RawAction>) {
        self.stage = match found {
            None => self.consumer(core, io),
            Some(raw) => {
                let id = self.ask(core, io, Call::InputState(self.input));
                Stage::RawComparing { id, until, raw: Box::new(raw) }
            }
        };
    }

    /// It is certain that it is of the stream that was recovered.
    fn take_raw(&mut self, core: &mut Core, io: &mut Io, until: u64, raw: RawAction) {
        let sequence = raw.source.sequence;
        // What lies between was asked for and is not there: no second look is needed.
        self.due.take(sequence);
        self.highest_seen = self.highest_seen.max(sequence);
        self.pending = 1;
        self.at_hand.push_back((raw, Ack::Delete));
        self.stage = if sequence > until {
            self.consumer(core, io)
        } else {
            let call = Call::InputFrom(self.input, self.due.sequence());
            Stage::Raw { until, id: self.ask(core, io, call) }
        };
    }

    fn is_the_same(&self, created_ns: i64, last: u64) -> bool {
        created_ns == self.created_ns && last >= self.due.sequence() - 1
    }

    fn replenish(&mut self, core: &mut Core, io: &mut Io) {
        let messages = core.setup.pull_messages;
        if self.outstanding <= messages {
            self.outstanding += messages;
            let pull = Up::Pull { input: self.input, inbox: self.inbox, messages };
            io.send(Role::Feed(self.input), pull);
        }
    }

    pub fn on_delivery(&mut self, core: &mut Core, io: &mut Io, inbox: Id, delivery: Delivery) {
        if self.listens_to(inbox) {
            self.heard_ns = io.now_ns;
            self.highest_seen = self.highest_seen.max(delivery.raw.source.sequence);
            self.brought.push_back(delivery);
            self.advance(core, io);
        }
    }

    pub fn on_heartbeat(&mut self, core: &mut Core, io: &mut Io, inbox: Id, idle: Idle) {
        if !self.listens_to(inbox) {
            return;
        }
        self.heard_ns = io.now_ns;
        // What came and is not looked at yet would count as missing.
        let careless = core.is(Wrong::SkipHole) || core.is(Wrong::TrustFloor);
        if careless || !matches!(self.stage, Stage::Pulling) || !self.brought.is_empty() {
            return;
        }
        if self.numbered.idle(idle.last).is_err() {
            self.ended = Some("hole");
        } else if let Some(from) = self.due.not_brought(idle.up_to) {
            let id = self.ask(core, io, Call::InputFrom(self.input, from));
            self.stage = Stage::AskingIdle { id, up_to: idle.up_to };
        }
    }

    pub fn listens_to(&self, inbox: Id) -> bool {
        inbox == self.inbox && self.ended.is_none()
    }

    pub fn on_pull_ended(&mut self, inbox: Id) {
        if inbox == self.inbox {
            self.ended.get_or_insert("pull_ended");
        }
    }

    pub fn on_tick(&mut self, io: &Io) {
        if matches!(self.stage, Stage::Pulling) && io.now_ns - self.heard_ns > SILENCE_MAX_NS {
            self.ended.get_or_insert("missed_heartbeat");
        }
    }

    fn advance(&mut self, core: &mut Core, io: &mut Io) {
        while matches!(self.stage, Stage::Pulling) && self.ended.is_none() {
            let Some(delivery) = self.brought.pop_front() else { return };
            self.outstanding = self.outstanding.saturating_sub(1);
            self.replenish(core, io);
            let careless = core.is(Wrong::SkipHole) || core.is(Wrong::TrustFloor);
            if self.numbered.take(delivery.number).is_err() && !careless {
                self.ended = Some("hole");
                return;
            }
            let sequence = delivery.raw.source.sequence;
            match self.due.left_out(sequence, delivery.number) {
                Some(from) if !careless => {
                    let id = self.ask(core, io, Call::InputFrom(self.input, from));
                    self.stage = Stage::Asking { id, delivery: Box::new(delivery) };
                }
                _ => self.take(delivery),
            }
        }
    }

    fn take(&mut self, delivery: Delivery) {
        self.pending = delivery.pending;
        self.due.take(delivery.raw.source.sequence);
        self.at_hand.push_back((delivery.raw, Ack::Delivery));
    }
}
