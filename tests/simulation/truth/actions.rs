//! Actions, and the entries that they lead to.

use oncegate::gate::engine::InputKind;
use oncegate::gate::record::RunState;

use super::ledger::{Named, header, position, run_id};
use super::{Known, Original, Published, Truth, Verdict, Wrong};
use crate::ledger_server::Stored;
use crate::plan::RuleSet;
use crate::publisher::{KeyHeader, Sent};
use crate::reporter::Run;

/// What the next action is.
pub(super) enum Judged {
    Accepted,
    Duplicate(Known),
    Rejected(&'static str),
}

impl Truth {
    pub(super) fn judge_action(&self, sent: &Sent, time_ns: i64) -> Result<Judged, Wrong> {
        let Some((_, rules)) = self.in_force else {
            return Err("no leading entry".to_owned());
        };
        let key = match sent.key {
            KeyHeader::Malformed => return Ok(Judged::Rejected("malformed_headers")),
            KeyHeader::None if rules == RuleSet::ForwardKeyless => return Ok(Judged::Accepted),
            KeyHeader::None => return Ok(Judged::Rejected("missing_key")),
            KeyHeader::Invalid => return Ok(Judged::Rejected("invalid_key")),
            KeyHeader::Key(key) => key,
        };
        Ok(match self.key_at(key, self.head(), time_ns) {
            None => Judged::Accepted,
            Some(original) if original.sent.is_same(sent, rules) => {
                Judged::Duplicate(original.known.clone())
            }
            Some(_) => Judged::Rejected("payload_mismatch"),
        })
    }

    /// An entry on an action.
    pub(super) fn on_action(&mut self, entry: &Stored, kind: &str) -> Result<(), Wrong> {
        let named = position(entry, "Oncegate-Source")?;
        hold!(named.input == InputKind::Actions, "entry {} is no action's", entry.sequence);
        self.pass_over(named, entry.sequence)?;
        let Published::Action(sent) = self.message(named).what.clone() else {
            return Err("no action".to_owned());
        };
        let judged = self.judge_action(&sent, named.time_ns)?;
        let reason = header(entry, "Oncegate-Reason");
        let (subject, sequence) = (&entry.subject, named.sequence);
        let on_its_own = subject.ends_with(&format!(".{}", sent.subject()));
        hold!(on_its_own, "action {sequence} on {subject}");
        hold!(entry.payload == sent.payload(), "the payload of action {sequence}");
        self.check_first(entry, &sent, &judged)?;
        self.standing.now_ns = self.standing.now_ns.max(named.time_ns);
        let verdict = match judged {
            Judged::Accepted if kind == "accepted" && reason.is_none() => {
                Verdict::Accepted(self.accepted(entry, sent, named)?)
            }
            Judged::Rejected(why) if kind == "rejected" && reason == Some(why) => {
                Verdict::Rejected(why)
            }
            Judged::Accepted => return Err(format!("action {sequence} is new, and is {subject}")),
            Judged::Duplicate(_) => {
                return Err(format!("action {sequence} is a duplicate, and is {subject}"));
            }
            Judged::Rejected(why) => {
                return Err(format!("action {sequence} is {why}, and is {subject}"));
            }
        };
        self.settle(named, verdict, entry.sequence);
        Ok(())
    }

    fn accepted(&mut self, entry: &Stored, sent: Sent, named: Named) -> Result<Known, Wrong> {
        let Named { sequence, time_ns, .. } = named;
        let window_ns = self.in_force.map_or(0, |(window_ns, _)| window_ns);
        let run_id = run_id(entry)?;
        let mut known = Known {
            run_id,
            state: RunState::Pending,
            sequence,
            time_ns,
            expires_ns: None,
            ledger_sequence: entry.sequence,
        };
        let KeyHeader::Key(key) = sent.key else { return Ok(known) };
        hold!(self.runs.iter().all(|run| run.run_id != run_id), "run {run_id} a second time");
        self.runs.push(Run { key, run_id });
        known.expires_ns = Some(self.standing.now_ns + window_ns);
        let original = Original { sent, known: known.clone(), result: None };
        self.change(key, entry.sequence, Some(original));
        Ok(known)
    }

    fn check_first(&self, entry: &Stored, sent: &Sent, judged: &Judged) -> Result<(), Wrong> {
        let first = header(entry, "Oncegate-First-Sequence").and_then(|text| text.parse().ok());
        let known = match (judged, sent.key) {
            (Judged::Rejected("payload_mismatch"), KeyHeader::Key(key)) => {
                let original = self.key_at(key, self.head(), i64::MIN);
                original.map(|original| original.known.ledger_sequence)
            }
            _ => None,
        };
        hold!(first == known, "entry {} names original {first:?}, not {known:?}", entry.sequence);
        Ok(())
    }
}
