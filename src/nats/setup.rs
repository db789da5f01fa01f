//! Streams, consumer and bucket: made if missing, checked if there, never edited.

use std::time::Duration;

use async_nats::HeaderMap;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::api::{ApiError, CONSUMER_NOT_FOUND, STREAM_NOT_FOUND};
use super::connect::Connection;
use crate::config::{Config, InputStream, subjects_overlap};
use crate::gate::source::{TimeNs, parse_rfc3339};

/// The smallest duplicate window that the server takes.
const DUPLICATE_WINDOW: Duration = Duration::from_millis(100);
/// Of reports, so that a command that is sent again by the network is not carried out again.
const REPORTS_DUPLICATE_WINDOW: Duration = Duration::from_secs(120);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// A dead letter without payload and publisher's headers, or a `leading` entry, may have so many bytes.
const MESSAGE_BYTES_MIN: i64 = 20_000;
/// After so long a work queue delivers again what was not acknowledged.
const ACK_WAIT: Duration = Duration::from_secs(30);
/// The server's code for a stream name that somebody else just took.
const STREAM_NAME_IN_USE: u64 = 10_058;

/// Why the streams can't serve.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// Trying again changes nothing.
    #[error("{0}")]
    Unfit(String),
    /// The request for it had no result.
    #[error(transparent)]
    Api(#[from] ApiError),
}

/// A stream as the server describes it.
#[derive(Clone, Debug, Deserialize)]
pub struct StreamInfo {
    /// Every setting, by the server's names.
    pub config: Map<String, Value>,
    /// RFC 3339.
    pub created: String,
    /// Its sequences.
    pub state: StreamState,
}

/// See [`StreamInfo`].
#[derive(Clone, Debug, Deserialize)]
pub struct StreamState {
    /// First sequence; last + 1 if it holds nothing (0 before the first message ever).
    pub first_seq: u64,
    /// Last sequence that ever was.
    pub last_seq: u64,
    /// How many messages it holds.
    pub messages: u64,
    /// How many bytes they take, all in all.
    pub bytes: u64,
}

impl StreamInfo {
    /// Creation time; 0 if it can't be read.
    pub fn created_ns(&self) -> TimeNs {
        parse_rfc3339(&self.created).unwrap_or_default()
    }

    fn text(&self, field: &str) -> &str {
        self.config.get(field).and_then(Value::as_str).unwrap_or_default()
    }

    fn number(&self, field: &str) -> i64 {
        self.config.get(field).and_then(Value::as_i64).unwrap_or_default()
    }

    /// The subjects it takes.
    pub fn subjects(&self) -> Vec<String> {
        let list = self.config.get("subjects").and_then(Value::as_array);
        list.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
    }

    /// Messages are deleted by their acknowledgement.
    pub fn is_work_queue(&self) -> bool {
        self.text("retention") == "workqueue"
    }

    /// Several servers hold it, and one of them may lag.
    pub fn is_replicated(&self) -> bool {
        self.number("num_replicas") > 1
    }

    /// The stream's own limit for a message, if any.
    pub fn message_bytes_max(&self) -> Option<usize> {
        usize::try_from(self.number("max_msg_size")).ok().filter(|bytes| *bytes > 0)
    }

    /// How long the stream drops repeats of a `Nats-Msg-Id` itself.
    pub fn duplicate_window(&self) -> Duration {
        Duration::from_nanos(self.number("duplicate_window").unsigned_abs())
    }
}

/// The stream, or `None` if there is none.
pub async fn stream_info(
    connection: &Connection,
    stream: &str,
) -> Result<Option<StreamInfo>, ApiError> {
    match connection.call(&format!("STREAM.INFO.{stream}"), &Value::Null).await {
        Ok(info) => Ok(Some(info)),
        Err(error) if error.code() == Some(STREAM_NOT_FOUND) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The ledger stream, fit; made if missing and `manage`.
pub async fn ledger(connection: &Connection, config: &Config) -> Result<StreamInfo, SetupError> {
    let name = config.ledger_stream();
    let bytes_max = connection.message_bytes_max();
    if i64::try_from(bytes_max).is_ok_and(|bytes| bytes < MESSAGE_BYTES_MIN) {
        return Err(SetupError::Unfit(format!(
            "the NATS server takes messages of at most {bytes_max} bytes (max_payload), and an entry of the \
             ledger may need {MESSAGE_BYTES_MIN}: raise max_payload in the server's configuration"
        )));
    }
    let info = ensure(connection, config, &name, || ledger_config(config)).await?;
    let unfit = ledger_misfits(config, &info);
    if unfit.is_empty() { Ok(info) } else { Err(misfit("ledger", &name, &unfit)) }
}

/// The input stream, fit; made if missing and `manage`.
pub async fn input(connection: &Connection, config: &Config) -> Result<StreamInfo, SetupError> {
    let name = &config.input.stream;
    let info = ensure(connection, config, name, || input_config(config)).await?;
    if info.text("retention") == "interest" {
        let why = "retention is \"interest\", which drops a message that no consumer waits for, so an \
                   action could go before it is judged; needed: \"limits\" or \"workqueue\"";
        return Err(misfit("input", name, &[why.to_owned()]));
    }
    // A mirror has no subjects of its own.
    let taken = info.subjects();
    let lacking = |wanted: &&String| !taken.iter().any(|taken| subjects_overlap(taken, wanted));
    match config.input.subjects.iter().find(lacking) {
        Some(subject) if !taken.is_empty() => {
            let why =
                format!("subjects is {taken:?}, which {subject:?} of input.subjects never meets");
            Err(misfit("input", name, &[why]))
        }
        _ => Ok(info),
    }
}

/// The stream of reports, fit; made if missing and `manage`.
pub async fn reports(connection: &Connection, config: &Config) -> Result<StreamInfo, SetupError> {
    let reports = config.reports();
    let info = ensure(connection, config, &reports.stream, || reports_config(config)).await?;
    let mut unfit = Vec::new();
    for (field, needed) in [("storage", "file"), ("retention", "workqueue")] {
        let found = info.text(field);
        if found != needed {
            unfit.push(format!("{field} is {found:?}, needed: {needed:?}"));
        }
    }
    let (mut found, mut wanted) = (info.subjects(), reports.subjects.clone());
    found.sort();
    wanted.sort();
    if found != wanted {
        unfit.push(format!("subjects is {found:?}, needed: {wanted:?}"));
    }
    if unfit.is_empty() { Ok(info) } else { Err(misfit("reports", &reports.stream, &unfit)) }
}

/// The lease bucket's stream, fit; made if missing and `manage`.
pub async fn lease_bucket(connection: &Connection, config: &Config) -> Result<(), SetupError> {
    let name = format!("KV_{}", config.bucket());
    let info = ensure(connection, config, &name, || bucket_config(config)).await?;
    let (found, needed) = (info.number("max_age"), nanos(config.ha.takeover));
    if found == needed {
        return Ok(());
    }
    let why = format!(
        "max_age is {} where ha.takeover is {}; the two must be the same on every instance (stop them \
         all and remove the bucket to have it made anew)",
        humantime::format_duration(Duration::from_nanos(found.unsigned_abs())),
        humantime::format_duration(config.ha.takeover)
    );
    Err(misfit("lease", &name, &[why]))
}

async fn ensure(
    connection: &Connection,
    config: &Config,
    name: &str,
    wanted: impl FnOnce() -> Value,
) -> Result<StreamInfo, SetupError> {
    if let Some(info) = stream_info(connection, name).await? {
        return Ok(info);
    }
    if !config.manage {
        return Err(SetupError::Unfit(format!(
            "there is no stream {name}, and manage = false keeps the gate from making it"
        )));
    }
    let made: Result<Value, _> = connection.call(&format!("STREAM.CREATE.{name}"), &wanted()).await;
    match made {
        Err(error) if error.code() != Some(STREAM_NAME_IN_USE) => Err(refused(name, error)),
        _ => {
            if made.is_ok() {
                tracing::info!(stream = name, "stream made");
            }
            let info = stream_info(connection, name).await?;
            info.ok_or_else(|| SetupError::Unfit(format!("the stream {name} is gone again")))
        }
    }
}

/// A refusal to make a stream is final where the server has judged the request itself.
fn refused(name: &str, error: ApiError) -> SetupError {
    match error.code() {
        // No resources, no leader, no quorum: these pass.
        Some(10_003 | 10_005 | 10_008 | 10_009 | 10_023 | 10_028 | 10_047) | None => error.into(),
        Some(_) => SetupError::Unfit(format!("the stream {name} can't be made: {error}")),
    }
}

fn misfit(role: &str, name: &str, why: &[String]) -> SetupError {
    SetupError::Unfit(format!(
        "the {role} stream {name} is not fit for its work: {}. The gate never edits a stream; change it \
         with the nats tool, or give the gate another.",
        why.join("; ")
    ))
}

fn nanos(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}

/// The ledger's six kinds of subject.
fn ledger_subjects(name: &str) -> Vec<String> {
    ["accepted.>", "rejected.>", "completed.>", "released.>", "leading", "judged"]
        .map(|kind| format!("{name}.{kind}"))
        .to_vec()
}

fn ledger_config(config: &Config) -> Value {
    let max_age = config.ledger.max_age.unwrap_or(config.retention.window + 2 * DAY);
    json!({
        "name": config.ledger_stream(), "subjects": ledger_subjects(&config.name),
        "storage": "file", "retention": "limits", "discard": "new",
        "num_replicas": config.ledger.replicas, "max_age": nanos(max_age),
        "max_msgs": -1, "max_bytes": -1, "max_msgs_per_subject": -1, "max_msg_size": -1,
        "max_consumers": -1, "duplicate_window": nanos(DUPLICATE_WINDOW),
        "allow_batched": true, "deny_delete": true, "deny_purge": true,
        "description": "Oncegate's ledger: written by the gate alone",
    })
}

fn input_config(config: &Config) -> Value {
    json!({
        "name": config.input.stream, "subjects": config.input.subjects,
        "storage": "file", "retention": "limits", "discard": "old",
        "num_replicas": config.input.replicas, "max_age": nanos(config.input.max_age),
        "max_msgs": -1, "max_bytes": -1, "max_msgs_per_subject": -1, "max_msg_size": -1,
        "max_consumers": -1, "duplicate_window": nanos(DUPLICATE_WINDOW),
    })
}

fn reports_config(config: &Config) -> Value {
    let reports = config.reports();
    json!({
        "name": *reports.stream, "subjects": reports.subjects,
        "storage": "file", "retention": "workqueue", "discard": "new",
        "num_replicas": config.ledger.replicas, "max_age": 0,
        "max_msgs": -1, "max_bytes": -1, "max_msgs_per_subject": -1, "max_msg_size": -1,
        "max_consumers": -1, "duplicate_window": nanos(REPORTS_DUPLICATE_WINDOW),
        "description": "What executors and operators tell Oncegate",
    })
}

fn bucket_config(config: &Config) -> Value {
    json!({
        "name": format!("KV_{}", config.bucket()), "subjects": [format!("$KV.{}.>", config.bucket())],
        "storage": "file", "retention": "limits", "discard": "new",
        "num_replicas": config.ledger.replicas, "max_age": nanos(config.ha.takeover),
        "max_msgs": -1, "max_bytes": -1, "max_msgs_per_subject": 1, "max_msg_size": -1,
        "max_consumers": -1, "duplicate_window": nanos(DUPLICATE_WINDOW.min(config.ha.takeover)),
        "allow_rollup_hdrs": true, "allow_direct": true, "deny_delete": true,
    })
}

/// Everything about a ledger stream that could lose a key, forge one, or ack what is not stored.
fn ledger_misfits(config: &Config, info: &StreamInfo) -> Vec<String> {
    let truth = |field| info.config.get(field).and_then(Value::as_bool).unwrap_or_default();
    let given = |field: &str| match info.config.get(field) {
        None | Some(Value::Null) => false,
        Some(Value::Array(list)) => !list.is_empty(),
        Some(_) => true,
    };
    let mut misfits = Vec::new();
    let mut need = |fit: bool, field: &str, found: String, needed: &str| {
        if !fit {
            misfits.push(format!("{field} is {found}, needed: {needed}"));
        }
    };
    for (field, needed) in [("storage", "file"), ("retention", "limits"), ("discard", "new")] {
        let found = info.text(field);
        need(found == needed, field, format!("{found:?}"), &format!("{needed:?}"));
    }
    for field in ["allow_batched", "deny_delete", "deny_purge"] {
        need(truth(field), field, "false".to_owned(), "true");
    }
    for field in [
        "allow_msg_ttl",
        "allow_rollup_hdrs",
        "allow_msg_counter",
        "allow_msg_schedules",
        "sealed",
        "no_ack",
    ] {
        need(!truth(field), field, "true".to_owned(), "false");
    }
    for field in ["mirror", "sources", "subject_transform"] {
        need(!given(field), field, "set".to_owned(), "none");
    }
    let persist = info.text("persist_mode");
    need(["", "default"].contains(&persist), "persist_mode", format!("{persist:?}"), "the default");
    let per_subject = info.number("max_msgs_per_subject");
    need(per_subject <= 0, "max_msgs_per_subject", per_subject.to_string(), "no limit (-1)");
    let size = info.number("max_msg_size");
    let needed = format!("no limit (-1), or at least {MESSAGE_BYTES_MIN}");
    need(size <= 0 || size >= MESSAGE_BYTES_MIN, "max_msg_size", size.to_string(), &needed);
    let replicas = info.number("num_replicas");
    let wanted = config.ledger.replicas.to_string();
    need(replicas.to_string() == wanted, "num_replicas", replicas.to_string(), &wanted);
    let (max_age, least) = (info.number("max_age"), config.retention.window + DAY);
    let text =
        |ns: i64| humantime::format_duration(Duration::from_nanos(ns.unsigned_abs())).to_string();
    let needed =
        format!("0 or at least {} (the window + 1 day)", humantime::format_duration(least));
    need(max_age == 0 || max_age >= nanos(least), "max_age", text(max_age), &needed);
    let (mut found, mut wanted) = (info.subjects(), ledger_subjects(&config.name));
    found.sort();
    wanted.sort();
    need(found == wanted, "subjects", format!("{found:?}"), &format!("{wanted:?}"));
    misfits
}

/// Deletes the gate's own consumer `name` of an input stream if it is there and makes it anew, so that a predecessor's pulls end,
/// the first delivery is number 1, and it begins at `from`.
///
/// Created to deliver all and then reset: a work queue refuses a start position (10101), and a reset
/// below a configured one is refused (10204).
pub async fn consumer(
    connection: &Connection,
    (input, name): (&InputStream, &str),
    work_queue: bool,
    from: u64,
) -> Result<(), ApiError> {
    let InputStream { stream, subjects } = input;
    let gone: Result<Value, _> =
        connection.call(&format!("CONSUMER.DELETE.{stream}.{name}"), &Value::Null).await;
    match gone {
        Err(error) if error.code() != Some(CONSUMER_NOT_FOUND) => return Err(error),
        _ => {}
    }
    let ack_policy = if work_queue { "explicit" } else { "none" };
    let wanted = json!({
        "durable_name": name, "name": name, "deliver_policy": "all", "ack_policy": ack_policy,
        "max_deliver": -1, "max_ack_pending": if work_queue { -1 } else { 0 },
        "ack_wait": nanos(ACK_WAIT), "replay_policy": "instant",
        "filter_subjects": subjects,
        "description": "Oncegate's reader; the gate resets and recreates it",
    });
    let body = json!({ "stream_name": **stream, "config": wanted, "action": "create" });
    let _: Value = connection.call(&format!("CONSUMER.CREATE.{stream}.{name}"), &body).await?;
    let call = format!("CONSUMER.RESET.{stream}.{name}");
    let _: Value = connection.call(&call, &json!({ "seq": from })).await?;
    Ok(())
}

/// The server's code for a publish whose expected stream is another: it refuses without writing.
const NOT_THE_EXPECTED_STREAM: u64 = 10_060;

/// Whether the worker may append every kind of entry, by appends that can't be stored.
pub async fn may_append(connection: &Connection, name: &str) -> Result<(), ApiError> {
    for kind in [
        "accepted.probe",
        "rejected.probe",
        "completed.probe",
        "released.probe",
        "judged",
        "leading",
    ] {
        let mut headers = HeaderMap::new();
        headers.insert("Nats-Expected-Stream", "oncegate-probe-writes-nothing");
        let subject = format!("{name}.{kind}");
        let answer: Result<Value, ApiError> =
            connection.request(subject.clone(), Some(headers), Bytes::new()).await;
        match answer {
            Err(error) if error.code() == Some(NOT_THE_EXPECTED_STREAM) => {}
            Err(error) => return Err(error),
            Ok(_) => {
                let why = "the ledger took a message for another stream".to_owned();
                return Err(ApiError::Odd { subject, why });
            }
        }
    }
    Ok(())
}
