//! `oncegate backup`: a copy of the key table, made by the running worker or without one.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Args;
use serde::Serialize;
use serde_json::{Value, json};

use super::say;
use crate::clock;
use crate::config::Config;
use crate::gate::source::rfc3339;
use crate::table::backup::{self, Backups, Made};
use crate::table::{RocksTable, TableError};
use crate::worker::control::{self, Answer, Request};

/// A worker that starts or ends has its table open and takes no requests for a moment.
const PATIENCE: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(100);

#[derive(Args)]
pub struct Backup {
    /// Directory of the backups; made if it is not there
    directory: PathBuf,
    /// Drop all but the newest N, the new one included
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    keep: Option<u32>,
    /// Make none: show those that are there
    #[arg(long, conflicts_with_all = ["keep", "verify"])]
    list: bool,
    /// Make none: read those that are there and compare their checksums
    #[arg(long, conflicts_with = "keep")]
    verify: bool,
    /// One JSON object a backup on standard output
    #[arg(long)]
    json: bool,
}

impl Backup {
    pub async fn execute(self, config: Config) -> anyhow::Result<ExitCode> {
        if self.list || self.verify {
            return tokio::task::block_in_place(|| self.show(&config));
        }
        let begun = clock::monotonic();
        let made = self.make(&config).await?;
        let duration = begun.elapsed();
        match self.json {
            true => say(as_json(&made, duration))?,
            false => say(as_text(&made, duration))?,
        }
        Ok(ExitCode::SUCCESS)
    }

    async fn make(&self, config: &Config) -> anyhow::Result<Made> {
        let keep = self.keep.map(|keep| keep as usize);
        // The worker has a working directory of its own.
        let directory = std::path::absolute(&self.directory).context("the directory")?;
        let (memory_bytes, table) = (config.table.memory_bytes(), &config.table.path);
        let request = Request::Backup { directory: directory.clone(), keep };
        let begun = clock::monotonic();
        loop {
            let opened = tokio::task::block_in_place(|| {
                RocksTable::open_existing(memory_bytes, table, &config.name)
            });
            match opened {
                Ok(open) => {
                    let made = tokio::task::block_in_place(|| {
                        backup::back_up(&open, &directory, &config.name, keep)
                    });
                    return Ok(made?);
                }
                Err(TableError::InUse { .. }) => {}
                Err(error) => return Err(error.into()),
            }
            match control::ask(table, &request).await? {
                Some(Answer::BackedUp(made)) => return Ok(made),
                Some(Answer::Failed(why)) => bail!("{why}"),
                None if begun.elapsed() > PATIENCE => bail!(nobody_answers(table)),
                None => tokio::time::sleep(POLL).await,
            }
        }
    }

    fn show(&self, config: &Config) -> anyhow::Result<ExitCode> {
        let backups = Backups::open(&self.directory, &config.name)?;
        let mut failed = false;
        for backup in backups.list()? {
            let checked = self.verify.then(|| backups.verify(&backup));
            let (state, detail) = match checked {
                None => ("there", None),
                Some(Ok(())) => ("whole", None),
                Some(Err(error)) => ("damaged", Some(error.to_string())),
            };
            failed |= detail.is_some();
            self.say_state(&State::of(&backup, state, detail))?;
        }
        for id in backups.damaged()? {
            failed |= self.verify;
            let (state, detail) = ("damaged", Some(backup::INCOMPLETE.to_owned()));
            self.say_state(&State { id, state, detail, ..State::default() })?;
        }
        Ok(ExitCode::from(u8::from(failed)))
    }

    fn say_state(&self, backup: &State) -> anyhow::Result<()> {
        if self.json {
            return Ok(say(serde_json::to_string(backup)?)?);
        }
        let State { id, created, bytes, ledger_sequence, state, detail, .. } = backup;
        let created = created.as_deref().unwrap_or("-");
        let number = |number: &Option<u64>| number.map_or("-".to_owned(), |n| n.to_string());
        let (bytes, sequence) = (number(bytes), number(ledger_sequence));
        say(format_args!("{id}  {created}  {bytes} bytes  ledger sequence {sequence}  {state}"))?;
        if let Some(detail) = detail {
            say(format_args!("    {detail}"))?;
        }
        Ok(())
    }
}

/// One backup in a list.
#[derive(Default, Serialize)]
struct State {
    id: u32,
    created: Option<String>,
    bytes: Option<u64>,
    files: Option<u32>,
    ledger_sequence: Option<u64>,
    keys: Option<u64>,
    state: &'static str,
    detail: Option<String>,
}

impl State {
    fn of(backup: &backup::Backup, state: &'static str, detail: Option<String>) -> Self {
        let note = backup.note.as_ref();
        Self {
            id: backup.id,
            created: Some(rfc3339(backup.created_ns).to_string()),
            bytes: Some(backup.bytes),
            files: Some(backup.files),
            ledger_sequence: note.map(|note| note.ledger_sequence),
            keys: note.map(|note| note.keys),
            state,
            detail,
        }
    }
}

fn nobody_answers(table: &Path) -> String {
    format!(
        "the key table in {} is in use, and no worker takes requests there (control.sock): another command has \
         it open, or the worker said in its log why it has no socket. Try again when it is done.",
        table.display()
    )
}

fn as_json(Made { backup, new_files, new_bytes, dropped }: &Made, duration: Duration) -> Value {
    let note = backup.note.as_ref();
    json!({
        "id": backup.id,
        "created": rfc3339(backup.created_ns).to_string(),
        "bytes": backup.bytes,
        "files": backup.files,
        "new_bytes": new_bytes,
        "new_files": new_files,
        "ledger_sequence": note.map(|note| note.ledger_sequence),
        "keys": note.map(|note| note.keys),
        "dropped": dropped,
        "duration_ms": u64::try_from(duration.as_millis()).unwrap_or(u64::MAX),
    })
}

fn as_text(Made { backup, new_files, new_bytes, dropped }: &Made, duration: Duration) -> String {
    let mut text = format!(
        "backup {}: {} files of {} bytes, {new_files} of them new with {new_bytes} bytes; made in {:.1} s",
        backup.id,
        backup.files,
        backup.bytes,
        duration.as_secs_f64()
    );
    if let Some(note) = &backup.note {
        text.push_str(&format!("; it holds the ledger up to {} or later", note.ledger_sequence));
    }
    if !dropped.is_empty() {
        text.push_str(&format!("; {} older dropped", dropped.len()));
    }
    text
}
