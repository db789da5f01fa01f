//! Two workers behind proxies of their own, a publisher, and what befalls them.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::support::executor::Executor;
use crate::support::gate::{Gate, Settings};
use crate::support::load::{self, Dice};
use crate::support::model::reports::Outcome;
use crate::support::model::{Rules, Verdict};
use crate::support::proxy::Proxy;
use crate::support::publisher::Publisher;
use crate::support::raw::Outgoing;
use crate::support::world::{Site, World};
use crate::support::{streams, wait_for, wait_until};

/// One thing that goes wrong, and is over when the function returns.
pub struct Fault<S: Site> {
    pub name: &'static str,
    /// How often it comes, beside the others.
    pub weight: u64,
    pub happens: fn(&mut Stage<S>),
}

/// One of the two.
pub struct Worker {
    pub gate: Gate,
    /// To each server.
    pub lines: Vec<Proxy>,
    pub frozen: bool,
}

/// What was done and found.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    pub faults: BTreeMap<&'static str, u64>,
    pub worker_kills: u64,
    pub server_kills: u64,
    /// Messages in the input stream.
    pub actions: u64,
    pub retried: u64,
    pub entries: u64,
    pub accepted: u64,
    pub duplicates: u64,
    pub rejected: u64,
    pub reports: u64,
    pub completed: u64,
    pub released: u64,
    pub repeated: u64,
    pub rejected_reports: u64,
}

pub struct Stage<S: Site> {
    pub world: World<S>,
    pub workers: Vec<Worker>,
    pub dice: Dice,
    pub tally: Tally,
    publisher: Publisher,
    executor: Executor,
    work_queue: bool,
    seed: u64,
    loads: u64,
}

impl<S: Site> Stage<S> {
    /// Two workers that are up; the input stream is made with these fields.
    pub fn begin(site: S, seed: u64, fields: &Value, more: &Settings) -> Self {
        let mut world = World::prepared(site, Rules::default());
        streams::create(&mut world.client, &streams::input_config(fields));
        world.gate.settings.set("ha.takeover", "\"500ms\"");
        world.gate.settings.extend(more);
        let ports = world.server.ports();
        let workers = (0..2).map(|_| Worker::behind_proxies(&world.gate, &ports)).collect();
        let mut stage = Self {
            publisher: Publisher::start(ports, seed),
            executor: Executor::new(seed),
            world,
            workers,
            dice: Dice::new(seed),
            tally: Tally::default(),
            work_queue: fields["retention"] == "workqueue",
            seed,
            loads: 0,
        };
        stage.workers[0].gate.start();
        stage.workers[1].gate.spawn();
        stage
    }

    /// Some more actions and reports are published, and while the workers are at it, or sometimes when they
    /// have nothing to do, the fault comes.
    pub fn step(&mut self, fault: &Fault<S>) {
        self.publish();
        self.report();
        if self.dice.roll(4) == 0 {
            self.settle();
        }
        *self.tally.faults.entry(fault.name).or_default() += 1;
        (fault.happens)(self);
        self.must_run();
        self.published();
    }

    /// Orders some hundred actions, and waits until a part of them is in the stream.
    pub fn publish(&mut self) {
        self.loads += 1;
        // Half of the loads use keys of an earlier one.
        let load = if self.dice.roll(2) == 0 { self.loads } else { 1 + self.dice.roll(self.loads) };
        let prefix = format!("{}-{load}-", self.seed);
        let count = 50 + self.dice.roll(600);
        let messages = load::mixed(count as usize, &prefix, self.dice.roll(1 << 30));
        self.publish_these(messages);
    }

    /// Some reports, most of them on runs that the ledger holds.
    fn report(&mut self) {
        let (ledger, count) = (self.world.ledger(), 10 + self.dice.roll(50));
        let reports = self.executor.reports(&mut self.world.client, &ledger, count as usize);
        self.publish_unseen(reports);
    }

    /// Orders these, and waits until a part of them is in the stream.
    pub fn publish_these(&mut self, messages: Vec<Outgoing>) {
        if self.work_queue {
            self.publish_unseen(messages);
        } else {
            let count = messages.len() as u64;
            self.publisher.order(messages);
            self.publisher.wait_for_all_but(self.dice.roll(count));
        }
    }

    /// Waits until all that was ordered is in the stream.
    pub fn published(&self) {
        self.publisher.wait_for_all_but(0);
    }

    /// In a work queue, as that of the reports, a message is gone when it is judged: there the test reads it
    /// first.
    fn publish_unseen(&mut self, messages: Vec<Outgoing>) {
        let running = |worker: &&mut Worker| worker.gate.is_started() && !worker.frozen;
        let mut held: Vec<_> = self.workers.iter_mut().filter(running).collect();
        held.iter_mut().for_each(|worker| worker.gate.freeze());
        self.publisher.order(messages);
        self.publisher.wait_for_all_but(0);
        self.world.capture();
        held.iter_mut().for_each(|worker| worker.gate.thaw());
    }

    /// The worker that leads, if one that is not frozen does.
    pub fn leader(&self) -> Option<usize> {
        (0..2).find(|worker| {
            let worker = &self.workers[*worker];
            worker.gate.is_started() && !worker.frozen && worker.gate.leads()
        })
    }

    /// Mostly the leader, sometimes any.
    pub fn victim(&mut self) -> usize {
        let any = self.dice.roll(2) as usize;
        if self.dice.roll(4) == 0 { any } else { self.leader().unwrap_or(any) }
    }

    pub fn wait_for_leader(&mut self) -> usize {
        wait_for("a worker to lead", || {
            self.must_run();
            self.leader()
        })
    }

    /// Waits until this one leads.
    pub fn wait_for_lead_of(&mut self, worker: usize) {
        wait_until("the other worker to lead", || {
            self.must_run();
            self.leader() == Some(worker)
        });
    }

    pub fn kill_worker(&mut self, worker: usize) {
        self.workers[worker].gate.kill9();
        self.workers[worker].frozen = false;
        self.tally.worker_kills += 1;
    }

    /// No fault ends a worker.
    pub fn must_run(&mut self) {
        let started = self.workers.iter_mut().filter(|worker| worker.gate.is_started());
        started.for_each(|worker| worker.gate.must_run());
    }

    /// Waits until all that was published is judged.
    pub fn settle(&mut self) {
        self.published();
        self.world.capture();
        wait_until("the last input to be judged", || {
            self.must_run();
            self.world.is_settled()
        });
    }

    /// Once more some actions; then the ledger must equal the model.
    pub fn end(mut self) -> Tally {
        self.publish();
        self.settle();
        let report = self.world.compare();
        let mut queues = vec![self.world.reports_stream()];
        queues.extend(self.work_queue.then(|| self.world.input.clone()));
        wait_until("the queues to be empty", || {
            let client = &mut self.world.client;
            queues.iter().all(|queue| streams::info(client, queue)["state"]["messages"] == 0)
        });
        let count = |fits: fn(Verdict) -> bool| report.count(fits) as u64;
        self.tally.actions = report.judged.len() as u64;
        self.tally.entries = report.entries.len() as u64;
        self.tally.retried = self.publisher.retried();
        self.tally.accepted = count(|verdict| verdict == Verdict::Accepted);
        self.tally.duplicates = count(|verdict| verdict == Verdict::Duplicate);
        self.tally.rejected = count(|verdict| matches!(verdict, Verdict::Rejected(_)));
        let count = |fits: fn(Outcome) -> bool| report.count_reports(fits) as u64;
        self.tally.reports = report.reports.len() as u64;
        self.tally.completed = count(|outcome| matches!(outcome, Outcome::Completed(_)));
        self.tally.released = count(|outcome| matches!(outcome, Outcome::Released(_)));
        self.tally.repeated = count(|outcome| outcome == Outcome::Repeated);
        self.tally.rejected_reports = count(|outcome| matches!(outcome, Outcome::Rejected(_)));
        self.tally
    }
}

impl Worker {
    fn behind_proxies(pattern: &Gate, ports: &[u16]) -> Self {
        let mut gate = pattern.twin();
        let lines: Vec<Proxy> = ports.iter().map(|port| Proxy::to(*port)).collect();
        let urls: Vec<String> =
            lines.iter().map(|line| format!("nats://127.0.0.1:{}", line.port())).collect();
        gate.settings.set("nats.servers", json!(urls).to_string());
        Self { gate, lines, frozen: false }
    }
}

impl Tally {
    pub fn add(&mut self, other: &Self) {
        for (name, count) in &other.faults {
            *self.faults.entry(name).or_default() += count;
        }
        self.worker_kills += other.worker_kills;
        self.server_kills += other.server_kills;
        self.actions += other.actions;
        self.retried += other.retried;
        self.entries += other.entries;
        self.accepted += other.accepted;
        self.duplicates += other.duplicates;
        self.rejected += other.rejected;
        self.reports += other.reports;
        self.completed += other.completed;
        self.released += other.released;
        self.repeated += other.repeated;
        self.rejected_reports += other.rejected_reports;
    }
}
