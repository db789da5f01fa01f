//! Messages read one by one with `STREAM.MSG.GET`, whole and whatever their bytes: what no client
//! library can parse comes in base64 here. Answered by the stream's leader, never by a lagging replica.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use serde::Deserialize;
use serde_json::json;

use super::api::{ApiError, NO_MESSAGE_FOUND};
use super::connect::Connection;
use crate::gate::headers::{Headers, MalformedHeaders};
use crate::gate::source::{TimeNs, parse_rfc3339};

/// A stored message.
#[derive(Clone, Debug)]
pub struct RawMessage {
    /// Stream sequence.
    pub sequence: u64,
    /// When the stream stored it.
    pub time_ns: TimeNs,
    /// Its subject; bytes that are not UTF-8 come as U+FFFD.
    pub subject: String,
    /// Its headers, by our own reading of the block.
    pub headers: Result<Headers, MalformedHeaders>,
    /// Its payload.
    pub payload: Bytes,
}

#[derive(Deserialize)]
struct Answer {
    message: Stored,
}

#[derive(Deserialize)]
struct Stored {
    subject: String,
    seq: u64,
    time: String,
    #[serde(default)]
    hdrs: Option<String>,
    #[serde(default)]
    data: Option<String>,
}

/// The message at `sequence`; `None` if the stream does not hold it.
pub async fn get(
    connection: &Connection,
    stream: &str,
    sequence: u64,
) -> Result<Option<RawMessage>, ApiError> {
    request(connection, stream, json!({ "seq": sequence })).await
}

/// The first message at or after `sequence` on a subject that `filter` takes.
pub async fn next(
    connection: &Connection,
    stream: &str,
    sequence: u64,
    filter: &str,
) -> Result<Option<RawMessage>, ApiError> {
    request(connection, stream, json!({ "seq": sequence, "next_by_subj": filter })).await
}

/// The last message on `subject`.
pub async fn last_on(
    connection: &Connection,
    stream: &str,
    subject: &str,
) -> Result<Option<RawMessage>, ApiError> {
    request(connection, stream, json!({ "last_by_subj": subject })).await
}

async fn request(
    connection: &Connection,
    stream: &str,
    body: serde_json::Value,
) -> Result<Option<RawMessage>, ApiError> {
    let call = format!("STREAM.MSG.GET.{stream}");
    match connection.call::<Answer>(&call, &body).await {
        Ok(answer) => read(answer.message)
            .map(Some)
            .map_err(|why| ApiError::Odd { subject: call, why: why.to_owned() }),
        Err(error) if error.code() == Some(NO_MESSAGE_FOUND) => Ok(None),
        Err(error) => Err(error),
    }
}

fn read(stored: Stored) -> Result<RawMessage, &'static str> {
    let decode = |text: Option<String>| {
        STANDARD.decode(text.unwrap_or_default()).map_err(|_| "it is not base64")
    };
    Ok(RawMessage {
        sequence: stored.seq,
        time_ns: parse_rfc3339(&stored.time).ok_or("its time is no RFC 3339 time")?,
        subject: stored.subject,
        headers: Headers::parse(&decode(stored.hdrs)?),
        payload: decode(stored.data)?.into(),
    })
}

/// The headers of a delivery as the client library read them, where its reading is certain; `None`: read
/// the message raw to know.
pub(super) fn plain_headers(message: &async_nats::Message) -> Option<Headers> {
    if message.status.is_some() || message.description.is_some() {
        return None;
    }
    let Some(headers) = &message.headers else {
        return Some(Headers::default());
    };
    let around = message.subject.len() + message.reply.as_ref().map_or(0, |r| r.len());
    let block = message.length.checked_sub(around + message.payload.len())?;
    let pairs = headers
        .iter()
        .flat_map(|(name, values)| values.iter().map(move |value| (name.as_ref(), value.as_str())));
    Headers::from_library(pairs, block)
}

/// How many requests for single messages are under way at once.
///
/// Messages may be large, and the server cuts off a client that has more than 64 MB pending.
const REQUESTS_AT_ONCE: usize = 24;

/// The messages from `from` to `to` that the stream holds, in order, each as `keep` leaves it.
pub async fn range<T>(
    connection: &Connection,
    stream: &str,
    (from, to): (u64, u64),
    keep: impl Fn(RawMessage) -> T,
) -> Result<Vec<T>, ApiError> {
    let requests =
        futures::stream::iter(from..=to).map(|sequence| get(connection, stream, sequence));
    let found = requests.buffered(REQUESTS_AT_ONCE).map_ok(|found| found.map(&keep));
    let found: Vec<Option<T>> = found.try_collect().await?;
    Ok(found.into_iter().flatten().collect())
}

/// Deletes a message of a work queue that is committed and has no delivery to acknowledge.
pub async fn delete(connection: &Connection, stream: &str, sequence: u64) -> Result<(), ApiError> {
    let body = json!({ "seq": sequence, "no_erase": true });
    let gone: Result<serde_json::Value, _> =
        connection.call(&format!("STREAM.MSG.DELETE.{stream}"), &body).await;
    match gone {
        Err(error) if error.code() != Some(NO_MESSAGE_FOUND) => Err(error),
        _ => Ok(()),
    }
}
