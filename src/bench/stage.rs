//! Where it is measured: streams, bucket and directory of its own, all under one name that nobody else has, and all
//! removed in the end.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use serde_json::{Value, json};

use super::contender::{Contender, Program, Running};
use super::place::Place;
use super::process::{self, Usage};
use crate::config::Config;
use crate::nats::api::{ApiError, CONSUMER_NOT_FOUND, STREAM_NOT_FOUND};
use crate::nats::connect::Connection;
use crate::nats::setup::{self, StreamInfo};

/// A `Nats-Msg-Id` is remembered for longer than any measurement takes.
const MESSAGE_IDS_KEPT: Duration = Duration::from_hours(24);
/// The smallest duplicate window that the server takes.
const DUPLICATE_WINDOW: Duration = Duration::from_millis(100);

/// See the module.
pub struct Stage {
    /// Of the gate that is measured.
    pub config: Arc<Config>,
    /// Our own.
    pub connection: Connection,
    /// The server's process, where it is on this machine.
    pub server: Option<i32>,
    /// Its name and directory.
    pub place: Place,
    program: Program,
    running: Option<Running>,
    /// Something may be on the server.
    used: bool,
}

impl Stage {
    /// Connects; nothing is made yet.
    pub async fn open(config: Arc<Config>, place: Place, program: Program) -> anyhow::Result<Self> {
        let connection = Connection::open(&config.nats, "bench").await?;
        let server = process::server();
        Ok(Self { config, connection, server, program, place, running: None, used: false })
    }

    /// The subject of the load's actions: the last one has one of its own, by which it is found.
    pub fn action_subject(&self, is_last: bool) -> String {
        let end = if is_last { "last" } else { "pay" };
        format!("{}-actions.{end}", self.config.name)
    }

    /// Makes the input stream, empty.
    pub async fn make_input(&mut self) -> anyhow::Result<()> {
        self.used = true;
        let input = &self.config.input;
        let made = self
            .make_stream(&input.stream, (&input.subjects, input.replicas), DUPLICATE_WINDOW)
            .await;
        if matches!(made, Err(ApiError::Denied(_))) {
            self.used = false;
        }
        made.with_context(|| "a measurement needs streams of its own, and the first can't be made")
    }

    /// Starts a contender on an output of its own.
    pub async fn start(&mut self, who: Contender) -> anyhow::Result<()> {
        if who != Contender::Gate {
            self.make_output(who).await?;
        }
        self.running = Some(Running::start(&self.program, who, self.place.dir())?);
        Ok(())
    }

    /// As the gate's ledger, as far as it goes; and the consumer, which the gate makes itself.
    async fn make_output(&self, who: Contender) -> anyhow::Result<()> {
        let duplicates = if who == Contender::Native { MESSAGE_IDS_KEPT } else { DUPLICATE_WINDOW };
        let subjects = [format!("{}.accepted.>", self.config.name)];
        let replicas = self.config.ledger.replicas;
        let name = self.config.ledger_stream();
        self.make_stream(&name, (&subjects, replicas), duplicates).await?;
        let (stream, consumer) = (&self.config.input.stream, self.config.consumer());
        let wanted = json!({
            "durable_name": consumer, "name": consumer, "deliver_policy": "all", "ack_policy": "all",
            "max_deliver": -1, "max_ack_pending": -1, "replay_policy": "instant",
            "filter_subjects": self.config.input.subjects,
        });
        let body = json!({ "stream_name": stream, "config": wanted, "action": "create" });
        let call = format!("CONSUMER.CREATE.{stream}.{consumer}");
        let _: Value = self.connection.call(&call, &body).await?;
        Ok(())
    }

    async fn make_stream(
        &self,
        name: &str,
        (subjects, replicas): (&[String], usize),
        duplicates: Duration,
    ) -> Result<(), ApiError> {
        let wanted = json!({
            "name": name, "subjects": subjects, "storage": "file", "retention": "limits",
            "discard": "new", "num_replicas": replicas, "max_age": 0, "max_msgs": -1,
            "max_bytes": -1, "max_msgs_per_subject": -1, "max_msg_size": -1, "max_consumers": -1,
            "duplicate_window": duplicates.as_nanos() as u64,
            "description": "oncegate bench: to be removed when it has ended",
        });
        let call = format!("STREAM.CREATE.{name}");
        self.connection.call(&call, &wanted).await.map(|_: Value| ())
    }

    /// An error if the contender has ended.
    pub fn must_run(&mut self) -> anyhow::Result<()> {
        self.running.as_mut().map_or(Ok(()), Running::must_run)
    }

    /// What the contender has used so far.
    pub fn usage(&self) -> anyhow::Result<Usage> {
        self.running.as_ref().context("nothing runs")?.usage()
    }

    /// The output stream, once there is one.
    pub async fn output(&self) -> Result<Option<StreamInfo>, ApiError> {
        setup::stream_info(&self.connection, &self.config.ledger_stream()).await
    }

    /// Stops the contender, as an operator would.
    pub async fn stop(&mut self) -> anyhow::Result<()> {
        match self.running.take() {
            Some(running) => running.stop().await,
            None => Ok(()),
        }
    }

    /// Removes the output and everything else that the last contender had.
    pub async fn clear_output(&self) -> anyhow::Result<()> {
        let config = &self.config;
        self.place.clear_table()?;
        let bucket = format!("KV_{}", config.bucket());
        for stream in [config.ledger_stream(), config.reports_stream(), bucket] {
            self.remove(&format!("STREAM.DELETE.{stream}")).await?;
        }
        let consumer = format!("{}.{}", config.input.stream, config.consumer());
        self.remove(&format!("CONSUMER.DELETE.{consumer}")).await
    }

    /// Removes the input stream.
    pub async fn clear_input(&self) -> anyhow::Result<()> {
        self.remove(&format!("STREAM.DELETE.{}", self.config.input.stream)).await
    }

    /// Ends what runs and removes everything.
    pub async fn clear(mut self) -> anyhow::Result<()> {
        if let Some(running) = self.running.take() {
            running.kill().await?;
        }
        let name = self.config.name.clone();
        let left = || {
            format!(
                "the server may still have streams of this measurement, whose names begin with {} or \
                 KV_{name}: remove them with `nats stream rm`",
                name.to_uppercase()
            )
        };
        if self.used {
            self.clear_output().await.with_context(left)?;
            self.clear_input().await.with_context(left)?;
        }
        self.place.clear()
    }

    async fn remove(&self, call: &str) -> anyhow::Result<()> {
        let gone: Result<Value, _> = self.connection.call(call, &Value::Null).await;
        match gone {
            Err(error)
                if [Some(STREAM_NOT_FOUND), Some(CONSUMER_NOT_FOUND)].contains(&error.code()) =>
            {
                Ok(())
            }
            other => Ok(other.map(drop)?),
        }
    }
}
