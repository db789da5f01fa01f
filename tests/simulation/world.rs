//! The world around the workers: time, servers, connections, publishers, and what goes wrong.

use std::collections::{BTreeMap, VecDeque};

use fastrand::Rng;
use oncegate::gate::engine::InputKind;

use crate::agenda::{Agenda, MILLISECOND, SECOND};
use crate::counts::Counts;
use crate::input_server::InputServer;
use crate::inputs::Both;
use crate::lease_server::LeaseServer;
use crate::ledger_server::LedgerServer;
use crate::link::Link;
use crate::messages::{Id, Up};
use crate::plan::{Plan, pick};
use crate::processes::setup;
use crate::publisher::Sent;
use crate::reporter::Told;
use crate::trace::Trace;
use crate::truth::Truth;
use crate::worker::{Happening, Process, Worker};
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
    Report,
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
    pub inputs: Both<u64>,
}

pub struct World {
    pub now_ns: i64,
    pub rng: Rng,
    pub plan: Plan,
    pub inputs: Both<InputServer>,
    pub ledger: LedgerServer,
    pub lease: LeaseServer,
    pub links: Vec<Link>,
    pub workers: Vec<Worker>,
    pub truth: Truth,
    /// Appends that wait for a quorum, and where from.
    pub held: Option<VecDeque<(usize, Up)>>,
    pub lag: Option<Lag>,
    pub clock_offset_ns: i64,
    pub agenda: Agenda<What>,
    pub ids: Id,
    /// Of each worker: ledger, lease, feeds.
    pub roles: Vec<[Option<usize>; 4]>,
    pub inboxes: BTreeMap<Id, usize>,
    /// What happens to a frozen worker when it wakes up.
    pub deferred: Vec<VecDeque<Happening>>,
    pub sent: Vec<Sent>,
    pub told: Vec<Told>,
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
            inputs: Both::new(|input| {
                InputServer::new(plan.work_queue || input == InputKind::Reports, BEGIN_NS)
            }),
            ledger,
            lease: LeaseServer::default(),
            links: Vec::new(),
            roles: vec![[None; 4]; plan.workers],
            deferred: (0..plan.workers).map(|_| VecDeque::new()).collect(),
            truth: Truth::new(),
            held: None,
            lag: None,
            clock_offset_ns: 0,
            agenda: Agenda::new(),
            ids: 0,
            inboxes: BTreeMap::new(),
            sent: Vec::new(),
            told: Vec::new(),
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
        world.plan(2, What::Report);
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
        self.counts.reports = self.told.len() as u64;
        self.truth.tallied(&mut self.counts);
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
            What::Report => self.report(),
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
            let time_ns = self.input_clock_ns(InputKind::Actions) + self.sent.len() as i64;
            let truth = &mut self.truth;
            self.inputs[InputKind::Actions].publish(|sequence| {
                truth.published(sequence, sent.clone(), time_ns);
                sent.stored(sequence, time_ns)
            });
            let sequence = self.inputs[InputKind::Actions].last_sequence();
            self.note(|| format!("published {sequence}: {sent:?}"));
            self.sent.push(sent);
        }
        self.deliver();
        if self.sent.len() < self.plan.actions as usize {
            let pause_ns = self.rng.i64(0..2 * self.plan.pause_ns);
            self.plan(pause_ns, What::Publish);
        }
    }

    /// What executors and operators tell, of the runs that the ledger shows.
    fn report(&mut self) {
        let burst = self.rng.u32(1..=self.plan.burst);
        for _ in 0..burst.min(self.plan.reports - self.told.len() as u32) {
            let told = Told::draw(&mut self.rng, &self.plan, &self.truth.runs, &self.told);
            let time_ns = self.input_clock_ns(InputKind::Reports) + self.told.len() as i64;
            let truth = &mut self.truth;
            self.inputs[InputKind::Reports].publish(|sequence| {
                truth.reported(sequence, told.clone(), time_ns);
                told.stored(sequence, time_ns)
            });
            let sequence = self.inputs[InputKind::Reports].last_sequence();
            self.note(|| format!("reported {sequence}: {told:?}"));
            self.told.push(told);
        }
        self.deliver();
        if self.told.len() < self.plan.reports as usize {
            let pause_ns = self.rng.i64(0..2 * self.plan.pause_ns);
            self.plan(pause_ns, What::Report);
        }
    }

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

    /// Nothing goes wrong any more, and all actions and reports are published.
    fn heal_all(&mut self) {
        let all_sent = self.sent.len() >= self.plan.actions as usize;
        if !all_sent || self.told.len() < self.plan.reports as usize {
            return self.plan(SECOND, What::HealAll);
        }
        for heal in [Heal::Quorum, Heal::LedgerFull, Heal::Lag] {
            self.heal(heal);
        }
        self.clock_offset_ns = 0;
        self.healed_ns = Some(self.now_ns);
    }
}
