//! The ledger against the model, entry by entry, with a text that says what differs. The model judges in
//! the ledger's order: where an entry of a report names the position in the actions, all of them up to there
//! come before it.
//!
//! Inputs and entries may come bit by bit, and what no later entry can speak of may be forgotten: so a
//! long run is compared in little memory.

mod reports;

use std::collections::{HashMap, VecDeque};

use uuid::Uuid;

use super::ledger::{Entry, Position};
use super::model::reports::ReportDecision;
use super::model::{Content, Decision, Model, Presence, Rules, Verdict};
use super::streams::Stored;

/// An action and what the model decides on it.
#[derive(Debug, Clone)]
pub struct Judged {
    pub input: Stored,
    pub decision: Decision,
}

/// A report and what the model decides on it; `None` where it repeats a result.
#[derive(Debug, Clone)]
pub struct JudgedReport {
    pub input: Stored,
    pub decision: Option<ReportDecision>,
}

/// What changes with time.
#[derive(Debug, Clone)]
pub enum Change {
    /// Other rules are in force.
    Rules(Rules),
    /// The ledger lacks its entries before this sequence.
    Lost(u64),
}

/// Which input an entry decides, by its place among the actions or the reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Place {
    Action(usize),
    Report(usize),
}

/// How many differences are told.
const TOLD: usize = 8;

/// What a retry of an accepted action shows of it.
struct Original {
    sequence: u64,
    era: usize,
    digest: Option<String>,
    source: Option<String>,
    run_id: Option<String>,
}

/// Something found in the entry of the input of this index.
struct Found<T> {
    index: usize,
    it: T,
}

pub struct Comparison {
    name: &'static str,
    model: Model,
    stream: String,
    reports_stream: String,
    /// Actions from index `base` on; those before are done with.
    judged: VecDeque<Judged>,
    base: usize,
    /// Not judged yet.
    coming: VecDeque<Stored>,
    reports: VecDeque<JudgedReport>,
    reports_base: usize,
    reports_coming: VecDeque<Stored>,
    /// Each holds for entries after this sequence.
    changes: VecDeque<(u64, Change)>,
    pub counts: Counts,
    originals: HashMap<usize, Original>,
    digest_of: HashMap<(usize, String, Content), Found<String>>,
    content_of: HashMap<(usize, String), Found<(String, Content)>>,
    run_ids: HashMap<String, Found<u64>>,
    differences: Vec<String>,
    parted: bool,
}

/// What the model decided.
#[derive(Debug, Clone, Copy, Default)]
pub struct Counts {
    pub accepted: u64,
    pub duplicates: u64,
    pub rejected: u64,
    pub completed: u64,
    pub released: u64,
    pub repeated: u64,
    pub rejected_reports: u64,
}

impl Comparison {
    pub fn new(rules: &Rules, stream: &str) -> Self {
        Self {
            name: rules.name,
            model: Model::new(rules.clone()),
            stream: stream.into(),
            reports_stream: reports_stream(rules.name),
            judged: VecDeque::new(),
            base: 0,
            coming: VecDeque::new(),
            reports: VecDeque::new(),
            reports_base: 0,
            reports_coming: VecDeque::new(),
            changes: VecDeque::new(),
            counts: Counts::default(),
            originals: HashMap::new(),
            digest_of: HashMap::new(),
            content_of: HashMap::new(),
            run_ids: HashMap::new(),
            differences: Vec::new(),
            parted: false,
        }
    }

    /// The next action.
    pub fn expect(&mut self, action: Stored) {
        self.coming.push_back(action);
    }

    /// The next report.
    pub fn expect_report(&mut self, report: Stored) {
        self.reports_coming.push_back(report);
    }

    /// This holds for the entries after this sequence.
    pub fn change_after(&mut self, sequence: u64, change: Change) {
        self.changes.push_back((sequence, change));
    }

    /// The next entry, after the inputs that it can name; the input that it decides.
    pub fn take(&mut self, entry: &Entry) -> Option<Place> {
        if self.parted || self.differences.len() >= TOLD {
            return None;
        }
        while let Some((_, change)) =
            self.changes.pop_front_if(|(after, _)| *after < entry.sequence)
        {
            match change {
                Change::Rules(rules) => self.model.change(rules),
                Change::Lost(before) => self.model.lose_before(before),
            }
        }
        let of_report = entry.source().is_some_and(|source| source.stream == self.reports_stream);
        match entry.kind() {
            "accepted" => return self.verdict(entry).map(Place::Action),
            "rejected" if !of_report => return self.verdict(entry).map(Place::Action),
            "rejected" | "completed" | "released" => {
                return self.report(entry).map(Place::Report);
            }
            "judged" => self.marker(entry),
            "leading" => self.leading(entry),
            _ => self.part(entry, "no entry of the gate"),
        }
        None
    }

    /// What differs so far.
    pub fn so_far(&self) -> Result<(), String> {
        if self.differences.is_empty() { Ok(()) } else { Err(self.differences.join("\n")) }
    }

    /// No more inputs and no more entries will come.
    pub fn end(&mut self) -> Result<(), String> {
        if self.differences.is_empty()
            && !(self.coming.is_empty() && self.reports_coming.is_empty())
        {
            let rest = self.outlook();
            self.differences.push(format!("the ledger ends before these inputs:\n{rest}"));
        }
        self.so_far()
    }

    /// All that was judged.
    pub fn judged(self) -> (Vec<Judged>, Vec<JudgedReport>) {
        (self.judged.into(), self.reports.into())
    }

    /// Forgets what no later entry can speak of.
    pub fn forget(&mut self) {
        let last = (self.base + self.judged.len()).saturating_sub(1);
        let index = self.model.forget_expired().min(last);
        while self.base < index {
            self.judged.pop_front();
            self.base += 1;
        }
        while self.reports.len() > 1 {
            self.reports.pop_front();
            self.reports_base += 1;
        }
        self.originals.retain(|own, _| *own >= index);
        self.digest_of.retain(|_, found| found.index >= index);
        self.content_of.retain(|_, found| found.index >= index);
        self.run_ids.retain(|_, found| found.index >= index);
    }

    /// Lets the model judge the next action.
    fn judge(&mut self) -> Option<Judged> {
        let input = self.coming.pop_front()?;
        let decision = self.model.judge(&input);
        *match decision.verdict {
            Verdict::Accepted => &mut self.counts.accepted,
            Verdict::Duplicate => &mut self.counts.duplicates,
            Verdict::Rejected(_) => &mut self.counts.rejected,
        } += 1;
        let judged = Judged { input, decision };
        self.judged.push_back(judged.clone());
        Some(judged)
    }

    /// An accepted or rejected entry must be the one of the next action that has an entry.
    fn verdict(&mut self, entry: &Entry) -> Option<usize> {
        let judged = loop {
            let Some(judged) = self.judge() else {
                self.part(entry, "no action is left that has an entry");
                return None;
            };
            if judged.decision.verdict != Verdict::Duplicate {
                break judged;
            }
        };
        let Judged { input, decision } = &judged;
        if entry.source() != Some(self.position(input)) {
            self.coming.push_front(input.clone());
            self.part(entry, "not the entry of the next action");
            return None;
        }
        let index = self.base + self.judged.len() - 1;
        let mut differ = Differences::of(entry, input);
        self.subject(entry, input, decision, &mut differ);
        key(entry, decision.key.as_ref().map(|key| (&decision.scope, key)), &mut differ);
        let kept = (decision.headers.as_deref(), decision.kept_headers);
        headers(entry, kept, decision.key.is_some(), &mut differ);
        self.digest(entry, index, &judged, &mut differ);
        match decision.verdict {
            Verdict::Accepted => self.accepted(entry, index, &judged, &mut differ),
            Verdict::Rejected(why) => reason(entry, why, &mut differ),
            Verdict::Duplicate => {}
        }
        if let Verdict::Rejected(_) = decision.verdict {
            differ.equal("Oncegate-Run-Id", entry.header("Oncegate-Run-Id"), None);
        }
        for absent in ["Oncegate-Judged", "Oncegate-Status"] {
            differ.equal(absent, entry.header(absent), None);
        }
        self.first(entry, decision, &mut differ);
        differ.payload(decision.payload, &entry.payload, &input.payload);
        self.differences.extend(differ.found);
        Some(index)
    }

    fn subject(&self, entry: &Entry, input: &Stored, decision: &Decision, to: &mut Differences) {
        let name = self.name;
        let kind = match decision.verdict {
            Verdict::Rejected(reason) => format!("{name}.rejected.{reason}"),
            _ => format!("{name}.accepted"),
        };
        let original = entry.header("Oncegate-Source-Subject");
        if decision.routable_entry(&input.subject) {
            let whole = format!("{kind}.{}", input.subject);
            to.equal("subject", entry.subject.as_str(), whole.as_str());
            to.equal("Oncegate-Source-Subject", original, None);
            return;
        }
        to.equal("subject", entry.subject.as_str(), kind.as_str());
        source_subject(entry, input, to);
    }

    /// Equal digests for equal payloads on one subject, and only for them.
    fn digest(&mut self, entry: &Entry, index: usize, judged: &Judged, to: &mut Differences) {
        let Judged { input, decision } = judged;
        let digest = entry.header("Oncegate-Digest");
        let Some(digest) = digest else {
            let may_lack = ["malformed_headers", "missing_key", "invalid_key", "malformed_payload"];
            let lacks = input.subject.contains('\u{FFFD}')
                || matches!(decision.verdict, Verdict::Rejected(reason) if may_lack.contains(&reason));
            to.expect("Oncegate-Digest", lacks, digest);
            return;
        };
        let Some(content) = &decision.content else {
            let known = decision.verdict == Verdict::Rejected("malformed_headers");
            to.expect("Oncegate-Digest", known && digest_form(digest), digest);
            return;
        };
        let kind = match content {
            Content::Json(_) => "json:",
            Content::Bytes(_) => "bytes:",
        };
        let good = digest_form(digest) && digest.starts_with(kind);
        to.expect("Oncegate-Digest", good, digest);
        if input.subject.contains('\u{FFFD}') {
            return;
        }
        let mark = (decision.era, input.subject.clone(), content.clone());
        let found = || Found { index, it: digest.to_string() };
        let known = self.digest_of.entry(mark).or_insert_with(found);
        known.index = index;
        to.equal("Oncegate-Digest of an equal payload", digest, known.it.as_str());
        let mark = (decision.era, digest.to_string());
        let this = (input.subject.clone(), content.clone());
        let found = || Found { index, it: this.clone() };
        let known = self.content_of.entry(mark).or_insert_with(found);
        known.index = index;
        to.expect("Oncegate-Digest of other payloads", known.it == this, digest);
    }

    fn accepted(&mut self, entry: &Entry, index: usize, judged: &Judged, to: &mut Differences) {
        let text = entry.header("Oncegate-Run-Id").unwrap_or_default();
        let id = Uuid::parse_str(text).unwrap_or_default();
        let good = id.get_version_num() == 7 && text.len() == 36 && text == text.to_lowercase();
        to.expect("Oncegate-Run-Id", good, text);
        let Judged { input, decision } = judged;
        self.model.ran(input, decision, id, entry.sequence);
        let before = self.run_ids.insert(text.into(), Found { index, it: entry.sequence });
        to.equal("another entry of this run id", before.map(|found| found.it), None);
        for absent in ["Oncegate-Reason", "Oncegate-Detail"] {
            to.equal(absent, entry.header(absent), None);
        }
        let header = |name| entry.header(name).map(String::from);
        let original = Original {
            sequence: entry.sequence,
            era: decision.era,
            digest: header("Oncegate-Digest"),
            source: header("Oncegate-Source"),
            run_id: header("Oncegate-Run-Id"),
        };
        self.originals.insert(index, original);
    }

    fn first(&self, entry: &Entry, decision: &Decision, to: &mut Differences) {
        let names = ["Digest", "Source", "Run-Id", "Sequence"];
        let told = names.map(|name| entry.header(&format!("Oncegate-First-{name}")));
        let mismatch = decision.verdict == Verdict::Rejected("payload_mismatch");
        let Some(index) = decision.first.filter(|_| mismatch) else {
            to.equal("Oncegate-First-*", told, [None; 4]);
            return;
        };
        let Some(original) = self.originals.get(&index) else {
            return;
        };
        let sequence = original.sequence.to_string();
        let [digest, others @ ..] = told;
        if original.era == decision.era {
            to.equal("Oncegate-First-Digest", digest, original.digest.as_deref());
        }
        let expected =
            [original.source.as_deref(), original.run_id.as_deref(), Some(sequence.as_str())];
        to.equal("Oncegate-First-Source, -Run-Id, -Sequence", others, expected);
    }

    /// A marker stands behind duplicates, or behind reports that repeat results, and counts them.
    fn marker(&mut self, entry: &Entry) {
        let Some(position) = entry.judged() else {
            return self.part(entry, "a marker without a position");
        };
        let count = match position.stream == self.reports_stream {
            true => self.repeats_up_to(entry, &position),
            false => self.duplicates_up_to(entry, &position),
        };
        let Some(count) = count else { return };
        let mut differ =
            Differences { place: format!("ledger {}", entry.sequence), found: Vec::new() };
        let told = entry.header("Oncegate-Duplicates");
        differ.equal("Oncegate-Duplicates", told, Some(count.to_string().as_str()));
        differ.expect("payload", entry.payload.is_empty(), entry.payload.len());
        self.differences.extend(differ.found);
    }

    /// How many actions there are between the last entry and this position: duplicates.
    fn duplicates_up_to(&mut self, entry: &Entry, to: &Position) -> Option<usize> {
        if self.judged.back().is_some_and(|last| self.position(&last.input) == *to) {
            return Some(0);
        }
        let Some(end) = self.coming.iter().position(|input| self.position(input) == *to) else {
            self.part(entry, "a position in the actions that goes backwards, or names none");
            return None;
        };
        let verdicts: Vec<Verdict> =
            (0..=end).filter_map(|_| self.judge()).map(|judged| judged.decision.verdict).collect();
        if verdicts.iter().any(|verdict| *verdict != Verdict::Duplicate) {
            self.part(entry, "a position in the actions behind one that has an entry");
            return None;
        }
        Some(end + 1)
    }

    fn leading(&mut self, entry: &Entry) {
        let body: Result<serde_json::Value, _> = serde_json::from_slice(&entry.payload);
        if !body.is_ok_and(|body| body.is_object()) {
            self.part(entry, "a leading entry whose payload is no JSON object");
        }
    }

    fn position(&self, input: &Stored) -> Position {
        Position { stream: self.stream.clone(), sequence: input.sequence, time: input.time }
    }

    /// Ledger and model have parted: what comes after would only confuse.
    fn part(&mut self, entry: &Entry, why: &str) {
        let text = format!(
            "ledger {}: {why}\n  found {} {:?}\n  expected next\n{}",
            entry.sequence,
            entry.subject,
            entry.headers,
            self.outlook()
        );
        self.differences.push(text);
        self.parted = true;
    }

    /// The last that was judged, and the next.
    fn outlook(&self) -> String {
        let last = self.judged.back().map(|Judged { input, decision }| {
            let (number, key, verdict) = (input.sequence, &decision.key, decision.verdict);
            format!("    last: action {number} {} {key:?}: {verdict:?}\n", input.subject)
        });
        let next = |what: &str, coming: &VecDeque<Stored>| -> String {
            let some = coming.iter().take(3);
            some.map(|input| {
                let block = input.headers.as_deref().unwrap_or_default();
                let headers = String::from_utf8_lossy(block).replace("\r\n", " ");
                format!("    {what} {} {} {headers}\n", input.sequence, input.subject)
            })
            .collect()
        };
        let reports = next("report", &self.reports_coming);
        format!("{}{}{reports}", last.unwrap_or_default(), next("action", &self.coming))
    }
}

/// The stream of reports of this gate.
pub fn reports_stream(name: &str) -> String {
    format!("{}_REPORTS", name.to_uppercase())
}

/// The original subject, as far as it fits.
fn source_subject(entry: &Entry, input: &Stored, to: &mut Differences) {
    let original = entry.header("Oncegate-Source-Subject");
    let told = original.unwrap_or_default();
    let odd = |c: char| c.is_control() || c == '\u{FFFD}';
    let as_far_as_it_fits = match input.subject.find(odd) {
        Some(end) => told.starts_with(&input.subject[..end]),
        None if input.subject.len() > 3_000 => {
            told.len() > 1_000 && input.subject.starts_with(told)
        }
        None => input.subject == told,
    };
    to.expect("Oncegate-Source-Subject", as_far_as_it_fits, original);
}

/// `usable`: scope and key, if there is a usable one.
fn key(entry: &Entry, usable: Option<(&Vec<String>, &String)>, to: &mut Differences) {
    if let Some((_, key)) = usable {
        to.equal("Idempotency-Key", entry.header("Idempotency-Key"), Some(key.as_str()));
    }
    let scope = entry.header("Oncegate-Scope");
    match usable.filter(|(scope, _)| !scope.is_empty()) {
        None => to.equal("Oncegate-Scope", scope, None),
        Some((expected, _)) => {
            let parts: Option<Vec<String>> = scope.and_then(|s| serde_json::from_str(s).ok());
            to.equal("Oncegate-Scope", parts.as_ref(), Some(expected));
        }
    }
}

/// The sender's own headers, in any order; `expected` is `None` if his block is not well made. The one
/// header for the server that may stand there is the fence of the gate itself.
fn headers(
    entry: &Entry,
    (expected, presence): (Option<&[(String, String)]>, Presence),
    keyed: bool,
    to: &mut Differences,
) {
    let fence = ("Nats-Expected-Last-Sequence".to_string(), (entry.sequence - 1).to_string());
    let Some(expected) = expected else {
        let forged = |header: &(String, String)| {
            header.0.to_lowercase().starts_with("nats-") && *header != fence
        };
        to.expect("headers", !entry.headers.iter().any(forged), &entry.headers);
        return;
    };
    let mut kept: Vec<_> = entry
        .headers
        .iter()
        .filter(|(name, _)| !name.starts_with("Oncegate-"))
        .filter(|header| **header != fence)
        .filter(|(name, _)| !keyed || name != "Idempotency-Key")
        .cloned()
        .collect();
    let mut expected = expected.to_vec();
    kept.sort();
    expected.sort();
    let none = presence == Presence::Absent || presence == Presence::Either && kept.is_empty();
    to.equal("sender's headers", kept, if none { Vec::new() } else { expected });
}

fn reason(entry: &Entry, why: &str, to: &mut Differences) {
    to.equal("Oncegate-Reason", entry.reason(), Some(why));
    let detail = entry.header("Oncegate-Detail").unwrap_or_default();
    to.expect("Oncegate-Detail", detail.contains(' '), detail);
}

/// `json:` or `bytes:` and 32 hex digits.
pub fn digest_form(digest: &str) -> bool {
    let hex = digest.strip_prefix("json:").or_else(|| digest.strip_prefix("bytes:"));
    hex.is_some_and(|hex| {
        hex.len() == 32 && hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    })
}

/// What is wrong with one entry.
struct Differences {
    place: String,
    found: Vec<String>,
}

impl Differences {
    fn of(entry: &Entry, input: &Stored) -> Self {
        let shown: String = entry.subject.chars().take(80).collect();
        Self {
            place: format!("ledger {} ({shown}), input {}", entry.sequence, input.sequence),
            found: Vec::new(),
        }
    }

    fn equal<T: PartialEq + std::fmt::Debug>(&mut self, what: &str, found: T, expected: T) {
        if found != expected {
            let text = format!("found {found:?}, expected {expected:?}");
            self.tell(what, &text);
        }
    }

    fn expect(&mut self, what: &str, good: bool, found: impl std::fmt::Debug) {
        if !good {
            self.tell(what, &format!("{found:?} can't be right"));
        }
    }

    fn payload(&mut self, presence: Presence, found: &[u8], published: &[u8]) {
        let good = match presence {
            Presence::Whole => found == published,
            Presence::Absent => found.is_empty(),
            Presence::Either => found.is_empty() || found == published,
        };
        let text = format!("{} bytes, {presence:?} expected", found.len());
        self.expect("payload", good, text);
    }

    fn tell(&mut self, what: &str, text: &str) {
        let text: String = text.chars().take(600).collect();
        self.found.push(format!("{}: {what}: {text}", self.place));
    }
}
