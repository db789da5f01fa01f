//! A stream's messages in order, at the speed of a consumer: the ledger's entries without payloads, for a
//! long tail and for a standby that follows; or whole, for whoever reads a stream from end to end.
//!
//! What somebody else put into the stream may break the client library. Then the tail ends, and the
//! reader passes the place with [`super::raw`].

use bytes::Bytes;
use serde_json::{Value, json};

use super::connect::Connection;
use super::place::Place;
use super::pull::{Broken, Brought, Pull, broken};
use super::raw::{self, RawMessage};
use super::setup;
use crate::config::Config;

/// Messages that a pull asks for: little work each, so that the server would soon have none left to bring.
const PULL_MESSAGES: u64 = 8192;
/// Messages handed over at once: far less than a pull, so that before the next is asked for there is always one that
/// the server still has to fill.
const CHUNK_ENTRIES_MAX: usize = 1024;
/// Where entries are smaller than this on average, they come with their payloads: to leave those out, the
/// server writes every message anew, which takes it longer, and adds a header that says how large it was.
const ENTRY_BYTES_SMALL: u64 = 1024;
/// And so many bytes of payload.
const CHUNK_BYTES_MAX: usize = 4 << 20;
/// The server removes the consumer when nobody pulled for so long.
const INACTIVE_SECONDS: u64 = 30;

/// Some messages, in order.
#[derive(Debug, Default)]
pub struct Chunk {
    /// At least one.
    pub entries: Vec<RawMessage>,
    /// How many the stream held behind them.
    pub behind: u64,
}

/// Whose payloads are read.
enum Payloads {
    All,
    /// Of messages on this subject only.
    On(String),
}

/// See the module.
pub struct Tail {
    connection: Connection,
    stream: String,
    payloads: Payloads,
    pull: Pull,
}

impl Tail {
    /// The ledger from the entry at `from` on, over a connection of its own. Payloads of `leading` entries
    /// only.
    pub async fn open(config: &Config, from: u64) -> Result<Self, Broken> {
        let payloads = Payloads::On(format!("{}.leading", config.name));
        Self::begin(config, (&config.ledger_stream(), &[]), from, payloads).await
    }

    /// Any limits stream from the message at `from` on, over a connection of its own; where `subjects` are
    /// named, only what they take.
    pub async fn open_whole(
        config: &Config,
        (stream, subjects): (&str, &[String]),
        from: u64,
    ) -> Result<Self, Broken> {
        Self::begin(config, (stream, subjects), from, Payloads::All).await
    }

    async fn begin(
        config: &Config,
        (stream, subjects): (&str, &[String]),
        from: u64,
        payloads: Payloads,
    ) -> Result<Self, Broken> {
        let connection = Connection::open(&config.nats, "tail").await;
        let connection = connection.map_err(|error| broken("disconnected", error))?;
        let breaks = connection.breaks();
        let headers_only = match payloads {
            Payloads::All => false,
            Payloads::On(_) => !is_small(&connection, stream).await?,
        };
        let wanted = json!({
            "deliver_policy": "by_start_sequence", "opt_start_seq": from,
            "filter_subjects": subjects, "ack_policy": "none", "max_deliver": 1,
            "replay_policy": "instant", "headers_only": headers_only,
            "inactive_threshold": INACTIVE_SECONDS * 1_000_000_000, "mem_storage": true,
            "num_replicas": 1, "description": "Reads a stream in order",
        });
        let consumer = make_consumer(&connection, &config.name, stream, wanted).await?;
        let pull = Pull::open(&connection, stream, &consumer, breaks, PULL_MESSAGES).await?;
        Ok(Self { connection, stream: stream.to_owned(), payloads, pull })
    }

    /// The next messages; waits until there are some.
    pub async fn next(&mut self) -> Result<Chunk, Broken> {
        loop {
            if let Some(chunk) = self.next_or_idle().await? {
                return Ok(chunk);
            }
        }
    }

    /// The next messages; `None` when the server says that it has none to bring.
    pub async fn next_or_idle(&mut self) -> Result<Option<Chunk>, Broken> {
        let mut delivery = match self.pull.next().await? {
            Brought::Delivery(message, place) => Some((message, place)),
            Brought::Idle { .. } => return Ok(None),
        };
        let (mut chunk, mut bytes) = (Chunk::default(), 0);
        while let Some((message, place)) = delivery {
            chunk.behind = place.pending;
            let entry = self.entry(message, place).await?;
            bytes += entry.payload.len();
            chunk.entries.push(entry);
            let full = chunk.entries.len() >= CHUNK_ENTRIES_MAX || bytes >= CHUNK_BYTES_MAX;
            delivery = if full { None } else { self.pull.at_hand()? };
        }
        Ok(Some(chunk))
    }

    async fn entry(
        &self,
        message: async_nats::Message,
        place: Place,
    ) -> Result<RawMessage, Broken> {
        let Place { sequence, time_ns, .. } = place;
        let subject = message.subject.to_string();
        let payload = match &self.payloads {
            Payloads::All => Some(message.payload.clone()),
            Payloads::On(whole) => (*whole != subject).then(Bytes::new),
        };
        match (raw::plain_headers(&message), payload) {
            (Some(headers), Some(payload)) => {
                Ok(RawMessage { sequence, time_ns, subject, headers: Ok(headers), payload })
            }
            _ => {
                let whole = raw::get(&self.connection, &self.stream, sequence).await?;
                let gone = || broken("hole", format!("{} {sequence} is gone", self.stream));
                whole.ok_or_else(gone)
            }
        }
    }
}

/// Whether its messages are small, on average.
async fn is_small(connection: &Connection, stream: &str) -> Result<bool, Broken> {
    let state = setup::stream_info(connection, stream).await?.map(|info| info.state);
    Ok(state.is_some_and(|s| s.bytes < s.messages.saturating_mul(ENTRY_BYTES_SMALL)))
}

/// An ephemeral one, with a name: an unnamed one needs a wider permission.
async fn make_consumer(
    connection: &Connection,
    name: &str,
    stream: &str,
    mut wanted: Value,
) -> Result<String, Broken> {
    let inbox = connection.client.new_inbox();
    let unique = inbox.rsplit('.').next().unwrap_or_default();
    let consumer = format!("{name}-tail-{unique}");
    if let Some(wanted) = wanted.as_object_mut() {
        wanted.insert("name".to_owned(), consumer.as_str().into());
    }
    let body = json!({ "stream_name": stream, "config": wanted, "action": "create" });
    let call = format!("CONSUMER.CREATE.{stream}.{consumer}");
    let _: Value = connection.call(&call, &body).await?;
    Ok(consumer)
}
