//! What an entry is judged by: the input message, or where that is gone, the entry itself.

use super::compare::Stored;
use crate::gate::action::{self, Action, RawAction};
use crate::gate::entry::{DIGEST, Entry, KEY, SCOPE, SOURCE_SUBJECT};
use crate::gate::headers::{Headers, MalformedHeaders};
use crate::gate::key::ActionKey;
use crate::gate::rules::Rules;
use crate::gate::source::Source;
use crate::gate::verdict::Reason;

/// See the module.
#[derive(Debug)]
pub enum Evidence {
    /// The input message.
    Input(Action),
    /// The input is gone; the entry holds all that the verdict came from.
    Entry(Action),
    /// The input is gone, and the entry may lack the payload or the publisher's headers: it says what its
    /// key and its digest were.
    Part(Action),
}

impl Evidence {
    /// What is judged.
    pub fn action(&self) -> &Action {
        match self {
            Self::Input(action) | Self::Entry(action) | Self::Part(action) => action,
        }
    }

    /// From an entry whose input is gone.
    pub fn of_entry(name: &str, found: &Stored, entry: &Entry, rules: &Rules) -> Option<Self> {
        match entry {
            Entry::Accepted { source, .. } => {
                let subject = found.subject.strip_prefix(&format!("{name}.accepted."))?;
                Some(Self::Entry(action::decode(raw(found, source, subject, None), rules)))
            }
            Entry::Rejected { source, reason, .. } => {
                let prefix = format!("{name}.rejected.{}.", reason.as_str());
                let subject = found.subject.strip_prefix(&prefix);
                let subject = subject.or_else(|| found.headers.one(SOURCE_SUBJECT))?;
                let raw = raw(found, source, subject, Some(*reason));
                // A subject with control characters is not kept exactly; its digest tells.
                let inexact = !raw.subject_exact && found.headers.one(DIGEST).is_some();
                if found.payload.is_empty() || inexact || raw.headers.is_err() {
                    return Some(Self::Part(as_told(raw, &found.headers)));
                }
                Some(Self::Entry(action::decode(raw, rules)))
            }
            _ => None,
        }
    }
}

fn raw(found: &Stored, source: &Source, subject: &str, reason: Option<Reason>) -> RawAction {
    let headers = match reason {
        Some(Reason::MalformedHeaders) => Err(MalformedHeaders("as its entry says")),
        _ => Ok(found.headers.clone()),
    };
    RawAction {
        source: source.clone(),
        subject: subject.to_owned(),
        subject_exact: !subject.contains(char::REPLACEMENT_CHARACTER),
        headers,
        payload: found.payload.clone(),
    }
}

fn as_told(raw: RawAction, headers: &Headers) -> Action {
    let scope: Vec<String> =
        headers.one(SCOPE).and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    Action {
        key: headers
            .one(KEY)
            .filter(|_| raw.headers.is_ok())
            .map(|key| ActionKey::new(&scope, key)),
        digest: headers.one(DIGEST).and_then(|text| text.parse().ok()),
        fault: None,
        reply_to: None,
        raw,
    }
}
