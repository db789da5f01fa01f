//! Does what the engine says.

use super::{Anchor, Halt, LEDGER_DEADLINE, Pump};
use crate::gate::action;
use crate::gate::digest::Digest;
use crate::gate::engine::{Cause, Command, Decided, Event, InputKind, Outcome, Settled};
use crate::gate::entry::{self, Entry};
use crate::gate::report;
use crate::gate::rules::Rules;
use crate::gate::source::Source;
use crate::http::Status;
use crate::nats::connect::Connection;
use crate::nats::{raw, setup};
use crate::table::KeyTable as _;
use crate::worker::kill::{self, Step};
use crate::worker::{Trouble, Worker, clock};

impl Pump<'_> {
    pub(super) async fn on(&mut self, event: Event) -> Result<(), Halt> {
        let mut committed = self.tell(event).await?;
        while committed {
            let around = kill::around(Step::Committed);
            committed = self.tell(Event::Committed).await?;
            around.done();
        }
        self.worker.metrics.set_inflight(self.engine.in_flight() as u64);
        Ok(())
    }

    /// Whether the table took a commit by it.
    async fn tell(&mut self, event: Event) -> Result<bool, Halt> {
        if !self.engine.awaits_ledger() {
            self.last_progress = clock::monotonic();
        }
        let commands = self.engine.on(event);
        let commits = commands.iter().any(|command| matches!(command, Command::Commit(_)));
        // Only a connection that takes no more bytes lets an append wait.
        let carried_out = tokio::time::timeout(LEDGER_DEADLINE, self.carry_out_all(commands)).await;
        carried_out
            .map_err(|_| Halt::Recover("ledger_session", "it is stuck".to_owned()))
            .flatten()?;
        Ok(commits)
    }

    async fn carry_out_all(&mut self, commands: Vec<Command>) -> Result<(), Halt> {
        for command in commands {
            let around = kill::around(&command);
            let carried_out = self.carry_out(command).await;
            around.done_after(self.session.flush()).await;
            carried_out?;
        }
        Ok(())
    }

    async fn carry_out(&mut self, command: Command) -> Result<(), Halt> {
        match command {
            Command::Append(append) => {
                let sent = self.session.send(append).await;
                sent.map_err(|error| Halt::Recover("ledger_session", error.to_string()))?;
            }
            Command::Commit(commit) => {
                // Gathers it, and waits for the disk only where the writing beside is far behind.
                let committed = self.worker.table.commit(commit);
                committed.map_err(|error| Halt::Stop(error.into()))?;
            }
            Command::Settle(settled) => self.settle(settled),
            Command::Redelivered(input, sequence) => {
                self.worker.metrics.redeliveries(1);
                match input {
                    InputKind::Actions => self.actions.redelivered(&self.connection, sequence),
                    InputKind::Reports => self.reports.redelivered(&self.connection, sequence),
                }
            }
            Command::ReadOriginal(sequence) => self.read_original(sequence, original_digest),
            Command::ReadResult(sequence) => self.read_original(sequence, result_digest),
            Command::AwaitClock(source) => self.await_clock(&source),
            Command::ClockCaughtUp => {
                tracing::info!("the clock has caught up");
                self.worker.health.set(Status::Leading);
            }
            Command::Recover(Cause::Fenced) => {
                let why = "another writer took a sequence of the ledger".to_owned();
                return Err(Halt::Recover("fenced", why));
            }
            Command::Recover(Cause::Refused(why)) => {
                return Err(self.refused(&why));
            }
            Command::Recover(Cause::InputChanged) => {
                let why = "its sequences went back".to_owned();
                return Err(Halt::Recover("input_changed", why));
            }
        }
        Ok(())
    }

    /// An append that the server forbids shows as a gap in the batch, or as silence.
    pub(super) fn refused(&self, why: &str) -> Halt {
        let denied = self.connection.denied();
        match denied.filter(|text| text.contains(&format!("\"{}.", self.worker.config.name))) {
            Some(denied) => Halt::Stop(anyhow::anyhow!("the ledger can't be written: {denied}")),
            None => Halt::Recover("ledger_refused", format!("the ledger refused an append: {why}")),
        }
    }

    fn await_clock(&self, source: &Source) {
        let why = format!(
            "the source time of {source} is more than retention.clock_skew ahead of this \
             machine's clock; judging it would expire every key at once. Correct the clocks of this \
             machine and of the NATS server; or raise retention.clock_skew; or delete the message from \
             the stream, and start the gate again"
        );
        self.worker.wait_for(&why);
    }

    /// What is irrevocable may be shown: acknowledged, counted.
    fn settle(&mut self, settled: Settled) {
        self.proves_itself();
        self.settled_any = true;
        let metrics = &self.worker.metrics;
        let Settled { decided, answered, ledger_sequence } = settled;
        metrics.batch_actions(u32::try_from(decided.len()).unwrap_or(u32::MAX));
        metrics.set_ledger_sequence(ledger_sequence);
        self.worker.count(&decided);
        let last = |kind| {
            let of = decided.iter().rev().find(|decided| decided.input == kind);
            of.map(|decided| decided.source.sequence)
        };
        if let Some(last) = last(InputKind::Actions) {
            metrics.set_input_sequence(last);
            self.actions.settle(self.worker, &self.connection, last);
        }
        if let Some(last) = last(InputKind::Reports) {
            self.reports.settle(self.worker, &self.connection, last);
        }
        self.answering.tell(decided, &answered);
    }

    fn read_original(&self, sequence: u64, digest: DigestOf) {
        let (connection, answer) = (self.connection.clone(), self.originals.0.clone());
        let ledger = self.worker.config.ledger_stream();
        let (name, rules) = (self.worker.config.name.clone(), self.worker.rules.clone());
        tokio::spawn(async move {
            let around = kill::around(Step::FetchOriginal);
            let found = raw::get(&connection, &ledger, sequence).await;
            around.done();
            let original = match found {
                Err(error) => Err(error.into()),
                Ok(None) => must_be_gone(&connection, &ledger, sequence).await.map(|()| None),
                Ok(Some(entry)) => digest(&name, &rules, &entry).map(Some),
            };
            // The loop may have ended meanwhile; then nobody waits for it.
            answer.send(original).await.ok();
        });
    }

    /// Learns the server time of the entry that the table stands on, now and then.
    pub(super) fn anchor(&mut self) {
        let at = self.engine.committed().ledger.sequence;
        if self.anchoring || at == self.anchored {
            return;
        }
        self.anchoring = true;
        let (connection, answer) = (self.connection.clone(), self.anchors.0.clone());
        let ledger = self.worker.config.ledger_stream();
        tokio::spawn(async move {
            let around = kill::around(Step::FetchAnchor);
            let entry = raw::get(&connection, &ledger, at).await.ok().flatten();
            around.done();
            answer.send(entry.map(|entry| (entry.sequence, entry.time_ns))).await.ok();
        });
    }

    pub(super) fn on_anchor(&mut self, anchor: Anchor) {
        self.anchoring = false;
        if let Some((sequence, time_ns)) = anchor {
            self.anchored = sequence;
            self.engine.anchor(sequence, time_ns);
        }
    }
}

/// A replica that has just come to lead the stream may not have an entry yet: it is gone only if it lies
/// before the first one.
async fn must_be_gone(connection: &Connection, ledger: &str, sequence: u64) -> Result<(), Trouble> {
    let info = setup::stream_info(connection, ledger).await?;
    match info.is_some_and(|info| !info.is_replicated() || info.state.first_seq > sequence) {
        true => Ok(()),
        false => Err(Trouble::Wait(format!("ledger entry {sequence} can't be read"))),
    }
}

/// How an entry that is read back is compared.
type DigestOf = fn(&str, &Rules, &raw::RawMessage) -> Result<Option<Digest>, Trouble>;

fn original_digest(
    name: &str,
    rules: &Rules,
    found: &raw::RawMessage,
) -> Result<Option<Digest>, Trouble> {
    let headers = found.headers.clone().unwrap_or_default();
    let subject = found.subject.strip_prefix(&format!("{name}.accepted."));
    let entry = entry::decode(name, &found.subject, &headers, &found.payload);
    match (subject, entry) {
        (Some(subject), Ok(Entry::Accepted { .. })) => {
            Ok(action::digest(subject, &found.payload, rules))
        }
        _ => Err(another_entry(found.sequence, "accepted action")),
    }
}

fn result_digest(
    name: &str,
    _: &Rules,
    found: &raw::RawMessage,
) -> Result<Option<Digest>, Trouble> {
    let headers = found.headers.clone().unwrap_or_default();
    match entry::decode(name, &found.subject, &headers, &found.payload) {
        Ok(Entry::Completed { .. }) => Ok(Some(report::digest(&found.payload))),
        _ => Err(another_entry(found.sequence, "result")),
    }
}

fn another_entry(sequence: u64, what: &str) -> Trouble {
    Trouble::Stop(anyhow::anyhow!(
        "ledger entry {sequence} is not the {what} that the key table knows there: the ledger is not the \
         one that the table has applied. Restore the right ledger stream."
    ))
}

impl Worker {
    /// Counts positions that are in the ledger and in the table.
    pub(in crate::worker) fn count(&self, decided: &[Decided]) {
        let (mut accepted, mut duplicates) = (0, 0);
        let now_ns = clock::wall_ns();
        let mut seconds = Vec::with_capacity(decided.len());
        for Decided { input, source, outcome, .. } in decided {
            match (input, outcome) {
                (InputKind::Actions, Outcome::Accepted) => accepted += 1,
                (InputKind::Actions, Outcome::Rejected(reason)) => {
                    self.metrics.rejected(*reason, 1);
                }
                (InputKind::Actions, _) => duplicates += 1,
                (InputKind::Reports, outcome) => self.count_report(*outcome),
            }
            if *input == InputKind::Actions {
                seconds.push(now_ns.saturating_sub(source.time_ns) as f64 / 1e9);
            }
        }
        self.metrics.accepted(accepted);
        self.metrics.duplicates(duplicates);
        self.metrics.decision_durations(&seconds);
    }

    fn count_report(&self, outcome: Outcome) {
        match outcome {
            Outcome::Completed => self.metrics.reported("completed", ""),
            Outcome::Released => self.metrics.reported("released", ""),
            Outcome::Rejected(reason) => self.metrics.reported("rejected", reason.as_str()),
            Outcome::Repeated | Outcome::Accepted | Outcome::Duplicate => {
                self.metrics.reported("repeated", "");
            }
        }
    }
}
