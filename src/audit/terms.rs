//! The ledger's `leading` entries, looked through before all others.

use crate::config::Config;
use crate::gate::entry::{self, Entry, LeadingInput, Unread};
use crate::gate::source::TimeNs;
use crate::nats::connect::Connection;
use crate::nats::raw;

/// What they say together.
#[derive(Debug, Default)]
pub struct Terms {
    /// The largest window.
    pub window_max_ns: TimeNs,
    /// From this ledger sequence on the input is the stream that was last read; before it, one of the same
    /// name that is no more.
    pub input_since: u64,
    /// How the last of them names the input.
    pub input: Option<LeadingInput>,
}

/// Reads them.
pub async fn read(
    connection: &Connection,
    config: &Config,
    (from, to): (u64, u64),
) -> anyhow::Result<Terms> {
    let (ledger, subject) = (config.ledger_stream(), format!("{}.leading", config.name));
    let mut terms = Terms { input_since: from, ..Terms::default() };
    let mut next = from;
    while let Some(found) = raw::next(connection, &ledger, next, &subject).await? {
        if found.sequence > to {
            break;
        }
        next = found.sequence + 1;
        let headers = found.headers.unwrap_or_default();
        match entry::decode(&config.name, &found.subject, &headers, &found.payload) {
            Ok(Entry::Leading(leading)) => {
                let window_ms = i64::try_from(leading.window_ms).unwrap_or(i64::MAX);
                terms.window_max_ns = terms.window_max_ns.max(window_ms.saturating_mul(1_000_000));
                let input = leading.inputs.into_iter().find(|i| i.stream == config.input.stream);
                terms.learn(found.sequence, input);
            }
            Err(newer @ Unread::Newer { .. }) => {
                anyhow::bail!("ledger entry {} is {newer}: audit with that version", found.sequence)
            }
            Ok(_) | Err(Unread::Foreign(_)) => {}
        }
    }
    Ok(terms)
}

impl Terms {
    fn learn(&mut self, sequence: u64, input: Option<LeadingInput>) {
        let Some(input) = input else { return };
        let made_anew =
            |before: &LeadingInput| input.sequence == 0 && input.created_ns != before.created_ns;
        if self.input.as_ref().is_some_and(made_anew) {
            self.input_since = sequence;
        }
        self.input = Some(input);
    }
}
