//! The ledger's entries in order and without payloads, at the speed of a consumer: for a long tail, and
//! for a standby that follows.
//!
//! What somebody else put into the ledger may break the client library. Then the tail ends, and the
//! reader passes the place with [`super::raw`].

use bytes::Bytes;
use serde_json::{Value, json};

use super::connect::Connection;
use super::place::Place;
use super::pull::{Broken, Brought, Pull, broken};
use super::raw::{self, RawMessage};
use super::setup;
use crate::config::Config;

/// Entries handed over at once: half of a pull, so that before the next is asked for there is always one that
/// the server still has to fill.
const CHUNK_ENTRIES_MAX: usize = 1024;
/// Where entries are smaller than this on average, they come with their payloads: to leave those out, the
/// server writes every message anew, which takes it longer, and adds a header that says how large it was.
const ENTRY_BYTES_SMALL: u64 = 1024;
/// The server removes the consumer when nobody pulled for so long.
const INACTIVE_SECONDS: u64 = 30;

/// Some entries, in order.
#[derive(Debug, Default)]
pub struct Chunk {
    /// At least one. Payloads of `leading` entries only.
    pub entries: Vec<RawMessage>,
    /// How many the ledger held behind them.
    pub behind: u64,
}

/// See the module.
pub struct Tail {
    connection: Connection,
    ledger: String,
    leading: String,
    pull: Pull,
}

impl Tail {
    /// From the entry at `from` on, over a connection of its own.
    pub async fn open(config: &Config, from: u64) -> Result<Self, Broken> {
        let connection = Connection::open(&config.nats, "tail").await;
        let connection = connection.map_err(|error| broken("disconnected", error))?;
        let breaks = connection.breaks();
        let ledger = config.ledger_stream();
        let state = setup::stream_info(&connection, &ledger).await?.map(|info| info.state);
        let is_small =
            state.is_some_and(|s| s.bytes < s.messages.saturating_mul(ENTRY_BYTES_SMALL));
        let consumer = make_consumer(&connection, &config.name, &ledger, from, !is_small).await?;
        let pull = Pull::open(&connection, &ledger, &consumer, breaks).await?;
        Ok(Self { connection, ledger, leading: format!("{}.leading", config.name), pull })
    }

    /// The next entries; waits until there are some.
    pub async fn next(&mut self) -> Result<Chunk, Broken> {
        let mut chunk = Chunk::default();
        let mut delivery = loop {
            if let Brought::Delivery(delivery) = self.pull.next().await? {
                break Some(*delivery);
            }
        };
        while let Some((message, place)) = delivery {
            chunk.behind = place.pending;
            let entry = self.entry(message, place).await?;
            chunk.entries.push(entry);
            let full = chunk.entries.len() >= CHUNK_ENTRIES_MAX;
            delivery = if full { None } else { self.pull.at_hand()? };
        }
        Ok(chunk)
    }

    async fn entry(
        &self,
        message: async_nats::Message,
        place: Place,
    ) -> Result<RawMessage, Broken> {
        let Place { sequence, time_ns, .. } = place;
        let headers = raw::plain_headers(&message);
        let Some(headers) = headers.filter(|_| message.subject.as_str() != self.leading) else {
            let whole = raw::get(&self.connection, &self.ledger, sequence).await?;
            let gone = || broken("hole", format!("ledger entry {sequence} is gone"));
            return whole.ok_or_else(gone);
        };
        let subject = message.subject.to_string();
        Ok(RawMessage { sequence, time_ns, subject, headers: Ok(headers), payload: Bytes::new() })
    }
}

/// An ephemeral one, with a name: an unnamed one needs a wider permission.
async fn make_consumer(
    connection: &Connection,
    name: &str,
    ledger: &str,
    from: u64,
    headers_only: bool,
) -> Result<String, Broken> {
    let inbox = connection.client.new_inbox();
    let unique = inbox.rsplit('.').next().unwrap_or_default();
    let consumer = format!("{name}-tail-{unique}");
    let wanted = json!({
        "name": consumer, "deliver_policy": "by_start_sequence", "opt_start_seq": from,
        "ack_policy": "none", "max_deliver": 1, "replay_policy": "instant", "headers_only": headers_only,
        "inactive_threshold": INACTIVE_SECONDS * 1_000_000_000, "mem_storage": true,
        "num_replicas": 1,
        "description": "Follows the ledger for a key table",
    });
    let body = json!({ "stream_name": ledger, "config": wanted, "action": "create" });
    let call = format!("CONSUMER.CREATE.{ledger}.{consumer}");
    let _: Value = connection.call(&call, &body).await?;
    Ok(consumer)
}
