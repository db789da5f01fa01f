//! The audit as a process, and a ledger that can be written over.

use serde_json::{Value, json};

use crate::support::gate::Ending;
use crate::support::model::parse_block;
use crate::support::raw::{Client, Outgoing, header_block};
use crate::support::streams::{self, Stored};
use crate::support::world::{Site, World};

/// What an audit told.
#[derive(Debug)]
pub struct Audit {
    pub code: Option<i32>,
    pub findings: Vec<Value>,
    pub summary: Value,
}

impl Audit {
    pub fn of<S: Site>(world: &World<S>) -> Self {
        let Ending { code, stdout, stderr, .. } = world.gate.call(&["audit", "--json"]);
        let mut lines: Vec<Value> =
            stdout.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
        let Some(last) = lines.pop() else { panic!("{code:?} {stderr}") };
        assert!(last["summary"].is_object(), "{last}\n{stderr}");
        Self { code, findings: lines, summary: last["summary"].clone() }
    }

    /// Nothing is wrong.
    #[track_caller]
    pub fn is_clean(&self) {
        assert_eq!(self.findings, Vec::<Value>::new(), "{self:#?}");
        assert_eq!((self.code, &self.summary["discrepancies"]), (Some(0), &json!(0)), "{self:#?}");
    }

    /// The one thing that is wrong.
    #[track_caller]
    pub fn only(&self) -> &Value {
        assert_eq!(self.findings.len(), 1, "{self:#?}");
        assert_eq!((self.code, &self.summary["discrepancies"]), (Some(1), &json!(1)), "{self:#?}");
        &self.findings[0]
    }

    #[track_caller]
    pub fn counts(&self, what: &str, expected: usize) {
        assert_eq!(self.summary[what], json!(expected), "{what}: {self:#?}");
    }
}

/// The finding's one difference: of what, expected, found.
#[track_caller]
pub fn difference(finding: &Value) -> (&str, &str, &str) {
    let differences = finding["differences"].as_array().unwrap();
    assert_eq!(differences.len(), 1, "{finding}");
    let text = |field: &str| differences[0][field].as_str().unwrap();
    (text("what"), text("expected"), text("found"))
}

/// An entry that can be changed before it is written again.
#[derive(Debug, Clone)]
pub struct Copied {
    pub subject: String,
    pub headers: Vec<(String, String)>,
    pub payload: Vec<u8>,
}

impl Copied {
    fn of(stored: Stored) -> Self {
        let block = stored.headers.as_deref().unwrap_or(b"NATS/1.0\r\n\r\n");
        let mut headers = parse_block(block).unwrap();
        // Commands to the server, long carried out.
        headers.retain(|(name, _)| !name.starts_with("Nats-"));
        Self { subject: stored.subject, headers, payload: stored.payload }
    }

    pub fn header(&self, name: &str) -> &str {
        let mut values = self.headers.iter().filter(|(own, _)| own == name);
        values.next().map_or("", |(_, value)| value.as_str())
    }

    pub fn set(&mut self, name: &str, value: &str) {
        let found = self.headers.iter_mut().find(|(own, _)| own == name);
        found.expect("no such header").1 = value.to_string();
    }

    pub fn outgoing(&self) -> Outgoing {
        let headers: Vec<(&str, &str)> =
            self.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        Outgoing {
            subject: self.subject.clone().into_bytes(),
            headers: (!headers.is_empty()).then(|| header_block(&headers)),
            payload: self.payload.clone(),
        }
    }
}

/// The ledger's entries.
pub fn copies(world: &mut World) -> Vec<Copied> {
    let stream = world.ledger();
    let last = streams::last_sequence(&mut world.client, &stream);
    let stored = streams::read(&mut world.client, &stream, 1..=last);
    stored.into_iter().map(Copied::of).collect()
}

/// Stops the worker and writes its ledger anew, as `change` leaves it; sequences begin at 1 again.
pub fn rewrite(world: &mut World, change: impl FnOnce(&mut Vec<Copied>)) {
    if world.gate.is_started() {
        world.settle();
        world.gate.stop();
    }
    let mut copies = copies(world);
    change(&mut copies);
    let stream = world.ledger();
    streams::delete(&mut world.client, &stream);
    write(&mut world.client, &copies);
}

fn write(client: &mut Client, copies: &[Copied]) {
    streams::create(client, &streams::ledger_config(&json!({})));
    let messages: Vec<Outgoing> = copies.iter().map(Copied::outgoing).collect();
    client.publish_all(&messages);
}

/// The place of the entry of this kind for the input of this sequence.
pub fn of_input(entries: &[Copied], kind: &str, sequence: u64) -> usize {
    let source = format!("ACTIONS {sequence} ");
    let header = if kind == "judged" { "Oncegate-Judged" } else { "Oncegate-Source" };
    let fits = |entry: &Copied| {
        entry.subject.split('.').nth(1) == Some(kind) && entry.header(header).starts_with(&source)
    };
    entries.iter().position(fits).expect("no such entry")
}
