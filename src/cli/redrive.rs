//! `oncegate redrive`: a rejected action goes back on the input.

use std::process::ExitCode;

use anyhow::{Context as _, bail, ensure};
use async_nats::{HeaderMap, HeaderName, HeaderValue};
use clap::Args;
use serde_json::json;

use super::{connect, say};
use crate::config::{Config, subjects_overlap};
use crate::gate::action::{self, Action, RawAction};
use crate::gate::digest::{Digest, Form};
use crate::gate::entry::{DIGEST, Entry, FIRST_SEQUENCE, KEY, SCOPE, SOURCE_SUBJECT, decode};
use crate::gate::headers::Headers;
use crate::gate::rules::Rules;
use crate::gate::source::Source;
use crate::gate::verdict::Reason;
use crate::nats::connect::Connection;
use crate::nats::raw::{self, RawMessage};
use crate::nats::setup;
use crate::worker::rule_texts;

/// Names the ledger sequence of the rejection that the action comes back from.
const REDRIVE_OF: &str = "Redrive-Of";
const EXPECTED_STREAM: &str = "Nats-Expected-Stream";

#[derive(Args)]
pub struct Redrive {
    /// Ledger sequence of the rejection, as `oncegate rejections` shows it
    #[arg(value_name = "LEDGER_SEQUENCE")]
    sequence: u64,
    /// The key that it gets [default: the one that it had]
    #[arg(long, value_name = "NEW")]
    key: Option<String>,
    /// One JSON object on standard output
    #[arg(long)]
    json: bool,
}

/// A dead letter, as far as it is needed to send it again.
struct Rejected {
    source: Source,
    reason: Reason,
    subject: String,
    headers: Headers,
    found: RawMessage,
}

impl Redrive {
    pub async fn execute(self, config: Config) -> anyhow::Result<ExitCode> {
        let connection = connect(&config).await?;
        let rejected = self.rejected(&config, &connection).await?;
        rejected.is_whole(self.sequence)?;
        rejected.suits(&config)?;
        let key = self.key(&config, &connection, &rejected).await?;
        let headers = rejected.with_key(&config, &key, self.sequence)?;
        let sequence = self.publish(&config, &connection, &rejected, &headers).await?;
        let stream = &config.input.stream;
        if self.json {
            say(json!({
                "stream": stream, "sequence": sequence, "key": key, "subject": rejected.subject,
                "redrive_of": self.sequence,
            }))?;
        } else {
            say(format_args!("{stream} {sequence} key {key}"))?;
        }
        Ok(ExitCode::SUCCESS)
    }

    async fn rejected(&self, config: &Config, connection: &Connection) -> anyhow::Result<Rejected> {
        let (ledger, sequence) = (config.ledger_stream(), self.sequence);
        let Some(found) = raw::get(connection, &ledger, sequence).await? else {
            let held = setup::stream_info(connection, &ledger).await?.map(|info| info.state);
            let (first, last) = held.map_or((0, 0), |state| (state.first_seq, state.last_seq));
            bail!("the ledger has no entry {sequence}: it holds {first} to {last}");
        };
        let headers = found.headers.clone().unwrap_or_default();
        let entry = decode(&config.name, &found.subject, &headers, &found.payload);
        let Ok(Entry::Rejected { source, reason, .. }) = entry else {
            bail!(
                "ledger entry {sequence} (on {}) is not a rejected action: only these can be put back",
                found.subject
            );
        };
        ensure!(
            *source.stream != config.reports_stream(),
            "ledger entry {sequence} is a rejected report, not an action: whoever sent it may report again"
        );
        let prefix = format!("{}.rejected.{}.", config.name, reason.as_str());
        let subject = found.subject.strip_prefix(&prefix).or_else(|| headers.one(SOURCE_SUBJECT));
        let subject = subject.unwrap_or_default().to_owned();
        Ok(Rejected { source, reason, subject, headers, found })
    }

    /// The key that the action gets.
    async fn key(
        &self,
        config: &Config,
        connection: &Connection,
        rejected: &Rejected,
    ) -> anyhow::Result<String> {
        if let Some(key) = &self.key {
            return Ok(key.clone());
        }
        let had = match rejected.reason {
            Reason::MissingKey | Reason::InvalidKey => None,
            _ => rejected.headers.one(KEY),
        };
        let Some(had) = had else {
            bail!("the action had no key that could be used: give it one with --key");
        };
        let is_seen = matches!(rejected.reason, Reason::PayloadMismatch | Reason::RulesChanged);
        if is_seen && !is_forgotten(config, connection, rejected).await? {
            bail!(
                "the key {had:?} belongs to an action that was accepted before, so under it this one would be \
                 rejected again. Give it a new key with --key, or forget the old one first"
            );
        }
        Ok(had.to_owned())
    }

    async fn publish(
        &self,
        config: &Config,
        connection: &Connection,
        rejected: &Rejected,
        headers: &Headers,
    ) -> anyhow::Result<u64> {
        let mut map = HeaderMap::new();
        for (name, value) in headers.iter() {
            let odd = || format!("the header {name} can't be sent again");
            let name = name.parse::<HeaderName>().with_context(odd)?;
            map.append(name, value.parse::<HeaderValue>().with_context(odd)?);
        }
        map.insert(EXPECTED_STREAM, config.input.stream.as_str());
        let payload = rejected.found.payload.clone();
        let sent =
            connection.jetstream.publish_with_headers(rejected.subject.clone(), map, payload).await;
        let acknowledged = sent.context("publishing")?.await.with_context(|| {
            format!("{} has not stored the action on {}", config.input.stream, rejected.subject)
        })?;
        Ok(acknowledged.sequence)
    }
}

impl Rejected {
    /// Whether the entry holds what was published. Where a ledger can't take all of it, the payload is left
    /// out first.
    fn is_whole(&self, sequence: u64) -> anyhow::Result<()> {
        ensure!(
            self.reason != Reason::MalformedHeaders,
            "ledger entry {sequence} lacks the action's headers: they were no header block, and are not kept"
        );
        // Empty, or left out: an empty payload is compared as bytes, and its digest is known.
        let empty = Digest::of(&self.subject, Form::Bytes, b"").to_string();
        ensure!(
            !self.found.payload.is_empty() || self.headers.one(DIGEST) == Some(&empty),
            "ledger entry {sequence} lacks the action's payload, which did not fit into the ledger: \
             publish the action again from where it came"
        );
        Ok(())
    }

    /// Whether its subject is known, and would be taken.
    fn suits(&self, config: &Config) -> anyhow::Result<()> {
        let subject = &self.subject;
        let unknown = subject.is_empty()
            || subject.contains(char::REPLACEMENT_CHARACTER)
            || self.headers.one(SOURCE_SUBJECT).is_some_and(|subject| subject.len() > 4090);
        ensure!(
            !unknown,
            "the action's own subject is not known exactly: the entry has {subject:?}"
        );
        ensure!(
            self.reason != Reason::Unroutable,
            "the action was rejected for its subject {subject:?}, which no key changes"
        );
        let taken = config.input.subjects.iter().any(|filter| subjects_overlap(filter, subject));
        ensure!(
            taken,
            "the action's subject {subject} is not among input.subjects ({}): the gate would not see it",
            config.input.subjects.join(", ")
        );
        Ok(())
    }

    /// What is put back, with `key` in the place of the old one.
    fn with_key(&self, config: &Config, key: &str, sequence: u64) -> anyhow::Result<Headers> {
        let rules = Rules::new(rule_texts(config))?;
        let from_payload = || {
            anyhow::anyhow!(
                "the key comes from the payload (key.from is {}), which is put back as it is: publish the action \
                 anew with another",
                config.key.from.join(", ")
            )
        };
        let names = config.key.from.iter().filter_map(|from| from.strip_prefix("header:"));
        let names: Vec<&str> = names.chain([KEY, REDRIVE_OF]).collect();
        let is_key = |name: &str| names.iter().any(|other| other.eq_ignore_ascii_case(name));
        let rest = || self.headers.forwardable().filter(|(name, _)| !is_key(name));
        // The entry has the key in a header wherever it came from.
        let without = action::decode(self.raw(rest().collect()), &rules);
        let invalid = |action: &Action| {
            action.fault.as_ref().is_some_and(|fault| fault.reason == Reason::InvalidKey)
        };
        let had_header = self.headers.iter().any(|(name, _)| is_key(name));
        let key_in_payload = without.key.as_ref().map(|key| key.key());
        if key_in_payload.is_some() && key_in_payload.as_deref() == self.headers.one(KEY)
            || invalid(&without) && self.reason == Reason::InvalidKey && !had_header
        {
            return Err(from_payload());
        }
        let first = config.key.from.iter().find_map(|from| from.strip_prefix("header:"));
        let name = first.ok_or_else(from_payload)?;
        let of = sequence.to_string();
        let headers: Headers = rest().chain([(name, key), (REDRIVE_OF, of.as_str())]).collect();
        let Action { key: found, fault, .. } = action::decode(self.raw(headers.clone()), &rules);
        if let Some(fault) = fault {
            bail!("it would be rejected again, {}: {}", fault.reason.as_str(), fault.detail);
        }
        match found.is_some_and(|found| *found.key() == *key) {
            true => Ok(headers),
            false => Err(from_payload()),
        }
    }

    fn raw(&self, headers: Headers) -> RawAction {
        RawAction {
            source: self.source.clone(),
            subject: self.subject.clone(),
            subject_exact: true,
            headers: Ok(headers),
            payload: self.found.payload.clone(),
        }
    }
}

/// Whether the ledger holds a release of the key behind the original that the action did not fit.
async fn is_forgotten(
    config: &Config,
    connection: &Connection,
    rejected: &Rejected,
) -> anyhow::Result<bool> {
    let first = rejected.headers.one(FIRST_SEQUENCE).and_then(|text| text.parse::<u64>().ok());
    let mut next = first.unwrap_or(rejected.found.sequence) + 1;
    let (ledger, filter) = (config.ledger_stream(), format!("{}.released.>", config.name));
    while let Some(released) = raw::next(connection, &ledger, next, &filter).await? {
        next = released.sequence + 1;
        let headers = released.headers.unwrap_or_default();
        let same = |name: &str| headers.one(name) == rejected.headers.one(name);
        if same(KEY) && same(SCOPE) {
            return Ok(true);
        }
    }
    Ok(false)
}
