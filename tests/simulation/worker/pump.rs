//! The loop from one recovery to the next: an engine, a feed, a table that is being written.

use std::collections::BTreeMap;

use oncegate::gate::action::{self, Action};
use oncegate::gate::digest::Digest;
use oncegate::gate::engine::recovery::{LedgerMessage, Recovered};
use oncegate::gate::engine::session::{Append, FLOW_ASKED, Op, Reply, ReplyKind};
use oncegate::gate::engine::{Cause, Command, Commit, Engine, Event, Setting, Settled, Unsettled};
use oncegate::gate::entry::{self, Entry, Limits};
use oncegate::gate::record::KeyRecord;
use oncegate::table::KeyTable;

use super::feed::{Ack, Feed};
use super::misdeeds::{Heard, Misdeeds};
use super::term::Memory;
use super::{Core, Effect, Io, Purpose, Timer};
use crate::agenda::{MILLISECOND, SECOND};
use crate::ledger_server::{self, Publish, ReplyTo};
use crate::messages::{Call, Delivery, Found, Id, Idle, Role, Up};
use crate::plan::CLOCK_SKEW_NS;
use crate::wrong::Wrong;

const LEDGER_DEADLINE_NS: i64 = 5 * SECOND;
const PAUSE_AFTER_NS: i64 = 2 * MILLISECOND;
const DRAIN_MAX_NS: i64 = 8 * SECOND;

/// What a pump, or a term, waits for.
pub enum Happened {
    Answer(Id, Option<Found>),
    FeedAnswer(Id, Option<Found>),
    Original(Id, Option<Found>),
    Anchor(Id, Option<Found>),
    Reply(ledger_server::Reply),
    Delivery(Id, Delivery),
    PullEnded(Id),
    Heartbeat(Id, Idle),
    FeedBroken,
    TableWritten,
    Timer(Id),
    Pause(Id),
    Tick,
    Stop,
    Confirmed,
}

pub enum End {
    Stopped,
    TermOver,
    Recover(&'static str),
    FeedBroken(&'static str),
}

/// What a pump leaves behind.
pub struct Closed {
    pub unsettled: Unsettled,
    pub highest_seen: u64,
}

pub struct Pump {
    engine: Engine,
    inbox: Id,
    feed: Feed,
    /// With the table's thread.
    writing: Option<Commit>,
    acks: BTreeMap<u64, (i64, Ack)>,
    original: Option<Id>,
    anchor: Option<Id>,
    anchored: u64,
    pause: Id,
    progress_ns: i64,
    settled_any: bool,
    draining_since_ns: Option<i64>,
    feed_ended: bool,
    term_ends_ns: i64,
    term_over: bool,
    misdeeds: Misdeeds,
}

impl Pump {
    pub fn begin(
        core: &mut Core,
        io: &mut Io,
        recovered: Recovered,
        memory: &Memory,
        term_ends_ns: i64,
    ) -> Self {
        let inbox = io.fresh();
        io.effects.push(Effect::Listen(Role::Ledger, inbox));
        let judged = recovered.cursors.position("ACTIONS").map_or(0, |source| source.sequence);
        let from = if core.setup.work_queue { 1 } else { judged + 1 };
        let raw_until = (memory.breaks_in_a_row > 0).then_some(memory.highest_seen.max(judged));
        let highest_seen = judged.max(memory.highest_seen);
        let created_ns = recovered.inputs[0].created_ns;
        let feed = Feed::begin(core, io, (from, judged), created_ns, raw_until, highest_seen);
        let setting = Setting {
            name: "oncegate".to_owned(),
            input: "ACTIONS".into(),
            rules: core.setup.rules.clone(),
            limits: Limits { message_bytes_max: 1 << 20 },
            clock_skew_ns: CLOCK_SKEW_NS,
            bounds: core.setup.bounds,
        };
        // Batches of one pump have numbers of their own.
        let batches = io.fresh() << 20;
        Self {
            engine: Engine::new(setting, recovered.cursors, core.clock_ns(io), batches),
            inbox,
            feed,
            writing: None,
            acks: BTreeMap::new(),
            original: None,
            anchor: None,
            anchored: 0,
            pause: 0,
            progress_ns: io.now_ns,
            settled_any: false,
            draining_since_ns: None,
            feed_ended: false,
            term_ends_ns,
            term_over: false,
            misdeeds: Misdeeds::default(),
        }
    }

    pub fn settled_any(&self) -> bool {
        self.settled_any
    }

    pub fn is_idle(&self) -> bool {
        self.engine.is_settled() && self.feed.at_hand.is_empty() && self.engine.wants_input()
    }

    pub fn take_writing(&mut self) -> Option<Commit> {
        self.writing.take()
    }

    /// The table's thread writes what it was given.
    pub fn close(mut self, core: &mut Core, io: &mut Io, stopped: bool) -> Closed {
        io.effects.push(Effect::CloseFeed);
        if let Some(commit) = self.writing.take() {
            core.apply(io, commit);
        }
        if stopped && self.engine.is_settled() {
            let cursors = self.engine.committed().clone();
            core.apply(io, Commit { changes: Vec::new(), cursors });
        }
        Closed { unsettled: self.engine.into_unsettled(), highest_seen: self.feed.highest_seen }
    }

    pub fn on(&mut self, core: &mut Core, io: &mut Io, happened: Happened) -> Option<End> {
        if let Err(end) = self.take(core, io, happened) {
            return Some(end);
        }
        self.go_on(core, io).err().or_else(|| self.over(io))
    }

    fn take(&mut self, core: &mut Core, io: &mut Io, happened: Happened) -> Result<(), End> {
        match happened {
            Happened::Reply(reply) if reply.inbox == self.inbox => {
                self.progress_ns = io.now_ns;
                if let Some(event) = self.read(core, io, reply)? {
                    self.tell(core, io, event)?;
                }
            }
            Happened::TableWritten => {
                if let Some(commit) = self.writing.take() {
                    core.apply(io, commit);
                    self.tell(core, io, Event::Committed)?;
                }
            }
            Happened::FeedAnswer(id, found) => self.feed.on_answer(core, io, id, found),
            Happened::Delivery(inbox, delivery) => {
                self.misdeeds.on_delivery(core, io, &delivery);
                self.feed.on_delivery(core, io, inbox, delivery);
            }
            Happened::PullEnded(inbox) => self.feed.on_pull_ended(inbox),
            Happened::Heartbeat(inbox, idle) => self.feed.on_heartbeat(core, io, inbox, idle),
            Happened::FeedBroken => {
                self.feed.ended.get_or_insert("disconnected");
            }
            Happened::Original(id, found) if self.original == Some(id) => {
                self.original = None;
                let Some(Found::LedgerEntry(Some(found))) = found else {
                    return Err(End::Recover("original_unread"));
                };
                let original = original_digest(core, &found).ok_or(End::Recover("no_original"))?;
                self.tell(core, io, Event::Original(Some(original)))?;
            }
            Happened::Anchor(id, found) if self.anchor == Some(id) => {
                self.anchor = None;
                if let Some(Found::LedgerEntry(Some(entry))) = found {
                    self.anchored = entry.sequence;
                    self.engine.anchor(entry.sequence, entry.time_ns);
                }
            }
            Happened::Pause(id) if id == self.pause => self.tell(core, io, Event::Pause)?,
            Happened::Tick => self.on_tick(core, io)?,
            Happened::Stop => {
                self.draining_since_ns.get_or_insert(io.now_ns);
                self.tell(core, io, Event::Pause)?;
            }
            _ => {}
        }
        Ok(())
    }

    fn on_tick(&mut self, core: &mut Core, io: &mut Io) -> Result<(), End> {
        self.feed.on_tick(io);
        let waited_ns = io.now_ns - self.progress_ns;
        if self.engine.awaits_ledger() && waited_ns > LEDGER_DEADLINE_NS {
            return Err(End::Recover("ledger_timeout"));
        }
        if self.engine.awaits_ledger() && waited_ns > LEDGER_DEADLINE_NS / 5 {
            self.tell(core, io, Event::Pause)?;
        }
        if !self.term_over && io.now_ns > self.term_ends_ns {
            self.term_over = true;
            self.tell(core, io, Event::Pause)?;
        }
        let at = self.engine.committed().ledger.sequence;
        if self.anchor.is_none() && at != self.anchored {
            let id = core.ask(io, Role::Ledger, Call::LedgerEntry(at), Purpose::Anchor);
            self.anchor = Some(id);
        }
        self.tell(core, io, Event::Clock(core.clock_ns(io)))
    }

    /// Takes actions while the engine wants some.
    fn go_on(&mut self, core: &mut Core, io: &mut Io) -> Result<(), End> {
        let stopping = self.draining_since_ns.is_some() || self.term_over || self.feed_ended;
        while !stopping && self.engine.wants_input() && !self.feed.at_hand.is_empty() {
            let count = io.rng.usize(1..=8).min(self.feed.at_hand.len());
            let brought: Vec<_> = self.feed.at_hand.drain(..count).collect();
            let mut looked = Vec::with_capacity(count);
            for (raw, ack) in brought {
                if core.setup.work_queue {
                    self.acks.insert(raw.source.sequence, (raw.source.time_ns, ack));
                }
                let action = action::decode(raw, &core.setup.rules);
                let early = self.misdeeds.looked_up(&action);
                let record = early.unwrap_or_else(|| look_up(core, io, &action));
                looked.push((action, record));
            }
            self.tell(core, io, Event::Clock(core.clock_ns(io)))?;
            self.misdeeds.on_actions(core, io, &looked);
            self.tell(core, io, Event::Actions(looked))?;
            self.plan_pause(core, io)?;
        }
        if self.feed.ended.is_some() && !self.feed_ended && self.feed.at_hand.is_empty() {
            self.feed_ended = true;
            self.tell(core, io, Event::Pause)?;
        }
        Ok(())
    }

    fn plan_pause(&mut self, core: &mut Core, io: &mut Io) -> Result<(), End> {
        self.pause = io.fresh();
        match (self.feed.at_hand.len(), self.feed.pending) {
            (0, 0) => self.tell(core, io, Event::Pause)?,
            (0, _) => io.after(PAUSE_AFTER_NS, Timer::Pause(self.pause)),
            _ => {}
        }
        Ok(())
    }

    fn over(&self, io: &Io) -> Option<End> {
        let settled = self.engine.is_settled();
        if let Some(since_ns) = self.draining_since_ns {
            let drained = settled || io.now_ns - since_ns > DRAIN_MAX_NS;
            return drained.then_some(End::Stopped);
        }
        if let Some(cause) = self.feed.ended.filter(|_| self.feed_ended && settled) {
            return Some(End::FeedBroken(cause));
        }
        (self.term_over && settled).then_some(End::TermOver)
    }

    fn tell(&mut self, core: &mut Core, io: &mut Io, event: Event) -> Result<(), End> {
        if !self.engine.awaits_ledger() {
            self.progress_ns = io.now_ns;
        }
        let mut events = vec![event];
        while let Some(event) = events.pop() {
            for command in self.engine.on(event) {
                events.extend(self.carry_out(core, io, command)?);
            }
        }
        Ok(())
    }

    /// What a worker pretends to have heard.
    fn carry_out(
        &mut self,
        core: &mut Core,
        io: &mut Io,
        command: Command,
    ) -> Result<Option<Event>, End> {
        match command {
            Command::Append(append) => return Ok(self.append(core, io, append)),
            Command::Commit(commit) => {
                if let Some(commit) = self.misdeeds.withhold(commit) {
                    self.write(io, commit);
                }
            }
            Command::Settle(settled) => self.settle(core, io, settled),
            Command::Redelivered(_, sequence) => {
                if let Some((time_ns, ack)) = self.acks.remove(&sequence) {
                    acknowledge(core, io, sequence, time_ns, ack);
                }
                io.effects.push(Effect::Redelivered(sequence));
            }
            Command::ReadOriginal(at) | Command::ReadResult(at) => {
                let id = core.ask(io, Role::Ledger, Call::LedgerEntry(at), Purpose::Original);
                self.original = Some(id);
            }
            Command::AwaitClock(_) | Command::ClockCaughtUp => {}
            Command::Recover(Cause::Fenced) => return Err(End::Recover("fenced")),
            Command::Recover(Cause::Refused(_)) => return Err(End::Recover("ledger_refused")),
            Command::Recover(Cause::InputChanged) => return Err(End::Recover("input_changed")),
        }
        Ok(None)
    }

    fn write(&mut self, io: &mut Io, commit: Commit) {
        self.writing = Some(commit);
        io.effects.push(Effect::WriteTable);
    }

    fn append(&mut self, core: &mut Core, io: &mut Io, append: Append) -> Option<Event> {
        let Append { batch, number, op, expected, message } = append;
        let (subject, headers, payload) = match message {
            Some(message) => {
                self.misdeeds.on_append(core, io, &message, expected, &mut self.acks);
                let headers = message.headers.into_iter().map(|(n, v)| (n.into_owned(), v));
                (message.subject, headers.collect(), message.payload)
            }
            None => ("oncegate.leading".to_owned(), Vec::new(), bytes::Bytes::new()),
        };
        let reply = if core.is(Wrong::PlainPublishes) {
            ReplyTo::Plain { inbox: self.inbox }
        } else {
            let op = op as u8;
            ReplyTo::Batch { inbox: self.inbox, batch, flow: FLOW_ASKED, number, op }
        };
        let expected_last_sequence =
            (op != Op::End && !core.is(Wrong::NoExpectedSequence)).then_some(expected);
        let publish = Publish { subject, headers, payload, expected_last_sequence, reply };
        if !core.is(Wrong::PlainPublishes) || op != Op::End {
            io.send(Role::Ledger, Up::Append(publish));
        }
        self.misdeeds.pretend(core, batch, number, op)
    }

    /// The ledger answered.
    fn read(
        &mut self,
        core: &Core,
        io: &mut Io,
        reply: ledger_server::Reply,
    ) -> Result<Option<Event>, End> {
        use ledger_server::ReplyKind as Said;
        if let Some(heard) = self.misdeeds.on_reply(core, &reply) {
            return match heard {
                Heard::Nothing => Ok(None),
                Heard::Event(event) => Ok(Some(event)),
                Heard::Commit(commit) => {
                    self.write(io, commit);
                    Ok(None)
                }
                Heard::Doubt => Err(End::Recover("fenced")),
            };
        }
        let batch = reply.batch.unwrap_or_default();
        let kind = match reply.kind {
            Said::Flow { number, flow } => ReplyKind::Flow { number, flow },
            Said::Error { code } => ReplyKind::Error { code, description: code.to_string() },
            Said::Gap { .. } => ReplyKind::Gap,
            Said::PubAck { sequence, count } => ReplyKind::End { sequence, count },
        };
        Ok(Some(Event::Ledger(Reply { batch, kind })))
    }

    /// What is irrevocable may be shown.
    fn settle(&mut self, core: &mut Core, io: &mut Io, settled: Settled) {
        self.settled_any = true;
        self.misdeeds.on_settled(core, &settled);
        if let Some(last) = settled.decided.last() {
            let later = self.acks.split_off(&(last.source.sequence + 1));
            for (sequence, (time_ns, ack)) in std::mem::replace(&mut self.acks, later) {
                acknowledge(core, io, sequence, time_ns, ack);
            }
        }
        io.effects.push(Effect::Settled(settled.decided));
    }
}

pub(super) fn acknowledge(core: &mut Core, io: &mut Io, sequence: u64, time_ns: i64, ack: Ack) {
    match ack {
        Ack::Delivery => io.send(Role::Ledger, Up::Ack { sequence, time_ns }),
        Ack::Delete => {
            let call = Call::DeleteInput { sequence, time_ns };
            core.ask(io, Role::Ledger, call, Purpose::Anchor);
        }
    }
}

pub(super) fn look_up(core: &Core, io: &Io, action: &Action) -> Option<KeyRecord> {
    let key = action.key.as_ref()?;
    let record = core.table.load_many(&[key]).unwrap().pop().flatten();
    record.filter(|record| !core.is(Wrong::ExpireByClock) || io.now_ns < record.expires_ns)
}

fn original_digest(core: &Core, found: &LedgerMessage) -> Option<Option<Digest>> {
    let headers = found.headers.as_ref().ok()?;
    let subject = found.subject.strip_prefix("oncegate.accepted.")?;
    match entry::decode("oncegate", &found.subject, headers, &found.payload) {
        Ok(Entry::Accepted { .. }) => {
            Some(action::digest(subject, &found.payload, &core.setup.rules))
        }
        _ => None,
    }
}
