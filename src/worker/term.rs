//! A term: from the lease to its loss. To begin to lead is to recover, to append a `leading` entry, and to
//! take the consumer; every recovery within the term goes the same way.

use std::time::Duration;

use super::answering::Answering;
use super::holding::{self, Holding, Taken};
use super::kill::{self, Place, Step};
use super::pump::{End, Pump};
use super::{Backoff, Doubts, Trouble, Worker, clock};
use crate::gate::engine::lead::{self, Beginning, Leader};
use crate::gate::engine::recovery::{Recovered, Refusal};
use crate::gate::engine::{InputKind, Unsettled};
use crate::gate::entry::{self, Entry, Leading, Limits, Unread};
use crate::gate::rules::RuleTexts;
use crate::http::Status;
use crate::nats::api::ApiError;
use crate::nats::connect::Connection;
use crate::nats::{ledger, raw};
use crate::table::KeyTable;

/// A `leading` entry is written at least so often, so that a trimmed ledger still holds one before every
/// live key.
const TERM_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// A feed that brought so many sequences was not stopped by what stopped the one before.
const FAR: u64 = 10_000;

/// What one recovery hands to the next.
#[derive(Default)]
pub(super) struct Memory {
    /// Whether going on would be wrong.
    pub doubts: Doubts,
    actions: FeedMemory,
    reports: FeedMemory,
    /// Recoveries in this term.
    pub recoveries: u64,
    /// What the last engine had decided and not settled.
    pub unsettled: Unsettled,
    /// The last try settled nothing: the gate is not ready before this one settles something, or has
    /// been calm for a while.
    pub unproven: bool,
}

/// Of one input.
#[derive(Default)]
pub(super) struct FeedMemory {
    /// The highest sequence that a feed brought.
    pub highest_seen: u64,
    /// Feeds that broke in a row without getting far.
    pub breaks_in_a_row: u32,
    /// The last feed brought something new.
    got_on: bool,
}

impl Worker {
    /// Leads until the lease is lost, or the gate is told to stop. An error is final.
    pub(super) async fn lead(&self, connection: &Connection, taken: Taken) -> anyhow::Result<()> {
        kill::at(Place::LeaseTaken);
        let holding = holding::hold(taken, self.config.ha.takeover, &self.beside);
        let answering = Answering::start(self);
        let led = self.recover_and_pump(connection, &holding, &answering).await;
        self.metrics.set_leading(false);
        self.metrics.set_inflight(0);
        if !self.stop.is_cancelled() && led.is_ok() {
            self.health.set(Status::Waiting("the lease is lost".to_owned()));
        }
        answering.end().await;
        if let Some(why) = holding.give_back().await {
            tracing::warn!(why, "no longer leading");
        }
        led
    }

    async fn recover_and_pump(
        &self,
        connection: &Connection,
        holding: &Holding,
        answering: &Answering,
    ) -> anyhow::Result<()> {
        let mut memory = Memory::default();
        let mut waiting = Backoff::default();
        let mut led_since = None;
        while !self.stop.is_cancelled() && !holding.lost.is_cancelled() {
            let begun = tokio::select! {
                () = holding.lost.cancelled() => return Ok(()),
                () = self.stop.cancelled() => return Ok(()),
                begun = self.begin((connection, answering), &mut led_since, &mut memory) => begun,
            };
            let pump = match begun {
                Ok(pump) => pump,
                Err(trouble) => {
                    let why = memory.doubts.settle(trouble)?;
                    self.wait_for(&why);
                    self.metrics.recovery("retry");
                    self.pause_in_term(holding, waiting.next()).await;
                    continue;
                }
            };
            memory.doubts = Doubts::default();
            self.metrics.set_leading(true);
            answering.open();
            let end = pump.run(&holding.lost, &mut memory).await?;
            kill::at(&end);
            match end {
                End::Stopped | End::LeaseLost => return Ok(()),
                End::TermOver => led_since = None,
                End::Denied(why) => anyhow::bail!(why),
                End::Recover { cause, why, settled_any } => {
                    memory.recoveries += 1;
                    tracing::warn!(cause, why, count = memory.recoveries, "recovering");
                    self.metrics.recovery(cause);
                    if settled_any || memory.actions.got_on || memory.reports.got_on {
                        waiting = Backoff::default();
                        memory.unproven = false;
                        self.pause_in_term(holding, Duration::ZERO).await;
                    } else {
                        self.wait_for(&format!("{cause}: {why}"));
                        memory.unproven = true;
                        self.pause_in_term(holding, waiting.next()).await;
                    }
                }
            }
        }
        Ok(())
    }

    /// Before another try in the same term: what went wrong may be that another leads.
    async fn pause_in_term(&self, holding: &Holding, time: Duration) {
        tokio::select! {
            () = self.pause(time) => {}
            () = holding.lost.cancelled() => {}
        }
        self.or_stop(holding.confirm()).await;
    }

    async fn begin<'a>(
        &'a self,
        (connection, answering): (&Connection, &'a Answering),
        led_since: &mut Option<std::time::Instant>,
        memory: &mut Memory,
    ) -> Result<Pump<'a>, Trouble> {
        if !matches!(self.health.status(), Status::Waiting(_)) {
            self.health.set(Status::CatchingUp("the ledger's tail is read".to_owned()));
        }
        let had = self.table.cursors()?.ledger.sequence;
        let mut recovered = self.recover(connection, &mut memory.unsettled).await?;
        let tail_entries = recovered.cursors.ledger.sequence.saturating_sub(had);
        for input in recovered.inputs.iter().filter(|input| input.is_new) {
            tracing::warn!(stream = &*input.stream, "a new input stream: it begins at 1");
            *memory = Memory::default();
        }
        let judged = |kind| {
            let stream = match kind {
                InputKind::Actions => self.config.actions().stream,
                InputKind::Reports => self.config.reports().stream,
            };
            recovered.cursors.position(&stream).map_or(0, |source| source.sequence)
        };
        let settled = memory.unsettled.take_settled(judged);
        self.count(&settled);
        answering.recovered(settled);
        let goes_on = led_since.is_some() && lead::in_force(&recovered.cursors, &self.leader());
        if !goes_on || recovered.inputs.iter().any(|input| input.is_new) {
            let around = kill::around(Step::CheckKeyRules);
            self.check_key_rules(connection).await?;
            around.done();
            self.append_leading(connection, &mut recovered, tail_entries).await?;
            *led_since = Some(clock::monotonic());
        }
        let around = kill::around(Step::AskLimits);
        let ledger = self.stream(connection, &self.config.ledger_stream()).await?;
        around.done();
        let limits = Limits {
            message_bytes_max: connection
                .message_bytes_max()
                .min(ledger.message_bytes_max().unwrap_or(usize::MAX)),
        };
        let led = led_since.map_or(Duration::ZERO, |since| since.elapsed());
        let term_left = TERM_MAX.saturating_sub(led);
        Pump::new((self, answering), connection, recovered, limits, (memory, term_left)).await
    }

    /// Other places for the key would forget every live one.
    async fn check_key_rules(&self, connection: &Connection) -> Result<(), Trouble> {
        let before = self.last_leading(connection).await?;
        match before.and_then(|before| self.refusal_to_lead_after(&before)) {
            Some(refusal) => Err(Trouble::Stop(refusal)),
            None => Ok(()),
        }
    }

    /// Under which rules and window the ledger was last written. The table may have been brought past it
    /// by a later version, so its format is looked at here too.
    pub(super) async fn last_leading(
        &self,
        connection: &Connection,
    ) -> Result<Option<Leading>, Trouble> {
        let subject = format!("{}.leading", self.config.name);
        let last = raw::last_on(connection, &self.config.ledger_stream(), &subject).await?;
        let Some(last) = last else { return Ok(None) };
        let headers = last.headers.unwrap_or_default();
        match entry::decode(&self.config.name, &last.subject, &headers, &last.payload) {
            Ok(Entry::Leading(leading)) => Ok(Some(*leading)),
            Err(Unread::Newer { format, version }) => {
                let sequence = last.sequence;
                Err(Trouble::Stop(Refusal::NewerEntries { sequence, format, version }.into()))
            }
            Ok(_) | Err(Unread::Foreign(_)) => Ok(None),
        }
    }

    pub(super) fn refusal_to_lead_after(&self, before: &Leading) -> Option<anyhow::Error> {
        let today = self.rules.texts();
        let fine = today.same_keys(&before.rules) || self.accept_key_rules;
        (!fine).then(|| key_rules_changed(&before.rules, today))
    }

    fn leader(&self) -> Leader {
        Leader {
            instance: self.holder.instance.clone(),
            host: self.holder.host.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            window_ms: self.config.retention.window.as_millis().try_into().unwrap_or(u64::MAX),
            rules: self.rules.clone(),
        }
    }

    async fn append_leading(
        &self,
        connection: &Connection,
        recovered: &mut Recovered,
        tail_entries: u64,
    ) -> Result<(), Trouble> {
        let beginning = Beginning::new(&self.config.name, &self.leader(), recovered);
        let around = kill::around(Step::AppendLeading);
        let Beginning { message, expected, .. } = &beginning;
        let appended = ledger::append_alone(connection, message, *expected).await;
        around.done();
        let sequence = appended.map_err(|error| match error {
            ApiError::Denied(_) => Trouble::Stop(error.into()),
            error => Trouble::Wait(format!("the ledger takes no entry: {error}")),
        })?;
        let faster = || Trouble::Wait("another writer was faster".to_owned());
        let commit = beginning.stored_at(sequence).ok_or_else(faster)?;
        let around = kill::around(Step::CommitLeading);
        recovered.cursors = commit.cursors.clone();
        self.table.commit(commit)?;
        around.done();
        let input = recovered.cursors.position(&self.config.input.stream);
        tracing::info!(
            ledger_sequence = sequence,
            tail_entries,
            input_sequence = input.map_or(0, |judged| judged.sequence),
            rules = %self.rules.fingerprint(),
            "leading"
        );
        Ok(())
    }
}

fn key_rules_changed(before: &RuleTexts, today: &RuleTexts) -> anyhow::Error {
    anyhow::anyhow!(
        "the rules for keys have changed: key.from was {:?} and is {:?}, key.scope was {:?} and is {:?}. \
         Every key that is live would be looked for elsewhere, and so forgotten: a retry could become a \
         second run. Put the settings back, or, if no retry of what was published before can come any \
         more, start once with --accept-key-rules.",
        before.key_from,
        today.key_from,
        before.key_scope,
        today.key_scope
    )
}

impl Memory {
    pub(super) fn of(&self, input: InputKind) -> &FeedMemory {
        match input {
            InputKind::Actions => &self.actions,
            InputKind::Reports => &self.reports,
        }
    }

    pub(super) fn feed(&mut self, input: InputKind) -> &mut FeedMemory {
        match input {
            InputKind::Actions => &mut self.actions,
            InputKind::Reports => &mut self.reports,
        }
    }
}

impl FeedMemory {
    /// Up to where the next feed reads one by one. A break may come from a message that the client
    /// library can't read: the one after the last that it brought. Where that does not help, there are
    /// more of them: further each time.
    pub(super) fn raw_until(&self, judged: u64) -> u64 {
        let more = [0, 0, 256, 1024, 4096].get(self.breaks_in_a_row as usize).copied();
        self.highest_seen.max(judged).saturating_add(more.unwrap_or(16_384))
    }

    /// After a feed has ended, of itself or (`broke`) because it broke.
    pub(super) fn learn(&mut self, highest: u64, broke: bool) {
        self.got_on = broke && highest > self.highest_seen;
        let got_far = highest > self.highest_seen.saturating_add(FAR);
        self.breaks_in_a_row = match (broke, got_far) {
            (true, true) => 1,
            (true, false) => self.breaks_in_a_row + 1,
            (false, true) => 0,
            (false, false) => self.breaks_in_a_row,
        };
        self.highest_seen = highest;
    }
}
