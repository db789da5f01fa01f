//! A script against a real server.

use serde_json::{Value, json};

use crate::ledger_server::ReplyKind;
use crate::support::raw::{Client, Outgoing};
use crate::support::server::Server;
use crate::support::streams;
use crate::support::wait_until;
use crate::{Answer, FLOW_ASKED, Outcome, Step};

/// So that nobody waits for the default of 10 seconds.
const BATCH_TIMEOUT: &str = "700ms";

struct Publisher {
    server: Server,
    client: Client,
    syncs: u64,
    probes: u64,
}

pub fn run(version: &str, script: &[Step]) -> Outcome {
    let limits = format!("limits {{ batch {{ timeout: \"{BATCH_TIMEOUT}\" }} }}");
    let server = Server::start_version_with(version, &limits);
    let mut client = server.client();
    let config = json!({
        "name": "S", "subjects": ["s.>"], "storage": "file", "retention": "limits",
        "discard": "new", "allow_batched": true,
    });
    streams::create(&mut client, &config);
    client.subscribe("_INBOX.script.>");
    let mut publisher = Publisher { server, client, syncs: 0, probes: 0 };
    let answers =
        script.iter().enumerate().map(|(index, step)| publisher.step(index, *step)).collect();
    let client = &mut publisher.client;
    let last = streams::last_sequence(client, "S");
    let stored = streams::read(client, "S", 1..=last);
    let text = |payload: Vec<u8>| String::from_utf8(payload).unwrap();
    Outcome { answers, stored: stored.into_iter().map(|message| text(message.payload)).collect() }
}

impl Publisher {
    fn step(&mut self, index: usize, step: Step) -> Vec<Answer> {
        let payload = index.to_string();
        match step {
            Step::Send { batch, number, op, expected } => {
                let reply = format!("_INBOX.script.{batch}.{FLOW_ASKED}.fail.{number}.{op}.$FI");
                self.client.send(&message(&payload, expected), Some(&reply));
            }
            Step::Plain { expected } => {
                self.client.send(&message(&payload, expected), Some("_INBOX.script.plain"));
            }
            Step::Idle => wait_until("the batches to be dropped", || self.is_alone()),
            Step::Restart => {
                self.server.restart();
                self.client = self.server.client();
                self.client.subscribe("_INBOX.script.>");
            }
        }
        self.answers_so_far()
    }

    /// A batch that is alone is granted what it asks for. This one ends with an error and stores nothing.
    fn is_alone(&mut self) -> bool {
        self.probes += 1;
        let id = 1_000_000 + self.probes;
        let reply = format!("_INBOX.script.{id}.{FLOW_ASKED}.fail.1.0.$FI");
        self.client.send(&message("probe", Some(u64::MAX >> 1)), Some(&reply));
        let granted = ReplyKind::Flow { number: 0, flow: FLOW_ASKED };
        self.answers_so_far().contains(&(Some(id), granted))
    }

    /// All answers to what was sent: those of a stream keep its order, and a publish for another stream
    /// is answered with an error, last.
    fn answers_so_far(&mut self) -> Vec<Answer> {
        self.syncs += 1;
        let subject = format!("_INBOX.script.sync.{}", self.syncs);
        let elsewhere = [("Nats-Expected-Stream", "ELSEWHERE")];
        self.client.send(&Outgoing::new("s.x", &elsewhere, b""), Some(&subject));
        let mut answers = Vec::new();
        loop {
            let delivery = self.client.delivery().expect("the server is there");
            if delivery.subject == subject.as_bytes() {
                return answers;
            }
            answers.extend(read(&delivery.subject, &delivery.payload));
        }
    }
}

fn message(payload: &str, expected: Option<u64>) -> Outgoing {
    let expected = expected.map(|expected| expected.to_string());
    let headers =
        expected.iter().map(|expected| ("Nats-Expected-Last-Sequence", expected.as_str()));
    Outgoing::new("s.x", &headers.collect::<Vec<_>>(), payload.as_bytes())
}

fn read(subject: &[u8], payload: &[u8]) -> Option<Answer> {
    let subject = String::from_utf8_lossy(subject).into_owned();
    let batch = subject.strip_prefix("_INBOX.script.")?.split('.').next()?.parse().ok();
    let answer: Value = serde_json::from_slice(payload).unwrap();
    let number = |field: &str| answer[field].as_u64().unwrap();
    let kind = match answer["type"].as_str() {
        _ if !answer["error"].is_null() => {
            ReplyKind::Error { code: answer["error"]["err_code"].as_u64().unwrap() }
        }
        Some("ack") => ReplyKind::Flow { number: number("seq"), flow: number("msgs") },
        Some("gap") => ReplyKind::Gap { expected: number("last_seq"), current: number("seq") },
        Some(other) => panic!("an answer of the unknown type {other}"),
        None => ReplyKind::PubAck { sequence: number("seq"), count: answer["count"].as_u64() },
    };
    Some((batch, kind))
}
