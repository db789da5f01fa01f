//! In what a mismatch differs from the action that was accepted under its key.

use serde_json::{Map, Value, json};

use crate::config::Config;
use crate::gate::differences::{Differences, Part, differences};
use crate::gate::digest::{Digest, Form};
use crate::gate::entry::{self, Entry};
use crate::gate::headers::Headers;
use crate::gate::rules::Rules;
use crate::nats::connect::Connection;
use crate::nats::raw::{self, RawMessage};
use crate::worker::rule_texts;

/// So much of a value is shown.
const SHOWN_CHARS: usize = 200;

/// See the module.
pub struct Mismatch {
    /// The original's subject and the other's, where they differ.
    subjects: Option<(String, String)>,
    payloads: Result<Differences, &'static str>,
}

impl Mismatch {
    /// Of a rejection; `None` if it is no mismatch.
    pub async fn of(
        config: &Config,
        connection: &Connection,
        (found, headers, subject): (&RawMessage, &Headers, &str),
    ) -> anyhow::Result<Option<Self>> {
        let Some(first) = headers.one(entry::FIRST_SEQUENCE).and_then(|text| text.parse().ok())
        else {
            return Ok(None);
        };
        let original = raw::get(connection, &config.ledger_stream(), first).await?;
        let accepted = original.as_ref().and_then(|original| accepted(&config.name, original));
        let (Some(original), Some(first_subject)) = (&original, accepted) else {
            let why = "the accepted original is no longer in the ledger";
            return Ok(Some(Self { subjects: None, payloads: Err(why) }));
        };
        let subjects =
            (first_subject != subject).then(|| (first_subject.to_owned(), subject.to_owned()));
        let empty = Digest::of(subject, Form::Bytes, b"").to_string();
        let left_out = found.payload.is_empty() && headers.one(entry::DIGEST) != Some(&empty);
        let payloads = match left_out {
            true => Err("the payload did not fit into the ledger"),
            false => {
                let rules = Rules::new(rule_texts(config))?;
                Ok(differences(&original.payload, &found.payload, &rules))
            }
        };
        Ok(Some(Self { subjects, payloads }))
    }

    /// As a member of the rejection's object.
    pub fn to_json(&self) -> Value {
        let mut object = Map::new();
        if let Some((first, now)) = &self.subjects {
            object.insert("subject".to_owned(), json!({ "first": first, "now": now }));
        }
        match &self.payloads {
            Ok(Differences::Values { shown, count }) => {
                object.insert("values".to_owned(), shown.iter().map(part_json).collect());
                object.insert("values_count".to_owned(), json!(count));
            }
            Ok(Differences::Bytes { first_bytes, now_bytes, offset }) => {
                let bytes = json!({
                    "first_bytes": first_bytes, "now_bytes": now_bytes, "offset": offset,
                });
                object.insert("bytes".to_owned(), bytes);
            }
            Err(why) => {
                object.insert("not_known".to_owned(), json!(why));
            }
        }
        object.into()
    }

    /// Lines for a person.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        if let Some((first, now)) = &self.subjects {
            lines.push(format!("subject: was {first}, came back as {now}"));
        }
        match &self.payloads {
            Ok(Differences::Values { shown, count }) => {
                lines.extend(shown.iter().map(part_line));
                let more = count - shown.len();
                lines.extend((more > 0).then(|| format!("and {more} more")));
            }
            Ok(Differences::Bytes { first_bytes, now_bytes, offset: Some(offset) }) => {
                lines.push(format!(
                    "payload: was {first_bytes} bytes, came back as {now_bytes}; they differ from byte \
                     {offset} on"
                ));
            }
            Ok(Differences::Bytes { offset: None, .. }) => {}
            Err(why) => lines.push(format!("what differs is not known: {why}")),
        }
        lines
    }
}

/// The subject of an accepted action.
fn accepted<'a>(name: &str, original: &'a RawMessage) -> Option<&'a str> {
    let headers = original.headers.as_ref().ok()?;
    match entry::decode(name, &original.subject, headers, &original.payload) {
        Ok(Entry::Accepted { .. }) => original.subject.strip_prefix(&format!("{name}.accepted.")),
        _ => None,
    }
}

/// A value that is not there has no member; of a long one, `first_cut` or `now_cut` has the beginning.
fn part_json(part: &Part) -> Value {
    let mut object = Map::from_iter([("pointer".to_owned(), json!(part.pointer))]);
    for (name, value) in [("first", &part.first), ("now", &part.now)] {
        let Some(value) = value else { continue };
        match cut(&value.to_string()) {
            Some(beginning) => object.insert(format!("{name}_cut"), json!(beginning)),
            None => object.insert(name.to_owned(), value.clone()),
        };
    }
    object.into()
}

fn part_line(part: &Part) -> String {
    let text = |value: &Option<Value>| match value {
        None => "absent".to_owned(),
        Some(value) => {
            let whole = value.to_string();
            match cut(&whole) {
                Some(beginning) => format!("{beginning}..."),
                None => whole,
            }
        }
    };
    let place = if part.pointer.is_empty() { "the whole payload" } else { &part.pointer };
    format!("{place}: was {}, came back as {}", text(&part.first), text(&part.now))
}

/// The beginning of what is too long to show.
fn cut(text: &str) -> Option<&str> {
    let (at, _) = text.char_indices().nth(SHOWN_CHARS)?;
    text.get(..at)
}
