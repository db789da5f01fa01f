//! The ledger against the model, entry by entry, with a text that says what differs.
//!
//! Inputs and entries may come bit by bit, and what no later entry can speak of may be forgotten: so a
//! long run is compared in little memory.

use std::collections::{HashMap, VecDeque};

use super::ledger::{Entry, Position};
use super::model::{Content, Decision, Presence, Rules, Verdict};
use super::streams::Stored;

/// An input message and what the model decides on it.
#[derive(Debug, Clone)]
pub struct Judged {
    pub input: Stored,
    pub decision: Decision,
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
    rules: Rules,
    stream: String,
    /// Inputs from index `base` on; those before are done with.
    judged: VecDeque<Judged>,
    base: usize,
    /// Index of the next input that no entry has named yet.
    next: usize,
    originals: HashMap<usize, Original>,
    digest_of: HashMap<(usize, String, Content), Found<String>>,
    content_of: HashMap<(usize, String), Found<(String, Content)>>,
    run_ids: HashMap<String, Found<u64>>,
    differences: Vec<String>,
    parted: bool,
}

impl Comparison {
    pub fn new(rules: &Rules, stream: &str) -> Self {
        Self {
            rules: rules.clone(),
            stream: stream.into(),
            judged: VecDeque::new(),
            base: 0,
            next: 0,
            originals: HashMap::new(),
            digest_of: HashMap::new(),
            content_of: HashMap::new(),
            run_ids: HashMap::new(),
            differences: Vec::new(),
            parted: false,
        }
    }

    /// Compares all at once; `Err` holds a readable account. `Ok` maps inputs to their entries.
    pub fn of<'a>(
        rules: &Rules,
        stream: &str,
        judged: &[Judged],
        ledger: &'a [Entry],
    ) -> Result<HashMap<usize, &'a Entry>, String> {
        let mut comparison = Self::new(rules, stream);
        judged.iter().for_each(|judged| comparison.expect(judged.clone()));
        let entries = ledger.iter().filter_map(|entry| Some((comparison.take(entry)?, entry)));
        let entries = entries.collect();
        comparison.end()?;
        Ok(entries)
    }

    /// The next input.
    pub fn expect(&mut self, judged: Judged) {
        self.judged.push_back(judged);
    }

    /// The next entry, after the inputs that it can name; the index of the input that it decides.
    pub fn take(&mut self, entry: &Entry) -> Option<usize> {
        if self.parted || self.differences.len() >= TOLD {
            return None;
        }
        match entry.kind() {
            "accepted" | "rejected" => return self.verdict(entry),
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
    pub fn end(mut self) -> Result<(), String> {
        if self.differences.is_empty() && self.next < self.expected() {
            let rest = self.outlook(self.next);
            self.differences.push(format!("the ledger ends before these inputs:\n{rest}"));
        }
        self.so_far()
    }

    /// No later entry speaks of an input before this index, but for the last one that was named.
    pub fn forget_before(&mut self, index: usize) {
        let index = index.min(self.next.saturating_sub(1));
        while self.base < index {
            self.judged.pop_front();
            self.base += 1;
        }
        self.originals.retain(|own, _| *own >= index);
        self.digest_of.retain(|_, found| found.index >= index);
        self.content_of.retain(|_, found| found.index >= index);
        self.run_ids.retain(|_, found| found.index >= index);
    }

    /// One more than the index of the last input.
    fn expected(&self) -> usize {
        self.base + self.judged.len()
    }

    fn input(&self, index: usize) -> &Judged {
        &self.judged[index - self.base]
    }

    /// An accepted or rejected entry must be the one of the next input that has an entry.
    fn verdict(&mut self, entry: &Entry) -> Option<usize> {
        let expected = (self.next..self.expected())
            .find(|index| self.input(*index).decision.verdict != Verdict::Duplicate);
        let Some(index) = expected else {
            self.part(entry, "no input is left that has an entry");
            return None;
        };
        let judged = self.input(index).clone();
        let Judged { input, decision } = &judged;
        if entry.source() != Some(self.position(input)) {
            self.part(entry, "not the entry of the next input");
            return None;
        }
        self.next = index + 1;
        let mut differ = Differences::of(entry, input);
        self.subject(entry, input, decision, &mut differ);
        self.key(entry, decision, &mut differ);
        self.headers(entry, decision, &mut differ);
        self.digest(entry, index, &judged, &mut differ);
        match decision.verdict {
            Verdict::Accepted => self.accepted(entry, index, decision.era, &mut differ),
            _ => self.reason(entry, decision, &mut differ),
        }
        self.first(entry, decision, &mut differ);
        differ.payload(decision.payload, &entry.payload, &input.payload);
        self.differences.extend(differ.found);
        Some(index)
    }

    fn subject(&self, entry: &Entry, input: &Stored, decision: &Decision, to: &mut Differences) {
        let name = self.rules.name;
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

    fn key(&self, entry: &Entry, decision: &Decision, to: &mut Differences) {
        if let Some(key) = &decision.key {
            to.equal("Idempotency-Key", entry.header("Idempotency-Key"), Some(key));
        }
        let scope = entry.header("Oncegate-Scope");
        if decision.scope.is_empty() {
            to.equal("Oncegate-Scope", scope, None);
        } else {
            let parts: Option<Vec<String>> = scope.and_then(|s| serde_json::from_str(s).ok());
            to.equal("Oncegate-Scope", parts.as_ref(), Some(&decision.scope));
        }
    }

    /// The publisher's own headers, in any order. The one header for the server that may stand
    /// there is the fence of the gate itself.
    fn headers(&self, entry: &Entry, decision: &Decision, to: &mut Differences) {
        let fence = ("Nats-Expected-Last-Sequence".to_string(), (entry.sequence - 1).to_string());
        let Some(expected) = &decision.headers else {
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
            .filter(|(name, _)| decision.key.is_none() || name != "Idempotency-Key")
            .cloned()
            .collect();
        let mut expected = expected.clone();
        kept.sort();
        expected.sort();
        if kept.is_empty() && decision.kept_headers == Presence::Either {
            return;
        }
        to.equal("publisher's headers", kept, expected);
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

    fn accepted(&mut self, entry: &Entry, index: usize, era: usize, to: &mut Differences) {
        let text = entry.header("Oncegate-Run-Id").unwrap_or_default();
        let version = uuid::Uuid::parse_str(text).map(|id| id.get_version_num());
        let good = version == Ok(7) && text.len() == 36 && text == text.to_lowercase();
        to.expect("Oncegate-Run-Id", good, text);
        let before = self.run_ids.insert(text.into(), Found { index, it: entry.sequence });
        to.equal("another entry of this run id", before.map(|found| found.it), None);
        for absent in ["Oncegate-Reason", "Oncegate-Detail"] {
            to.equal(absent, entry.header(absent), None);
        }
        let header = |name| entry.header(name).map(String::from);
        let original = Original {
            sequence: entry.sequence,
            era,
            digest: header("Oncegate-Digest"),
            source: header("Oncegate-Source"),
            run_id: header("Oncegate-Run-Id"),
        };
        self.originals.insert(index, original);
    }

    fn reason(&self, entry: &Entry, decision: &Decision, to: &mut Differences) {
        let Verdict::Rejected(reason) = decision.verdict else {
            return;
        };
        to.equal("Oncegate-Reason", entry.reason(), Some(reason));
        let detail = entry.header("Oncegate-Detail").unwrap_or_default();
        to.expect("Oncegate-Detail", detail.contains(' '), detail);
        to.equal("Oncegate-Run-Id", entry.header("Oncegate-Run-Id"), None);
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

    /// A marker stands behind duplicates only, and counts them.
    fn marker(&mut self, entry: &Entry) {
        let Some(position) = entry.judged() else {
            return self.part(entry, "a marker without a position");
        };
        let named = (self.base..self.expected())
            .rev()
            .find(|index| self.position(&self.input(*index).input) == position);
        let Some(end) = named.map(|index| index + 1).filter(|end| *end >= self.next) else {
            return self.part(entry, "a marker that goes backwards, or names no input");
        };
        let mut stretch = (self.next..end).map(|index| self.input(index));
        if stretch.any(|judged| judged.decision.verdict != Verdict::Duplicate) {
            return self.part(entry, "a marker that passes over an input that has an entry");
        }
        let told = entry.header("Oncegate-Duplicates");
        let mut differ = Differences::of(entry, &self.input(end - 1).input);
        let count = (end - self.next).to_string();
        differ.equal("Oncegate-Duplicates", told, Some(count.as_str()));
        differ.expect("payload", entry.payload.is_empty(), entry.payload.len());
        self.differences.extend(differ.found);
        self.next = end;
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
            self.outlook(self.next)
        );
        self.differences.push(text);
        self.parted = true;
    }

    fn outlook(&self, from: usize) -> String {
        (from..self.expected())
            .take(4)
            .map(|index| self.input(index))
            .map(|Judged { input, decision }| {
                let (number, key) = (input.sequence, &decision.key);
                let verdict = decision.verdict;
                format!("    input {number} {} {key:?}: {verdict:?}\n", input.subject)
            })
            .collect()
    }
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
