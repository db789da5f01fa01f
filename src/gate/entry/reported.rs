//! The entries that reports lead to.

use uuid::Uuid;

use super::{
    DETAIL, Entry, JUDGED, KEY, Limits, Message, REASON, RUN_ID, SOURCE, SOURCE_SUBJECT, STATUS,
    as_header_value,
};
use crate::gate::key::ActionKey;
use crate::gate::report::{Release, Report, Status, Told};
use crate::gate::source::Source;
use crate::gate::verdict::{Reason, Rejection};

/// What a report leads to: the message, and what it says.
pub struct Reported {
    /// For the ledger.
    pub message: Message,
    /// The same, read.
    pub entry: Entry,
}

/// A run's result, with the executor's own headers if they fit, or why the ledger can't carry it.
/// `judged`: up to which action all are decided.
pub fn completed(
    name: &str,
    report: &Report,
    run_id: Uuid,
    (key, status): (&ActionKey, Status),
    (judged, limits): (Option<Source>, Limits),
) -> Result<Reported, Rejection> {
    let subject = format!("{name}.completed.{}", status.as_str());
    let mut message = Message { subject, headers: Vec::new(), payload: report.raw.payload.clone() };
    message.push_key(Some(key));
    message.push(RUN_ID, run_id.hyphenated());
    message.push(STATUS, status.as_str());
    message.push_positions(&report.raw.source, judged.as_ref());
    let own_headers = message.headers.len();
    message.push_headers_of(&report.raw, true);
    if !message.fits(limits) {
        message.headers.truncate(own_headers);
    }
    if !message.fits(limits) {
        let why = format_args!(
            "with the gate's headers it has {} bytes, and the ledger takes {}; publish a smaller result, \
             such as where the whole of it can be found",
            message.bytes(),
            limits.message_bytes_max
        );
        return Err(Rejection::new(Reason::InvalidResult, why));
    }
    let (source, key) = (report.raw.source.clone(), key.clone());
    Ok(Reported { message, entry: Entry::Completed { source, judged, key, run_id, status } })
}

/// A key is given back, with as much of the report as fits.
pub fn released(
    name: &str,
    report: &Report,
    run_id: Uuid,
    (told, by): (&Told, Release),
    (judged, limits): (Option<Source>, Limits),
) -> Reported {
    let key = told.key();
    let subject = format!("{name}.released.{}", by.as_str());
    let mut message = Message { subject, headers: Vec::new(), payload: report.raw.payload.clone() };
    message.push_key(Some(key));
    message.push(RUN_ID, run_id.hyphenated());
    match told {
        Told::Forget { detail, .. } => message.push(DETAIL, as_header_value(detail)),
        Told::Retry { .. } | Told::Result { .. } => message.push(STATUS, by.as_str()),
    }
    message.push_positions(&report.raw.source, judged.as_ref());
    message.push_rest(report, limits);
    let (source, key) = (report.raw.source.clone(), key.clone());
    Reported { message, entry: Entry::Released { source, judged, key, by } }
}

/// The dead letter of a report, with as much of it as fits.
pub fn rejected(
    name: &str,
    report: &Report,
    rejection: &Rejection,
    (judged, limits): (Option<Source>, Limits),
) -> Reported {
    let Rejection { reason, detail } = rejection;
    let raw = &report.raw;
    let subject = format!("{name}.rejected.{}", reason.as_str());
    let mut message = Message { subject, headers: Vec::new(), payload: raw.payload.clone() };
    message.push_key(report.key());
    match &report.told {
        Ok(Told::Result { run_id, status, .. }) => {
            message.push(RUN_ID, run_id.hyphenated());
            message.push(STATUS, status.as_str());
        }
        Ok(Told::Retry { run_id, .. }) => {
            message.push(RUN_ID, run_id.hyphenated());
            message.push(STATUS, Release::Retry.as_str());
        }
        Ok(Told::Forget { .. }) | Err(_) => {}
    }
    message.push_positions(&raw.source, judged.as_ref());
    message.push(SOURCE_SUBJECT, as_header_value(&raw.subject));
    message.push(REASON, reason.as_str());
    message.push(DETAIL, as_header_value(detail));
    message.push_rest(report, limits);
    let (source, reason) = (raw.source.clone(), *reason);
    Reported { message, entry: Entry::Rejected { source, reason, judged } }
}

impl Message {
    fn push_positions(&mut self, source: &Source, judged: Option<&Source>) {
        self.push(SOURCE, source);
        if let Some(judged) = judged {
            self.push(JUDGED, judged);
        }
    }

    /// The reporter's own headers and the payload: without the payload if need be, then without both.
    fn push_rest(&mut self, report: &Report, limits: Limits) {
        let own_headers = self.headers.len();
        let keyed = self.headers.iter().any(|(name, _)| name == KEY);
        self.push_headers_of(&report.raw, keyed);
        self.fit(own_headers, limits);
    }
}
