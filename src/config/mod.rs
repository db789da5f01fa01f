//! The configuration: raw layers in, one validated [`Config`] out.
//!
//! Built-in defaults, then one TOML file, then the environment; a later layer wins, setting by
//! setting. Nothing else in the crate reads a file or a variable to learn how it should behave.
//!
//! In reading order: `build` (every setting, its default and its own rule), `check` (the rules between
//! settings), `layers` (file and environment, raw), `reader` (one typed read per setting), `syntax`
//! (what a subject, a pointer, a server may look like), `problem` (how a bad setting is told), `near`
//! ("did you mean").

mod build;
mod check;
mod layers;
mod near;
mod problem;
mod reader;
mod secret;
mod syntax;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use problem::{ConfigErrors, Origin, Problem};
pub use secret::Secret;
pub(crate) use syntax::overlap as subjects_overlap;

/// Everything the gate can be told, checked; see `config/oncegate.toml` for the same with defaults.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// What this gate is called: `[a-z][a-z0-9_-]*`, at most 32 characters. Streams, subjects, the
    /// consumer, the lease bucket and the service take their names from it.
    pub name: String,
    /// Whether `run` creates missing streams, consumer and bucket.
    pub manage: bool,
    /// How to reach NATS.
    pub nats: Nats,
    /// Where actions come from.
    pub input: Input,
    /// How an action's idempotency key is found.
    pub key: Key,
    /// How payloads are compared.
    pub payload: Payload,
    /// How long a key is remembered.
    pub retention: Retention,
    /// The stream that verdicts go to.
    pub ledger: Ledger,
    /// The key table on this machine's disk.
    pub table: Table,
    /// Scheduled backups of the key table.
    pub backup: Backup,
    /// Health and metrics.
    pub http: Http,
    /// Standby instances.
    pub ha: Ha,
    /// Receipts to publishers.
    pub answers: Answers,
}

/// How to reach NATS. At most one login: credentials, nkey, user with password, or token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nats {
    /// At least one of `nats://HOST[:PORT]`, `tls://HOST[:PORT]`, `HOST[:PORT]`; never with a login.
    pub servers: Vec<String>,
    /// A `.creds` file (JWT and seed); readable.
    pub credentials_file: Option<PathBuf>,
    /// A file that holds an nkey seed; readable.
    pub nkey_seed_file: Option<PathBuf>,
    /// User name; goes with `password_file` or `password`.
    pub user: Option<String>,
    /// A file that holds the user's password; readable.
    pub password_file: Option<PathBuf>,
    /// A file that holds a token; readable.
    pub token_file: Option<PathBuf>,
    /// PEM file of the authorities to trust; readable.
    pub tls_ca: Option<PathBuf>,
    /// PEM file of the client certificate; readable, goes with `tls_key`.
    pub tls_cert: Option<PathBuf>,
    /// PEM file of the client certificate's key; readable, goes with `tls_cert`.
    pub tls_key: Option<PathBuf>,
    /// Refuse a connection without TLS.
    pub tls_required: bool,
    /// `JetStream` domain: a subject without wildcards.
    pub domain: Option<String>,
    /// Subject under which the gate receives its own replies; apart from `answers.reply_prefixes`,
    /// `input.subjects` and `<name>.>`.
    pub inbox_prefix: String,
    /// The user's password; from the environment only.
    pub password: Option<Secret>,
    /// A token; from the environment only.
    pub token: Option<Secret>,
}

/// Where actions come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Input {
    /// Name of the input stream; none of the gate's own.
    pub stream: String,
    /// Which subjects to take, at least one; wildcards allowed, no two may overlap.
    pub subjects: Vec<String>,
    /// Replicas of the stream when `run` creates it, 1 to 5.
    pub replicas: usize,
    /// Age limit of the stream when `run` creates it; zero is unlimited, else 100 ms or more.
    pub max_age: Duration,
}

/// How an action's idempotency key is found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// Sources, the first that a message has wins: `header:NAME` or `json:/POINTER`; at least one.
    pub from: Vec<String>,
    /// Scope parts: `subject:N` (from 1), `header:NAME` or `json:/POINTER`.
    pub scope: Vec<String>,
    /// Longest key in bytes, 1 to 255.
    pub max_bytes: usize,
    /// What becomes of an action without a key.
    pub missing: MissingKey,
}

/// What becomes of an action without a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MissingKey {
    /// It is rejected, `missing_key`.
    #[default]
    Reject,
    /// It is accepted, and never remembered.
    Forward,
}

/// How payloads are compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payload {
    /// As values, as bytes, or whichever fits.
    pub compare: Compare,
    /// JSON pointers left out of the comparison; a segment `*` matches every element or member.
    pub ignore: Vec<String>,
}

/// What makes two payloads the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Compare {
    /// JSON values if the payload is strict JSON, else bytes.
    #[default]
    Auto,
    /// JSON values; anything else is `malformed_payload`.
    Json,
    /// Bytes, whatever they mean.
    Bytes,
}

/// How long a key is remembered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retention {
    /// From the acceptance of a key, 100 ms to 10 years.
    pub window: Duration,
    /// How far a source time may be ahead of this machine's clock, up to 100 years.
    pub clock_skew: Duration,
}

impl Retention {
    /// The window in nanoseconds, the unit of source times.
    pub fn window_ns(&self) -> i64 {
        self.window.as_nanos().try_into().unwrap_or(i64::MAX)
    }
}

/// The stream that verdicts go to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ledger {
    /// Replicas of the stream, 1 to 5.
    pub replicas: usize,
    /// Age limit of the stream: zero is unlimited, else the window + 1 day or more; where `None`, the
    /// stream is created with the window + 2 days.
    pub max_age: Option<Duration>,
}

/// The key table on this machine's disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// Its directory; each instance needs its own.
    pub path: PathBuf,
    /// Bound of its cache and write buffers in MB, 64 to 1,000,000.
    pub memory_mb: usize,
}

impl Table {
    /// The bound in bytes.
    pub fn memory_bytes(&self) -> usize {
        self.memory_mb.saturating_mul(1_000_000)
    }
}

/// Scheduled backups of the key table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backup {
    /// Their directory; each instance needs its own. `None` is off.
    pub path: Option<PathBuf>,
    /// From one to the next, 10 s to a year.
    pub every: Duration,
    /// How many are kept, 1 to 10,000: the newest.
    pub keep: usize,
}

/// Health and metrics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Http {
    /// IP address and port to listen on; `None` is off.
    pub listen: Option<SocketAddr>,
}

/// Standby instances.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ha {
    /// The lease's time to live, 500 ms to 5 min: a standby takes over that long after the leader.
    pub takeover: Duration,
}

/// Receipts to publishers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answers {
    /// Where `Oncegate-Reply-To` may point: subject prefixes that end in `.`; none turns receipts off.
    pub reply_prefixes: Vec<String>,
}

/// A stream that the gate reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InputStream {
    /// Its name.
    pub stream: std::sync::Arc<str>,
    /// What is read of it.
    pub subjects: Vec<String>,
}

impl Config {
    /// Reads and checks the layers: defaults, then `file`, then `env`.
    ///
    /// Without `file` (the `--config` argument) it is `$ONCEGATE_CONFIG`, else `config/oncegate.toml`
    /// if that exists, else none. `env` is the process environment, passed in.
    ///
    /// # Errors
    ///
    /// Every setting that is not usable, all at once.
    pub fn load(
        file: Option<&Path>,
        env: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, ConfigErrors> {
        let mut reader = reader::Reader::open(file, env);
        let config = build::config(&mut reader);
        reader.refuse_unknown();
        if reader.has_whole_file() {
            check::fits_together(&config, &mut reader);
        }
        reader.finish(config)
    }

    /// The ledger stream: the name in upper case.
    #[must_use]
    pub fn ledger_stream(&self) -> String {
        self.name.to_ascii_uppercase()
    }

    /// The stream of executors' and operators' reports.
    #[must_use]
    pub fn reports_stream(&self) -> String {
        format!("{}_REPORTS", self.ledger_stream())
    }

    /// The stream of actions, as it is read.
    #[must_use]
    pub fn actions(&self) -> InputStream {
        let Input { stream, subjects, .. } = &self.input;
        InputStream { stream: stream.as_str().into(), subjects: subjects.clone() }
    }

    /// The stream of reports, as it is read.
    #[must_use]
    pub fn reports(&self) -> InputStream {
        let subjects = ["results", "operator"].map(|kind| format!("{}.{kind}.>", self.name));
        InputStream { stream: self.reports_stream().into(), subjects: subjects.to_vec() }
    }

    /// The durable consumer, on each input stream.
    #[must_use]
    pub fn consumer(&self) -> &str {
        &self.name
    }

    /// The key-value bucket that holds the lease.
    #[must_use]
    pub fn bucket(&self) -> &str {
        &self.name
    }
}
