//! `oncegate rejections`: the dead letters.

mod mismatch;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::bail;
use clap::Args;
use serde_json::{Value, json};

use mismatch::Mismatch;

use super::{connect, say};
use crate::config::Config;
use crate::gate::entry;
use crate::gate::headers::Headers;
use crate::gate::source::{Source, rfc3339};
use crate::nats::api::STREAM_NOT_FOUND;
use crate::nats::connect::Connection;
use crate::nats::raw::{self, RawMessage};

/// Between two looks for more.
const POLL: Duration = Duration::from_millis(250);

#[derive(Args)]
pub struct Rejections {
    /// Go on with those to come
    #[arg(long)]
    follow: bool,
    /// Only those with this reason, such as payload_mismatch
    #[arg(long, value_name = "REASON")]
    reason: Option<String>,
    /// Show nothing of any payload: neither in what a mismatch differs, nor the values
    #[arg(long)]
    no_payload: bool,
    /// One JSON object a line on standard output
    #[arg(long)]
    json: bool,
}

impl Rejections {
    pub async fn execute(self, config: Config) -> anyhow::Result<ExitCode> {
        let connection = connect(&config).await?;
        let ledger = config.ledger_stream();
        let filter = format!("{}.rejected.>", config.name);
        let mut next = 1;
        loop {
            match raw::next(&connection, &ledger, next, &filter).await {
                Ok(Some(found)) => {
                    next = found.sequence + 1;
                    self.show(&config, &connection, &found).await?;
                }
                Ok(None) if self.follow => tokio::time::sleep(POLL).await,
                Ok(None) => return Ok(ExitCode::SUCCESS),
                Err(error) if self.follow && error.code().is_none() => {
                    tracing::warn!(%error, "waiting for the server");
                    tokio::time::sleep(POLL).await;
                }
                Err(error) if error.code() == Some(STREAM_NOT_FOUND) => bail!(
                    "there is no ledger stream {ledger} to read: `oncegate run` makes it when it first \
                     runs; or is `name` another one here than there?"
                ),
                Err(error) => return Err(error.into()),
            }
        }
    }

    async fn show(
        &self,
        config: &Config,
        connection: &Connection,
        found: &RawMessage,
    ) -> anyhow::Result<()> {
        let headers = found.headers.clone().unwrap_or_default();
        let reason = headers.one(entry::REASON).unwrap_or_default();
        if self.reason.as_deref().is_some_and(|wanted| wanted != reason) {
            return Ok(());
        }
        let subject = original_subject(&config.name, reason, &found.subject, &headers);
        let mismatch = match self.no_payload {
            true => None,
            false => Mismatch::of(config, connection, (found, &headers, &subject)).await?,
        };
        if self.json {
            let differences = mismatch.map(|mismatch| mismatch.to_json());
            say(as_json(found, &headers, &subject, differences))?;
        } else {
            let lines = mismatch.iter().flat_map(Mismatch::lines);
            let lines: String = lines.map(|line| format!("\n    {line}")).collect();
            say(as_text(found, &headers, &subject) + &lines)?;
        }
        Ok(())
    }
}

fn original_subject(name: &str, reason: &str, subject: &str, headers: &Headers) -> String {
    let given = headers.one(entry::SOURCE_SUBJECT).map(str::to_owned);
    let prefix = format!("{name}.rejected.{reason}.");
    given.unwrap_or_else(|| subject.strip_prefix(&prefix).unwrap_or(subject).to_owned())
}

fn as_json(
    found: &RawMessage,
    headers: &Headers,
    subject: &str,
    differences: Option<Value>,
) -> Value {
    let scope = headers.one(entry::SCOPE).and_then(|text| serde_json::from_str(text).ok());
    let first = headers.one(entry::FIRST_SEQUENCE).map(|sequence| {
        json!({
            "ledger_sequence": sequence.parse::<u64>().ok(),
            "digest": headers.one(entry::FIRST_DIGEST),
            "source": headers.one(entry::FIRST_SOURCE).and_then(source_json),
            "run_id": headers.one(entry::FIRST_RUN_ID),
        })
    });
    json!({
        "ledger_sequence": found.sequence,
        "time": rfc3339(found.time_ns).to_string(),
        "reason": headers.one(entry::REASON),
        "detail": headers.one(entry::DETAIL),
        "subject": subject,
        "key": headers.one(entry::KEY),
        "scope": scope.unwrap_or_else(|| json!([])),
        "digest": headers.one(entry::DIGEST),
        "source": headers.one(entry::SOURCE).and_then(source_json),
        "first": first,
        "differences": differences,
        "payload_bytes": found.payload.len(),
    })
}

fn source_json(text: &str) -> Option<Value> {
    let source: Source = text.parse().ok()?;
    let time = rfc3339(source.time_ns).to_string();
    Some(json!({ "stream": &*source.stream, "sequence": source.sequence, "time": time }))
}

fn as_text(found: &RawMessage, headers: &Headers, subject: &str) -> String {
    let one = |name| headers.one(name).unwrap_or("-");
    let mut text = format!(
        "{}  {}  {subject}\n    key {}  from {}\n    {}",
        found.sequence,
        one(entry::REASON),
        one(entry::KEY),
        one(entry::SOURCE),
        one(entry::DETAIL)
    );
    if let Some(sequence) = headers.one(entry::FIRST_SEQUENCE) {
        let run = one(entry::FIRST_RUN_ID);
        text.push_str(&format!("\n    first accepted as ledger entry {sequence}, run {run}"));
    }
    text
}
