//! The loop from one recovery to the next: an engine, a feed, a table that is being written.

use std::collections::BTreeMap;

use oncegate::gate::action::{self, Action, RawAction};
use oncegate::gate::digest::Digest;
use oncegate::gate::engine::recovery::{LedgerMessage, Recovered, RecoveredInput};
use oncegate::gate::engine::session::{Append, Op, Reply, ReplyKind};
use oncegate::gate::engine::{
    Cause, Command, Commit, Engine, Event, InputKind, Setting, Settled, Unsettled,
};
use oncegate::gate::entry::{self, Entry, Limits};
use oncegate::gate::key::ActionKey;
use oncegate::gate::record::KeyRecord;
use oncegate::gate::report::{self, Report};
use oncegate::table::KeyTable;

use super::feed::{Ack, Feed};
use super::misdeeds::{self, Heard, Misdeeds};
use super::term::{FeedMemory, Memory};
use super::{Core, Effect, Io, Purpose, Timer};
use crate::agenda::{MILLISECOND, SECOND};
use crate::inputs::{self, Both};
use crate::ledger_server::{self, Publish, ReplyTo};
use crate::messages::{Call, Delivery, Found, Id, Idle, Role, Up};
use crate::plan::{CLOCK_SKEW_NS, pick};
use crate::wrong::Wrong;

const LEDGER_DEADLINE_NS: i64 = 5 * SECOND;
const PAUSE_AFTER_NS: i64 = 2 * MILLISECOND;
const DRAIN_MAX_NS: i64 = 8 * SECOND;

/// What a pump, or a term, waits for.
pub enum Happened {
    Answer(Id, Option<Found>),
    FeedAnswer(InputKind, Id, Option<Found>),
    Original(Id, Option<Found>),
    Anchor(Id, Option<Found>),
    Reply(ledger_server::Reply),
    Delivery(Id, Delivery),
    PullEnded(Id),
    Heartbeat(Id, Idle),
    FeedBroken(InputKind),
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
    FeedBroken(InputKind, &'static str),
    Refused(String),
}

/// What a pump leaves behind.
pub struct Closed {
    pub unsettled: Unsettled,
    pub highest_seen: Both<u64>,
}

/// By sequence: its source time, and how it is acknowledged.
pub(super) type Acks = BTreeMap<u64, (i64, Ack)>;

pub struct Pump {
    engine: Engine,
    inbox: Id,
    feeds: Both<Feed>,
    /// What is not settled; a work queue's.
    acks: Both<Acks>,
    /// With the table's thread.
    writing: Option<Commit>,
    original: Option<(Id, DigestOf)>,
    anchor: Option<Id>,
    anchored: u64,
    pause: Id,
    progress_ns: i64,
    settled_any: bool,
    draining_since_ns: Option<i64>,
    feed_ended: Option<InputKind>,
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
        let feeds = Both::new(|input| begin_feed(core, io, input, &recovered, memory.feeds[input]));
        let setting = Setting {
            name: "oncegate".to_owned(),
            input: inputs::name(InputKind::Actions).into(),
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
            feeds,
            acks: Both::default(),
            writing: None,
            original: None,
            anchor: None,
            anchored: 0,
            pause: 0,
            progress_ns: io.now_ns,
            settled_any: false,
            draining_since_ns: None,
            feed_ended: None,
            term_ends_ns,
            term_over: false,
            misdeeds: Misdeeds::default(),
        }
    }

    pub fn settled_any(&self) -> bool {
        self.settled_any
    }

    pub fn is_idle(&self) -> bool {
        let nothing_at_hand = self.feeds.all().all(|feed| feed.at_hand.is_empty());
        self.engine.is_settled() && nothing_at_hand && self.engine.wants_input()
    }

    pub fn take_writing(&mut self) -> Option<Commit> {
        self.writing.take()
    }

    /// The table's thread writes what it was given.
    pub fn close(mut self, core: &mut Core, io: &mut Io, stopped: bool) -> Closed {
        for input in InputKind::ALL {
            io.effects.push(Effect::CloseFeed(input));
        }
        if let Some(commit) = self.writing.take() {
            core.apply(io, commit);
        }
        if stopped && self.engine.is_settled() {
            let cursors = self.engine.committed().clone();
            core.apply(io, Commit { changes: Vec::new(), cursors });
        }
        let highest_seen = Both::new(|input| self.feeds[input].highest_seen);
        Closed { unsettled: self.engine.into_unsettled(), highest_seen }
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
            Happened::FeedAnswer(input, id, found) => {
                self.feeds[input].on_answer(core, io, id, found);
            }
            Happened::Delivery(inbox, delivery) => {
                let listens = |input: &InputKind| self.feeds[*input].listens_to(inbox);
                if let Some(input) = InputKind::ALL.into_iter().find(listens) {
                    self.misdeeds.on_delivery(core, io, input, &delivery);
                    self.feeds[input].on_delivery(core, io, inbox, delivery);
                }
            }
            Happened::PullEnded(inbox) => self.each_feed(|feed| feed.on_pull_ended(inbox)),
            Happened::Heartbeat(inbox, idle) => {
                self.each_feed(|feed| feed.on_heartbeat(core, io, inbox, idle));
            }
            Happened::FeedBroken(input) => {
                self.feeds[input].ended.get_or_insert("disconnected");
            }
            Happened::Original(id, found) if self.original.is_some_and(|(of, _)| of == id) => {
                let Some((_, digest)) = self.original.take() else { return Ok(()) };
                let original = match found {
                    Some(Found::LedgerEntry(Some(found))) => Some(digest(core, &found)?),
                    // A replica may lag; else it is gone.
                    Some(Found::LedgerEntry(None)) if !core.setup.replicated => None,
                    _ => return Err(End::Recover("original_unread")),
                };
                self.tell(core, io, Event::Original(original))?;
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

    fn each_feed(&mut self, mut tell: impl FnMut(&mut Feed)) {
        for input in InputKind::ALL {
            tell(&mut self.feeds[input]);
        }
    }

    fn on_tick(&mut self, core: &mut Core, io: &mut Io) -> Result<(), End> {
        self.each_feed(|feed| feed.on_tick(io));
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

    /// Takes actions and reports while the engine wants some.
    fn go_on(&mut self, core: &mut Core, io: &mut Io) -> Result<(), End> {
        let stops = self.draining_since_ns.is_some() || self.term_over || self.feed_ended.is_some();
        while !stops && self.engine.wants_input() {
            let Some(input) = self.next_input(io) else { break };
            let at_hand = &mut self.feeds[input].at_hand;
            let count = io.rng.usize(1..=8).min(at_hand.len());
            let brought: Vec<_> = at_hand.drain(..count).collect();
            for (raw, ack) in &brought {
                if core.setup.work_queue || input == InputKind::Reports {
                    let acks = &mut self.acks[input];
                    acks.insert(raw.source.sequence, (raw.source.time_ns, *ack));
                }
            }
            self.tell(core, io, Event::Clock(core.clock_ns(io)))?;
            let brought = brought.into_iter().map(|(raw, _)| raw);
            let event = match input {
                InputKind::Actions => Event::Actions(self.look_up_actions(core, io, brought)),
                InputKind::Reports => Event::Reports(self.look_up_reports(core, io, brought)),
            };
            self.tell(core, io, event)?;
            self.plan_pause(core, io)?;
        }
        let over = |input: &InputKind| {
            let feed = &self.feeds[*input];
            feed.ended.is_some() && feed.at_hand.is_empty()
        };
        if self.feed_ended.is_none()
            && let Some(input) = InputKind::ALL.into_iter().find(over)
        {
            self.feed_ended = Some(input);
            self.tell(core, io, Event::Pause)?;
        }
        Ok(())
    }

    /// Whichever has something; either, where both have.
    fn next_input(&self, io: &mut Io) -> Option<InputKind> {
        let first = *pick(io.rng, &InputKind::ALL);
        let has_some = |input: &InputKind| !self.feeds[*input].at_hand.is_empty();
        std::iter::once(first).chain(InputKind::ALL).find(has_some)
    }

    fn look_up_actions(
        &mut self,
        core: &Core,
        io: &mut Io,
        brought: impl Iterator<Item = RawAction>,
    ) -> Vec<(Box<Action>, Option<KeyRecord>)> {
        let mut looked = Vec::new();
        for raw in brought {
            let action = Box::new(action::decode(raw, &core.setup.rules));
            let early = self.misdeeds.looked_up(&action);
            let record = early.unwrap_or_else(|| look_up(core, io, action.key.as_ref()));
            looked.push((action, record));
        }
        self.misdeeds.on_actions(core, io, &looked);
        looked
    }

    fn look_up_reports(
        &mut self,
        core: &Core,
        io: &mut Io,
        brought: impl Iterator<Item = RawAction>,
    ) -> Vec<(Box<Report>, Option<KeyRecord>)> {
        let mut looked = Vec::new();
        for raw in brought {
            let report = Box::new(report::decode(raw, "oncegate"));
            let record = look_up(core, io, report.key());
            looked.push((report, record));
        }
        misdeeds::on_reports(core, io, &mut looked);
        looked
    }

    fn plan_pause(&mut self, core: &mut Core, io: &mut Io) -> Result<(), End> {
        self.pause = io.fresh();
        let at_hand = self.feeds.all().any(|feed| !feed.at_hand.is_empty());
        let pending = self.feeds.all().any(|feed| feed.pending > 0);
        match (at_hand, pending) {
            (false, false) => self.tell(core, io, Event::Pause)?,
            (false, true) => io.after(PAUSE_AFTER_NS, Timer::Pause(self.pause)),
            (true, _) => {}
        }
        Ok(())
    }

    fn over(&self, io: &Io) -> Option<End> {
        let settled = self.engine.is_settled();
        if let Some(since_ns) = self.draining_since_ns {
            let drained = settled || io.now_ns - since_ns > DRAIN_MAX_NS;
            return drained.then_some(End::Stopped);
        }
        if let Some(input) = self.feed_ended.filter(|_| settled)
            && let Some(cause) = self.feeds[input].ended
        {
            return Some(End::FeedBroken(input, cause));
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
            Command::Redelivered(input, sequence) => {
                if let Some((time_ns, ack)) = self.acks[input].remove(&sequence) {
                    acknowledge(core, io, input, sequence, (time_ns, ack));
                }
                io.effects.push(Effect::Redelivered(input, sequence));
            }
            Command::ReadOriginal(at) => self.read_back(core, io, at, original_digest),
            Command::ReadResult(at) => self.read_back(core, io, at, result_digest),
            Command::AwaitClock(_) | Command::ClockCaughtUp => {}
            Command::Recover(Cause::Fenced) => return Err(End::Recover("fenced")),
            Command::Recover(Cause::Refused(_)) => return Err(End::Recover("ledger_refused")),
            Command::Recover(Cause::InputChanged) => return Err(End::Recover("input_changed")),
        }
        Ok(None)
    }

    fn read_back(&mut self, core: &mut Core, io: &mut Io, at: u64, digest: DigestOf) {
        let id = core.ask(io, Role::Ledger, Call::LedgerEntry(at), Purpose::Original);
        self.original = Some((id, digest));
    }

    fn write(&mut self, io: &mut Io, commit: Commit) {
        self.writing = Some(commit);
        io.effects.push(Effect::WriteTable);
    }

    fn append(&mut self, core: &mut Core, io: &mut Io, append: Append) -> Option<Event> {
        let Append { batch, number, flow, op, expected, message } = append;
        let (subject, headers, payload) = match message {
            Some(mut message) => {
                self.misdeeds.on_append(core, io, &mut message, expected, &mut self.acks);
                let headers = message.headers.into_iter().map(|(n, v)| (n.into_owned(), v));
                (message.subject, headers.collect(), message.payload)
            }
            None => ("oncegate.leading".to_owned(), Vec::new(), bytes::Bytes::new()),
        };
        let reply = if core.is(Wrong::PlainPublishes) {
            ReplyTo::Plain { inbox: self.inbox }
        } else {
            let op = op as u8;
            ReplyTo::Batch { inbox: self.inbox, batch, flow, number, op }
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
        for input in InputKind::ALL {
            let of = settled.decided.iter().rev().find(|decided| decided.input == input);
            let Some(last) = of else { continue };
            let acks = &mut self.acks[input];
            let later = acks.split_off(&(last.source.sequence + 1));
            for (sequence, how) in std::mem::replace(acks, later) {
                acknowledge(core, io, input, sequence, how);
            }
        }
        io.effects.push(Effect::Settled { decided: settled.decided, at_once: true });
    }
}

fn begin_feed(
    core: &mut Core,
    io: &mut Io,
    input: InputKind,
    recovered: &Recovered,
    FeedMemory { highest_seen, breaks_in_a_row }: FeedMemory,
) -> Feed {
    let judged = recovered.cursors.position(inputs::name(input));
    let judged = judged.map_or(0, |source| source.sequence);
    let is_work_queue = core.setup.work_queue || input == InputKind::Reports;
    let from = if is_work_queue { 1 } else { judged + 1 };
    let highest_seen = judged.max(highest_seen);
    let raw_until = (breaks_in_a_row > 0).then_some(highest_seen);
    let of = |found: &&RecoveredInput| &*found.stream == inputs::name(input);
    let created_ns = recovered.inputs.iter().find(of).map_or(0, |found| found.created_ns);
    Feed::begin(core, io, input, (from, judged), created_ns, raw_until, highest_seen)
}

pub(super) fn acknowledge(
    core: &mut Core,
    io: &mut Io,
    input: InputKind,
    sequence: u64,
    (time_ns, ack): (i64, Ack),
) {
    match ack {
        Ack::Delivery => io.send(Role::Ledger, Up::Ack { input, sequence, time_ns }),
        Ack::Delete => {
            let call = Call::DeleteInput { input, sequence, time_ns };
            core.ask(io, Role::Ledger, call, Purpose::Anchor);
        }
    }
}

pub(super) fn look_up(core: &Core, io: &Io, key: Option<&ActionKey>) -> Option<KeyRecord> {
    let record = core.table.load_many(&[key?]).unwrap().pop().flatten();
    record.filter(|record| !core.is(Wrong::ExpireByClock) || io.now_ns < record.expires_ns)
}

/// How an entry that is read back is compared. Another one is a reason to stop.
type DigestOf = fn(&Core, &LedgerMessage) -> Result<Option<Digest>, End>;

fn original_digest(core: &Core, found: &LedgerMessage) -> Result<Option<Digest>, End> {
    let subject = found.subject.strip_prefix("oncegate.accepted.");
    match (subject, entry_of(found)) {
        (Some(subject), Some(Entry::Accepted { .. })) => {
            Ok(action::digest(subject, &found.payload, &core.setup.rules))
        }
        _ => Err(another_entry(found)),
    }
}

fn result_digest(_: &Core, found: &LedgerMessage) -> Result<Option<Digest>, End> {
    match entry_of(found) {
        Some(Entry::Completed { .. }) => Ok(Some(report::digest(&found.payload))),
        _ => Err(another_entry(found)),
    }
}

fn entry_of(found: &LedgerMessage) -> Option<Entry> {
    let headers = found.headers.as_ref().ok()?;
    entry::decode("oncegate", &found.subject, headers, &found.payload).ok()
}

fn another_entry(found: &LedgerMessage) -> End {
    End::Refused(format!("ledger entry {} is not the one that the table knows", found.sequence))
}
