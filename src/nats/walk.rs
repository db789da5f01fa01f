//! A stream's messages from one sequence to another, whole and in order, whatever their bytes.
//!
//! A consumer brings them; what breaks the client library is read one by one. Nothing in the stream is
//! changed, and no consumer of anybody else is touched.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

use super::api::ApiError;
use super::connect::Connection;
use super::place::matches;
use super::pull::Broken;
use super::raw::{self, RawMessage};
use super::tail::Tail;
use crate::clock;
use crate::config::Config;

/// Messages read one by one before a consumer is tried again.
const ONE_BY_ONE: u64 = 1000;
/// A server that brings nothing for so long is given up.
const PATIENCE: Duration = Duration::from_secs(60);
const RETRY_AFTER: Duration = Duration::from_millis(500);
/// Chunks read ahead of what is used.
const CHUNKS_AHEAD: usize = 4;

/// What is read.
#[derive(Clone, Debug)]
pub struct Route {
    /// The stream.
    pub stream: String,
    /// Which of its messages, as NATS filters; all of them if there is none.
    pub subjects: Vec<String>,
    /// First sequence.
    pub from: u64,
    /// Last sequence.
    pub to: u64,
    /// The stream lets nobody have a consumer beside the gate's: everything is read one by one.
    pub is_work_queue: bool,
}

/// See the module.
pub struct Walk {
    config: Arc<Config>,
    connection: Connection,
    route: Route,
    tail: Option<Tail>,
    one_by_one_to: u64,
    last_progress: Instant,
}

/// A walk that is read ahead of what is used.
pub struct Ahead {
    chunks: mpsc::Receiver<Result<Vec<RawMessage>, Broken>>,
    _reading: AbortOnDropHandle<()>,
}

impl Walk {
    /// Begins at `route.from`.
    pub fn new(config: Arc<Config>, connection: Connection, route: Route) -> Self {
        let last_progress = clock::monotonic();
        Self { config, connection, route, tail: None, one_by_one_to: 0, last_progress }
    }

    /// Reads on a task of its own.
    pub fn ahead(mut self) -> Ahead {
        let (sender, chunks) = mpsc::channel(CHUNKS_AHEAD);
        let reading = tokio::spawn(async move {
            loop {
                let chunk = self.next().await;
                let over = chunk.as_ref().map_or(true, Vec::is_empty);
                if sender.send(chunk).await.is_err() || over {
                    return;
                }
            }
        });
        Ahead { chunks, _reading: AbortOnDropHandle::new(reading) }
    }

    /// Some more; none at the end.
    async fn next(&mut self) -> Result<Vec<RawMessage>, Broken> {
        while self.route.from <= self.route.to {
            match self.step().await {
                Ok(found) if found.is_empty() => {}
                Ok(found) => {
                    self.last_progress = clock::monotonic();
                    return Ok(found);
                }
                Err(broken) if broken.denied || self.last_progress.elapsed() > PATIENCE => {
                    return Err(broken);
                }
                Err(broken) => {
                    tracing::warn!(stream = self.route.stream, %broken, "trying again");
                    tokio::time::sleep(RETRY_AFTER).await;
                }
            }
        }
        Ok(Vec::new())
    }

    async fn step(&mut self) -> Result<Vec<RawMessage>, Broken> {
        if self.route.is_work_queue || self.route.from <= self.one_by_one_to {
            return Ok(self.one_by_one().await?);
        }
        match self.by_consumer().await {
            Ok(Some(found)) => Ok(found),
            // Nothing comes: whether nothing is there is asked of the stream.
            Ok(None) => Ok(self.one_by_one().await?),
            Err(broken) if broken.denied => Err(broken),
            Err(broken) => {
                tracing::debug!(%broken, from = self.route.from, "read one by one");
                self.tail = None;
                self.one_by_one_to = self.route.from + ONE_BY_ONE;
                Ok(Vec::new())
            }
        }
    }

    async fn by_consumer(&mut self) -> Result<Option<Vec<RawMessage>>, Broken> {
        let Route { stream, subjects, from, to, .. } = &self.route;
        let tail = match &mut self.tail {
            Some(tail) => tail,
            none => {
                if first_held(&self.connection, &self.route).await?.is_none() {
                    self.route.from = to + 1;
                    return Ok(Some(Vec::new()));
                }
                none.insert(Tail::open_whole(&self.config, (stream, subjects), *from).await?)
            }
        };
        let Some(mut chunk) = tail.next_or_idle().await? else {
            return Ok(None);
        };
        let last = chunk.entries.last().map_or(*from, |message| message.sequence);
        chunk.entries.retain(|message| message.sequence <= *to);
        self.route.from = last + 1;
        if chunk.behind == 0 {
            // So the consumer says; on a replica that lags it may be wrong.
            self.one_by_one_to = self.route.from;
        }
        Ok(Some(chunk.entries))
    }

    async fn one_by_one(&mut self) -> Result<Vec<RawMessage>, ApiError> {
        let Some(first) = first_held(&self.connection, &self.route).await? else {
            self.route.from = self.route.to + 1;
            return Ok(Vec::new());
        };
        let range = (first.sequence + 1, self.route.to.min(first.sequence + ONE_BY_ONE));
        let mut found = vec![first];
        found.extend(raw::range(&self.connection, &self.route.stream, range, |found| found).await?);
        let subjects = &self.route.subjects;
        found.retain(|message| {
            subjects.is_empty() || subjects.iter().any(|filter| matches(filter, &message.subject))
        });
        self.route.from = range.1 + 1;
        self.tail = None;
        Ok(found)
    }
}

impl Ahead {
    /// Some more; none at the end.
    pub async fn next(&mut self) -> Result<Vec<RawMessage>, Broken> {
        self.chunks.recv().await.unwrap_or_else(|| Ok(Vec::new()))
    }
}

/// The first message of the rest of the route that the stream still holds.
async fn first_held(
    connection: &Connection,
    route: &Route,
) -> Result<Option<RawMessage>, ApiError> {
    let all = [">".to_owned()];
    let filters = if route.subjects.is_empty() { &all[..] } else { &route.subjects };
    let mut first: Option<RawMessage> = None;
    for filter in filters {
        let next = raw::next(connection, &route.stream, route.from, filter).await?;
        let earlier = |next: &RawMessage| match &first {
            Some(first) => next.sequence < first.sequence,
            None => next.sequence <= route.to,
        };
        if next.as_ref().is_some_and(earlier) {
            first = next;
        }
    }
    Ok(first)
}
