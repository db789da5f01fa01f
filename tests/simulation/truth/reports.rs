//! Reports, and the entries that they lead to.

use oncegate::gate::engine::InputKind;
use oncegate::gate::record::RunState;

use super::ledger::{Named, header, position, run_id};
use super::{Known, Original, Published, Truth, Verdict, Wrong};
use crate::ledger_server::Stored;
use crate::reporter::{Says, Told};

impl Truth {
    /// What a report is right after the entry at `head`.
    fn judge_report(&self, told: &Told, time_ns: i64, head: u64) -> Verdict {
        if let Says::Odd(_) = told.says {
            return Verdict::Rejected("invalid_result");
        }
        let original = self.key_at(told.run.key, head, time_ns).filter(|original| {
            told.says == Says::Forget || original.known.run_id == told.run.run_id
        });
        let Some(Original { known, result, .. }) = original else {
            return Verdict::Rejected("unknown_run");
        };
        match (told.says, result) {
            (Says::Forget, _) | (Says::Retry, None) => Verdict::Released(known.clone()),
            (Says::Result { succeeded, .. }, None) => {
                let at = self.head() + 1;
                let state = if succeeded { RunState::Succeeded(at) } else { RunState::Failed(at) };
                Verdict::Completed(Known { state, ..known.clone() })
            }
            (_, Some(first)) if told.is_same(first) => Verdict::Repeated(known.clone()),
            (_, Some(_)) => Verdict::Rejected("result_conflict"),
            (Says::Odd(_), None) => Verdict::Rejected("invalid_result"),
        }
    }

    /// A report without an entry repeats a result. It was judged some entries before the one that passes it,
    /// and a key may have been over since: after which entry, at `since` or later, it was so.
    pub(super) fn repeated(&self, told: &Told, time_ns: i64, since: u64) -> Option<(u64, Verdict)> {
        let judged = (since..=self.head()).map(|at| (at, self.judge_report(told, time_ns, at)));
        judged.into_iter().find(|(_, verdict)| matches!(verdict, Verdict::Repeated(_)))
    }

    /// An entry on a report.
    pub(super) fn on_report(&mut self, entry: &Stored) -> Result<(), Wrong> {
        let named = position(entry, "Oncegate-Source")?;
        hold!(named.input == InputKind::Reports, "entry {} is no report's", entry.sequence);
        self.pass_judged(entry)?;
        self.pass_over(named, entry.sequence)?;
        let Published::Report(told) = self.message(named).what.clone() else {
            return Err("no report".to_owned());
        };
        let verdict = self.judge_report(&told, named.time_ns, self.head());
        let subject = match &verdict {
            Verdict::Completed(_) => format!("oncegate.completed.{}", told.status()),
            Verdict::Released(_) if told.says == Says::Forget => {
                "oncegate.released.operator".to_owned()
            }
            Verdict::Released(_) => "oncegate.released.retry".to_owned(),
            Verdict::Rejected(reason) => format!("oncegate.rejected.{reason}"),
            verdict => format!("nowhere, for it is {verdict:?}"),
        };
        let (is, sequence) = (&entry.subject, named.sequence);
        hold!(*is == subject, "report {sequence} belongs on {subject}; it is on {is}");
        hold!(entry.payload == told.payload(), "the payload of report {sequence}");
        if let Verdict::Completed(known) | Verdict::Released(known) = &verdict {
            hold!(run_id(entry)? == known.run_id, "the run of report {sequence}");
            let key = header(entry, "Idempotency-Key");
            hold!(key == Some(&told.key_text()), "the key of report {sequence} is {key:?}");
        }
        self.apply(&told, &verdict, entry.sequence);
        self.standing.now_ns = self.standing.now_ns.max(named.time_ns);
        self.settle(named, verdict, entry.sequence);
        Ok(())
    }

    fn apply(&mut self, told: &Told, verdict: &Verdict, at: u64) {
        let key = told.run.key;
        match verdict {
            Verdict::Completed(known) => {
                let original = self.key_at(key, self.head(), i64::MIN).cloned();
                let (known, result) = (known.clone(), Some(told.clone()));
                self.change(key, at, original.map(|first| Original { known, result, ..first }));
            }
            Verdict::Released(_) => self.change(key, at, None),
            _ => {}
        }
    }

    /// Actions up to here are judged; the last of them have no entry.
    fn pass_judged(&mut self, entry: &Stored) -> Result<(), Wrong> {
        let position_now = self.standing.positions[InputKind::Actions];
        if header(entry, "Oncegate-Judged").is_none() {
            let at = position_now.sequence;
            hold!(at == 0, "entry {} hides that actions are judged up to {at}", entry.sequence);
            return Ok(());
        }
        let named = position(entry, "Oncegate-Judged")?;
        let Named { input, sequence, time_ns } = named;
        hold!(input == InputKind::Actions, "entry {} names no action", entry.sequence);
        if (sequence, time_ns) == (position_now.sequence, position_now.time_ns) {
            return Ok(());
        }
        self.close(named, entry.sequence)
    }
}
