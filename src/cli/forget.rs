//! `oncegate forget`: a key counts as not seen.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use async_nats::{HeaderMap, HeaderValue, Message};
use clap::Args;
use futures::StreamExt;
use serde_json::Value;
use uuid::Uuid;

use super::lookup::Scope;
use super::{connect, say, scope};
use crate::config::Config;
use crate::gate::entry::{DETAIL, KEY, REPLY_TO, SCOPE};
use crate::gate::key;

/// The gate may be busy, or just taking over.
const RECEIPT_MAX: Duration = Duration::from_secs(30);

#[derive(Args)]
pub struct Forget {
    /// The idempotency key
    key: String,
    /// The scope parts, as a JSON array of strings
    #[arg(long, value_name = "JSON", value_parser = scope, default_value = "[]")]
    scope: Scope,
    /// Why; it is written into the ledger
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// The receipt as one JSON object on standard output
    #[arg(long)]
    json: bool,
}

impl Forget {
    pub async fn execute(self, config: Config) -> anyhow::Result<ExitCode> {
        let Some(prefix) = config.answers.reply_prefixes.first() else {
            bail!(
                "answers.reply_prefixes is empty, so the gate answers nobody, and whether the key was forgotten \
                 can't be told: give it a prefix"
            );
        };
        let reply_to = format!("{prefix}{}", Uuid::now_v7().simple());
        let headers = self.headers(&reply_to)?;
        let connection = connect(&config).await?;
        let mut receipts = connection.client.subscribe(reply_to).await.context("subscribing")?;
        let subject = format!("{}.operator.forget", config.name);
        let sent = connection.jetstream.publish_with_headers(subject.clone(), headers, "".into());
        let stored = sent.await.context("publishing")?.await.with_context(|| {
            format!(
                "no stream has stored the command on {subject}: `oncegate run` makes {}",
                config.reports_stream()
            )
        })?;
        let receipt = tokio::time::timeout(RECEIPT_MAX, receipts.next()).await;
        let Ok(Some(receipt)) = receipt else {
            bail!(
                "the command is stored ({} {}) and will be carried out, but no receipt has come for {RECEIPT_MAX:?}: \
                 is the gate running and ready? Ask with `oncegate lookup` before you send it again: a second one \
                 would forget what was accepted since",
                stored.stream,
                stored.sequence
            );
        };
        self.show(&receipt)
    }

    fn headers(&self, reply_to: &str) -> anyhow::Result<HeaderMap> {
        let mut headers = HeaderMap::new();
        key::check(&self.key, usize::MAX).map_err(|why| anyhow::anyhow!("the key {why}"))?;
        let mut set = |name: &'static str, value: &str| {
            let value = value.parse::<HeaderValue>();
            let value = value.with_context(|| format!("{name} must be one line"))?;
            headers.insert(name, value);
            anyhow::Ok(())
        };
        set(KEY, &self.key)?;
        if !self.scope.is_empty() {
            set(SCOPE, &serde_json::to_string(&*self.scope)?)?;
        }
        set(DETAIL, &self.reason)?;
        set(REPLY_TO, reply_to)?;
        // What the network sends twice is carried out once.
        set("Nats-Msg-Id", reply_to)?;
        Ok(headers)
    }

    fn show(&self, receipt: &Message) -> anyhow::Result<ExitCode> {
        let body: Value =
            serde_json::from_slice(&receipt.payload).context("the receipt is no JSON")?;
        let text = |name: &str| body.get(name).and_then(Value::as_str).unwrap_or("-").to_owned();
        let released = text("verdict") == "released";
        if self.json {
            say(&body)?;
        } else if released {
            let (run, state) = (text("run_id"), text("state"));
            say(format_args!("forgotten: key {} of run {run}, which was {state}", self.key))?;
        }
        if !released {
            bail!("key {:?} was not forgotten: {} ({})", self.key, text("detail"), text("reason"));
        }
        Ok(ExitCode::SUCCESS)
    }
}
