//! What is known of a key, for whoever may ask.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::Deserialize;
use tokio_util::sync::CancellationToken;

use super::waiting::Waiting;
use crate::config::Config;
use crate::gate::key::{self, ActionKey};
use crate::gate::receipt::{self, Known, RESULT_BYTES_MAX, Shape};
use crate::nats::api::ApiError;
use crate::nats::connect::Connection;
use crate::nats::raw;
use crate::nats::service::Refused;
use crate::table::{KeyTable, TableError};

const WAIT_MS_MAX: u64 = 60_000;

/// Answers look-ups from the table, and results from the ledger.
#[derive(Clone)]
pub(super) struct Lookup {
    pub config: Arc<Config>,
    pub table: Arc<dyn KeyTable>,
    pub connection: Connection,
    pub waiting: Arc<Waiting>,
    /// This instance leads no longer.
    pub over: CancellationToken,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    key: String,
    #[serde(default)]
    scope: Vec<String>,
    #[serde(default)]
    wait_ms: u64,
}

impl Lookup {
    /// The answer to a request.
    pub(super) async fn answer(&self, request: &[u8]) -> Result<Bytes, Refused> {
        let (key, wait) = self.wanted(request)?;
        let known = tokio::select! {
            known = self.find(&key, wait) => known?,
            () = self.over.cancelled() => return Err(no_longer_leading()),
        };
        let result = match known.result_at() {
            Some(at) => Some(result(&self.connection, &self.config, at).await.map_err(away)?),
            None => None,
        };
        Ok(receipt::body(&key, &known, result.as_ref()).into())
    }

    fn wanted(&self, request: &[u8]) -> Result<(ActionKey, Duration), Refused> {
        let bad = |why: String| Refused { code: 400, why };
        let wanted: Wanted = serde_json::from_slice(request).map_err(|error| {
            bad(format!(r#"the request is not {{"key":"K","scope":[],"wait_ms":0}}: {error}"#))
        })?;
        let Wanted { key, scope, wait_ms } = wanted;
        let bytes_max = self.config.key.max_bytes;
        key::check(&key, bytes_max).map_err(|why| bad(format!("key {why}")))?;
        for part in &scope {
            key::check(part, bytes_max).map_err(|why| bad(format!("a part of scope {why}")))?;
        }
        if wait_ms > WAIT_MS_MAX {
            return Err(bad(format!("wait_ms is {wait_ms}, and at most {WAIT_MS_MAX}")));
        }
        Ok((ActionKey::new(&scope, &key), Duration::from_millis(wait_ms)))
    }

    /// Waits for the run to leave `pending`, if it is so now.
    async fn find(&self, key: &ActionKey, wait: Duration) -> Result<Known, Refused> {
        if wait.is_zero() {
            return self.known(key);
        }
        let waiter = self.waiting.join(key);
        let until = tokio::time::sleep(wait);
        tokio::pin!(until);
        loop {
            let told = waiter.told.notified();
            tokio::pin!(told);
            // Before the look: what changes after it is told.
            told.as_mut().enable();
            let known = self.known(key)?;
            if known.result_at().is_some() {
                return Ok(known);
            }
            tokio::select! {
                () = told => {}
                () = &mut until => return Ok(known),
            }
        }
    }

    fn known(&self, key: &ActionKey) -> Result<Known, Refused> {
        let found = tokio::task::block_in_place(|| self.live(key));
        let found =
            found.map_err(|error| Refused { code: 500, why: one_line(&error.to_string()) })?;
        found.ok_or_else(|| Refused {
            code: 404,
            why: "the key is not known: it never was, is expired, or was given back".to_owned(),
        })
    }

    /// Live by the ledger's own time, as for an action that came now.
    fn live(&self, key: &ActionKey) -> Result<Option<Known>, TableError> {
        let found = self.table.load_many(&[key])?.into_iter().next().flatten();
        let cursors = self.table.cursors()?;
        let now_ns = cursors.ledger.source_time_max_ns;
        let live = found.filter(|record| now_ns < record.expires_ns);
        Ok(live.and_then(|record| Known::of(key, &record, &cursors)))
    }
}

/// The result that stands in the ledger at this sequence, as an answer shows it.
pub(super) async fn result(
    connection: &Connection,
    config: &Config,
    at: u64,
) -> Result<Shape, ApiError> {
    let found = raw::get(connection, &config.ledger_stream(), at).await?;
    Ok(match found {
        Some(entry) if entry.payload.len() <= RESULT_BYTES_MAX => Shape::Whole(entry.payload),
        Some(_) | None => Shape::Elsewhere,
    })
}

fn away(error: ApiError) -> Refused {
    Refused { code: 503, why: one_line(&format!("the result can't be read now: {error}")) }
}

pub(super) fn no_longer_leading() -> Refused {
    let why = "this instance leads no longer: ask again".to_owned();
    Refused { code: 503, why }
}

/// A header holds one.
fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
