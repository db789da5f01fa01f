//! Callers: those who wait for receipts, and those who ask.

use serde_json::{Value, json};

use crate::support::ledger::Position;
use crate::support::model::parse_block;
use crate::support::raw::{Client, Delivery, Outgoing};
use crate::support::world::World;
use crate::support::{streams, wait_for, wait_until};

/// Where receipts are wanted.
pub const BOX: &str = "_INBOX.caller";

/// A connection of its own that takes what comes on subjects below [`BOX`].
pub struct Caller(Client);

/// An answer that came.
#[derive(Debug, Clone)]
pub struct Answer {
    pub subject: String,
    pub headers: Vec<(String, String)>,
    pub body: Value,
}

impl Caller {
    pub fn of(world: &World) -> Self {
        let mut client = world.server.client();
        client.subscribe(&format!("{BOX}.>"));
        Self(client)
    }

    /// The next receipt.
    pub fn receipt(&mut self) -> Answer {
        Answer::of(&self.0.delivery().expect("a receipt"))
    }

    /// The next receipt must be of this kind, as its header says too.
    #[track_caller]
    pub fn receipt_of(&mut self, verdict: &str) -> Value {
        let answer = self.receipt();
        assert_eq!(answer.body["verdict"], verdict, "{answer:#?}");
        assert_eq!(answer.header("Oncegate-Verdict"), Some(verdict), "{answer:#?}");
        answer.body
    }

    /// Nothing has come up to now: what is published here comes first.
    #[track_caller]
    pub fn has_nothing(&mut self) {
        self.0.send(&Outgoing::new(&format!("{BOX}.mark"), &[], b"\"mark\""), None);
        let first = self.receipt();
        assert_eq!(first.body, "mark", "{first:#?}");
    }

    /// Asks without waiting for the answer, which comes below [`BOX`], on the subject `place`.
    pub fn ask(&mut self, place: &str, request: &Value) {
        let message = Outgoing::new("oncegate.svc.lookup", &[], request.to_string().as_bytes());
        self.0.send(&message, Some(&format!("{BOX}.{place}")));
    }
}

impl Answer {
    pub fn of(delivery: &Delivery) -> Self {
        let block = delivery.headers.as_deref();
        Self {
            subject: String::from_utf8(delivery.subject.clone()).unwrap(),
            headers: block.and_then(parse_block).unwrap_or_default(),
            body: serde_json::from_slice(&delivery.payload).unwrap_or_default(),
        }
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(own, _)| own == name);
        found.map(|(_, value)| value.as_str())
    }

    /// The service's error.
    pub fn error(&self) -> Option<(u32, String)> {
        let code = self.header("Nats-Service-Error-Code")?.parse().unwrap();
        Some((code, self.header("Nats-Service-Error").unwrap().to_string()))
    }
}

/// An action that wants a receipt.
pub fn asking(message: Outgoing) -> Outgoing {
    asking_at(message, &format!("{BOX}.receipt"))
}

pub fn asking_at(mut message: Outgoing, reply_to: &str) -> Outgoing {
    let block = message.headers.get_or_insert_with(|| b"NATS/1.0\r\n\r\n".to_vec());
    block.truncate(block.len() - 2);
    block.extend(format!("Oncegate-Reply-To: {reply_to}\r\n\r\n").bytes());
    message
}

/// Asks for what is known of a key, and waits for the answer.
pub fn look_up(world: &mut World, request: &Value) -> Answer {
    look_up_bytes(world, request.to_string().as_bytes())
}

pub fn look_up_bytes(world: &mut World, request: &[u8]) -> Answer {
    let message = Outgoing::new("oncegate.svc.lookup", &[], request);
    wait_for("a responder", || {
        let delivery = world.client.request(&message);
        let nobody = delivery.headers.as_deref().is_some_and(|h| h.starts_with(b"NATS/1.0 503"));
        (!nobody).then(|| Answer::of(&delivery))
    })
}

/// Waits until the worker has in its table what the ledger holds.
pub fn catch_up(world: &mut World) {
    if world.gate.is_started() {
        let ledger = world.ledger();
        let last = streams::last_sequence(&mut world.client, &ledger);
        wait_until("the table to have what the ledger has", || {
            world.gate.metrics().sum("oncegate_ledger_sequence", &[]) >= last as f64
        });
    }
}

/// What is known of a key, which must be known.
#[track_caller]
pub fn known(world: &mut World, key: &str) -> Value {
    catch_up(world);
    let answer = look_up(world, &json!({ "key": key }));
    assert_eq!(answer.error(), None);
    answer.body
}

/// A key must not be known.
#[track_caller]
pub fn unknown(world: &mut World, key: &str) {
    catch_up(world);
    let answer = look_up(world, &json!({ "key": key }));
    assert_eq!(answer.error().map(|(code, _)| code), Some(404), "{answer:#?}");
}

/// The run of an accepted action, by its sequence, when it is judged.
pub fn run_of(world: &mut World, key: &str) -> String {
    known(world, key)["run_id"].as_str().unwrap().to_string()
}

/// Publishes an action, and waits until its key's run is known; the run id.
pub fn run(world: &mut World, key: &str) -> String {
    world.act(key, "1");
    world.settle();
    run_of(world, key)
}

/// As an answer shows where an input message stands.
pub fn place(world: &mut World, stream: &str, sequence: u64) -> Value {
    let stored = streams::get(&mut world.client, stream, sequence).unwrap();
    let time = format!("{:.9}", stored.time);
    assert!(Position::parse(&format!("{stream} {sequence} {time}")).is_some());
    json!({ "stream": stream, "sequence": sequence, "time": time })
}
