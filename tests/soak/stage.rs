//! A server and two workers: one that lives as long as the server's data, and one that is restarted.

use std::time::Instant;

use crate::check::Check;
use crate::load::Pacer;
use crate::samples::{Process, Sample, bytes_below};
use crate::support::compare::reports_stream;
use crate::support::executor::Executor;
use crate::support::gate::Gate;
use crate::support::ledger;
use crate::support::load::Dice;
use crate::support::model::Rules;
use crate::support::raw::Client;
use crate::support::server::Server;
use crate::support::{streams, wait_until};

pub const INPUT: &str = "ACTIONS";
/// At every sample.
const REPORTS: usize = 60;

pub struct Stage {
    pub server: Server,
    pub client: Client,
    /// Never restarted; it leads, but for some moments.
    pub steady: Gate,
    /// Restarted again and again.
    pub restarted: Gate,
    pub dice: Dice,
    pub check: Check,
    pub tally: Tally,
    pub samples: Vec<Sample>,
    pacer: Pacer,
    executor: Executor,
    unread_report: u64,
    ledger: String,
    started: Instant,
}

/// What was done.
#[derive(Debug, Clone, Copy, Default)]
pub struct Tally {
    pub worker_stops: u64,
    pub worker_kills: u64,
    pub server_stops: u64,
    pub server_kills: u64,
    pub take_overs: u64,
    pub consumer_moves: u64,
}

impl Stage {
    /// Two workers that are up, and a load that begins.
    pub fn begin(rules: &Rules, seed: u64, rate: u64) -> Self {
        let server = Server::start();
        let mut client = server.client();
        streams::create(&mut client, &streams::input_config(&serde_json::json!({})));
        let mut steady = Gate::on(&server.url());
        rules.write(&mut steady.settings);
        steady.settings.set("ha.takeover", "\"2s\"");
        let mut restarted = steady.twin();
        steady.start();
        steady.wait_leading();
        restarted.start();
        Self {
            pacer: Pacer::start(server.port(), seed, rate, rules.window),
            executor: Executor::new(seed),
            unread_report: 1,
            server,
            client,
            steady,
            restarted,
            dice: Dice::new(seed),
            check: Check::new(rules, INPUT),
            tally: Tally::default(),
            samples: Vec::new(),
            ledger: rules.name.to_uppercase(),
            started: Instant::now(),
        }
    }

    /// Publishes reports on runs that the ledger holds. They are gone when they are judged: the workers stand
    /// still until the test has read them.
    fn report(&mut self) {
        let reports = self.executor.reports(&mut self.client, &self.ledger, REPORTS);
        let gates = [&self.steady, &self.restarted];
        gates.iter().for_each(|gate| gate.freeze());
        self.client.publish_all(&reports);
        let stream = reports_stream(&self.ledger);
        let read = streams::read_on(&mut self.client, &stream, &mut self.unread_report);
        gates.iter().for_each(|gate| gate.thaw());
        read.into_iter().for_each(|report| self.check.reported(report));
    }

    /// Reports, measures, and compares what the ledger holds by now.
    pub fn sample(&mut self) {
        self.must_run();
        self.report();
        self.check.catch_up(&mut self.client);
        let named = ledger::last_named(&mut self.client, &self.ledger);
        let judged = named.map_or(0, |position| position.sequence);
        let last = streams::last_sequence(&mut self.client, INPUT);
        let metrics = self.steady.metrics();
        let before = self.samples.last().copied().unwrap_or_default();
        let seconds = self.started.elapsed().as_secs_f64();
        self.samples.push(Sample {
            seconds,
            steady: Process::of(self.steady.pid(), &self.steady.table()),
            restarted: Process::of(self.restarted.pid(), &self.restarted.table()),
            steady_leads: metrics.sum("oncegate_leading", &[]) == 1.0,
            table_bytes: bytes_below(&self.steady.table()),
            table_keys: metrics.sum("oncegate_table_keys", &[]) as u64,
            judged,
            waiting: last.saturating_sub(judged),
            ledger_sequence: streams::last_sequence(&mut self.client, &self.ledger),
            rate: (judged - before.judged) as f64 / (seconds - before.seconds),
            worker_restarts: self.tally.worker_stops + self.tally.worker_kills,
            server_restarts: self.tally.server_stops + self.tally.server_kills,
        });
    }

    /// The steady worker leads, and the other one stands by.
    pub fn wait_for_order(&mut self) {
        wait_until("the workers to be ready", || {
            self.must_run();
            self.steady.ready() == Some(200) && self.restarted.ready() == Some(200)
        });
        if !self.steady.leads() {
            self.restarted.stop();
            self.tally.worker_stops += 1;
            self.steady.wait_leading();
            self.restarted.start();
        }
    }

    /// Waits until so many more actions are judged.
    pub fn wait_for_verdicts(&mut self, more: u64) {
        let from = self.judged();
        wait_until("some actions to be judged", || {
            self.must_run();
            self.judged() >= from + more
        });
    }

    fn judged(&mut self) -> u64 {
        let named = ledger::last_named(&mut self.client, &self.ledger);
        named.map_or(0, |position| position.sequence)
    }

    /// Neither ends by itself.
    pub fn must_run(&mut self) {
        self.steady.must_run();
        if self.restarted.is_started() {
            self.restarted.must_run();
        }
        self.pacer.must_run();
    }

    /// After the last action is judged: the whole ledger equals the model.
    pub fn end(mut self) -> Ended {
        let published_again = self.pacer.stop();
        let last = streams::last_sequence(&mut self.client, INPUT);
        wait_until("the last input to be judged", || {
            self.steady.must_run();
            let named = ledger::last_named(&mut self.client, &self.ledger);
            named.is_some_and(|position| position.sequence == last)
        });
        wait_until("the last report to be judged", || {
            self.steady.must_run();
            let named = ledger::last_reported(&mut self.client, &self.ledger);
            named.map_or(0, |position| position.sequence) + 1 == self.unread_report
        });
        let counts = self.check.end(&mut self.client);
        self.restarted.stop();
        self.steady.stop();
        Ended { counts, tally: self.tally, samples: self.samples, published_again }
    }
}

/// What a run leaves behind.
pub struct Ended {
    pub counts: crate::check::Counts,
    pub tally: Tally,
    pub samples: Vec<Sample>,
    pub published_again: u64,
}
