//! Whether a table that is not open yet fits the ledger.

use super::recover::entry;
use crate::config::Config;
use crate::gate::cursor::Cursors;
use crate::gate::engine::recovery::{Answer, Ask, Recovery, Step};
use crate::nats::connect::Connection;
use crate::nats::{raw, setup};

/// The ledger's last sequence, if a table at these positions is of this ledger, and the ledger still reaches
/// back to it; else the reason to stop that the gate itself would give.
///
/// It is the recovery of a start, up to where it has made sure of that and would read on.
pub async fn ledger_end(
    connection: &Connection,
    config: &Config,
    cursors: Cursors,
) -> anyhow::Result<u64> {
    let ledger = config.ledger_stream();
    let window_ns = config.retention.window_ns();
    let (mut recovery, mut ask) = Recovery::new(&config.name, [], cursors, window_ns);
    let mut end = 0;
    loop {
        let answer = match ask {
            Ask::LedgerState => {
                let info = setup::stream_info(connection, &ledger).await?;
                let none = || anyhow::anyhow!("there is no such stream");
                let state = info.ok_or_else(none)?.state;
                end = state.last_seq;
                Answer::LedgerState { first: state.first_seq.max(1), last: end }
            }
            Ask::LedgerEntry(at) => {
                Answer::LedgerEntry(raw::get(connection, &ledger, at).await?.map(entry))
            }
            Ask::LedgerTail { .. } | Ask::Records(_) | Ask::InputState(_) | Ask::InputFrom(..) => {
                return Ok(end);
            }
        };
        match recovery.next(answer)? {
            Step::Ask(next) => ask = next,
            Step::Commit { .. } | Step::Done(_) => return Ok(end),
        }
    }
}
