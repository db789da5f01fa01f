//! The world around the workers: time, servers, connections, publishers, and what goes wrong.

use std::collections::{BTreeMap, VecDeque};

use fastrand::Rng;

use crate::agenda::{Agenda, MILLISECOND, SECOND};
use crate::counts::Counts;
use crate::input_server::InputServer;
use crate::lease_server::LeaseServer;
use crate::ledger_server::LedgerServer;
use crate::link::{Link, State};
use crate::messages::{Down, Id, Role, Up};
use crate::plan::{Plan, pick};
use crate::publisher::Sent;
use crate::trace::Trace;
use crate::truth::Truth;
use crate::worker::{Effect, Happening, Io, Process, Setup, Worker};
use crate::wrong::Wrong;

/// Everything is judged within this after the last fault, or something is stuck.
const HEALED_MAX_NS: i64 = 120 * SECOND;
/// A run has some thousand.
const STEPS_MAX: u64 = 300_000;
const SERVER_TICK_NS: i64 = SECOND;
/// 2026-01-01.
const BEGIN_NS: i64 = 1_767_225_600 * SECOND;

pub enum What {
    Publish,
    ToServer(usize),
    ToClient(usize),
    Worker { worker: usize, life: u64, happening: Happening },
    Notice(usize),
    Reconnect(usize),
    ServerTick,
    Fault,
    Heal(Heal),
    Start(usize),
    Thaw { worker: usize, life: u64 },
    HealAll,
}

#[derive(Clone, Copy, Debug)]
pub enum Heal {
    Quorum,
    LedgerFull,
    Lag,
}

/// Reads are answered as of then.
pub struct Lag {
    pub ledger: u64,
    pub input: u64,
}

pub struct World {
    pub now_ns: i64,
    pub rng: Rng,
    pub plan: Plan,
    pub input: InputServer,
    pub ledger: LedgerServer,
    pub lease: LeaseServer,
    pub links: Vec<Link>,
    pub workers: Vec<Worker>,
    pub truth: Truth,
    /// Appends that wait for a quorum, and where from.
    pub held: Option<VecDeque<(usize, Up)>>,
    pub lag: Option<Lag>,
    pub clock_offset_ns: i64,
    agenda: Agenda<What>,
    ids: Id,
    /// Of each worker: ledger, lease, feed.
    roles: Vec<[Option<usize>; 3]>,
    inboxes: BTreeMap<Id, usize>,
    /// What happens to a frozen worker when it wakes up.
    deferred: Vec<VecDeque<Happening>>,
    sent: Vec<Sent>,
    faults_left: u32,
    healed_ns: Option<i64>,
    pub trace: Trace,
    pub counts: Counts,
    violation: Option<String>,
}

impl World {
    pub fn new(seed: u64, tracing: bool, wrong: Option<Wrong>) -> Self {
        let mut rng = Rng::with_seed(seed);
        let plan = Plan::draw(&mut rng);
        let mut ledger = LedgerServer::new(plan.release);
        ledger.limit_flow(plan.flow_max);
        let setups: Vec<_> = (0..plan.workers).map(|_| setup(&plan, &mut rng)).collect();
        let workers = setups.into_iter().enumerate();
        let workers: Vec<_> =
            workers.map(|(name, setup)| Worker::new(name, setup, wrong)).collect();
        let mut world = Self {
            now_ns: BEGIN_NS,
            input: InputServer::new(plan.work_queue, BEGIN_NS),
            ledger,
            lease: LeaseServer::default(),
            links: Vec::new(),
            roles: vec![[None; 3]; plan.workers],
            deferred: (0..plan.workers).map(|_| VecDeque::new()).collect(),
            truth: Truth::new(),
            held: None,
            lag: None,
            clock_offset_ns: 0,
            agenda: Agenda::new(),
            ids: 0,
            inboxes: BTreeMap::new(),
            sent: Vec::new(),
            faults_left: plan.faults_max,
            healed_ns: None,
            trace: Trace::new(tracing),
            counts: Counts::default(),
            violation: None,
            rng,
            plan,
            workers,
        };
        for worker in 0..world.workers.len() {
            let later_ns = world.rng.i64(0..SECOND);
            world.plan(later_ns, What::Start(worker));
        }
        world.plan(1, What::Publish);
        world.plan(SERVER_TICK_NS, What::ServerTick);
        world.plan_fault();
        world
    }

    /// Until all is judged and quiet; or what must not be.
    pub fn run(&mut self) -> Result<(), String> {
        while let Some((at_ns, what)) = self.agenda.next() {
            self.now_ns = at_ns;
            self.counts.steps += 1;
            if self.counts.steps > STEPS_MAX {
                return Err("it does not come to an end".to_owned());
            }
            self.step(what);
            if let Some(violation) = self.violation.take() {
                self.note(|| format!("!! {violation}"));
                return Err(violation);
            }
            let Some(healed_ns) = self.healed_ns else { continue };
            if self.truth.is_complete() && self.is_quiet() {
                break;
            }
            if at_ns > healed_ns + HEALED_MAX_NS {
                return Err("stuck: not all is judged long after the last fault".to_owned());
            }
        }
        self.counts.runs = 1;
        self.counts.actions = self.sent.len() as u64;
        self.counts.entries = self.truth.entries;
        self.counts.duplicates = self.truth.duplicates;
        self.counts.missed = self.truth.missed;
        Ok(())
    }

    fn is_quiet(&self) -> bool {
        let running = self.workers.iter().filter(|worker| worker.process == Process::Running);
        let mut leaders = running.filter(|worker| worker.leads());
        leaders.any(|worker| !worker.is_busy())
    }

    pub fn note(&mut self, what: impl FnOnce() -> String) {
        self.trace.note(self.now_ns - BEGIN_NS, what);
    }

    pub fn fresh(&mut self) -> Id {
        self.ids += 1;
        self.ids
    }

    pub fn plan(&mut self, later_ns: i64, what: What) {
        self.agenda.plan(self.now_ns + later_ns, what);
    }

    pub fn violated(&mut self, checked: Result<(), String>) {
        if let Err(why) = checked {
            self.violation.get_or_insert(why);
        }
    }

    fn plan_fault(&mut self) {
        if self.faults_left > 0 {
            self.faults_left -= 1;
            let later_ns = self.rng.i64(0..2 * self.plan.fault_every_ns);
            self.plan(later_ns, What::Fault);
        } else {
            self.plan(2 * SECOND, What::HealAll);
        }
    }

    pub fn heal_later(&mut self, heal: Heal, most_ns: i64) {
        let later_ns = self.rng.i64(MILLISECOND..most_ns);
        self.plan(later_ns, What::Heal(heal));
    }

    fn step(&mut self, what: What) {
        match what {
            What::Publish => self.publish(),
            What::ToServer(link) => self.arrive_at_server(link),
            What::ToClient(link) => self.arrive_at_client(link),
            What::Worker { worker, life, happening } => {
                if self.workers[worker].life == life {
                    self.happen(worker, happening);
                }
            }
            What::Notice(link) => self.notice(link),
            What::Reconnect(link) => self.reconnect(link),
            What::ServerTick => self.server_tick(),
            What::Fault => {
                let faults = self.plan.faults.clone();
                let fault = *pick(&mut self.rng, &faults);
                *self.counts.faults.entry(fault).or_default() += 1;
                self.inflict(fault);
                self.plan_fault();
            }
            What::Heal(heal) => self.heal(heal),
            What::Start(worker) => self.start(worker),
            What::Thaw { worker, life } => self.thaw(worker, life),
            What::HealAll => self.heal_all(),
        }
    }

    fn publish(&mut self) {
        let burst = self.rng.u32(1..=self.plan.burst);
        for _ in 0..burst {
            if self.sent.len() >= self.plan.actions as usize {
                break;
            }
            let sent = Sent::draw(&mut self.rng, &self.plan, &self.sent);
            let time_ns = self.input_clock_ns() + self.sent.len() as i64;
            let truth = &mut self.truth;
            self.input.publish(|sequence| {
                truth.published(sequence, sent.clone(), time_ns);
                sent.stored(sequence, time_ns)
            });
            let sequence = self.input.last_sequence();
            self.note(|| format!("published {sequence}: {sent:?}"));
            self.sent.push(sent);
        }
        self.deliver();
        if self.sent.len() < self.plan.actions as usize {
            let pause_ns = self.rng.i64(0..2 * self.plan.pause_ns);
            self.plan(pause_ns, What::Publish);
        }
    }

    // ---- connections ----

    fn latency_ns(&mut self) -> i64 {
        let (least, most) = self.plan.latency_ns;
        self.rng.i64(least..=most)
    }

    fn role(role: Role) -> usize {
        match role {
            Role::Ledger => 0,
            Role::Lease => 1,
            Role::Feed => 2,
        }
    }

    fn open(&mut self, worker: usize, role: Role) {
        let life = self.workers[worker].life;
        self.roles[worker][Self::role(role)] = Some(self.links.len());
        self.links.push(Link::new(worker, life, role));
    }

    fn close(&mut self, link: usize) {
        let sent = self.links[link].to_server.queue.len();
        let arriving =
            if self.links[link].state == State::Up { self.rng.usize(..=sent) } else { 0 };
        self.links[link].close(arriving);
        for inbox in std::mem::take(&mut self.links[link].inboxes) {
            self.inboxes.remove(&inbox);
        }
        self.input.forget_link(link);
    }

    fn send(&mut self, worker: usize, role: Role, up: Up) {
        let Some(link) = self.roles[worker][Self::role(role)] else { return };
        let latency_ns = self.latency_ns();
        let is_up = self.links[link].state == State::Up;
        let at_ns = self.links[link].to_server.push(up, self.now_ns, latency_ns);
        if is_up {
            self.agenda.plan(at_ns, What::ToServer(link));
        }
    }

    pub fn send_down(&mut self, link: usize, down: Down) {
        let latency_ns = self.latency_ns();
        let to = &mut self.links[link];
        if to.state == State::Up && !to.closed {
            let at_ns = to.to_client.push(down, self.now_ns, latency_ns);
            self.agenda.plan(at_ns, What::ToClient(link));
        }
    }

    pub fn link_of(&self, inbox: Id) -> Option<usize> {
        self.inboxes.get(&inbox).copied()
    }

    fn arrive_at_server(&mut self, link: usize) {
        let pipe = &mut self.links[link].to_server;
        if pipe.stalled_until_ns > self.now_ns {
            let until_ns = pipe.stalled_until_ns;
            return self.agenda.plan(until_ns, What::ToServer(link));
        }
        if self.links[link].state == State::Up
            && let Some(up) = self.links[link].to_server.queue.pop_front()
        {
            self.serve(link, up);
        }
    }

    fn arrive_at_client(&mut self, link: usize) {
        let pipe = &mut self.links[link].to_client;
        if pipe.stalled_until_ns > self.now_ns {
            let until_ns = pipe.stalled_until_ns;
            return self.agenda.plan(until_ns, What::ToClient(link));
        }
        let Link { worker, life, .. } = self.links[link];
        if self.links[link].closed || self.workers[worker].life != life {
            return;
        }
        let Some(down) = self.links[link].to_client.queue.pop_front() else { return };
        let happening = match down {
            Down::Answer { id, found } => Happening::Answer(id, found),
            Down::Ledger(reply) => Happening::Ledger(reply),
            Down::Delivery { inbox, delivery } => Happening::Delivery(inbox, delivery),
            Down::PullEnded { inbox } => Happening::PullEnded(inbox),
            Down::Heartbeat { inbox, last } => Happening::Heartbeat(inbox, last),
        };
        self.happen(worker, happening);
    }

    /// The client hears of it after a while, and connects again after another.
    pub fn cut(&mut self, link: usize, notice_ns: i64) {
        self.links[link].cut();
        self.input.forget_link(link);
        self.plan(notice_ns, What::Notice(link));
    }

    fn notice(&mut self, link: usize) {
        if self.links[link].closed {
            return;
        }
        // What was written before is lost, or still in the client's queue.
        let queued = self.links[link].to_server.queue.len();
        let lost = if self.rng.bool() { queued } else { self.rng.usize(..=queued) };
        self.links[link].to_server.queue.drain(..lost);
        self.links[link].state = State::Down;
        let Link { worker, life, role, .. } = self.links[link];
        if role == Role::Feed && self.workers[worker].life == life {
            self.happen(worker, Happening::FeedBroken);
        }
        let again_ns = self.rng.i64(MILLISECOND..2 * SECOND);
        self.plan(again_ns, What::Reconnect(link));
    }

    fn reconnect(&mut self, link: usize) {
        self.links[link].state = State::Up;
        for _ in 0..self.links[link].to_server.queue.len() {
            let latency_ns = self.latency_ns();
            self.plan(latency_ns, What::ToServer(link));
        }
    }

    // ---- workers ----

    pub fn happen(&mut self, worker: usize, happening: Happening) {
        match self.workers[worker].process {
            Process::Off | Process::Refused => {}
            Process::Frozen => self.deferred[worker].push_back(happening),
            Process::Running => {
                let effects = self.in_worker(worker, |worker, io| worker.on(happening, io));
                self.carry_out(worker, effects);
            }
        }
    }

    fn in_worker(&mut self, worker: usize, act: impl FnOnce(&mut Worker, &mut Io)) -> Vec<Effect> {
        let mut io = Io {
            now_ns: self.now_ns,
            rng: &mut self.rng,
            ids: &mut self.ids,
            tracing: self.trace.is_wanted(),
            effects: Vec::new(),
        };
        act(&mut self.workers[worker], &mut io);
        io.effects
    }

    fn carry_out(&mut self, worker: usize, effects: Vec<Effect>) {
        let life = self.workers[worker].life;
        let table = self.workers[worker].table_sequence();
        for effect in effects {
            match effect {
                Effect::Send(role, up) => {
                    self.note(|| format!("w{worker} sends {up:?}"));
                    self.send(worker, role, up);
                }
                Effect::Listen(role, inbox) => {
                    if let Some(link) = self.roles[worker][Self::role(role)] {
                        self.inboxes.insert(inbox, link);
                        self.links[link].inboxes.push(inbox);
                    }
                }
                Effect::OpenFeed => self.open(worker, Role::Feed),
                Effect::CloseFeed => {
                    if let Some(link) = self.roles[worker][Self::role(Role::Feed)].take() {
                        self.close(link);
                    }
                }
                Effect::After(later_ns, happening) => {
                    self.plan(later_ns, What::Worker { worker, life, happening });
                }
                Effect::WriteTable => {
                    let later_ns = self.rng.i64(1_000..=self.plan.table_write_ns);
                    let happening = Happening::TableWritten;
                    self.plan(later_ns, What::Worker { worker, life, happening });
                }
                Effect::Applied { from, commit } => {
                    let to = commit.cursors.ledger.sequence;
                    self.note(|| format!("w{worker}'s table: {from} -> {to}"));
                    let checked = self.truth.check_commit(from, &commit);
                    self.violated(checked);
                }
                Effect::Settled(outcomes) => {
                    self.note(|| format!("w{worker} shows {outcomes:?}"));
                    let checked = self.truth.check_settled(table, &outcomes);
                    self.violated(checked);
                }
                Effect::Redelivered(sequences) => {
                    self.counts.redelivered += sequences.len() as u64;
                    let checked = self.truth.check_redelivered(&sequences);
                    self.violated(checked);
                }
                Effect::Recovering(cause) => {
                    self.note(|| format!("w{worker} recovers: {cause}"));
                    *self.counts.recoveries.entry(cause).or_default() += 1;
                }
                Effect::Leads => {
                    self.note(|| format!("w{worker} leads"));
                    self.counts.terms += 1;
                }
                Effect::Refused(why) => {
                    self.violated(Err(format!("w{worker} stops though nothing is wrong: {why}")));
                }
                Effect::Exited => self.close_all(worker),
                Effect::Note(text) => self.note(|| format!("w{worker} {text}")),
            }
        }
    }

    fn close_all(&mut self, worker: usize) {
        for role in 0..self.roles[worker].len() {
            if let Some(link) = self.roles[worker][role].take() {
                self.close(link);
            }
        }
    }

    pub fn kill_worker(&mut self, worker: usize) {
        let effects = self.in_worker(worker, Worker::kill);
        self.carry_out(worker, effects);
        self.close_all(worker);
    }

    fn start(&mut self, worker: usize) {
        match self.workers[worker].process {
            Process::Off => {}
            Process::Refused => return,
            // It is on its way out.
            Process::Running | Process::Frozen => return self.plan(SECOND, What::Start(worker)),
        }
        if self.rng.u8(..3) == 0 {
            let setup = setup(&self.plan, &mut self.rng);
            *self.workers[worker].setup() = setup;
        }
        let life = self.fresh();
        self.workers[worker].start(life);
        self.deferred[worker].clear();
        self.open(worker, Role::Ledger);
        self.open(worker, Role::Lease);
        self.note(|| format!("w{worker} starts"));
        self.happen(worker, Happening::Start);
    }

    fn thaw(&mut self, worker: usize, life: u64) {
        if self.workers[worker].process != Process::Frozen || self.workers[worker].life != life {
            return;
        }
        self.note(|| format!("w{worker} wakes up"));
        self.workers[worker].process = Process::Running;
        for happening in std::mem::take(&mut self.deferred[worker]) {
            self.happen(worker, happening);
        }
    }

    // ---- an end to all that is wrong ----

    fn heal(&mut self, heal: Heal) {
        self.note(|| format!("-- over: {heal:?}"));
        match heal {
            Heal::Quorum => {
                for (link, up) in self.held.take().unwrap_or_default() {
                    self.serve(link, up);
                }
            }
            Heal::LedgerFull => self.ledger.refuse(None),
            Heal::Lag => self.lag = None,
        }
    }

    /// Nothing goes wrong any more, and all actions are published.
    fn heal_all(&mut self) {
        if self.sent.len() < self.plan.actions as usize {
            return self.plan(SECOND, What::HealAll);
        }
        for heal in [Heal::Quorum, Heal::LedgerFull, Heal::Lag] {
            self.heal(heal);
        }
        self.clock_offset_ns = 0;
        self.healed_ns = Some(self.now_ns);
    }
}

fn setup(plan: &Plan, rng: &mut Rng) -> Setup {
    Setup {
        rules: pick(rng, &plan.rules).compiled(),
        window_ns: *pick(rng, &plan.windows_ns),
        bounds: plan.bounds,
        pull_messages: plan.pull_messages,
        term_max_ns: plan.term_max_ns,
        work_queue: plan.work_queue,
        replicated: plan.replicated,
        clock_offset_ns: rng.i64(-SECOND..SECOND),
    }
}
