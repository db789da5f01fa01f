//! A server, a worker, and all that was published: the stage of most tests.

use std::collections::BTreeSet;

use serde_json::Value;

use super::compare::{Comparison, Judged};
use super::gate::Gate;
use super::ledger::{self, Entry};
use super::model::{Model, Rules, Verdict};
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
    /// From which input on which rules are in force.
    eras: Vec<(usize, Rules)>,
    foreign: BTreeSet<u64>,
    /// Entries that the ledger has dropped since they were compared, and from which input on.
    dropped: Vec<Entry>,
    gone: Vec<(usize, BTreeSet<usize>)>,
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
            eras: vec![(0, rules)],
            foreign: BTreeSet::new(),
            dropped: Vec::new(),
            gone: Vec::new(),
        }
    }

    pub fn rules(&self) -> &Rules {
        &self.eras.last().unwrap().1
    }

    /// The ledger stream's name.
    pub fn ledger(&self) -> String {
        self.rules().name.to_uppercase()
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
        self.eras.push((self.inputs.len(), rules));
    }

    /// From here on the worker runs under these rules: stops it, starts it, with flags.
    pub fn change_rules(&mut self, rules: Rules, flags: &[&str]) {
        self.settle();
        self.gate.stop();
        rules.write(&mut self.gate.settings);
        self.eras.push((self.inputs.len(), rules));
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
        let gone = |entry: &Option<Entry>| entry.as_ref().is_some_and(is_gone);
        let inputs = (0..report.of_input.len()).filter(|index| gone(&report.of_input[*index]));
        self.gone.push((self.inputs.len(), inputs.collect()));
        self.dropped = report.entries.into_iter().filter(is_gone).collect();
        assert!(!self.dropped.is_empty(), "nothing was dropped");
    }

    /// Reads what the input stream holds beyond what was read before. A work queue loses its
    /// messages when they are judged, so there it must be called before.
    pub fn capture(&mut self) {
        let last = streams::last_sequence(&mut self.client, &self.input);
        let from = self.unread;
        if last >= from {
            let read = streams::read(&mut self.client, &self.input, from..=last);
            let filter = |message: &Stored| message.subject.starts_with("actions.");
            self.inputs.extend(read.into_iter().filter(filter));
            self.unread = last + 1;
        }
    }

    /// Waits until the ledger names the last input.
    pub fn settle(&mut self) {
        self.capture();
        wait_until("the last input to be judged", || {
            self.gate.must_run();
            self.is_settled()
        });
    }

    /// Whether the ledger names the last input that was captured.
    pub fn is_settled(&mut self) -> bool {
        let stream = self.ledger();
        let Some(last) = self.inputs.last() else {
            return true;
        };
        ledger::last_named(&mut self.client, &stream)
            .is_some_and(|named| (named.sequence, named.time) == (last.sequence, last.time))
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
        let mut model = Model::new(self.eras[0].1.clone());
        let mut judged = Vec::with_capacity(self.inputs.len());
        for (index, input) in self.inputs.iter().enumerate() {
            for (_, rules) in self.eras.iter().skip(1).filter(|(from, _)| *from == index) {
                model.change(rules.clone());
            }
            for (_, gone) in self.gone.iter().filter(|(from, _)| *from == index) {
                model.lose(gone);
            }
            let decision = model.judge(input);
            judged.push(Judged { input: input.clone(), decision });
        }
        let stream = self.ledger();
        let mut entries = self.dropped.clone();
        entries.extend(ledger::read_all(&mut self.client, &stream));
        entries.retain(|entry| !self.foreign.contains(&entry.sequence));
        let rules = &self.eras[0].1;
        let found = match Comparison::of(rules, &self.input, &judged, &entries) {
            Ok(found) => found,
            Err(account) => panic!("the ledger is not what the model expects:\n{account}"),
        };
        let of_input = (0..judged.len())
            .map(|index| found.get(&index).map(|entry| (*entry).clone()))
            .collect();
        Report { judged, of_input, entries }
    }
}

/// An action with a key in its header.
pub fn action(subject: &str, key: &str, payload: &str) -> Outgoing {
    Outgoing::new(subject, &[("Idempotency-Key", key)], payload.as_bytes())
}

/// A ledger that equals the model.
pub struct Report {
    pub judged: Vec<Judged>,
    of_input: Vec<Option<Entry>>,
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
        let entry = self.of_input[self.index(sequence)].as_ref();
        entry.expect("this input has no entry")
    }

    pub fn count(&self, fits: impl Fn(Verdict) -> bool) -> usize {
        self.judged.iter().filter(|judged| fits(judged.decision.verdict)).count()
    }

    /// How many entries there are of this kind.
    pub fn entries_of(&self, kind: &str) -> usize {
        self.entries.iter().filter(|entry| entry.kind() == kind).count()
    }
}
