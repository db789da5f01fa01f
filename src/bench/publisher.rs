//! Publishes to a stream as fast as its acknowledgements allow: many outstanding, counted as they come to one
//! subscription, so that there is no future and no map entry for each.

use async_nats::{Client, HeaderMap, Message, Subject, Subscriber};
use bytes::Bytes;
use futures::{FutureExt, StreamExt};
use serde::Deserialize;
use tokio::task::coop::unconstrained;

use crate::nats::api::ServerError;
use crate::nats::connect::Connection;

/// So many may be outstanding. Beyond 10,000 the server drops what waits before a stream.
const OUTSTANDING_MAX: u64 = 4096;

/// See the module. All to one stream: it answers in the order in which it stores.
pub struct Publisher {
    client: Client,
    inbox: Subject,
    answers: Subscriber,
    sent: u64,
    stored: u64,
}

#[derive(Deserialize)]
struct Answer {
    error: Option<ServerError>,
}

impl Publisher {
    /// On a connection that nothing else publishes much on.
    pub async fn open(connection: &Connection) -> anyhow::Result<Self> {
        let client = connection.client.clone();
        let inbox: Subject = client.new_inbox().into();
        let answers = client.subscribe(inbox.clone()).await?;
        Ok(Self { client, inbox, answers, sent: 0, stored: 0 })
    }

    /// Whether one more may be sent.
    pub fn has_room(&self) -> bool {
        self.sent - self.stored < OUTSTANDING_MAX
    }

    /// How many were sent.
    pub fn sent(&self) -> u64 {
        self.sent
    }

    /// How many of them are stored.
    pub fn stored(&self) -> u64 {
        self.stored
    }

    /// Sends one; look for [`Self::has_room`] before.
    pub async fn send(
        &mut self,
        subject: Subject,
        headers: HeaderMap,
        payload: Bytes,
    ) -> anyhow::Result<()> {
        let reply = self.inbox.clone();
        self.client.publish_with_reply_and_headers(subject, reply, headers, payload).await?;
        self.sent += 1;
        Ok(())
    }

    /// Waits for an acknowledgement, and takes what else is there.
    pub async fn more_stored(&mut self) -> anyhow::Result<()> {
        let answer = self.answers.next().await;
        self.take(&answer.ok_or_else(|| anyhow::anyhow!("the subscription ended"))?)?;
        while let Some(Some(answer)) = unconstrained(self.answers.next()).now_or_never() {
            self.take(&answer)?;
        }
        Ok(())
    }

    fn take(&mut self, answer: &Message) -> anyhow::Result<()> {
        if answer.status.is_some() {
            anyhow::bail!("no stream takes what was published");
        }
        let Answer { error } = serde_json::from_slice(&answer.payload)?;
        if let Some(error) = error {
            anyhow::bail!(
                "the stream does not store what was published: {} (error {})",
                error.description,
                error.err_code
            );
        }
        self.stored += 1;
        Ok(())
    }
}
