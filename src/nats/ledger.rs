//! Appends to the ledger stream by fast ingest (NATS ADR-50), and what the server answers.

use std::borrow::Cow;
use std::sync::Arc;

use async_nats::header::NATS_EXPECTED_LAST_SEQUENCE;
use async_nats::{HeaderMap, HeaderName, HeaderValue, Subscriber};
use bytes::Bytes;
use futures::StreamExt;
use serde::Deserialize;
use serde::de::IntoDeserializer;
use serde::de::value::StringDeserializer;

use super::api::{ApiError, ServerError};
use super::connect::Connection;
use crate::gate::engine::session::{Append, Op, Reply, ReplyKind};
use crate::gate::entry::Message;

/// A single append goes to the stream's own subject; any subject of the ledger would do.
const END_SUBJECT: &str = "leading";

/// An inbox of its own, so that answers to batches of an earlier recovery never come here.
pub struct LedgerSession {
    connection: Connection,
    name: Arc<str>,
    inbox: String,
    /// Where the batch's answers go, up to the number.
    reply: (u64, String),
}

/// The answers to a session's appends.
pub struct LedgerReplies(Subscriber);

/// Why an append did not leave.
#[derive(Debug, thiserror::Error)]
#[error("the ledger session: {0}")]
pub struct SessionBroken(String);

/// Subscribes a fresh inbox.
pub async fn session(
    connection: &Connection,
    name: &str,
) -> Result<(LedgerSession, LedgerReplies), SessionBroken> {
    let inbox = connection.client.new_inbox();
    let broken = |error: &dyn std::fmt::Display| SessionBroken(error.to_string());
    let replies =
        connection.client.subscribe(format!("{inbox}.>")).await.map_err(|error| broken(&error))?;
    let (connection, reply) = (connection.clone(), (0, String::new()));
    let session = LedgerSession { connection, name: name.into(), inbox, reply };
    Ok((session, LedgerReplies(replies)))
}

impl LedgerSession {
    /// Sends one step of a batch. The client may send it later, after a reconnect: the expected
    /// sequence is what makes that harmless.
    pub async fn send(&mut self, append: Append) -> Result<(), SessionBroken> {
        let Append { batch, number, flow, op, expected, message } = append;
        if self.reply.0 != batch {
            self.reply = (batch, reply_of(&self.inbox, batch, flow));
        }
        let Self { connection, name, reply: (_, reply), .. } = self;
        let reply = [reply, number.to_string().as_str(), op_of(op)].concat();
        let client = &connection.client;
        let sent = match message {
            Some(message) => {
                let Message { subject, headers, payload } = message;
                let headers = header_map(headers, expected);
                client.publish_with_reply_and_headers(subject, reply, headers, payload).await
            }
            None => {
                let subject = format!("{name}.{END_SUBJECT}");
                client.publish_with_reply(subject, reply, Bytes::new()).await
            }
        };
        sent.map_err(|error| SessionBroken(error.to_string()))
    }

    /// Hands what was sent to the operating system now.
    pub async fn flush(&self) -> Result<(), SessionBroken> {
        self.connection.client.flush().await.map_err(|error| SessionBroken(error.to_string()))
    }
}

impl LedgerReplies {
    /// The next answer; `None` if the subscription ended.
    pub async fn next(&mut self) -> Option<Reply> {
        loop {
            let message = self.0.next().await?;
            let Some(batch) = batch_of(&message.subject) else {
                continue;
            };
            let unavailable = message.status.is_some().then(|| ReplyKind::Error {
                code: 503,
                description: "no stream takes the ledger's subjects".to_owned(),
            });
            let kind = read(&message.payload).or(unavailable);
            match kind {
                Some(kind) => return Some(Reply { batch, kind }),
                None => tracing::warn!(subject = %message.subject, "an answer that can't be read"),
            }
        }
    }
}

fn reply_of(inbox: &str, batch: u64, flow: u64) -> String {
    format!("{inbox}.{batch:016x}.{flow}.fail.")
}

/// The end of the reply subject.
fn op_of(op: Op) -> &'static str {
    match op {
        Op::Start => ".0.$FI",
        Op::Append => ".1.$FI",
        Op::Commit => ".2.$FI",
        Op::End => ".3.$FI",
    }
}

/// The batch in `<inbox>.<batch>.<flow>.<mode>.<number>.<op>.$FI`.
fn batch_of(subject: &str) -> Option<u64> {
    let batch = subject.rsplit('.').nth(5)?;
    u64::from_str_radix(batch, 16).ok()
}

#[derive(Deserialize)]
struct Answer {
    #[serde(rename = "type")]
    kind: Option<String>,
    seq: Option<u64>,
    msgs: Option<u64>,
    count: Option<u64>,
    error: Option<ServerError>,
}

fn read(payload: &[u8]) -> Option<ReplyKind> {
    let Answer { kind, seq, msgs, count, error } = serde_json::from_slice(payload).ok()?;
    if let Some(error) = error {
        let code = if error.err_code == 0 { error.code } else { error.err_code };
        return Some(ReplyKind::Error { code, description: error.description });
    }
    match kind.as_deref() {
        Some("ack") => Some(ReplyKind::Flow { number: seq?, flow: msgs? }),
        Some("gap") => Some(ReplyKind::Gap),
        Some(_) => None,
        None => Some(ReplyKind::End { sequence: seq?, count }),
    }
}

fn header_map(headers: Vec<(Cow<'static, str>, String)>, expected: u64) -> HeaderMap {
    let mut map = HeaderMap::new();
    map.insert(NATS_EXPECTED_LAST_SEQUENCE, HeaderValue::from(expected));
    for (name, value) in headers {
        // Both were checked where they came in; a pair that the client refuses is left out rather than
        // trusted to break the line.
        if value.bytes().fold(false, |ends, byte| ends | matches!(byte, b'\r' | b'\n')) {
            continue;
        }
        let Some(value) = without_line_ends(value) else { continue };
        match name {
            // Each of the gate's own comes once.
            Cow::Borrowed(own) => map.insert(HeaderName::from_static(own), value),
            Cow::Owned(publishers) => {
                if let Ok(name) = HeaderName::try_from(publishers) {
                    map.append(name, value);
                }
            }
        }
    }
    map
}

/// A value that has none. Every other way to make one looks at each character again, for the same.
fn without_line_ends(value: String) -> Option<HeaderValue> {
    let value: StringDeserializer<serde::de::value::Error> = value.into_deserializer();
    HeaderValue::deserialize(value).ok()
}

#[derive(Deserialize)]
struct Stored {
    seq: u64,
}

/// Appends one entry behind `expected` and waits for it. With one in flight, a plain publish with an
/// expected sequence is an exact fence.
pub async fn append_alone(
    connection: &Connection,
    message: &Message,
    expected: u64,
) -> Result<u64, ApiError> {
    let headers = header_map(message.headers.clone(), expected);
    let subject = message.subject.clone();
    let stored: Stored =
        connection.request(subject, Some(headers), message.payload.clone()).await?;
    Ok(stored.seq)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answers_of_the_server() {
        let flow = br#"{"type":"ack","seq":500,"msgs":500}"#;
        assert_eq!(read(flow), Some(ReplyKind::Flow { number: 500, flow: 500 }));
        let end = br#"{"stream":"ONCEGATE","seq":12,"batch":"00","count":3}"#;
        assert_eq!(read(end), Some(ReplyKind::End { sequence: 12, count: Some(3) }));
        let error =
            br#"{"type":"err","seq":2,"error":{"code":400,"err_code":10071,"description":"d"}}"#;
        assert_eq!(
            read(error),
            Some(ReplyKind::Error { code: 10071, description: "d".to_owned() })
        );
        assert_eq!(read(br#"{"type":"gap","last_seq":1,"seq":3}"#), Some(ReplyKind::Gap));
        assert_eq!(read(b"?"), None);
        assert_eq!(batch_of("_ONCEGATE.a.b.00000000000000ff.500.fail.1.0.$FI"), Some(255));
    }
}
