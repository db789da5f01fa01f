//! A server, a worker, and all that was published: the stage of most tests.

use std::collections::{BTreeSet, HashMap};

use serde_json::Value;

use super::compare::{Change, Comparison, Judged, JudgedReport, Place, reports_stream};
use super::gate::Gate;
use super::ledger::{self, Entry, Position};
use super::model::reports::Outcome;
use super::model::{Rules, Verdict};
use super::raw::{Client, Outgoing};
use super::server::Server;
use super::streams::{self, Stored};
use super::wait_until;

/// What the worker stands on: a server, or several.
pub trait Site {
    /// A connection of the test's own.
    fn client(&self) -> Client;
    /// Where each server takes clients.
    fn ports(&self) -> Vec<u16>;
}

impl Site for Server {
    fn client(&self) -> Client {
        Server::client(self)
    }

    fn ports(&self) -> Vec<u16> {
        vec![self.port()]
    }
}

pub struct World<S: Site = Server> {
    pub gate: Gate,
    pub client: Client,
    pub server: S,
    /// The input stream's name.
    pub input: String,
    inputs: Vec<Stored>,
    /// The next input sequence that was not read yet.
    unread: u64,
    reports: Vec<Stored>,
    unread_report: u64,
    /// Rules, and after which entry of the ledger they came into force.
    eras: Vec<(u64, Rules)>,
    foreign: BTreeSet<u64>,
    /// Entries that the ledger has dropped since they were compared.
    dropped: Vec<Entry>,
    /// After which entry it had dropped those before which.
    lost: Vec<(u64, u64)>,
}

impl World {
    /// A default server and a ready worker.
    pub fn started(rules: Rules) -> Self {
        let mut world = Self::prepared(Server::start(), rules);
        world.gate.start();
        world
    }

    /// A worker that does not run yet, where the test makes the input stream itself, with these fields.
    pub fn with_input(rules: Rules, fields: &Value) -> Self {
        let mut world = Self::prepared(Server::start(), rules);
        streams::create(&mut world.client, &streams::input_config(fields));
        world
    }
}

impl<S: Site> World<S> {
    /// A worker that does not run yet, for this server.
    pub fn prepared(server: S, rules: Rules) -> Self {
        let mut gate = Gate::on(&format!("nats://127.0.0.1:{}", server.ports()[0]));
        rules.write(&mut gate.settings);
        Self {
            client: server.client(),
            gate,
            server,
            input: "ACTIONS".into(),
            inputs: Vec::new(),
            unread: 1,
            reports: Vec::new(),
            unread_report: 1,
            eras: vec![(0, rules)],
            foreign: BTreeSet::new(),
            dropped: Vec::new(),
            lost: Vec::new(),
        }
    }

    pub fn rules(&self) -> &Rules {
        &self.eras.last().unwrap().1
    }

    /// The ledger stream's name.
    pub fn ledger(&self) -> String {
        self.rules().name.to_uppercase()
    }

    /// The name of the stream of reports.
    pub fn reports_stream(&self) -> String {
        reports_stream(self.rules().name)
    }

    /// Publishes; the message's sequence in the input stream.
    pub fn publish(&mut self, message: &Outgoing) -> u64 {
        self.client.publish(message).sequence
    }

    /// Publishes an action with a key in its header.
    pub fn act(&mut self, key: &str, payload: &str) -> u64 {
        let message = action("actions.pay", key, payload);
        self.publish(&message)
    }

    /// Publishes reports. They are gone when they are judged: the worker stands still until they are captured.
    /// Their sequences in the same order.
    pub fn report_all(&mut self, messages: &[Outgoing]) -> Vec<u64> {
        let running = self.gate.is_started() && !self.gate.has_ended();
        if running {
            self.gate.freeze();
        }
        let sequences = self.publish_all(messages);
        self.capture();
        if running {
            self.gate.thaw();
        }
        sequences
    }

    /// Publishes a report.
    pub fn report(&mut self, message: &Outgoing) -> u64 {
        self.report_all(std::slice::from_ref(message)).remove(0)
    }

    /// The stream of reports, as `run` would make it, where there is none yet.
    pub fn make_reports_stream(&mut self) {
        let name = self.reports_stream();
        if !streams::info(&mut self.client, &name)["error"].is_null() {
            let config = streams::reports_config(self.rules().name);
            streams::create(&mut self.client, &config);
        }
    }

    /// The stream of reports was made anew.
    pub fn reports_are_new(&mut self) {
        self.unread_report = 1;
    }

    /// Publishes an action as soon as the worker has made the input stream.
    pub fn act_when_input_is_there(&mut self) {
        let input = self.input.clone();
        wait_until("the input stream", || {
            self.gate.must_run();
            streams::info(&mut self.client, &input)["error"].is_null()
        });
        self.act("k", "1");
    }

    /// Publishes all of them; sequences in the same order.
    pub fn publish_all(&mut self, messages: &[Outgoing]) -> Vec<u64> {
        self.client.publish_all(messages).iter().map(|ack| ack.sequence).collect()
    }

    /// After a restart of the server: a new connection.
    pub fn reconnect(&mut self) {
        self.client = self.server.client();
    }

    /// The input stream was made anew: its sequences start again.
    pub fn input_is_new(&mut self) {
        self.unread = 1;
    }

    /// Messages up to this sequence are gone before anyone judged them.
    pub fn skip_input_to(&mut self, sequence: u64) {
        self.unread = sequence + 1;
    }

    /// These were taken out of the input before anyone judged them.
    pub fn stolen(&mut self, sequences: &[u64]) {
        self.inputs.retain(|input| !sequences.contains(&input.sequence));
    }

    /// The message at this ledger sequence is not the gate's.
    pub fn foreign(&mut self, sequence: u64) {
        self.foreign.insert(sequence);
    }

    /// Whoever judges from here on does so under these rules.
    pub fn rules_are(&mut self, rules: Rules) {
        self.settle();
        self.begin_era(rules);
    }

    /// All that was published is judged.
    fn begin_era(&mut self, rules: Rules) {
        let ledger = self.ledger();
        self.eras.push((streams::last_sequence(&mut self.client, &ledger), rules));
    }

    /// From here on the worker runs under these rules: stops it, starts it, with flags.
    pub fn change_rules(&mut self, rules: Rules, flags: &[&str]) {
        self.settle();
        self.gate.stop();
        rules.write(&mut self.gate.settings);
        self.begin_era(rules);
        self.gate.flags = flags.iter().map(|flag| flag.to_string()).collect();
        self.gate.start();
    }

    /// The ledger drops all but its last entries, as it does by its age; the worker must not run.
    pub fn trim_ledger(&mut self, kept: u64) {
        let report = self.compare();
        let stream = self.ledger();
        streams::trim(&mut self.client, &stream, kept);
        let first =
            streams::info(&mut self.client, &stream)["state"]["first_seq"].as_u64().unwrap();
        let is_gone = |entry: &Entry| entry.sequence < first;
        self.lost.push((streams::last_sequence(&mut self.client, &stream), first));
        self.dropped = report.entries.into_iter().filter(is_gone).collect();
        assert!(!self.dropped.is_empty(), "nothing was dropped");
    }

    /// Reads what the input streams hold beyond what was read before. A work queue loses its
    /// messages when they are judged, so there it must be called before.
    pub fn capture(&mut self) {
        let read = streams::read_on(&mut self.client, &self.input, &mut self.unread);
        let filter = |message: &Stored| message.subject.starts_with("actions.");
        self.inputs.extend(read.into_iter().filter(filter));
        let stream = self.reports_stream();
        let read = streams::read_on(&mut self.client, &stream, &mut self.unread_report);
        self.reports.extend(read);
    }

    /// Waits until the ledger names the last inputs.
    pub fn settle(&mut self) {
        self.capture();
        wait_until("the last input to be judged", || {
            self.gate.must_run();
            self.is_settled()
        });
    }

    /// Whether the ledger names the last inputs that were captured.
    pub fn is_settled(&mut self) -> bool {
        let stream = self.ledger();
        let client = &mut self.client;
        let is = |named: Option<Position>, last: &Stored| {
            named.is_some_and(|named| (named.sequence, named.time) == (last.sequence, last.time))
        };
        let actions = self.inputs.last();
        let reports = self.reports.last();
        actions.is_none_or(|last| is(ledger::last_named(client, &stream), last))
            && reports.is_none_or(|last| is(ledger::last_reported(client, &stream), last))
    }

    /// Waits until everything is judged; then the ledger must equal the model.
    #[track_caller]
    pub fn check(&mut self) -> Report {
        self.settle();
        self.compare()
    }

    /// The ledger as it stands must equal the model of all that was published.
    #[track_caller]
    pub fn compare(&mut self) -> Report {
        let mut comparison = Comparison::new(&self.eras[0].1, &self.input);
        self.inputs.iter().for_each(|input| comparison.expect(input.clone()));
        self.reports.iter().for_each(|report| comparison.expect_report(report.clone()));
        let eras = self.eras.iter().skip(1);
        let eras = eras.map(|(after, rules)| (*after, Change::Rules(rules.clone())));
        let lost = self.lost.iter().map(|(after, before)| (*after, Change::Lost(*before)));
        let mut changes: Vec<_> = eras.chain(lost).collect();
        changes.sort_by_key(|(after, _)| *after);
        changes.into_iter().for_each(|(after, change)| comparison.change_after(after, change));
        let stream = self.ledger();
        let mut entries = self.dropped.clone();
        entries.extend(ledger::read_all(&mut self.client, &stream));
        entries.retain(|entry| !self.foreign.contains(&entry.sequence));
        let entry_of =
            entries.iter().filter_map(|entry| Some((comparison.take(entry)?, entry.clone())));
        let entry_of = entry_of.collect();
        if let Err(account) = comparison.end() {
            panic!("the ledger is not what the model expects:\n{account}");
        }
        let (judged, reports) = comparison.judged();
        Report { judged, reports, entry_of, entries }
    }
}

/// An action with a key in its header.
pub fn action(subject: &str, key: &str, payload: &str) -> Outgoing {
    Outgoing::new(subject, &[("Idempotency-Key", key)], payload.as_bytes())
}

/// A report on this run of this key.
pub fn result(key: &str, run_id: &str, status: &str, payload: &[u8]) -> Outgoing {
    let headers =
        [("Idempotency-Key", key), ("Oncegate-Run-Id", run_id), ("Oncegate-Status", status)];
    Outgoing::new("oncegate.results.pay", &headers, payload)
}

/// An operator's.
pub fn forget(key: &str) -> Outgoing {
    let headers = [("Idempotency-Key", key), ("Oncegate-Detail", "it was wrong")];
    Outgoing::new("oncegate.operator.forget", &headers, b"")
}

/// A ledger that equals the model.
pub struct Report {
    pub judged: Vec<Judged>,
    pub reports: Vec<JudgedReport>,
    entry_of: HashMap<Place, Entry>,
    /// All of the gate's entries.
    pub entries: Vec<Entry>,
}

impl Report {
    fn index(&self, sequence: u64) -> usize {
        self.judged
            .iter()
            .rposition(|judged| judged.input.sequence == sequence)
            .expect("no such input")
    }

    /// What became of the input message of this sequence.
    pub fn verdict(&self, sequence: u64) -> Verdict {
        self.judged[self.index(sequence)].decision.verdict
    }

    /// Its entry.
    pub fn entry(&self, sequence: u64) -> &Entry {
        let place = Place::Action(self.index(sequence));
        self.entry_of.get(&place).expect("this input has no entry")
    }

    fn report_index(&self, sequence: u64) -> usize {
        self.reports
            .iter()
            .rposition(|report| report.input.sequence == sequence)
            .expect("no such report")
    }

    /// What became of the report of this sequence.
    pub fn outcome(&self, sequence: u64) -> Outcome {
        let decision = &self.reports[self.report_index(sequence)].decision;
        decision.as_ref().map_or(Outcome::Repeated, |decision| decision.outcome)
    }

    /// Its entry.
    pub fn report_entry(&self, sequence: u64) -> &Entry {
        let place = Place::Report(self.report_index(sequence));
        self.entry_of.get(&place).expect("this report has no entry")
    }

    pub fn count(&self, fits: impl Fn(Verdict) -> bool) -> usize {
        self.judged.iter().filter(|judged| fits(judged.decision.verdict)).count()
    }

    pub fn count_reports(&self, fits: impl Fn(Outcome) -> bool) -> usize {
        let outcomes = self.reports.iter().map(|report| {
            report.decision.as_ref().map_or(Outcome::Repeated, |decision| decision.outcome)
        });
        outcomes.filter(|outcome| fits(*outcome)).count()
    }

    /// How many entries there are of this kind.
    pub fn entries_of(&self, kind: &str) -> usize {
        self.entries.iter().filter(|entry| entry.kind() == kind).count()
    }
}
