//! The workers' processes: started, frozen, killed; and what they do to the world.

use fastrand::Rng;

use crate::agenda::SECOND;
use crate::messages::Role;
use crate::plan::{Plan, pick};
use crate::worker::{Effect, Happening, Io, Process, Setup, Worker};
use crate::world::{What, World};

impl World {
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

    pub fn in_worker(
        &mut self,
        worker: usize,
        act: impl FnOnce(&mut Worker, &mut Io),
    ) -> Vec<Effect> {
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

    pub fn carry_out(&mut self, worker: usize, effects: Vec<Effect>) {
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
                Effect::OpenFeed(input) => self.open(worker, Role::Feed(input)),
                Effect::CloseFeed(input) => {
                    let role = Self::role(Role::Feed(input));
                    if let Some(link) = self.roles[worker][role].take() {
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
                Effect::Settled { decided, at_once } => {
                    self.note(|| format!("w{worker} shows {decided:?}"));
                    let checked = self.truth.check_settled(table, &decided, at_once);
                    self.violated(checked);
                }
                Effect::Redelivered(input, sequence) => {
                    self.counts.redelivered += 1;
                    let checked = self.truth.check_redelivered(input, sequence);
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

    pub fn close_all(&mut self, worker: usize) {
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

    pub fn start(&mut self, worker: usize) {
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

    pub fn thaw(&mut self, worker: usize, life: u64) {
        if self.workers[worker].process != Process::Frozen || self.workers[worker].life != life {
            return;
        }
        self.note(|| format!("w{worker} wakes up"));
        self.workers[worker].process = Process::Running;
        for happening in std::mem::take(&mut self.deferred[worker]) {
            self.happen(worker, happening);
        }
    }
}

pub fn setup(plan: &Plan, rng: &mut Rng) -> Setup {
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
