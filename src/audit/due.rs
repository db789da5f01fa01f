//! The verdict that an action is due, by the contract's table.
//!
//! Written apart from the gate's own: two readings of the contract must agree.

use std::fmt;

use super::book::Known;
use crate::gate::action::Action;
use crate::gate::digest::Digest;
use crate::gate::verdict::Reason;

/// What must become of an action, as far as the streams tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// It is new.
    Accepted,
    /// The same again.
    Duplicate,
    /// A dead letter.
    Rejected(Reason),
    /// Its key may have been accepted before the first entry that the ledger still holds.
    Unknown,
}

impl fmt::Display for Due {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Accepted => f.write_str("accepted"),
            Self::Duplicate => f.write_str("duplicate"),
            Self::Rejected(reason) => write!(f, "rejected {}", reason.as_str()),
            Self::Unknown => f.write_str("not known"),
        }
    }
}

/// The original of a key that was accepted under other rules than those in force, read back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Original {
    /// Nobody asked for it.
    NotNeeded,
    /// Its digest under the rules in force; `None` if they give it none.
    Is(Option<Digest>),
    /// The ledger no longer holds it.
    Gone,
}

/// What is known when an action's turn comes.
#[derive(Clone, Copy, Debug)]
pub struct State<'a> {
    /// Its key's live acceptance.
    pub known: Option<&'a Known>,
    /// The rules in force.
    pub rules: usize,
    /// Whether a key that is not known may have been accepted before the ledger's first entry.
    pub may_be_older: bool,
}

/// The verdict. `too_large` and `unroutable` are not looked at: an action they apply to is due to be
/// accepted here.
pub fn due(action: &Action, state: State<'_>, original: Original) -> Due {
    if let Some(fault) = &action.fault {
        return Due::Rejected(fault.reason);
    }
    let Some(known) = state.known else {
        return match action.key.is_some() && state.may_be_older {
            true => Due::Unknown,
            false => Due::Accepted,
        };
    };
    let first = match (known.rules == state.rules, original) {
        (true, _) => Some(known.digest),
        (false, Original::Is(digest)) => digest,
        (false, Original::Gone | Original::NotNeeded) => return Due::Unknown,
    };
    match first.is_some() && first == action.digest {
        true => Due::Duplicate,
        false => Due::Rejected(Reason::PayloadMismatch),
    }
}
