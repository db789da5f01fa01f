//! The table's own thread: RocksDB blocks, the loop does not.

use std::sync::Arc;
use std::sync::mpsc as blocking;
use std::thread::JoinHandle;

use tokio::sync::mpsc;

use crate::gate::engine::Commit;
use crate::table::{KeyTable, TableError};
use crate::worker::kill::{self, Step};

/// Takes commits in order and tells when each is in the table.
pub struct Committer {
    commits: Option<blocking::Sender<Commit>>,
    thread: Option<JoinHandle<()>>,
}

impl Committer {
    /// Starts the thread; the receiver has one answer a commit.
    pub fn start(
        table: Arc<dyn KeyTable>,
    ) -> std::io::Result<(Self, mpsc::UnboundedReceiver<Result<(), TableError>>)> {
        let (commits, to_commit) = blocking::channel::<Commit>();
        let (done, answers) = mpsc::unbounded_channel();
        let thread = std::thread::Builder::new().name("table".to_owned()).spawn(move || {
            for commit in to_commit {
                let around = kill::around(Step::WriteTable);
                let written = table.commit(&commit);
                around.done();
                if done.send(written).is_err() {
                    break;
                }
            }
        })?;
        Ok((Self { commits: Some(commits), thread: Some(thread) }, answers))
    }

    /// Hands over a commit.
    pub fn commit(&self, commit: Commit) {
        let handed_over = self.commits.as_ref().is_some_and(|commits| commits.send(commit).is_ok());
        if !handed_over {
            tracing::error!("the table's thread has ended");
        }
    }
}

impl Drop for Committer {
    /// What comes after (a recovery) must see every commit that was handed over.
    fn drop(&mut self) {
        self.commits.take();
        if let Some(Err(_)) = self.thread.take().map(JoinHandle::join) {
            tracing::error!("the table's thread has failed");
        }
    }
}
