//! `oncegate check`: would `run` work? Changes nothing.

use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::say;
use crate::config::Config;
use crate::gate::entry::Leading;
use crate::nats::connect::Connection;
use crate::nats::raw;
use crate::nats::setup::{self, StreamInfo};
use crate::worker::rule_texts;

#[derive(Args)]
pub struct Check {
    /// One JSON object a finding on standard output
    #[arg(long)]
    json: bool,
}

/// How one thing stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Status {
    Ok,
    Warn,
    Fail,
}

struct Findings {
    json: bool,
    failed: bool,
}

impl Findings {
    fn add(
        &mut self,
        check: &str,
        status: Status,
        detail: impl std::fmt::Display,
    ) -> anyhow::Result<()> {
        let word = match status {
            Status::Ok => "ok",
            Status::Warn => "warn",
            Status::Fail => "fail",
        };
        self.failed |= status == Status::Fail;
        if self.json {
            say(json!({ "check": check, "status": word, "detail": detail.to_string() }))?;
        } else {
            say(format_args!("{word:<5} {check}: {detail}"))?;
        }
        Ok(())
    }

    fn result(&mut self, check: &str, result: Result<String, String>) -> anyhow::Result<()> {
        match result {
            Ok(detail) => self.add(check, Status::Ok, detail),
            Err(detail) => self.add(check, Status::Fail, detail),
        }
    }
}

impl Check {
    pub async fn execute(self, config: Config) -> anyhow::Result<ExitCode> {
        let mut findings = Findings { json: self.json, failed: false };
        findings.add("configuration", Status::Ok, "every setting is usable")?;
        match Connection::open(&config.nats, "check").await {
            Ok(connection) => {
                let version = connection.client.server_info().version;
                let server = format!("NATS {version} at {}", config.nats.servers.join(", "));
                findings.add("connection", Status::Ok, server)?;
                look_at_streams(&connection, &config, &mut findings).await?;
            }
            Err(failure) => findings.add("connection", Status::Fail, failure)?,
        }
        findings.result("table", table_directory(&config))?;
        Ok(ExitCode::from(u8::from(findings.failed)))
    }
}

async fn look_at_streams(
    connection: &Connection,
    config: &Config,
    findings: &mut Findings,
) -> anyhow::Result<()> {
    // Whatever is missing stays missing here.
    let looking = Config { manage: false, ..config.clone() };
    let (input, ledger) = (&config.input.stream, config.ledger_stream());
    if there(connection, config, input, "input stream", findings).await? {
        match setup::input(connection, &looking).await {
            Ok(info) => {
                findings.add("input stream", Status::Ok, format!("{input} is fit"))?;
                duplicate_window(connection, input, &info, findings).await?;
            }
            Err(error) => findings.add("input stream", Status::Fail, error)?,
        }
    }
    if there(connection, config, &ledger, "ledger stream", findings).await? {
        let fit = setup::ledger(connection, &looking).await;
        let fit = fit.map(|_| format!("{ledger} is fit")).map_err(|error| error.to_string());
        findings.result("ledger stream", fit)?;
        let may = setup::may_append(connection, &config.name).await;
        let may = may.map(|()| "the worker may append".to_owned());
        findings.result("ledger permission", may.map_err(|error| error.to_string()))?;
        findings.result("key rules", key_rules(connection, config, &ledger).await)?;
    }
    let reports = config.reports_stream();
    if there(connection, config, &reports, "reports stream", findings).await? {
        let fit = setup::reports(connection, &looking).await;
        let fit = fit.map(|_| format!("{reports} is fit")).map_err(|error| error.to_string());
        findings.result("reports stream", fit)?;
    }
    let bucket = format!("KV_{}", config.bucket());
    if there(connection, config, &bucket, "lease bucket", findings).await? {
        let fit = setup::lease_bucket(connection, &looking).await;
        let fit = fit.map(|()| format!("{bucket} is fit")).map_err(|error| error.to_string());
        findings.result("lease bucket", fit)?;
    }
    Ok(())
}

async fn there(
    connection: &Connection,
    config: &Config,
    stream: &str,
    check: &str,
    findings: &mut Findings,
) -> anyhow::Result<bool> {
    match setup::stream_info(connection, stream).await {
        Ok(Some(_)) => return Ok(true),
        Ok(None) if config.manage => {
            findings.add(
                check,
                Status::Ok,
                format!("{stream} is not there yet; `run` makes it"),
            )?;
        }
        Ok(None) => {
            let why =
                format!("{stream} is not there, and manage = false keeps `run` from making it");
            findings.add(check, Status::Fail, why)?;
        }
        Err(error) => findings.add(check, Status::Fail, error)?,
    }
    Ok(false)
}

/// Publishers that set `Nats-Msg-Id` make the input stream drop a second payload before the gate sees it.
async fn duplicate_window(
    connection: &Connection,
    stream: &str,
    info: &StreamInfo,
    findings: &mut Findings,
) -> anyhow::Result<()> {
    let window = info.duplicate_window();
    let last = raw::get(connection, stream, info.state.last_seq).await.ok().flatten();
    let carried =
        last.and_then(|m| m.headers.ok()).is_some_and(|h| h.all("Nats-Msg-Id").count() > 0);
    if !carried {
        return Ok(());
    }
    let why = format!(
        "its newest message carries Nats-Msg-Id: within {} the stream itself drops a message that comes \
         with the same id, whatever its payload, before the gate can see it. Let publishers set the \
         idempotency key alone.",
        humantime::format_duration(window)
    );
    findings.add("duplicate window", Status::Warn, why)
}

async fn key_rules(
    connection: &Connection,
    config: &Config,
    ledger: &str,
) -> Result<String, String> {
    let subject = format!("{}.leading", config.name);
    let last =
        raw::last_on(connection, ledger, &subject).await.map_err(|error| error.to_string())?;
    let before = last.and_then(|last| serde_json::from_slice::<Leading>(&last.payload).ok());
    match before {
        Some(before) if !rule_texts(config).same_keys(&before.rules) => Err(
            "key.from or key.scope differ from those of the last leader; `run` refuses to lead without \
             --accept-key-rules"
                .to_owned(),
        ),
        Some(_) => Ok("as the last leader had them".to_owned()),
        None => Ok("nobody has led yet".to_owned()),
    }
}

fn table_directory(config: &Config) -> Result<String, String> {
    let path = &config.table.path;
    let shown = path.display();
    let existing = path.ancestors().find(|path| path.as_os_str().is_empty() || path.exists());
    let existing = match existing {
        Some(path) if path.as_os_str().is_empty() => std::path::Path::new("."),
        Some(path) => path,
        None => return Err(format!("table.path {shown} can't be made")),
    };
    let metadata = std::fs::metadata(existing).map_err(|error| format!("{shown}: {error}"))?;
    if !metadata.is_dir() {
        return Err(format!("table.path {shown}: {} is not a directory", existing.display()));
    }
    if metadata.permissions().readonly() {
        return Err(format!("table.path {shown}: {} is read-only", existing.display()));
    }
    Ok(if path.exists() { format!("{shown} is there") } else { format!("{shown} will be made") })
}
