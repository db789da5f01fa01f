//! What is told to whom asked for an answer. Built with the verdict, sent when that is settled.

use super::Engine;
use crate::gate::action::Action;
use crate::gate::key::ActionKey;
use crate::gate::receipt::{Known, Receipt, Shown};
use crate::gate::record::{KeyRecord, RunState};
use crate::gate::report::Report;
use crate::gate::source::Source;
use crate::gate::verdict::Rejection;

impl Engine {
    /// `ledger_sequence`: where its entry will stand.
    pub(super) fn accepted_receipt(
        &self,
        action: &Action,
        ledger_sequence: u64,
    ) -> Option<Box<Receipt>> {
        let mut receipt = of_action(action, Shown::Accepted)?;
        let source = &action.raw.source;
        let window_ns = self.head.in_force.map_or(0, |in_force| in_force.window_ns);
        let expires_ns = self.now(source).saturating_add(window_ns);
        receipt.known = Some(Known {
            run_id: source.run_id(action.key.as_ref()),
            state: RunState::Pending,
            sequence: source.sequence,
            time_ns: source.time_ns,
            ledger_sequence,
            expires_ns: action.key.is_some().then_some(expires_ns),
        });
        Some(receipt)
    }

    pub(super) fn duplicate_receipt(
        &self,
        action: &Action,
        record: Option<&KeyRecord>,
    ) -> Option<Box<Receipt>> {
        let mut receipt = of_action(action, Shown::Duplicate)?;
        receipt.replayed = true;
        receipt.known = Some(Known::of(action.key.as_ref()?, record?, &self.head)?);
        Some(receipt)
    }

    /// `record`: the run's, as the report leaves it or found it.
    pub(super) fn report_receipt(
        &self,
        report: &Report,
        (verdict, replayed): (Shown, bool),
        record: Option<&KeyRecord>,
    ) -> Option<Box<Receipt>> {
        let mut receipt = of_report(report, verdict)?;
        receipt.replayed = replayed;
        receipt.known = report.key().and_then(|key| Known::of(key, record?, &self.head));
        Some(receipt)
    }
}

/// A caller that guesses a key learns nothing of it.
pub(super) fn rejected(action: &Action, rejection: &Rejection) -> Option<Box<Receipt>> {
    let mut receipt = of_action(action, Shown::Rejected)?;
    receipt.rejection = Some(rejection.clone());
    Some(receipt)
}

pub(super) fn rejected_report(report: &Report, rejection: &Rejection) -> Option<Box<Receipt>> {
    let mut receipt = of_report(report, Shown::Rejected)?;
    receipt.rejection = Some(rejection.clone());
    Some(receipt)
}

fn of_action(action: &Action, verdict: Shown) -> Option<Box<Receipt>> {
    receipt(action.reply_to.as_ref(), verdict, action.key.as_ref(), &action.raw.source)
}

fn of_report(report: &Report, verdict: Shown) -> Option<Box<Receipt>> {
    receipt(report.reply_to.as_ref(), verdict, report.key(), &report.raw.source)
}

fn receipt(
    reply_to: Option<&String>,
    verdict: Shown,
    key: Option<&ActionKey>,
    source: &Source,
) -> Option<Box<Receipt>> {
    Some(Box::new(Receipt {
        reply_to: reply_to?.clone(),
        verdict,
        replayed: false,
        key: key.cloned(),
        source: source.clone(),
        rejection: None,
        known: None,
    }))
}
