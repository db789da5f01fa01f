//! The audit's own reading of the ledger: entries and inputs in, findings out. No IO, no clock.

mod leading;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::book::{Book, Known};
use super::compare::{First, Stored, Wanted};
use super::due::{Due, Original, State, due};
use super::evidence::Evidence;
use super::finding::{Difference, Finding, Kind};
use super::summary::Summary;
use crate::gate::action::Action;
use crate::gate::digest::Digest;
use crate::gate::entry::{Entry, FIRST_SEQUENCE, SOURCE};
use crate::gate::key::ActionKey;
use crate::gate::rules::{Rules, RulesFingerprint};
use crate::gate::source::{Source, TimeNs};
use crate::gate::verdict::Reason;

/// Of inputs without an entry, so many are remembered, to tell a late entry from a second one.
const MISSING_REMEMBERED: usize = 100_000;

/// Under what entries are judged.
#[derive(Debug)]
struct Term {
    rules: Rules,
    /// Its place among all that the ledger has named.
    rules_index: usize,
    window_ns: TimeNs,
    /// The ledger took an entry of so many bytes.
    proven_bytes: usize,
}

/// How far an input is judged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// Up to this sequence.
    pub sequence: u64,
    /// Source time there.
    pub time_ns: TimeNs,
    created_ns: TimeNs,
}

/// Inputs since the last entry.
#[derive(Debug, Default)]
struct Stretch {
    duplicates: u64,
    not_checkable: u64,
    missing: u64,
    gone: u64,
}

/// Where an entry stands, by the input position that it names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Behind all before it.
    Next,
    /// Its input has had its turn.
    Passed,
}

/// See the module.
#[derive(Debug)]
pub struct Auditor {
    name: String,
    term: Option<Term>,
    rules: Vec<RulesFingerprint>,
    book: Book,
    positions: HashMap<Arc<str>, Position>,
    /// Inputs without an entry.
    missing: BTreeSet<(Arc<str>, u64)>,
    source_time_max_ns: TimeNs,
    /// Before this source time a key may be live whose acceptance the ledger no longer holds.
    unknown_until_ns: TimeNs,
    /// The largest window that any term kept names.
    window_max_ns: TimeNs,
    stretch: Stretch,
    findings: Vec<Finding>,
    summary: Summary,
}

impl Auditor {
    /// Of a ledger that is held from `ledger_from` on; `window_max_ns` is the largest window that its
    /// `leading` entries name.
    pub fn new(name: &str, (ledger_from, ledger_to): (u64, u64), window_max_ns: TimeNs) -> Self {
        Self {
            name: name.to_owned(),
            term: None,
            rules: Vec::new(),
            book: Book::default(),
            positions: HashMap::new(),
            missing: BTreeSet::new(),
            source_time_max_ns: 0,
            unknown_until_ns: TimeNs::MIN,
            window_max_ns,
            stretch: Stretch::default(),
            findings: Vec::new(),
            summary: Summary {
                ledger_from,
                ledger_to,
                entries_trimmed: ledger_from.saturating_sub(1),
                ..Summary::default()
            },
        }
    }

    /// The rules in force; none before the first `leading` entry.
    pub fn rules(&self) -> Option<&Rules> {
        self.term.as_ref().map(|term| &term.rules)
    }

    /// How far `stream` is judged.
    pub fn position(&self, stream: &str) -> Position {
        self.positions.get(stream).copied().unwrap_or_default()
    }

    /// What was found since the last call.
    pub fn take_findings(&mut self) -> Vec<Finding> {
        self.summary.discrepancies += self.findings.len() as u64;
        std::mem::take(&mut self.findings)
    }

    /// Counts, to be added to where the streams know more.
    pub fn summary_mut(&mut self) -> &mut Summary {
        &mut self.summary
    }

    /// The counts at the end.
    pub fn into_summary(mut self) -> Summary {
        self.summary.live_keys = self.book.count() as u64;
        self.summary
    }

    /// The ledger has dropped all entries before this one.
    pub fn begins_at(&mut self, sequence: u64) {
        self.summary.ledger_from = sequence;
        self.summary.entries_trimmed = sequence - 1;
    }

    /// Ledger sequences that hold nothing, between others that do.
    pub fn hole(&mut self, from: u64, to: u64) {
        let what = format!("ledger sequences {from} to {to}");
        let missing = Difference::new(what, "an entry each", "none: the ledger does not hold them");
        self.find(Kind::Missing, (Some(from), None), None, vec![missing]);
    }

    /// A message that is no entry.
    pub fn foreign(&mut self, found: &Stored, why: &str) {
        self.summary.foreign += 1;
        let what = format!("message on {}", found.subject);
        let difference = Difference::new(what, "an entry of the gate", why);
        self.find(Kind::Foreign, (Some(found.sequence), None), None, vec![difference]);
    }

    /// An entry before the first term that is known.
    pub fn before_first_term(&mut self) {
        self.summary.before_first_term += 1;
    }

    /// `count` sequences that the ledger has passed are not there, of the input or of reports.
    pub fn gone(&mut self, count: u64, of_input: bool) {
        self.stretch.gone += count;
        self.summary.inputs_gone += if of_input { count } else { 0 };
    }

    /// The ledger sequence of the original that an action must be compared with, if the rules have changed
    /// since.
    pub fn original_wanted(&self, action: &Action) -> Option<u64> {
        let known = self.known_of(action)?;
        let term = self.term.as_ref()?;
        known.ledger_sequence.filter(|_| known.rules != term.rules_index && action.fault.is_none())
    }

    /// An input that no entry names.
    pub fn pass(&mut self, action: &Action, original: Original) {
        match self.due(action, original) {
            Due::Duplicate => {
                self.stretch.duplicates += 1;
                self.summary.duplicates += 1;
            }
            Due::Unknown => {
                self.stretch.not_checkable += 1;
                self.summary.not_checkable += 1;
            }
            verdict => {
                self.stretch.missing += 1;
                let source = &action.raw.source;
                if self.missing.len() < MISSING_REMEMBERED {
                    self.missing.insert((source.stream.clone(), source.sequence));
                }
                let expected = self.expected(action, verdict);
                let difference = Difference::new("entry", expected, "none");
                let key = action.key.as_ref();
                self.find(Kind::Missing, (None, Some(source)), key, vec![difference]);
                if verdict == Due::Accepted && self.wanted(action).is_routable() {
                    self.accept(action, None);
                }
            }
        }
    }

    /// Where an entry stands that names `source`.
    pub fn order(&self, source: &Source) -> Order {
        match source.sequence > self.position(&source.stream).sequence {
            true => Order::Next,
            false => Order::Passed,
        }
    }

    /// An entry whose input has had its turn.
    pub fn passed(&mut self, found: &Stored, source: &Source, key: Option<&ActionKey>) {
        let position = self.position(&source.stream);
        let late = self.missing.remove(&(source.stream.clone(), source.sequence));
        let (kind, expected) = match late {
            true => (Kind::OutOfOrder, format!("before that of input {}", position.sequence)),
            false => (Kind::Doubled, "one for each input".to_owned()),
        };
        let at = format!("ledger {}, behind input {}", found.sequence, position.sequence);
        let difference = Difference::new("entry", expected, at);
        self.find(kind, (Some(found.sequence), Some(source)), key, vec![difference]);
        if let Some(known) = key.and_then(|key| self.book.known_mut(key))
            && late
            && known.source == *source
        {
            known.ledger_sequence = Some(found.sequence);
        }
    }

    /// An entry for an input that its stream has never had.
    pub fn never_was(&mut self, found: &Stored, source: &Source, last: u64) {
        let expected = format!("a sequence of {}, which has at most {last}", source.stream);
        let difference = Difference::new(SOURCE, expected, source.sequence);
        let at = (Some(found.sequence), Some(source));
        self.find(Kind::Different, at, None, vec![difference]);
    }

    /// An entry that accepts or rejects the next input.
    pub fn decide(
        &mut self,
        found: &Stored,
        entry: &Entry,
        evidence: &Evidence,
        original: Original,
    ) {
        let verdict = match entry {
            Entry::Accepted { .. } => Due::Accepted,
            Entry::Rejected { reason, .. } => Due::Rejected(*reason),
            _ => return,
        };
        if let Some(term) = &mut self.term {
            term.proven_bytes = term.proven_bytes.max(found.bytes());
        }
        let action = evidence.action();
        let due = self.due(action, original);
        let differences = match self.agrees(evidence, due, verdict) {
            true => self.fields(found, verdict, action),
            false => vec![Difference::new("verdict", self.expected(action, due), verdict)],
        };
        if !differences.is_empty() {
            let at = (Some(found.sequence), Some(&action.raw.source));
            self.find(Kind::Different, at, action.key.as_ref(), differences);
        }
        self.count(verdict, due, evidence);
        self.decided(&action.raw.source);
        if verdict == Due::Accepted {
            self.accept(action, Some(found.sequence));
        }
    }

    fn count(&mut self, verdict: Due, due: Due, evidence: &Evidence) {
        self.summary.entries += 1;
        match verdict {
            Due::Accepted => self.summary.accepted += 1,
            _ => self.summary.rejected += 1,
        }
        self.summary.not_checkable += u64::from(due == Due::Unknown);
        self.summary.entries_in_part += u64::from(matches!(evidence, Evidence::Part(_)));
    }

    /// A marker: nothing but duplicates up to `up_to`. `time_ns`: of the message there, if it is.
    pub fn mark(
        &mut self,
        found: &Stored,
        up_to: &Source,
        duplicates: u64,
        time_ns: Option<TimeNs>,
    ) {
        let Stretch { duplicates: known, not_checkable, missing, gone } = self.stretch;
        let most = known + not_checkable + missing + gone;
        let mut differences = Vec::new();
        if !(known..=most).contains(&duplicates) {
            let expected = match most == known {
                true => known.to_string(),
                false => format!("{known} to {most}"),
            };
            differences.push(Difference::new("Oncegate-Duplicates", expected, duplicates));
        }
        if let Some(time_ns) = time_ns.filter(|time_ns| *time_ns != up_to.time_ns) {
            let expected = Source { time_ns, ..up_to.clone() };
            differences.push(Difference::new("Oncegate-Judged", expected, up_to));
        }
        if !differences.is_empty() {
            let at = (Some(found.sequence), Some(up_to));
            self.find(Kind::Different, at, None, differences);
        }
        self.summary.entries += 1;
        self.advance(up_to);
    }

    /// All inputs up to `up_to` are judged, as an entry about a report says.
    pub fn reach(&mut self, up_to: &Source) {
        self.advance(up_to);
    }

    fn now(&self, source: &Source) -> TimeNs {
        source.time_ns.max(self.source_time_max_ns)
    }

    fn due(&self, action: &Action, original: Original) -> Due {
        let state = State {
            known: self.known_of(action),
            rules: self.term.as_ref().map_or(usize::MAX, |term| term.rules_index),
            may_be_older: self.may_be_older(&action.raw.source),
        };
        due(action, state, original)
    }

    fn wanted<'a>(&'a self, action: &'a Action) -> Wanted<'a> {
        let proven_bytes = self.term.as_ref().map_or(0, |term| term.proven_bytes);
        Wanted { name: &self.name, action, proven_bytes }
    }

    /// What is known of a key when an action or a report of this position has its turn.
    pub(super) fn known(&self, key: &ActionKey, at: &Source) -> Option<&Known> {
        self.book.live(key, self.now(at))
    }

    /// Whether a key that is not known may have been accepted before the ledger's first entry.
    pub(super) fn may_be_older(&self, at: &Source) -> bool {
        self.now(at) < self.unknown_until_ns
    }

    /// The same, to be changed.
    pub(super) fn known_mut(&mut self, key: &ActionKey) -> Option<&mut Known> {
        self.book.known_mut(key)
    }

    /// The key counts as not seen from here on.
    pub(super) fn release(&mut self, key: &ActionKey) {
        self.book.release(key);
    }

    /// An entry about the report at `source` has had its effect.
    pub(super) fn settle_report(&mut self, source: &Source) {
        self.summary.entries += 1;
        self.summary.reports += 1;
        self.decided(source);
    }

    fn known_of(&self, action: &Action) -> Option<&Known> {
        self.known(action.key.as_ref()?, &action.raw.source)
    }

    fn agrees(&self, evidence: &Evidence, due: Due, verdict: Due) -> bool {
        let action = evidence.action();
        let wanted = self.wanted(action);
        let part = matches!(evidence, Evidence::Part(_));
        // What follows from an acceptance whose entry is missing is reported once, there.
        let original_missing = self.known_of(action).is_some_and(|k| k.ledger_sequence.is_none());
        match (verdict, due) {
            (Due::Rejected(reason), _) if part && reason < Reason::PayloadMismatch => true,
            (Due::Accepted, Due::Accepted | Due::Unknown) => wanted.is_routable(),
            (Due::Accepted, Due::Duplicate | Due::Rejected(Reason::PayloadMismatch)) => {
                original_missing
            }
            (Due::Rejected(Reason::TooLarge), Due::Accepted | Due::Unknown) => {
                part || !wanted.has_room()
            }
            (Due::Rejected(Reason::Unroutable), Due::Accepted | Due::Unknown) => {
                !wanted.is_routable()
            }
            (Due::Rejected(Reason::PayloadMismatch | Reason::RulesChanged), Due::Unknown) => true,
            (verdict, due) => verdict == due,
        }
    }

    /// The due verdict in words.
    fn expected(&self, action: &Action, due: Due) -> String {
        match due {
            Due::Accepted if !self.wanted(action).is_routable() => {
                Due::Rejected(Reason::Unroutable).to_string()
            }
            Due::Duplicate | Due::Rejected(Reason::PayloadMismatch) => {
                let first = self.known_of(action).and_then(|known| known.ledger_sequence);
                first.map_or_else(
                    || due.to_string(),
                    |first| format!("{due} (first accepted as ledger entry {first})"),
                )
            }
            due => due.to_string(),
        }
    }

    fn fields(&self, found: &Stored, verdict: Due, action: &Action) -> Vec<Difference> {
        let wanted = self.wanted(action);
        let Due::Rejected(reason) = verdict else {
            return wanted.accepted(found);
        };
        let first = match (reason, self.known_of(action)) {
            (Reason::PayloadMismatch, Some(known)) => First::Is(known),
            (Reason::PayloadMismatch, None) => First::NotKnown,
            _ => First::None,
        };
        let older = matches!(first, First::NotKnown);
        let mut differences = wanted.rejected(reason, first, found);
        let sequence = found.headers.one(FIRST_SEQUENCE).and_then(|text| text.parse::<u64>().ok());
        if older && sequence.is_none_or(|sequence| sequence >= self.summary.ledger_from) {
            let expected = format!("before {}", self.summary.ledger_from);
            let found = sequence.map_or_else(|| "none".to_owned(), |sequence| sequence.to_string());
            differences.push(Difference::new(FIRST_SEQUENCE, expected, found));
        }
        differences
    }

    fn accept(&mut self, action: &Action, ledger_sequence: Option<u64>) {
        let (Some(key), Some(digest), Some(term)) = (&action.key, action.digest, &self.term) else {
            return;
        };
        let source = action.raw.source.clone();
        let expires_ns = self.now(&source).saturating_add(term.window_ns);
        let rules = term.rules_index;
        self.book.accept(
            key,
            Known { digest, rules, source, expires_ns, ledger_sequence, result: None },
        );
    }

    /// Only what was decided moves *now*, not a marker.
    fn decided(&mut self, source: &Source) {
        self.advance(source);
        self.source_time_max_ns = self.source_time_max_ns.max(source.time_ns);
        self.book.expire(self.source_time_max_ns);
    }

    fn advance(&mut self, to: &Source) {
        let position = self.positions.entry(to.stream.clone()).or_default();
        (position.sequence, position.time_ns) = (to.sequence, to.time_ns);
        self.stretch = Stretch::default();
    }

    /// Something is wrong `at` a ledger sequence, an input, or both.
    pub(super) fn find(
        &mut self,
        kind: Kind,
        (ledger_sequence, input): (Option<u64>, Option<&Source>),
        key: Option<&ActionKey>,
        differences: Vec<Difference>,
    ) {
        let (key, input) = (key.map(|key| key.key().to_string()), input.cloned());
        self.findings.push(Finding { kind, ledger_sequence, input, key, differences });
    }
}

/// The digest of an original's payload under the rules in force.
pub fn original_digest(name: &str, found: &Stored, rules: &Rules) -> Option<Digest> {
    let subject = found.subject.strip_prefix(&format!("{name}.accepted."))?;
    crate::gate::action::digest(subject, &found.payload, rules)
}
