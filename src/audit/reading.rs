//! Both streams in step: for each entry, the inputs up to the one that it names.

use std::collections::VecDeque;
use std::sync::Arc;

use super::auditor::{self, Auditor, Order};
use super::compare::Stored;
use super::due::Original;
use super::evidence::Evidence;
use super::finding::Finding;
use super::reports::{self, Reported};
use super::summary::Summary;
use super::terms::Terms;
use crate::config::Config;
use crate::gate::action::{self, Action, RawAction};
use crate::gate::entry::{self, Entry, Unread};
use crate::gate::headers::Headers;
use crate::gate::source::{Source, TimeNs};
use crate::nats::connect::Connection;
use crate::nats::raw::{self, RawMessage};
use crate::nats::setup::{self, StreamInfo};
use crate::nats::walk::{Ahead, Route, Walk};

/// Entries read back at once in search of the last input position.
const BACK_ENTRIES: u64 = 100;

/// See the module.
pub struct Reading {
    config: Arc<Config>,
    connection: Connection,
    auditor: Auditor,
    ledger: Ahead,
    /// The next ledger sequence that is due.
    due: u64,
    /// An entry was read.
    begun: bool,
    input: Input,
}

/// The input stream, where it is the one that the ledger names.
struct Input {
    name: Arc<str>,
    info: Option<StreamInfo>,
    /// From this ledger sequence on.
    since: u64,
    walk: Option<Ahead>,
    at_hand: VecDeque<RawMessage>,
}

impl Reading {
    /// Reads the ledger `from` .. `to`.
    pub async fn new(
        config: &Arc<Config>,
        connection: Connection,
        (from, to): (u64, u64),
        terms: Terms,
        info: Option<StreamInfo>,
    ) -> anyhow::Result<Self> {
        let info = match info {
            Some(info) if is_the_same(&connection, config, (from, to), &terms, &info).await? => {
                Some(info)
            }
            _ => None,
        };
        let route = Route {
            stream: config.ledger_stream(),
            subjects: Vec::new(),
            from,
            to,
            is_work_queue: false,
        };
        let ledger = Walk::new(config.clone(), connection.clone(), route).ahead();
        let input = Input {
            name: config.input.stream.as_str().into(),
            info,
            since: terms.input_since,
            walk: None,
            at_hand: VecDeque::new(),
        };
        let auditor = Auditor::new(&config.name, (from, to), terms.window_max_ns);
        Ok(Self {
            config: config.clone(),
            connection,
            auditor,
            ledger,
            due: from,
            begun: false,
            input,
        })
    }

    /// Audits some entries; the last one's sequence, or `None` at the end.
    pub async fn step(&mut self) -> anyhow::Result<Option<u64>> {
        let chunk = self.ledger.next().await?;
        let last = chunk.last().map(|message| message.sequence);
        for message in chunk {
            if message.sequence > self.due {
                self.hole(message.sequence).await?;
            }
            self.due = message.sequence + 1;
            self.begun = true;
            self.take(message).await?;
        }
        Ok(last)
    }

    /// The next message is not the one that was due: the ledger has a hole, or was trimmed meanwhile.
    async fn hole(&mut self, next: u64) -> anyhow::Result<()> {
        let info = setup::stream_info(&self.connection, &self.config.ledger_stream()).await?;
        let trimmed = info.is_none_or(|info| info.state.first_seq > self.due);
        match trimmed {
            false => self.auditor.hole(self.due, next - 1),
            true if !self.begun => self.auditor.begins_at(next),
            true => anyhow::bail!(
                "the ledger has dropped its entries up to {} before they were read: audit it again",
                next - 1
            ),
        }
        Ok(())
    }

    /// What was found since the last call.
    pub fn findings(&mut self) -> Vec<Finding> {
        self.auditor.take_findings()
    }

    /// Counts what no entry has reached.
    pub async fn finish(mut self) -> anyhow::Result<(Summary, Vec<Finding>)> {
        let mut waiting = 0;
        while self.next_input(u64::MAX).await?.is_some() {
            waiting += 1;
        }
        self.auditor.summary_mut().not_yet_judged = waiting;
        let findings = self.auditor.take_findings();
        Ok((self.auditor.into_summary(), findings))
    }

    async fn take(&mut self, message: RawMessage) -> anyhow::Result<()> {
        let RawMessage { sequence, subject, headers, payload, .. } = message;
        let headers: Headers = headers.unwrap_or_default();
        let found = Stored { sequence, subject, headers, payload };
        let name = &self.config.name;
        if let Some(reported) = reports::read(name, &found) {
            return self.report(&found, reported).await;
        }
        let entry = match entry::decode(name, &found.subject, &found.headers, &found.payload) {
            Ok(entry) => entry,
            Err(Unread::Foreign(why)) => {
                self.auditor.foreign(&found, why);
                return Ok(());
            }
            Err(newer @ Unread::Newer { .. }) => {
                anyhow::bail!("ledger entry {sequence} is {newer}: audit with that version")
            }
        };
        if let Entry::Leading(leading) = &entry {
            self.auditor.lead(&found, leading);
            return Ok(());
        }
        let Some(source) = entry.position().cloned() else {
            return Ok(());
        };
        if self.auditor.rules().is_none() {
            self.auditor.before_first_term();
            return Ok(());
        }
        self.judge(&found, &entry, &source).await
    }

    async fn judge(
        &mut self,
        found: &Stored,
        entry: &Entry,
        source: &Source,
    ) -> anyhow::Result<()> {
        if self.auditor.order(source) == Order::Passed {
            let evidence = self.of_entry(found, entry);
            let key = evidence.as_ref().and_then(|evidence| evidence.action().key.as_ref());
            self.auditor.passed(found, source, key);
            return Ok(());
        }
        let last = self.input.last(found, source);
        if let Some(last) = last.filter(|last| source.sequence > *last) {
            self.auditor.never_was(found, source, last);
            return Ok(());
        }
        if let Entry::Judged { up_to, duplicates } = entry {
            let time_ns = self.duplicates_to(found, up_to).await?;
            self.auditor.mark(found, up_to, *duplicates, time_ns);
            return Ok(());
        }
        let own = self.inputs_before(found, source).await?;
        let Some(evidence) = own.map(Evidence::Input).or_else(|| self.of_entry(found, entry))
        else {
            self.auditor.foreign(found, "its subject does not say what was decided");
            return Ok(());
        };
        let original = self.original(evidence.action()).await?;
        self.auditor.decide(found, entry, &evidence, original);
        Ok(())
    }

    async fn report(
        &mut self,
        found: &Stored,
        reported: Result<Reported, &'static str>,
    ) -> anyhow::Result<()> {
        let reported = match reported {
            Ok(reported) => reported,
            Err(why) => {
                self.auditor.foreign(found, why);
                return Ok(());
            }
        };
        if self.auditor.rules().is_none() {
            self.auditor.before_first_term();
            return Ok(());
        }
        if let Some(judged) = &reported.judged
            && self.auditor.order(judged) == Order::Next
        {
            let time_ns = self.duplicates_to(found, judged).await?.unwrap_or(judged.time_ns);
            self.auditor.reach(&Source { time_ns, ..judged.clone() });
        }
        self.auditor.report(found, &reported);
        Ok(())
    }

    /// Judges the inputs up to `up_to`, all of which must be duplicates; the time of the message there.
    async fn duplicates_to(
        &mut self,
        found: &Stored,
        up_to: &Source,
    ) -> anyhow::Result<Option<TimeNs>> {
        let Some(action) = self.inputs_before(found, up_to).await? else {
            return Ok(None);
        };
        let original = self.original(&action).await?;
        self.auditor.pass(&action, original);
        Ok(Some(action.raw.source.time_ns))
    }

    fn of_entry(&self, found: &Stored, entry: &Entry) -> Option<Evidence> {
        Evidence::of_entry(&self.config.name, found, entry, self.auditor.rules()?)
    }

    /// Judges the inputs before the one that an entry names; that one, if it is there.
    async fn inputs_before(
        &mut self,
        found: &Stored,
        source: &Source,
    ) -> anyhow::Result<Option<Action>> {
        let passed = source.sequence - self.auditor.position(&source.stream).sequence;
        let mut own = None;
        let mut there = 0;
        if self.input.last(found, source).is_some() {
            while let Some(action) = self.next_input(source.sequence).await? {
                there += 1;
                if action.raw.source.sequence == source.sequence {
                    own = Some(action);
                    break;
                }
                let original = self.original(&action).await?;
                self.auditor.pass(&action, original);
            }
        }
        let of_input = *source.stream != self.config.reports_stream();
        self.auditor.gone(passed.saturating_sub(there), of_input);
        Ok(own)
    }

    /// The next input, if it is not beyond `up_to`.
    async fn next_input(&mut self, up_to: u64) -> anyhow::Result<Option<Action>> {
        let Some(rules) = self.auditor.rules() else {
            return Ok(None);
        };
        let begin = self.auditor.position(&self.input.name).sequence + 1;
        let message = self.input.next(&self.config, &self.connection, begin, up_to).await?;
        let Some(RawMessage { sequence, time_ns, subject, headers, payload }) = message else {
            return Ok(None);
        };
        let source = Source { stream: self.input.name.clone(), sequence, time_ns };
        let subject_exact = !subject.contains(char::REPLACEMENT_CHARACTER);
        let raw = RawAction { source, subject, subject_exact, headers, payload };
        Ok(Some(action::decode(raw, rules)))
    }

    async fn original(&self, action: &Action) -> anyhow::Result<Original> {
        let (Some(sequence), Some(rules)) =
            (self.auditor.original_wanted(action), self.auditor.rules())
        else {
            return Ok(Original::NotNeeded);
        };
        let ledger = self.config.ledger_stream();
        Ok(match raw::get(&self.connection, &ledger, sequence).await? {
            None => Original::Gone,
            Some(found) => {
                let RawMessage { sequence, subject, headers, payload, .. } = found;
                let headers = headers.unwrap_or_default();
                let found = Stored { sequence, subject, headers, payload };
                Original::Is(auditor::original_digest(&self.config.name, &found, rules))
            }
        })
    }
}

impl Input {
    /// The last sequence of the stream that an entry names, if it is the one that can be read.
    fn last(&self, found: &Stored, source: &Source) -> Option<u64> {
        let named = *source.stream == *self.name && found.sequence >= self.since;
        self.info.as_ref().filter(|_| named).map(|info| info.state.last_seq)
    }

    async fn next(
        &mut self,
        config: &Arc<Config>,
        connection: &Connection,
        begin: u64,
        up_to: u64,
    ) -> anyhow::Result<Option<RawMessage>> {
        let Some(info) = &self.info else {
            return Ok(None);
        };
        let walk = self.walk.get_or_insert_with(|| {
            let route = Route {
                stream: config.input.stream.clone(),
                subjects: config.input.subjects.clone(),
                from: begin,
                to: info.state.last_seq,
                is_work_queue: info.is_work_queue(),
            };
            Walk::new(config.clone(), connection.clone(), route).ahead()
        });
        if self.at_hand.is_empty() {
            self.at_hand = walk.next().await?.into();
        }
        Ok(self.at_hand.pop_front_if(|message| message.sequence <= up_to))
    }
}

/// Whether the input that is there is the stream that the ledger last names: it holds, at the last position
/// that an entry names, the message of that time, or nothing before it.
async fn is_the_same(
    connection: &Connection,
    config: &Config,
    (from, to): (u64, u64),
    terms: &Terms,
    info: &StreamInfo,
) -> anyhow::Result<bool> {
    let stream = &config.input.stream;
    if terms.input.as_ref().is_some_and(|input| input.created_ns == info.created_ns()) {
        return Ok(true);
    }
    let Some(last) = last_named(connection, config, (from, to)).await? else {
        return Ok(true);
    };
    if last.sequence < info.state.first_seq {
        return Ok(true);
    }
    let there = raw::get(connection, stream, last.sequence).await?;
    Ok(there.is_some_and(|message| message.time_ns == last.time_ns))
}

async fn last_named(
    connection: &Connection,
    config: &Config,
    (from, to): (u64, u64),
) -> anyhow::Result<Option<Source>> {
    let mut end = to;
    while end >= from {
        let begin = end.saturating_sub(BACK_ENTRIES - 1).max(from);
        let found =
            raw::range(connection, &config.ledger_stream(), (begin, end), |found| found).await?;
        let named = found.iter().rev().find_map(|found| {
            let headers = found.headers.as_ref().ok()?;
            let entry =
                entry::decode(&config.name, &found.subject, headers, &found.payload).ok()?;
            entry.position().filter(|source| *source.stream == *config.input.stream).cloned()
        });
        if named.is_some() {
            return Ok(named);
        }
        end = begin - 1;
    }
    Ok(None)
}
