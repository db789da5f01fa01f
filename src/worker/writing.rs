//! Writes out what the table has gathered, beside the commits.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;

use super::kill::{self, Step};
use crate::table::WriteBehind;

/// What is committed is written out by then: a crash loses no more, and the ledger replays that soon.
const WITHIN: Duration = Duration::from_millis(500);

/// Until [`WriteBehind::close`].
pub fn start(table: Arc<WriteBehind>) -> JoinHandle<()> {
    tokio::task::spawn_blocking(move || {
        while table.wait_until_due(WITHIN) {
            let around = kill::around(Step::WriteOut);
            let written = table.write_out();
            around.done();
            if let Err(error) = written {
                tracing::error!(%error, "the table takes no more");
                return;
            }
        }
    })
}
