//! Writes out what the table has gathered, beside the commits.

use std::sync::Arc;

use tokio::task::JoinHandle;

use super::kill::{self, Step};
use crate::table::WriteBehind;

/// Until [`WriteBehind::close`].
pub fn start(table: Arc<WriteBehind>) -> JoinHandle<()> {
    tokio::task::spawn_blocking(move || {
        while table.wait_until_due() {
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
