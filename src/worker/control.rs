//! Requests to the running worker, over a Unix socket in the table's directory. Whoever may write to the
//! socket (mode 0600) may ask.
//!
//! A connection takes one request, a line of JSON, and is answered with a line of JSON.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::backup::BackupMaker;
use crate::table::backup::Made;

const SOCKET: &str = "control.sock";
/// Until it may be used by nobody else, and takes its place in one step.
const NEW_SOCKET: &str = "control.new";
const REQUEST_BYTES_MAX: u64 = 64 * 1024;
/// Whoever connects sends its request within this.
const REQUEST_MAX: Duration = Duration::from_secs(10);

/// What can be asked.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// A backup, now.
    Backup {
        /// Where; absolute.
        directory: PathBuf,
        /// How many to keep in all; `None` keeps them all.
        keep: Option<usize>,
    },
}

/// The answer to a [`Request`].
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// It is done.
    BackedUp(Made),
    /// Why it was not.
    Failed(String),
}

/// The socket; nobody is attended to, and it is gone, once this is dropped.
pub struct Socket {
    directory: File,
    _serving: DropGuard,
}

impl Drop for Socket {
    fn drop(&mut self) {
        fs::remove_file(place(&self.directory, SOCKET)).ok();
    }
}

/// Takes requests to a worker whose table is in `table`. The socket of one that died is replaced: call it
/// only while the table is open, whose lock keeps a second one out.
///
/// Without a socket the gate works as well, so that a failure is logged and no more.
pub fn start(table: &Path, backups: BackupMaker) -> Option<Socket> {
    match listen(table) {
        Ok((directory, listener)) => {
            let stop = CancellationToken::new();
            let until = stop.clone();
            tokio::spawn(async move {
                until.run_until_cancelled(serve(&listener, &backups)).await;
            });
            Some(Socket { directory, _serving: stop.drop_guard() })
        }
        Err(error) => {
            tracing::warn!(
                %error,
                "no socket for `oncegate backup` in the table's directory: while the worker runs, backups \
                 are made only by the settings [backup]"
            );
            None
        }
    }
}

/// A socket's path has 107 bytes at most; a directory's may be longer, so the open directory stands for it.
fn place(directory: &File, name: &str) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}/{name}", directory.as_raw_fd()))
}

fn listen(table: &Path) -> io::Result<(File, UnixListener)> {
    let directory = File::open(table)?;
    let (socket, new) = (place(&directory, SOCKET), place(&directory, NEW_SOCKET));
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(&new)?;
    fs::set_permissions(&new, Permissions::from_mode(0o600))?;
    fs::rename(&new, &socket)?;
    Ok((directory, listener))
}

async fn serve(listener: &UnixListener, backups: &BackupMaker) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let backups = backups.clone();
                tokio::spawn(async move {
                    if let Err(error) = attend(stream, &backups).await {
                        tracing::debug!(%error, "a request to the worker came to nothing");
                    }
                });
            }
            Err(error) => {
                tracing::warn!(%error, "no request to the worker can be taken");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }
}

async fn attend(mut stream: UnixStream, backups: &BackupMaker) -> anyhow::Result<()> {
    let (read, mut write) = stream.split();
    let mut line = String::new();
    let mut read = BufReader::new(read.take(REQUEST_BYTES_MAX));
    tokio::time::timeout(REQUEST_MAX, read.read_line(&mut line)).await??;
    let answer = match serde_json::from_str(&line) {
        Ok(Request::Backup { directory, keep }) => match backups.make(directory, keep).await {
            Ok(made) => Answer::BackedUp(made),
            Err(error) => Answer::Failed(format!("{error:#}")),
        },
        Err(error) => Answer::Failed(format!("this worker does not know the request: {error}")),
    };
    let mut answer = serde_json::to_vec(&answer)?;
    answer.push(b'\n');
    Ok(write.write_all(&answer).await?)
}

/// Asks the worker that has the table in `table` open, and waits for its answer as long as it takes.
/// `None`: nobody takes requests there.
pub async fn ask(table: &Path, request: &Request) -> anyhow::Result<Option<Answer>> {
    let directory = File::open(table)?;
    let mut stream = match UnixStream::connect(place(&directory, SOCKET)).await {
        Ok(stream) => stream,
        Err(error) => match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => return Ok(None),
            _ => return Err(error).context("asking the running worker over control.sock"),
        },
    };
    let mut text = serde_json::to_vec(request)?;
    text.push(b'\n');
    stream.write_all(&text).await?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).await?;
    if line.is_empty() {
        bail!("the worker ended before it answered");
    }
    serde_json::from_str(&line).map(Some).context("the running worker's answer can't be read")
}
