//! `oncegate audit`.

use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;

use super::{FAILED, say};
use crate::audit;
use crate::audit::summary::Summary;
use crate::config::Config;
use crate::gate::source::rfc3339;

#[derive(Args)]
pub struct Audit {
    /// One JSON object a discrepancy on standard output, and the counts as the last
    #[arg(long)]
    json: bool,
}

impl Audit {
    pub async fn execute(self, config: Config) -> anyhow::Result<ExitCode> {
        let summary = audit::run(&Arc::new(config), &mut |finding| match self.json {
            true => say(finding.to_json()),
            false => say(finding),
        })
        .await?;
        match self.json {
            true => say(summary.to_json())?,
            false => account(&summary)?,
        }
        Ok(match summary.discrepancies {
            0 => ExitCode::SUCCESS,
            _ => ExitCode::from(FAILED),
        })
    }
}

fn account(summary: &Summary) -> std::io::Result<()> {
    let Summary { ledger_from, ledger_to, entries, accepted, rejected, duplicates, .. } = summary;
    say(format_args!(
        "ledger entries {ledger_from} to {ledger_to}: {entries} of the gate, of them {accepted} accepted \
         and {rejected} rejected; {duplicates} duplicates; {} keys are live",
        summary.live_keys
    ))?;
    let parts = [
        (summary.foreign, "messages in the ledger are not the gate's"),
        (
            summary.inputs_gone,
            "inputs were no longer there to check: their entries were checked in themselves",
        ),
        (
            summary.entries_in_part,
            "of these entries lack payload or headers, and were checked in part",
        ),
        (
            summary.before_first_term,
            "entries stand before the first `leading` entry that the ledger holds, and were not checked",
        ),
        (summary.not_yet_judged, "inputs are not yet judged"),
    ];
    for (count, what) in parts.into_iter().filter(|(count, _)| *count > 0) {
        say(format_args!("{count} {what}"))?;
    }
    if let Some(until_ns) = summary.unknown_until_ns {
        say(format_args!(
            "the ledger lacks its first {} entries: keys accepted there may have counted as seen until {}, \
             and {} inputs could not be checked for that",
            summary.entries_trimmed,
            rfc3339(until_ns),
            summary.not_checkable
        ))?;
    }
    match summary.discrepancies {
        0 => say("no discrepancy"),
        count => say(format_args!("{count} discrepancies")),
    }
}
