//! The ledger against the model, entry by entry, with a text that says what differs.

use std::collections::HashMap;

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

pub struct Comparison<'a> {
    rules: &'a Rules,
    stream: &'a str,
    judged: &'a [Judged],
    /// Index of the next input that no entry has named yet.
    next: usize,
    /// The entry of each input that has one.
    entries: HashMap<usize, &'a Entry>,
    digest_of: HashMap<(usize, String, Content), String>,
    content_of: HashMap<(usize, String), (String, Content)>,
    run_ids: HashMap<String, u64>,
    differences: Vec<String>,
}

impl<'a> Comparison<'a> {
    /// Compares; `Err` holds a readable account. `Ok` maps inputs to their entries.
    pub fn of(
        rules: &'a Rules,
        stream: &'a str,
        judged: &'a [Judged],
        ledger: &'a [Entry],
    ) -> Result<HashMap<usize, &'a Entry>, String> {
        let mut comparison = Self {
            rules,
            stream,
            judged,
            next: 0,
            entries: HashMap::new(),
            digest_of: HashMap::new(),
            content_of: HashMap::new(),
            run_ids: HashMap::new(),
            differences: Vec::new(),
        };
        for entry in ledger {
            let in_step = match entry.kind() {
                "accepted" | "rejected" => comparison.verdict(entry),
                "judged" => comparison.marker(entry),
                "leading" => comparison.leading(entry),
                _ => comparison.lost(entry, "no entry of the gate"),
            };
            if !in_step || comparison.differences.len() >= TOLD {
                break;
            }
        }
        if comparison.differences.is_empty() && comparison.next < judged.len() {
            let rest = comparison.outlook(comparison.next);
            comparison.differences.push(format!("the ledger ends before these inputs:\n{rest}"));
        }
        if comparison.differences.is_empty() {
            Ok(comparison.entries)
        } else {
            Err(comparison.differences.join("\n"))
        }
    }

    /// An accepted or rejected entry must be the one of the next input that has an entry.
    fn verdict(&mut self, entry: &'a Entry) -> bool {
        let expected = (self.next..self.judged.len())
            .find(|index| self.judged[*index].decision.verdict != Verdict::Duplicate);
        let Some(index) = expected else {
            return self.lost(entry, "no input is left that has an entry");
        };
        let Judged { input, decision } = &self.judged[index];
        if entry.source() != Some(self.position(input)) {
            return self.lost(entry, "not the entry of the next input");
        }
        self.next = index + 1;
        self.entries.insert(index, entry);
        let mut differ = Differences::of(entry, input);
        self.subject(entry, input, decision, &mut differ);
        self.key(entry, decision, &mut differ);
        self.headers(entry, decision, &mut differ);
        self.digest(entry, input, decision, &mut differ);
        match decision.verdict {
            Verdict::Accepted => self.run_id(entry, &mut differ),
            _ => self.reason(entry, decision, &mut differ),
        }
        self.first(entry, decision, &mut differ);
        differ.payload(decision.payload, &entry.payload, &input.payload);
        self.differences.extend(differ.found);
        true
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
    fn digest(&mut self, entry: &Entry, input: &Stored, decision: &Decision, to: &mut Differences) {
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
        let known = self.digest_of.entry(mark).or_insert_with(|| digest.into());
        to.equal("Oncegate-Digest of an equal payload", digest, known.as_str());
        let mark = (decision.era, digest.to_string());
        let this = (input.subject.clone(), content.clone());
        let known = self.content_of.entry(mark).or_insert(this.clone());
        to.expect("Oncegate-Digest of other payloads", *known == this, digest);
    }

    fn run_id(&mut self, entry: &Entry, to: &mut Differences) {
        let text = entry.header("Oncegate-Run-Id").unwrap_or_default();
        let version = uuid::Uuid::parse_str(text).map(|id| id.get_version_num());
        let good = version == Ok(7) && text.len() == 36 && text == text.to_lowercase();
        to.expect("Oncegate-Run-Id", good, text);
        let before = self.run_ids.insert(text.into(), entry.sequence);
        to.equal("another entry of this run id", before, None);
        for absent in ["Oncegate-Reason", "Oncegate-Detail"] {
            to.equal(absent, entry.header(absent), None);
        }
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
        let Some(original) = self.entries.get(&index) else {
            return;
        };
        let sequence = original.sequence.to_string();
        let of_original = |name| original.header(name);
        let [digest, others @ ..] = told;
        if self.judged[index].decision.era == decision.era {
            to.equal("Oncegate-First-Digest", digest, of_original("Oncegate-Digest"));
        }
        let expected = [
            of_original("Oncegate-Source"),
            of_original("Oncegate-Run-Id"),
            Some(sequence.as_str()),
        ];
        to.equal("Oncegate-First-Source, -Run-Id, -Sequence", others, expected);
    }

    /// A marker stands behind duplicates only, and counts them.
    fn marker(&mut self, entry: &'a Entry) -> bool {
        let Some(position) = entry.judged() else {
            return self.lost(entry, "a marker without a position");
        };
        let named = (0..self.judged.len())
            .rev()
            .find(|index| self.position(&self.judged[*index].input) == position);
        let Some(end) = named.map(|index| index + 1).filter(|end| *end >= self.next) else {
            return self.lost(entry, "a marker that goes backwards, or names no input");
        };
        let stretch = &self.judged[self.next..end];
        if stretch.iter().any(|judged| judged.decision.verdict != Verdict::Duplicate) {
            return self.lost(entry, "a marker that passes over an input that has an entry");
        }
        let told = entry.header("Oncegate-Duplicates");
        let mut differ = Differences::of(entry, &self.judged[end.max(1) - 1].input);
        let count = stretch.len().to_string();
        differ.equal("Oncegate-Duplicates", told, Some(count.as_str()));
        differ.expect("payload", entry.payload.is_empty(), entry.payload.len());
        self.differences.extend(differ.found);
        self.next = end;
        true
    }

    fn leading(&mut self, entry: &Entry) -> bool {
        let body: Result<serde_json::Value, _> = serde_json::from_slice(&entry.payload);
        if body.is_ok_and(|body| body.is_object()) {
            return true;
        }
        self.lost(entry, "a leading entry whose payload is no JSON object")
    }

    fn position(&self, input: &Stored) -> Position {
        Position { stream: self.stream.into(), sequence: input.sequence, time: input.time }
    }

    /// Ledger and model have parted: what comes after would only confuse.
    fn lost(&mut self, entry: &Entry, why: &str) -> bool {
        let text = format!(
            "ledger {}: {why}\n  found {} {:?}\n  expected next\n{}",
            entry.sequence,
            entry.subject,
            entry.headers,
            self.outlook(self.next)
        );
        self.differences.push(text);
        false
    }

    fn outlook(&self, from: usize) -> String {
        self.judged[from..]
            .iter()
            .take(4)
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
