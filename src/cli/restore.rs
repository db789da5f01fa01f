//! `oncegate restore`: a backup becomes the key table.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use serde_json::json;

use super::{connect, say};
use crate::clock;
use crate::config::Config;
use crate::gate::engine::recovery::Refusal;
use crate::gate::source::rfc3339;
use crate::nats::connect::Connection;
use crate::table::backup::{Backups, Restored};
use crate::worker::identity;

#[derive(Args)]
pub struct Restore {
    /// Directory of the backups
    directory: PathBuf,
    /// The backup of this number [default: the newest]
    #[arg(long, value_name = "N")]
    id: Option<u32>,
    /// Leave it to `oncegate run` to find out whether the ledger fits; no server is needed then
    #[arg(long)]
    offline: bool,
    /// One JSON object on standard output
    #[arg(long)]
    json: bool,
}

impl Restore {
    pub async fn execute(self, config: Config) -> anyhow::Result<ExitCode> {
        // First: copying may take long.
        let connection = match self.offline {
            true => None,
            false => Some(connect(&config).await.context(
                "the ledger can't be looked at, nothing was restored (--offline leaves that to `oncegate \
                 run`, which makes sure of it when it starts)",
            )?),
        };
        let restored = tokio::task::block_in_place(|| {
            Backups::open(&self.directory, &config.name)?.restore(self.id, &config.table.path)
        })?;
        let ledger_end = match connection {
            None => None,
            Some(connection) => Some(self.ledger_end(&connection, &config, &restored).await?),
        };
        restored.adopt()?;
        self.report(&config, &restored, ledger_end)?;
        Ok(ExitCode::SUCCESS)
    }

    async fn ledger_end(
        &self,
        connection: &Connection,
        config: &Config,
        restored: &Restored,
    ) -> anyhow::Result<u64> {
        let cursors = restored.cursors.clone();
        let at = cursors.ledger.sequence;
        identity::ledger_end(connection, config, cursors).await.map_err(|refusal| {
            let (id, ledger) = (restored.backup.id, config.ledger_stream());
            anyhow::anyhow!(
                "backup {id}, which stands at ledger sequence {at}, was not restored: (ledger stream \
                 {ledger}) {refusal:#}{}",
                self.way_out(&refusal)
            )
        })
    }

    fn way_out(&self, refusal: &anyhow::Error) -> String {
        match refusal.downcast_ref() {
            Some(Refusal::EntriesMissing { .. }) => format!(
                " A later backup may fit (`oncegate backup {} --list`), or an empty table: `oncegate run` \
                 fills it, if the ledger still holds a whole window.",
                self.directory.display()
            ),
            _ => String::new(),
        }
    }

    fn report(
        &self,
        config: &Config,
        restored: &Restored,
        ledger_end: Option<u64>,
    ) -> anyhow::Result<()> {
        let at = restored.cursors.ledger.sequence;
        let id = restored.backup.id;
        let created = rfc3339(restored.backup.created_ns);
        let age_ns = clock::wall_ns().saturating_sub(restored.backup.created_ns);
        let age = Duration::from_secs(
            Duration::from_nanos(age_ns.try_into().unwrap_or_default()).as_secs(),
        );
        let behind = ledger_end.map(|end| end.saturating_sub(at));
        let table = config.table.path.display();
        if self.json {
            say(json!({
                "id": id, "created": created.to_string(), "age_s": age.as_secs(),
                "ledger_sequence": at, "ledger_end": ledger_end, "entries_to_replay": behind,
                "table": table.to_string(),
            }))?;
            return Ok(());
        }
        say(format_args!("backup {id} of {created}, {} old", humantime::format_duration(age)))?;
        match (ledger_end, behind) {
            (Some(end), Some(behind)) => say(format_args!(
                "it stands at ledger sequence {at}; the ledger ends at {end} and still holds the {behind} \
                 entries after it, which `oncegate run` reads first"
            ))?,
            _ => say(format_args!(
                "it stands at ledger sequence {at}; the ledger was not looked at: `oncegate run` makes sure \
                 that it fits, and refuses if not"
            ))?,
        }
        say(format_args!("restored to {table}"))?;
        Ok(())
    }
}
