//! The look-up service, a NATS micro service (ADR-32), and the answers to publishers.

use std::collections::HashMap;

use async_nats::service::endpoint::Endpoint;
use async_nats::service::error::Error;
use async_nats::service::{Request, Service, ServiceExt};
use async_nats::{HeaderMap, HeaderName};
use bytes::Bytes;
use futures::StreamExt;

use super::connect::Connection;
use crate::gate::receipt::VERDICT;

/// A request can't be served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// As in HTTP: 400, 404, 503.
    pub code: usize,
    /// One line for a person.
    pub why: String,
}

/// Requests to `<name>.svc.lookup`, as long as it is open.
pub struct Lookups {
    service: Service,
    endpoint: Endpoint,
}

/// One request.
pub struct Question(Request);

impl Lookups {
    /// Registers the service under the gate's name.
    pub async fn open(connection: &Connection, name: &str) -> Result<Self, async_nats::Error> {
        let service = connection
            .client
            .service_builder()
            .description("Oncegate: the run and the result of an idempotency key")
            .start(name, env!("CARGO_PKG_VERSION"))
            .await?;
        let about = HashMap::from([
            (
                "description".to_owned(),
                "What is known of a key; wait_ms (0 to 60000) waits for the run's result"
                    .to_owned(),
            ),
            ("request".to_owned(), r#"{"key":"K","scope":[],"wait_ms":0}"#.to_owned()),
        ]);
        let group = service.group(format!("{name}.svc"));
        let endpoint =
            group.endpoint_builder().name("lookup").metadata(about).add("lookup").await?;
        Ok(Self { service, endpoint })
    }

    /// The next request; `None` when the connection's task has ended.
    pub async fn next(&mut self) -> Option<Question> {
        self.endpoint.next().await.map(Question)
    }

    /// No more requests; other instances get them from here on.
    pub async fn close(mut self) {
        if let Err(error) = self.endpoint.stop().await {
            tracing::debug!(%error, "the look-up endpoint was not taken down");
        }
        if let Err(error) = self.service.stop().await {
            tracing::debug!(%error, "the look-up service was not taken down");
        }
    }
}

impl Question {
    /// Its payload.
    pub fn body(&self) -> &[u8] {
        &self.0.message.payload
    }

    /// Who does not wait for it gets none.
    pub async fn answer(self, answer: Result<Bytes, Refused>) {
        let answer = answer.map_err(|Refused { code, why }| Error { status: why, code });
        if let Err(error) = self.0.respond(answer).await {
            tracing::debug!(%error, "a look-up was not answered");
        }
    }
}

/// Sends an answer to a publisher: a core NATS message, which may get lost.
pub async fn send(
    connection: &Connection,
    reply_to: String,
    verdict: &'static str,
    body: Vec<u8>,
) -> Result<(), async_nats::PublishError> {
    let mut headers = HeaderMap::new();
    headers.insert(HeaderName::from_static(VERDICT), verdict);
    connection.client.publish_with_headers(reply_to, headers, body.into()).await
}
