//! The tables, and what is shown to the outside.

use oncegate::gate::engine::{Commit, Decided, InputKind, Outcome};
use oncegate::gate::receipt::{self, Receipt, Shown};

use super::{Change, Known, Message, Published, Truth, Verdict, Wrong};
use crate::inputs;

impl Truth {
    /// A table that was at ledger sequence `from` has taken this.
    pub fn check_commit(&self, from: u64, commit: &Commit) -> Result<(), Wrong> {
        let cursors = &commit.cursors;
        let at = cursors.ledger.sequence;
        hold!(at <= self.head(), "the table leads the ledger: it is at {at}");
        hold!(from <= at, "the table went back from {from} to {at}");
        let standing = &self.history[at as usize];
        for input in InputKind::ALL {
            let found = cursors.inputs.iter().find(|found| &*found.stream == inputs::name(input));
            let found = found.map_or((0, 0), |input| (input.sequence, input.time_ns));
            let position = standing.positions[input];
            let known = (position.sequence, position.time_ns);
            hold!(
                found == known,
                "the table at entry {at} has {input:?} at {found:?}, not {known:?}"
            );
        }
        let now_ns = cursors.ledger.source_time_max_ns;
        hold!(now_ns == standing.now_ns, "the table's now at entry {at} is {now_ns}");
        let passed = &self.history[from as usize + 1..=at as usize];
        let wanted: Vec<_> = passed.iter().filter_map(|standing| standing.change.clone()).collect();
        let changes = changes(commit);
        hold!(changes == wanted, "the table takes {changes:?} at entry {at}, not {wanted:?}");
        Ok(())
    }

    /// A worker whose table is at ledger sequence `table` shows these to the outside. `at_once`: whoever
    /// wants an answer gets it; after a recovery it may be missed.
    pub fn check_settled(
        &mut self,
        table: u64,
        decided: &[Decided],
        at_once: bool,
    ) -> Result<(), Wrong> {
        let mut receipts = 0;
        for decided in decided {
            let Decided { input, source, outcome, receipt } = decided;
            let (stream, sequence) = (&self.streams[*input], source.sequence);
            let Some(born) = stream.born_of(sequence, source.time_ns) else {
                return Err(format!("{input:?} {sequence} is shown, and there is none"));
            };
            let Some((verdict, at)) = stream.verdicts[born].get(&sequence) else {
                return Err(format!(
                    "{input:?} {sequence} is shown {outcome:?} before any entry names it"
                ));
            };
            hold!(*at <= table, "{input:?} {sequence} is shown before entry {at} is in the table");
            hold!(
                is_shown(verdict, *outcome),
                "{input:?} {sequence} is {verdict:?} and is shown {outcome:?}"
            );
            let message = &stream.births[born][&sequence];
            match receipt {
                Some(receipt) => {
                    check_receipt(message, verdict, decided, receipt)
                        .map_err(|why| format!("{why} ({verdict:?}): {receipt:?}"))?;
                    receipts += 1;
                }
                None => {
                    let wanted = at_once && reply_to(message).is_some();
                    hold!(!wanted, "{input:?} {sequence} is not answered");
                }
            }
        }
        self.receipts += receipts;
        Ok(())
    }

    /// A worker takes this for judged.
    pub fn check_redelivered(&self, input: InputKind, sequence: u64) -> Result<(), Wrong> {
        let verdicts = &self.streams[input].verdicts;
        let known = verdicts.iter().any(|verdicts| verdicts.contains_key(&sequence));
        hold!(known, "{input:?} {sequence} is taken for judged");
        Ok(())
    }

    /// A message is acknowledged.
    pub fn check_acknowledged(
        &self,
        input: InputKind,
        sequence: u64,
        time_ns: i64,
    ) -> Result<(), Wrong> {
        let stream = &self.streams[input];
        let born = stream.born_of(sequence, time_ns);
        let judged = born.is_some_and(|born| stream.verdicts[born].contains_key(&sequence));
        hold!(judged, "{input:?} {sequence} is acknowledged before its verdict is in the ledger");
        Ok(())
    }
}

/// Run ids are not in the table: they follow from the rest.
fn changes(commit: &Commit) -> Vec<Change> {
    let known = |(key, record): &oncegate::gate::engine::Change| {
        let known =
            record.as_ref().and_then(|record| receipt::Known::of(key, record, &commit.cursors));
        (key.key().to_string(), known.map(|known| seen(&known)))
    };
    commit.changes.iter().map(known).collect()
}

fn seen(known: &receipt::Known) -> Known {
    let receipt::Known { run_id, state, sequence, time_ns, ledger_sequence, expires_ns } = *known;
    Known { run_id, state, sequence, time_ns, expires_ns, ledger_sequence }
}

fn reply_to(message: &Message) -> Option<&String> {
    match &message.what {
        Published::Action(sent) if sent.is_readable() => sent.reply_to.as_ref(),
        Published::Report(told) if told.is_readable() => told.reply_to.as_ref(),
        Published::Action(_) | Published::Report(_) => None,
    }
}

fn is_shown(verdict: &Verdict, outcome: Outcome) -> bool {
    match (outcome, verdict) {
        (Outcome::Accepted, Verdict::Accepted(_))
        | (Outcome::Duplicate, Verdict::Duplicate(_))
        | (Outcome::Completed, Verdict::Completed(_))
        | (Outcome::Released, Verdict::Released(_))
        | (Outcome::Repeated, Verdict::Repeated(_)) => true,
        // It was there when it was judged, and gone when it was judged again. Neither has an entry.
        (Outcome::Duplicate | Outcome::Repeated, Verdict::Missed) => true,
        (Outcome::Rejected(reason), Verdict::Rejected(why)) => reason.as_str() == *why,
        _ => false,
    }
}

/// It says what the ledger says, to whom asked, and to a rejected caller nothing of the original.
fn check_receipt(
    message: &Message,
    verdict: &Verdict,
    decided: &Decided,
    receipt: &Receipt,
) -> Result<(), Wrong> {
    hold!(reply_to(message) == Some(&receipt.reply_to), "an answer to whom did not ask");
    hold!(receipt.source == decided.source, "an answer on another message");
    let (shown, replayed, known, reason) = match verdict {
        Verdict::Accepted(known) => (Shown::Accepted, false, Some(known), None),
        Verdict::Duplicate(known) => (Shown::Duplicate, true, Some(known), None),
        Verdict::Completed(known) => (Shown::Completed, false, Some(known), None),
        Verdict::Released(known) => (Shown::Released, false, Some(known), None),
        Verdict::Repeated(known) => (Shown::Completed, true, Some(known), None),
        Verdict::Rejected(reason) => (Shown::Rejected, false, None, Some(*reason)),
        // The ledger does not say what it was.
        Verdict::Missed => return Ok(()),
    };
    hold!(
        (receipt.verdict, receipt.replayed) == (shown, replayed),
        "an answer with another verdict"
    );
    let why = receipt.rejection.as_ref().map(|rejection| rejection.reason.as_str());
    hold!(why == reason, "an answer with another reason");
    let told = receipt.known.as_ref().map(seen);
    hold!(told.as_ref() == known, "an answer that tells of another run");
    Ok(())
}
