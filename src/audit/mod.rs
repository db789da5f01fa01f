//! The audit: reads the input and the ledger, judges everything again, and says where the ledger is not
//! what it must be.
//!
//! Knows neither the key table nor the engine: its fold over the streams is its own, so that a mistake in
//! the one shows in the other. It shares what the contract names: keys, digests, rules, reasons.
//!
//! In reading order: [`terms`] (the `leading` entries, looked through first), [`reading`] (both streams in
//! step: the ledger drives), [`auditor`] (the fold), [`book`] (live keys), [`evidence`] (what an entry is
//! judged by), [`due`] (the verdict), [`compare`] (the entry's fields), [`reports`] (entries about reports), [`finding`]
//! and [`summary`] (what is told).

pub mod auditor;
pub mod book;
pub mod compare;
pub mod due;
pub mod evidence;
pub mod finding;
mod reading;
pub mod reports;
pub mod summary;
mod terms;

use std::sync::Arc;

use anyhow::Context as _;

use crate::config::Config;
use crate::nats::connect::Connection;
use crate::nats::setup;
use crate::progress::Progress;
use finding::Finding;
use reading::Reading;
use summary::Summary;

/// Audits the ledger up to where it ends now. `told` is given each discrepancy as it is found.
pub async fn run(
    config: &Arc<Config>,
    told: &mut dyn FnMut(&Finding) -> std::io::Result<()>,
) -> anyhow::Result<Summary> {
    let connection = Connection::open(&config.nats, "audit").await?;
    let stream = config.ledger_stream();
    let ledger = setup::stream_info(&connection, &stream).await?;
    let ledger = ledger.with_context(|| {
        format!(
            "there is no ledger stream {stream} to audit; is `name` another one here than there?"
        )
    })?;
    let (from, to) = (ledger.state.first_seq.max(1), ledger.state.last_seq);
    let terms = terms::read(&connection, config, (from, to)).await?;
    // Read after the ledger's end: it holds all that the ledger names.
    let input = setup::stream_info(&connection, &config.input.stream).await?;
    let mut reading = Reading::new(config, connection, (from, to), terms, input).await?;
    let progress = Progress::of_command("auditing the ledger");
    while let Some(at) = reading.step().await? {
        for finding in reading.findings() {
            told(&finding)?;
        }
        progress.at(at, to);
    }
    let (summary, findings) = reading.finish().await?;
    for finding in findings {
        told(&finding)?;
    }
    Ok(summary)
}
