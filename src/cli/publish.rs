//! `oncegate publish`: one action, for trying out and for scripts.

use std::io::Read as _;
use std::process::ExitCode;

use anyhow::Context as _;
use async_nats::{HeaderMap, HeaderName, HeaderValue};
use bytes::Bytes;
use clap::Args;
use serde_json::json;
use uuid::Uuid;

use super::{connect, say};
use crate::config::Config;
use crate::gate::entry::KEY;

#[derive(Args)]
pub struct Publish {
    /// Idempotency key [default: a fresh UUID, printed]
    #[arg(long, value_name = "KEY", conflicts_with = "no_key")]
    key: Option<String>,
    /// Set no key header; the payload may carry the key
    #[arg(long)]
    no_key: bool,
    /// Subject of the action
    #[arg(long, value_name = "SUBJECT", value_parser = subject)]
    subject: String,
    /// One more header, as 'Name: value'; repeatable
    #[arg(long, value_name = "'N: v'", value_parser = header)]
    header: Vec<(HeaderName, HeaderValue)>,
    /// One JSON object on standard output
    #[arg(long)]
    json: bool,
    /// The payload; - reads standard input
    payload: String,
}

/// The server takes wildcards for letters here, and stores the message.
fn subject(text: &str) -> Result<String, &'static str> {
    match text.split('.').any(|token| matches!(token, "*" | ">")) {
        true => Err("an action has one subject: name it in full, without the wildcards * and >"),
        false => Ok(text.to_owned()),
    }
}

impl Publish {
    pub async fn execute(self, config: Config) -> anyhow::Result<ExitCode> {
        let key = match (&self.key, self.no_key) {
            (_, true) => None,
            (Some(key), _) => Some(key.clone()),
            (None, _) => Some(Uuid::now_v7().to_string()),
        };
        let headers = self.headers(&config, key.as_deref())?;
        let payload = self.payload()?;
        let connection = connect(&config).await?;
        let sent =
            connection.jetstream.publish_with_headers(self.subject.clone(), headers, payload).await;
        let acknowledged = sent.context("publishing")?.await.with_context(|| {
            format!(
                "no stream has stored the action on {}: does a stream take that subject (`oncegate run` \
                 makes {} for {})?",
                self.subject,
                config.input.stream,
                config.input.subjects.join(", ")
            )
        })?;
        if self.json {
            say(json!({
                "key": key, "stream": acknowledged.stream, "sequence": acknowledged.sequence,
                "subject": self.subject,
            }))?;
        } else {
            let key = key.unwrap_or_else(|| "none".to_owned());
            say(format_args!("{} {} key {key}", acknowledged.stream, acknowledged.sequence))?;
        }
        Ok(ExitCode::SUCCESS)
    }

    fn headers(&self, config: &Config, key: Option<&str>) -> anyhow::Result<HeaderMap> {
        let mut headers = HeaderMap::new();
        if let Some(key) = key {
            let from = config.key.from.iter().find_map(|from| from.strip_prefix("header:"));
            let name = from.unwrap_or(KEY).parse::<HeaderName>()?;
            let key = key.parse::<HeaderValue>().context("--key must be one line")?;
            headers.append(name, key);
        }
        for (name, value) in &self.header {
            headers.append(name.clone(), value.clone());
        }
        Ok(headers)
    }

    fn payload(&self) -> anyhow::Result<Bytes> {
        if self.payload != "-" {
            return Ok(self.payload.clone().into());
        }
        let mut payload = Vec::new();
        std::io::stdin().read_to_end(&mut payload).context("reading standard input")?;
        Ok(payload.into())
    }
}

fn header(text: &str) -> Result<(HeaderName, HeaderValue), String> {
    let (name, value) = text.split_once(':').ok_or("it has no colon; write 'Name: value'")?;
    let name = name.trim().parse().map_err(|_| "a name is printable ASCII without white space")?;
    let value = value.trim().parse().map_err(|_| "a value is one line")?;
    Ok((name, value))
}
