//! A worker: the gate's core as it is (engine, recovery, deliveries, beginning of a term), in a shell that
//! does what `src/worker` does, one step at a time.
//!
//! [`Worker::on`] takes in one thing that happened and returns; what is to be sent, waited for or checked
//! goes into [`Io`].

mod feed;
mod lease;
mod misdeeds;
mod pump;
mod recovering;
mod standby;
mod term;

use std::collections::BTreeMap;
use std::sync::Arc;

use fastrand::Rng;
use oncegate::gate::engine::recovery::Records;
use oncegate::gate::engine::{Bounds, Change, Commit, Decided, InputKind};
use oncegate::gate::key::ActionKey;
use oncegate::gate::rules::Rules;
use oncegate::table::{KeyTable, MemoryTable};

use crate::agenda::{MILLISECOND, SECOND};
use crate::ledger_server::Reply;
use crate::messages::{Call, Delivery, Found, Id, Idle, Role, Up};
use crate::wrong::Wrong;
use lease::{Lease, LeaseNext};
use pump::Happened;
use standby::Standby;
use term::{Term, TermNext};

const ANSWER_MAX_NS: i64 = 5 * SECOND;
const TICK_NS: i64 = 500 * MILLISECOND;

/// What happens to a worker.
#[derive(Debug)]
pub enum Happening {
    Start,
    Stop,
    Answer(Id, Found),
    Deadline(Id),
    Ledger(Reply),
    Delivery(Id, Delivery),
    PullEnded(Id),
    Heartbeat(Id, Idle),
    FeedBroken(InputKind),
    Timer(Timer),
    TableWritten,
}

/// The number tells the timer that is waited for from those that are not any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timer {
    Lease(Id),
    Task(Id),
    Pause(Id),
    Tick,
}

/// What a worker does.
#[derive(Debug)]
pub enum Effect {
    Send(Role, Up),
    Listen(Role, Id),
    OpenFeed(InputKind),
    CloseFeed(InputKind),
    After(i64, Happening),
    WriteTable,
    Applied {
        from: u64,
        commit: Commit,
    },
    /// At once, or after a recovery.
    Settled {
        decided: Vec<Decided>,
        at_once: bool,
    },
    Redelivered(InputKind, u64),
    Recovering(&'static str),
    Leads,
    Refused(String),
    Exited,
    Note(String),
}

/// Who asked.
#[derive(Clone, Copy, Debug)]
enum Purpose {
    Lease,
    Task,
    Feed(InputKind),
    Original,
    Anchor,
}

/// What a worker's step may use, and leaves behind.
pub struct Io<'a> {
    pub now_ns: i64,
    pub rng: &'a mut Rng,
    pub ids: &'a mut Id,
    pub tracing: bool,
    pub effects: Vec<Effect>,
}

impl Io<'_> {
    fn fresh(&mut self) -> Id {
        *self.ids += 1;
        *self.ids
    }

    fn send(&mut self, role: Role, up: Up) {
        self.effects.push(Effect::Send(role, up));
    }

    fn after(&mut self, ns: i64, timer: Timer) {
        self.effects.push(Effect::After(ns, Happening::Timer(timer)));
    }

    fn note(&mut self, text: impl FnOnce() -> String) {
        if self.tracing {
            self.effects.push(Effect::Note(text()));
        }
    }
}

/// Settings of one process.
#[derive(Clone)]
pub struct Setup {
    pub rules: Arc<Rules>,
    pub window_ns: i64,
    pub bounds: Bounds,
    pub pull_messages: u64,
    pub term_max_ns: i64,
    pub work_queue: bool,
    pub replicated: bool,
    /// The worker's own clock.
    pub clock_offset_ns: i64,
}

/// What the parts of a worker share.
struct Core {
    /// Kept in the table's directory.
    instance: usize,
    table: MemoryTable,
    setup: Setup,
    wrong: Option<Wrong>,
    waiting: BTreeMap<Id, Purpose>,
}

impl Core {
    fn is(&self, wrong: Wrong) -> bool {
        self.wrong == Some(wrong)
    }

    fn ask(&mut self, io: &mut Io, role: Role, call: Call, purpose: Purpose) -> Id {
        self.ask_within(io, role, call, purpose, ANSWER_MAX_NS)
    }

    fn ask_within(
        &mut self,
        io: &mut Io,
        role: Role,
        call: Call,
        purpose: Purpose,
        max_ns: i64,
    ) -> Id {
        let id = io.fresh();
        self.waiting.insert(id, purpose);
        io.send(role, Up::Ask { id, call });
        io.effects.push(Effect::After(max_ns.max(0), Happening::Deadline(id)));
        id
    }

    fn apply(&self, io: &mut Io, commit: Commit) {
        let from = self.table.cursors().unwrap().ledger.sequence;
        let keeps = |(_, record): &Change| record.is_some();
        if self.is(Wrong::KeepReleasedKey) {
            let changes = commit.changes.iter().filter(|change| keeps(change)).cloned().collect();
            self.table.commit(Commit { changes, cursors: commit.cursors.clone() }).unwrap();
        } else {
            self.table.commit(commit.clone()).unwrap();
        }
        io.effects.push(Effect::Applied { from, commit });
    }

    /// What the table holds of these keys.
    fn records(&self, keys: Vec<ActionKey>) -> Records {
        let found = self.table.load_many(&keys.iter().collect::<Vec<_>>()).unwrap();
        keys.into_iter().zip(found).filter_map(|(key, found)| Some((key, found?))).collect()
    }

    fn clock_ns(&self, io: &Io) -> i64 {
        io.now_ns + self.setup.clock_offset_ns
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Process {
    Off,
    Running,
    Frozen,
    /// It has stopped, and said why.
    Refused,
}

enum Task {
    Standby(Box<Standby>),
    Term(Box<Term>),
    Gone,
}

pub struct Worker {
    pub process: Process,
    pub life: u64,
    core: Core,
    lease: Lease,
    task: Task,
    stopping: bool,
    /// Copies of the table that a power failure may take it back to.
    saved: Vec<MemoryTable>,
}

impl Worker {
    pub fn new(instance: usize, setup: Setup, wrong: Option<Wrong>) -> Self {
        let table = MemoryTable::new();
        Self {
            process: Process::Off,
            life: 0,
            core: Core { instance, table, setup, wrong, waiting: BTreeMap::new() },
            lease: Lease::new(),
            task: Task::Gone,
            stopping: false,
            saved: Vec::new(),
        }
    }

    pub fn setup(&mut self) -> &mut Setup {
        &mut self.core.setup
    }

    pub fn table_sequence(&self) -> u64 {
        self.core.table.cursors().unwrap().ledger.sequence
    }

    pub fn leads(&self) -> bool {
        matches!(&self.task, Task::Term(term) if term.pumps())
    }

    pub fn is_busy(&self) -> bool {
        !matches!(&self.task, Task::Term(term) if term.is_idle())
    }

    /// A new process.
    pub fn start(&mut self, life: u64) {
        self.life = life;
        self.process = Process::Running;
        self.stopping = false;
        self.core.waiting.clear();
        self.lease = Lease::new();
        self.task = Task::Gone;
    }

    /// The process is gone, at whatever it was doing: a write of the table is done or not.
    pub fn kill(&mut self, io: &mut Io) {
        let writing = match &mut self.task {
            Task::Term(term) => term.take_writing(),
            _ => None,
        };
        if let Some(commit) = writing.filter(|_| io.rng.bool()) {
            self.core.apply(io, commit);
        }
        self.process = Process::Off;
        self.task = Task::Gone;
    }

    /// What a power failure takes back, whole commits from the end.
    pub fn lose_unflushed(&mut self, rng: &mut Rng) {
        if !self.saved.is_empty() {
            let kept = rng.usize(..self.saved.len());
            self.saved.truncate(kept + 1);
            self.core.table = self.saved[kept].snapshot();
        }
    }

    /// The table's directory is gone, and the instance's name with it.
    pub fn lose_table(&mut self, instance: usize) {
        self.core.table = MemoryTable::new();
        self.core.instance = instance;
        self.saved.clear();
    }

    pub fn on(&mut self, happening: Happening, io: &mut Io) {
        self.take(happening, io);
        self.keep_copy(io);
    }

    fn keep_copy(&mut self, io: &mut Io) {
        let applied = io.effects.iter().any(|effect| matches!(effect, Effect::Applied { .. }));
        if applied && io.rng.u8(..16) == 0 {
            self.saved.push(self.core.table.snapshot());
            if self.saved.len() > 3 {
                self.saved.remove(0);
            }
        }
    }

    fn take(&mut self, happening: Happening, io: &mut Io) {
        match happening {
            Happening::Start => {
                self.task = Task::Standby(Box::new(Standby::begin(&mut self.core, io)));
                self.lease.on_timer(&mut self.core, io);
                io.after(TICK_NS, Timer::Tick);
            }
            Happening::Stop => {
                self.stopping = true;
                match &self.task {
                    Task::Term(_) => self.in_term(Happened::Stop, io),
                    _ => self.exit(io),
                }
            }
            Happening::Answer(id, found) => {
                if let Some(purpose) = self.core.waiting.remove(&id) {
                    self.answered(purpose, id, Some(found), io);
                }
            }
            Happening::Deadline(id) => {
                if let Some(purpose) = self.core.waiting.remove(&id) {
                    self.answered(purpose, id, None, io);
                }
            }
            Happening::Timer(Timer::Lease(id)) => {
                if self.lease.waits_for(id) {
                    self.lease.on_timer(&mut self.core, io);
                }
            }
            Happening::Timer(Timer::Task(id)) => match &mut self.task {
                Task::Standby(standby) => standby.on_timer(&mut self.core, io, id),
                Task::Term(_) => self.in_term(Happened::Timer(id), io),
                Task::Gone => {}
            },
            Happening::Timer(Timer::Pause(id)) => self.in_term(Happened::Pause(id), io),
            Happening::Timer(Timer::Tick) => {
                io.after(TICK_NS, Timer::Tick);
                self.in_term(Happened::Tick, io);
            }
            Happening::Ledger(reply) => self.in_term(Happened::Reply(reply), io),
            Happening::Delivery(inbox, delivery) => {
                self.in_term(Happened::Delivery(inbox, delivery), io);
            }
            Happening::PullEnded(inbox) => self.in_term(Happened::PullEnded(inbox), io),
            Happening::Heartbeat(inbox, idle) => {
                self.in_term(Happened::Heartbeat(inbox, idle), io);
            }
            Happening::FeedBroken(input) => self.in_term(Happened::FeedBroken(input), io),
            Happening::TableWritten => self.in_term(Happened::TableWritten, io),
        }
    }

    fn answered(&mut self, purpose: Purpose, id: Id, found: Option<Found>, io: &mut Io) {
        match purpose {
            Purpose::Lease => {
                let next = self.lease.on_answer(&mut self.core, io, id, found);
                self.after_lease(next, io);
            }
            Purpose::Task => match &mut self.task {
                Task::Standby(standby) => {
                    if let Some(why) = standby.on_answer(&mut self.core, io, id, found) {
                        self.refuse(why, io);
                    }
                }
                Task::Term(_) => self.in_term(Happened::Answer(id, found), io),
                Task::Gone => {}
            },
            Purpose::Feed(input) => self.in_term(Happened::FeedAnswer(input, id, found), io),
            Purpose::Original => self.in_term(Happened::Original(id, found), io),
            Purpose::Anchor => self.in_term(Happened::Anchor(id, found), io),
        }
    }

    fn after_lease(&mut self, next: LeaseNext, io: &mut Io) {
        match next {
            LeaseNext::Stay => {}
            LeaseNext::Held => {
                io.note(|| "holds the lease".to_owned());
                self.task = Task::Term(Box::new(Term::begin(&mut self.core, io)));
            }
            LeaseNext::Confirmed => self.in_term(Happened::Confirmed, io),
            LeaseNext::Lost => {
                io.note(|| "has lost the lease".to_owned());
                if let Task::Term(term) = &mut self.task {
                    term.close(&mut self.core, io);
                }
                if self.stopping {
                    return self.exit(io);
                }
                self.task = Task::Standby(Box::new(Standby::begin(&mut self.core, io)));
            }
        }
    }

    fn in_term(&mut self, happened: Happened, io: &mut Io) {
        let Task::Term(term) = &mut self.task else { return };
        match term.on(&mut self.core, io, happened) {
            TermNext::Stay => {}
            TermNext::Confirm => self.lease.confirm(&mut self.core, io),
            TermNext::Stopped => self.exit(io),
            TermNext::Refused(why) => self.refuse(why, io),
        }
    }

    fn exit(&mut self, io: &mut Io) {
        self.lease.give_back(io);
        self.task = Task::Gone;
        self.process = Process::Off;
        io.effects.push(Effect::Exited);
    }

    fn refuse(&mut self, why: String, io: &mut Io) {
        self.task = Task::Gone;
        self.process = Process::Refused;
        io.effects.push(Effect::Refused(why));
    }
}
