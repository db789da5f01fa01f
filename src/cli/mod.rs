//! The command line: one file a command.
//!
//! Data goes to standard output, everything else to standard error. Exit status: 0 done, 1 failed, 2 bad
//! usage or configuration.

mod audit;
mod backup;
mod bench;
mod check;
mod forget;
mod lookup;
mod publish;
mod rebuild;
mod redrive;
mod rejections;
mod restore;
mod run;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Parser, Subcommand, ValueEnum};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

use crate::config::{Config, ConfigErrors};
use crate::nats::connect::Connection;

/// The gate that makes an AI agent's actions happen once.
#[derive(Parser)]
#[command(name = "oncegate", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
    /// Configuration file [default: $ONCEGATE_CONFIG, else config/oncegate.toml if it exists]
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// How log lines are written to standard error
    #[arg(long, global = true, value_enum, default_value_t = LogFormat::Text)]
    log_format: LogFormat,
    /// error, warn, info, debug or trace, or a filter as in RUST_LOG [default: $RUST_LOG, else info]
    #[arg(long, global = true, value_name = "LEVEL")]
    log_level: Option<String>,
}

#[derive(Subcommand)]
enum Command {
    /// Run the worker
    Run(run::Run),
    /// Validate the configuration, connect, verify streams and permissions; changes nothing
    Check(check::Check),
    /// Publish one action
    Publish(publish::Publish),
    /// Show or follow rejected actions
    Rejections(rejections::Rejections),
    /// Show what is known of a key: its run, and the result
    Lookup(lookup::Lookup),
    /// Let a key count as not seen
    Forget(forget::Forget),
    /// Judge the input and the ledger again, without the key table, and report every discrepancy
    Audit(audit::Audit),
    /// Put a rejected action back on the input, with a new key
    Redrive(redrive::Redrive),
    /// Copy the key table, through the running worker or without one
    Backup(backup::Backup),
    /// Make a backup the key table
    Restore(restore::Restore),
    /// Make the key table anew from the ledger; the worker must not run
    Rebuild(rebuild::Rebuild),
    /// Measure this gate on this machine beside the alternatives
    Bench(bench::Bench),
}

#[derive(Clone, Copy, ValueEnum)]
enum LogFormat {
    Text,
    Json,
}

const FAILED: u8 = 1;
const BAD_USAGE: u8 = 2;

/// The whole program.
pub fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help and version are asked for, and no error.
            let status = if error.use_stderr() { BAD_USAGE } else { 0 };
            error.print().ok();
            return ExitCode::from(status);
        }
    };
    if let Err(error) = start_log(&arguments) {
        complain(&error);
        return ExitCode::from(BAD_USAGE);
    }
    let config = match load(arguments.config.as_deref(), []) {
        Ok(config) => config,
        Err(errors) => {
            complain(&errors.into());
            return ExitCode::from(BAD_USAGE);
        }
    };
    match execute(arguments.command, config, arguments.config.as_deref()) {
        Ok(status) => status,
        // Whoever read the data has seen enough, as `head` does.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&error);
            ExitCode::from(FAILED)
        }
    }
}

/// The configuration from the file, then this process's environment, then `variables`.
fn load(
    file: Option<&Path>,
    variables: impl IntoIterator<Item = (String, String)>,
) -> Result<Config, ConfigErrors> {
    let environment = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    Config::load(file, environment.chain(variables))
}

fn execute(command: Command, config: Config, file: Option<&Path>) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let status = runtime.block_on(async {
        match command {
            Command::Run(run) => run.execute(config).await,
            Command::Check(check) => check.execute(config).await,
            Command::Publish(publish) => publish.execute(config).await,
            Command::Rejections(rejections) => rejections.execute(config).await,
            Command::Lookup(lookup) => lookup.execute(config).await,
            Command::Forget(forget) => forget.execute(config).await,
            Command::Audit(audit) => audit.execute(config).await,
            Command::Redrive(redrive) => redrive.execute(config).await,
            Command::Backup(backup) => backup.execute(config).await,
            Command::Restore(restore) => restore.execute(config).await,
            Command::Rebuild(rebuild) => rebuild.execute(config).await,
            Command::Bench(bench) => bench.execute(config, file).await,
        }
    });
    runtime.shutdown_timeout(std::time::Duration::from_secs(1));
    status
}

fn start_log(arguments: &Arguments) -> anyhow::Result<()> {
    let filter = match &arguments.log_level {
        Some(level) => EnvFilter::try_new(level)
            .with_context(|| format!("--log-level {level:?} is no filter"))?,
        None => EnvFilter::try_from_default_env()
            .unwrap_or_else(|_| EnvFilter::new("info,async_nats=warn")),
    };
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match arguments.log_format {
        LogFormat::Text => builder.with_ansi(false).with_target(false).init(),
        LogFormat::Json => builder.json().init(),
    }
    Ok(())
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let kind = error.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
    kind == Some(std::io::ErrorKind::BrokenPipe)
}

/// Cancelled by SIGTERM and SIGINT, which end nothing by themselves from here on.
fn stop_on_signal() -> std::io::Result<CancellationToken> {
    let stop = CancellationToken::new();
    let (mut terminate, mut interrupt) =
        (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let stopping = stop.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => tracing::info!("SIGTERM: stopping"),
            _ = interrupt.recv() => tracing::info!("SIGINT: stopping"),
        }
        stopping.cancel();
    });
    Ok(stop)
}

/// The value of `--scope`.
fn scope(text: &str) -> Result<lookup::Scope, String> {
    let parts: Vec<String> = serde_json::from_str(text)
        .map_err(|_| r#"it is no JSON array of strings, such as ["tenant-7"]"#)?;
    Ok(parts.into())
}

/// One line of data.
fn say(line: impl std::fmt::Display) -> std::io::Result<()> {
    writeln!(std::io::stdout(), "{line}")
}

fn complain(error: &anyhow::Error) {
    // Where standard error is gone there is nobody left to tell.
    writeln!(std::io::stderr(), "oncegate: {error:#}").ok();
}

async fn connect(config: &Config) -> anyhow::Result<Connection> {
    Ok(Connection::open(&config.nats, "command line").await?)
}
