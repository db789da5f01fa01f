//! `oncegate lookup`: what is known of a key.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use async_nats::{Request, RequestErrorKind};
use clap::Args;
use serde_json::{Value, json};

use super::{connect, say, scope};
use crate::clock;
use crate::config::Config;
use crate::nats::connect::Connection;

/// The longest wait that one request may ask for.
const WAIT_MAX: Duration = Duration::from_secs(60);
/// What the way there and back may take on top.
const TRAVEL_MAX: Duration = Duration::from_secs(5);
/// Before the next try, while no instance answers.
const AGAIN_AFTER: Duration = Duration::from_millis(250);

#[derive(Args)]
pub struct Lookup {
    /// The idempotency key
    key: String,
    /// The scope parts, as a JSON array of strings
    #[arg(long, value_name = "JSON", value_parser = scope, default_value = "[]")]
    scope: Scope,
    /// Wait so long for the run's result, if there is none yet
    #[arg(long, value_name = "DURATION", value_parser = wait)]
    wait: Option<Duration>,
    /// The answer as one JSON object on standard output
    #[arg(long)]
    json: bool,
}

/// A list that comes as one argument.
pub type Scope = std::sync::Arc<[String]>;

fn wait(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|_| "it is no duration, such as 10s or 2m".to_owned())
}

/// What the service said.
enum Answer {
    Known(Value),
    Refused {
        code: String,
        why: String,
    },
    /// No instance leads now.
    Nobody,
}

impl Lookup {
    pub async fn execute(self, config: Config) -> anyhow::Result<ExitCode> {
        let connection = connect(&config).await?;
        let until = clock::monotonic() + self.wait.unwrap_or_default();
        let known = loop {
            let left = until.saturating_duration_since(clock::monotonic());
            match self.ask(&connection, &config, left.min(WAIT_MAX)).await? {
                Answer::Known(known) if !is_pending(&known) || over(until) => break known,
                Answer::Known(_) => {}
                Answer::Refused { code, why } if code != "503" || over(until) => {
                    bail!("key {:?}: {why} (code {code})", self.key)
                }
                Answer::Nobody if over(until) => bail!(
                    "nobody answers look-ups on {}.svc.lookup: no instance of the gate leads now, or this login \
                     may not ask",
                    config.name
                ),
                Answer::Refused { .. } | Answer::Nobody => tokio::time::sleep(AGAIN_AFTER).await,
            }
        };
        say(if self.json { known.to_string() } else { as_text(&known) })?;
        Ok(ExitCode::SUCCESS)
    }

    async fn ask(
        &self,
        connection: &Connection,
        config: &Config,
        wait: Duration,
    ) -> anyhow::Result<Answer> {
        let wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        let body = json!({ "key": self.key, "scope": *self.scope, "wait_ms": wait_ms });
        let request =
            Request::new().payload(body.to_string().into()).timeout(Some(wait + TRAVEL_MAX));
        let subject = format!("{}.svc.lookup", config.name);
        let reply = match connection.client.send_request(subject, request).await {
            Ok(reply) => reply,
            Err(error) if error.kind() == RequestErrorKind::NoResponders => {
                return Ok(Answer::Nobody);
            }
            Err(error) if error.kind() == RequestErrorKind::TimedOut => return Ok(Answer::Nobody),
            Err(error) => return Err(error).context("asking for the key"),
        };
        let header = |name: &str| {
            let value = reply.headers.as_ref().and_then(|headers| headers.get(name));
            value.map(ToString::to_string)
        };
        Ok(match header("Nats-Service-Error-Code") {
            Some(code) => {
                let why = header("Nats-Service-Error").unwrap_or_default();
                Answer::Refused { code, why }
            }
            None => Answer::Known(
                serde_json::from_slice(&reply.payload).context("the answer is no JSON")?,
            ),
        })
    }
}

fn is_pending(known: &Value) -> bool {
    known.get("state").is_some_and(|state| state == "pending")
}

fn over(until: Instant) -> bool {
    clock::monotonic() >= until
}

fn as_text(known: &Value) -> String {
    let at = |pointer: &str| known.pointer(pointer).filter(|value| !value.is_null());
    let text = |pointer: &str| match at(pointer) {
        Some(Value::String(text)) => text.clone(),
        Some(value) => value.to_string(),
        None => "-".to_owned(),
    };
    let mut lines = vec![
        format!("key {}  scope {}", text("/key"), text("/scope")),
        format!("run {}  {}", text("/run_id"), text("/state")),
        format!(
            "accepted as input {}, {}, ledger entry {}",
            text("/first/sequence"),
            text("/first/time"),
            text("/first/ledger_sequence")
        ),
        format!("seen until {}", text("/expires_at")),
    ];
    if at("/result").is_some() {
        lines.push(format!("result in ledger entry {}", text("/result/ledger_sequence")));
        // Not by `at`: a result may be null.
        lines.push(match (known.pointer("/result/data"), at("/result/data_base64")) {
            (Some(data), _) => data.to_string(),
            (None, Some(_)) => format!("base64 {}", text("/result/data_base64")),
            (None, None) => "too large to be shown here".to_owned(),
        });
    }
    lines.join("\n")
}
