//! A connection whose every read and write is bounded in time.

use std::future::Future;
use std::io::{self, Read, Write};
use std::net::Ipv4Addr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;

/// Waits by epoll, and not by a blocking socket's read timeout: that one of 3 s was seen to take up to 36
/// (Linux 6.18, where the timer lay on a processor that slept).
pub struct Connection {
    runtime: Runtime,
    stream: TcpStream,
    patience: Duration,
}

impl Connection {
    /// To a port of 127.0.0.1; connecting is bounded too.
    pub fn open(port: u16, patience: Duration) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let connecting =
            async { timeout(patience, TcpStream::connect((Ipv4Addr::LOCALHOST, port))).await? };
        let stream = runtime.block_on(connecting)?;
        stream.set_nodelay(true)?;
        Ok(Self { runtime, stream, patience })
    }

    /// How long one read or write may take; it fails after.
    pub fn set_patience(&mut self, patience: Duration) {
        self.patience = patience;
    }
}

impl Read for Connection {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        bounded(&self.runtime, self.patience, self.stream.read(into))
    }
}

impl Write for Connection {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        bounded(&self.runtime, self.patience, self.stream.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn bounded<T>(
    runtime: &Runtime,
    patience: Duration,
    doing: impl Future<Output = io::Result<T>>,
) -> io::Result<T> {
    runtime.block_on(async { timeout(patience, doing).await? })
}
