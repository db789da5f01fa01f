//! Streams as an administrator sees them: created, changed, read raw.

use std::ops::RangeInclusive;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::raw::{Client, Outgoing};
use super::wait_for;

/// A message as a stream holds it.
#[derive(Debug, Clone)]
pub struct Stored {
    pub sequence: u64,
    pub time: Timestamp,
    /// Bytes that are not UTF-8 arrive as U+FFFD.
    pub subject: String,
    pub headers: Option<Vec<u8>>,
    pub payload: Vec<u8>,
}

/// The input stream as `run` would make it, with other fields on top.
pub fn input_config(more: &Value) -> Value {
    let mut config = json!({
        "name": "ACTIONS", "subjects": ["actions.>"], "storage": "file", "retention": "limits",
        "num_replicas": 1, "duplicate_window": 100_000_000,
    });
    merge(&mut config, more);
    config
}

/// The ledger as the contract wants it, with other fields on top.
pub fn ledger_config(more: &Value) -> Value {
    let mut config = json!({
        "name": "ONCEGATE", "storage": "file", "retention": "limits", "discard": "new",
        "subjects": ["oncegate.accepted.>", "oncegate.rejected.>", "oncegate.completed.>",
                     "oncegate.released.>", "oncegate.leading", "oncegate.judged"],
        "num_replicas": 1, "allow_batched": true, "deny_delete": true, "deny_purge": true,
        "max_age": 777_600_000_000_000_u64,
    });
    merge(&mut config, more);
    config
}

/// The stream of reports as `run` would make it.
pub fn reports_config(name: &str) -> Value {
    let subjects = [format!("{name}.results.>"), format!("{name}.operator.>")];
    json!({
        "name": format!("{}_REPORTS", name.to_uppercase()), "subjects": subjects, "storage": "file",
        "retention": "workqueue", "discard": "new", "num_replicas": 1,
    })
}

fn merge(config: &mut Value, more: &Value) {
    for (field, value) in more.as_object().into_iter().flatten() {
        config[field] = value.clone();
    }
}

pub fn create(client: &mut Client, config: &Value) -> Value {
    let name = config["name"].as_str().unwrap();
    must(client.api(&format!("STREAM.CREATE.{name}"), config))
}

/// Changes some fields of a stream.
pub fn update(client: &mut Client, name: &str, more: &Value) -> Value {
    let mut config = must(info(client, name))["config"].clone();
    merge(&mut config, more);
    must(client.api(&format!("STREAM.UPDATE.{name}"), &config))
}

/// A ledger drops all but its newest entries, as its limits would.
pub fn trim(client: &mut Client, name: &str, keep: u64) {
    update(client, name, &json!({ "discard": "old", "max_msgs": keep }));
    update(client, name, &json!({ "discard": "new", "max_msgs": -1 }));
    let state = info(client, name)["state"].clone();
    assert_eq!(state["messages"], keep, "{state}");
}

pub fn delete(client: &mut Client, name: &str) {
    must(client.api(&format!("STREAM.DELETE.{name}"), &Value::Null));
}

/// STREAM.INFO; holds an `error` if there is no such stream.
pub fn info(client: &mut Client, name: &str) -> Value {
    client.query(&format!("STREAM.INFO.{name}"))
}

/// The last sequence of a stream, 0 if there is no such stream.
pub fn last_sequence(client: &mut Client, name: &str) -> u64 {
    info(client, name)["state"]["last_seq"].as_u64().unwrap_or(0)
}

pub fn must(answer: Value) -> Value {
    assert!(answer["error"].is_null(), "the server refuses: {answer}");
    answer
}

/// One message, if the stream has it.
pub fn get(client: &mut Client, stream: &str, sequence: u64) -> Option<Stored> {
    read(client, stream, sequence..=sequence).pop()
}

/// All messages of these sequences that the stream still has.
pub fn read(client: &mut Client, stream: &str, sequences: RangeInclusive<u64>) -> Vec<Stored> {
    let subject = format!("$JS.API.STREAM.MSG.GET.{stream}");
    let wanted: Vec<Outgoing> = sequences
        .map(|sequence| {
            let body = json!({ "seq": sequence }).to_string();
            Outgoing::new(&subject, &[], body.as_bytes())
        })
        .collect();
    let answers = wait_for("the stream to answer", || {
        let answers = client.query_all(&wanted);
        let answers: Vec<Value> =
            answers.iter().map(|answer| serde_json::from_slice(&answer.payload).unwrap()).collect();
        // A replicated stream has no leader for a while, now and then.
        let all_told = answers.iter().all(|answer| answer["error"]["code"] != 503);
        all_told.then_some(answers)
    });
    answers.iter().filter_map(stored).collect()
}

/// What this stream holds from `next` on, which then is one more than its last sequence.
pub fn read_on(client: &mut Client, stream: &str, next: &mut u64) -> Vec<Stored> {
    let (from, last) = (*next, last_sequence(client, stream));
    *next = from.max(last + 1);
    read(client, stream, from..=last)
}

fn stored(answer: &Value) -> Option<Stored> {
    let Some(message) = answer.get("message") else {
        assert_eq!(answer["error"]["code"], 404, "{answer}");
        return None;
    };
    let bytes = |field: &str| {
        let text = message[field].as_str()?;
        Some(BASE64_STANDARD.decode(text).unwrap())
    };
    Some(Stored {
        sequence: message["seq"].as_u64().unwrap(),
        time: message["time"].as_str().unwrap().parse().unwrap(),
        subject: message["subject"].as_str().unwrap().into(),
        headers: bytes("hdrs"),
        payload: bytes("data").unwrap_or_default(),
    })
}

/// A backup as `nats stream backup` makes it.
pub struct Backup {
    config: Value,
    state: Value,
    chunks: Vec<Vec<u8>>,
}

/// Backs a stream up.
pub fn back_up(client: &mut Client, name: &str) -> Backup {
    let inbox = format!("_INBOX.backup.{}", uuid::Uuid::now_v7().simple());
    client.subscribe(&inbox);
    let ask = json!({ "deliver_subject": inbox, "no_consumers": true });
    let answer = must(client.api(&format!("STREAM.SNAPSHOT.{name}"), &ask));
    let mut chunks = Vec::new();
    loop {
        let chunk = client.delivery().expect("a chunk");
        if chunk.subject != inbox.as_bytes() {
            continue;
        }
        if chunk.payload.is_empty() {
            return Backup {
                config: answer["config"].clone(),
                state: answer["state"].clone(),
                chunks,
            };
        }
        if let Some(reply) = &chunk.reply {
            client.send(&Outgoing::new(reply, &[], b""), None);
        }
        chunks.push(chunk.payload);
    }
}

/// Makes a stream from its backup.
pub fn restore(client: &mut Client, backup: &Backup) {
    let name = backup.config["name"].as_str().unwrap();
    let ask = json!({ "config": backup.config, "state": backup.state });
    let answer = must(client.api(&format!("STREAM.RESTORE.{name}"), &ask));
    let to = answer["deliver_subject"].as_str().unwrap();
    for chunk in &backup.chunks {
        client.request(&Outgoing::new(to, &[], chunk));
    }
    let end = client.request(&Outgoing::new(to, &[], b""));
    must(serde_json::from_slice(&end.payload).unwrap());
}
