//! What a fixture consists of, and how a gate is put upon a copy of it.

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::support::gate::Gate;
use crate::support::ledger::{self, Entry};
use crate::support::model::Rules;
use crate::support::raw::{Client, Outgoing};
use crate::support::server::{Server, copy_tree};
use crate::support::{streams, wait_until};

pub const LEDGER: &str = "ONCEGATE";
/// The stores of these streams are in the fixture: `streams/NAME`.
pub const STREAMS: [&str; 4] = ["ACTIONS", "ORDERS", REPORTS, LEDGER];
/// Fixtures of entries of format 1 have none.
const REPORTS: &str = "ONCEGATE_REPORTS";

/// As long as the configuration allows: what is live in a fixture stays so.
const WINDOW_SECONDS: u64 = 3_650 * 24 * 60 * 60;

/// What a gate is told to read, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Setting {
    Plain,
    Scoped,
    /// Another input stream.
    Orders,
}

impl Setting {
    pub const ALL: [Self; 3] = [Self::Plain, Self::Scoped, Self::Orders];

    pub fn stream(self) -> &'static str {
        match self {
            Self::Orders => "ORDERS",
            Self::Plain | Self::Scoped => "ACTIONS",
        }
    }

    pub fn rules(self) -> Rules {
        let rules = Rules { ignore: vec!["/sent_at"], ..Rules::window(WINDOW_SECONDS) };
        match self {
            Self::Scoped => Rules { scope: vec!["subject:2"], ..rules },
            Self::Plain | Self::Orders => rules,
        }
    }

    fn subjects(self) -> &'static str {
        match self {
            Self::Orders => "[\"orders.>\"]",
            Self::Plain | Self::Scoped => "[\"actions.>\"]",
        }
    }
}

/// A line of `expected.jsonl`: what is published, and what must become of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Retry {
    pub setting: Setting,
    pub subject: String,
    /// The value of `Idempotency-Key`, if there is such a header.
    pub key: Option<String>,
    pub payload: String,
    /// `accepted`, `duplicate`, or why it is rejected.
    pub verdict: String,
    /// Of a mismatch: the run that the key was used for.
    pub first_run_id: Option<String>,
    /// Of a mismatch: where its entry stands in the ledger.
    pub first_sequence: Option<u64>,
}

impl Retry {
    pub fn message(&self) -> Outgoing {
        message(&self.subject, self.key.as_deref(), &self.payload)
    }
}

pub fn message(subject: &str, key: Option<&str>, payload: &str) -> Outgoing {
    let headers: Vec<_> = key.map(|key| ("Idempotency-Key", key)).into_iter().collect();
    Outgoing::new(subject, &headers, payload.as_bytes())
}

pub fn expected(fixture: &Path) -> Vec<Retry> {
    let text = std::fs::read_to_string(fixture.join("expected.jsonl")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// A server and a worker that is not started yet.
pub struct Place {
    pub server: Server,
    pub client: Client,
    pub gate: Gate,
}

impl Place {
    /// With a server's empty store and without a table.
    pub fn new(server: Server) -> Self {
        let (client, gate) = (server.client(), Gate::on(&server.url()));
        Self { server, client, gate }
    }

    /// On copies of a fixture's streams, and of its table too if wanted.
    pub fn copied(fixture: &Path, with_table: bool) -> Self {
        let mut server = Server::start();
        server.stop();
        for stream in STREAMS {
            let kept = fixture.join("streams").join(stream);
            if stream != REPORTS || kept.exists() {
                copy_tree(&kept, &server.stream_files(stream));
            }
        }
        server.restart();
        let place = Self::new(server);
        if with_table {
            copy_tree(&fixture.join("table"), &place.gate.table());
        }
        place
    }

    pub fn create_inputs(&mut self) {
        streams::create(&mut self.client, &streams::input_config(&json!({})));
        let orders = json!({ "name": "ORDERS", "subjects": ["orders.>"] });
        streams::create(&mut self.client, &streams::input_config(&orders));
    }

    /// Starts the worker under these rules, whatever keys were taken from before.
    pub fn start(&mut self, setting: Setting, rules: &Rules) {
        let settings = &mut self.gate.settings;
        rules.write(settings);
        settings.set("input.stream", format!("{:?}", setting.stream()));
        settings.set("input.subjects", setting.subjects());
        self.gate.flags = vec!["--accept-key-rules".into()];
        self.gate.start();
        self.gate.wait_leading();
    }

    /// Publishes, and waits until all is judged; the input sequences.
    pub fn publish(&mut self, setting: Setting, messages: &[Outgoing]) -> Vec<u64> {
        let acks = self.client.publish_all(messages);
        let last = acks.last().unwrap().sequence;
        wait_until("the last input to be judged", || {
            self.gate.must_run();
            let named = ledger::last_named(&mut self.client, LEDGER);
            named.is_some_and(|named| (&*named.stream, named.sequence) == (setting.stream(), last))
        });
        acks.iter().map(|ack| ack.sequence).collect()
    }

    /// Reports, and waits until all is settled: they are gone from their stream then.
    pub fn report(&mut self, reports: &[Outgoing]) {
        self.client.publish_all(reports);
        wait_until("the reports to be settled", || {
            self.gate.must_run();
            streams::info(&mut self.client, REPORTS)["state"]["messages"] == 0
        });
    }

    pub fn ledger_ends_at(&mut self) -> u64 {
        streams::last_sequence(&mut self.client, LEDGER)
    }

    /// Accepted and rejected entries behind this one.
    pub fn entries_after(&mut self, sequence: u64) -> Vec<Entry> {
        let last = self.ledger_ends_at();
        let entries = ledger::read_from(&mut self.client, LEDGER, sequence + 1, last);
        entries.into_iter().filter(|entry| entry.source().is_some()).collect()
    }
}
