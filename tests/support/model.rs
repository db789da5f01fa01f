//! The contract as a simple program: actions and reports in the ledger's order, decisions out. It shares
//! nothing with the worker, keeps everything in memory, and is in no hurry.

pub mod reports;

use std::collections::HashMap;
use std::time::Duration;

use jiff::Timestamp;
use uuid::Uuid;

use super::gate::Settings;
use super::json::Json;
use super::streams::Stored;
use reports::Run;

/// The settings that decide, as a test chooses them.
#[derive(Debug, Clone)]
pub struct Rules {
    pub name: &'static str,
    pub from: Vec<&'static str>,
    pub scope: Vec<&'static str>,
    pub max_bytes: usize,
    pub forward_missing: bool,
    pub compare: &'static str,
    pub ignore: Vec<&'static str>,
    pub window: Duration,
    /// The server's limit.
    pub max_payload: usize,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            name: "oncegate",
            from: vec!["header:Idempotency-Key", "json:/idempotency_key"],
            scope: Vec::new(),
            max_bytes: 255,
            forward_missing: false,
            compare: "auto",
            ignore: Vec::new(),
            window: Duration::from_hours(7 * 24),
            max_payload: 1 << 20,
        }
    }
}

impl Rules {
    pub fn window(seconds: u64) -> Self {
        Self { window: Duration::from_secs(seconds), ..Self::default() }
    }

    /// Writes them into a configuration.
    pub fn write(&self, settings: &mut Settings) {
        let missing = if self.forward_missing { "forward" } else { "reject" };
        settings.set("name", format!("{:?}", self.name));
        settings.set("key.from", format!("{:?}", self.from));
        settings.set("key.scope", format!("{:?}", self.scope));
        settings.set("key.max_bytes", self.max_bytes.to_string());
        settings.set("key.missing", format!("{missing:?}"));
        settings.set("payload.compare", format!("{:?}", self.compare));
        settings.set("payload.ignore", format!("{:?}", self.ignore));
        let window = format!("\"{}s\"", self.window.as_secs());
        settings.set("retention.window", window);
    }

    /// Whether a key that was accepted under `other` is judged by its digest alone.
    fn judge_alike(&self, other: &Self) -> bool {
        let of = |rules: &Self| {
            let Rules { from, scope, max_bytes, forward_missing, compare, ignore, .. } =
                rules.clone();
            (from, scope, max_bytes, forward_missing, compare, ignore)
        };
        of(self) == of(other)
    }

    fn left_out(&self) -> Vec<String> {
        let from = self.from.iter().filter_map(|s| s.strip_prefix("json:"));
        self.ignore.iter().copied().chain(from).map(String::from).collect()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Accepted,
    Duplicate,
    Rejected(&'static str),
}

/// What two payloads must share to be the same: the subject, and the value or the bytes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Content {
    Json(Json),
    Bytes(Vec<u8>),
}

/// Whether a part of the message must be in the entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    Whole,
    Absent,
    Either,
}

#[derive(Debug, Clone)]
pub struct Decision {
    pub verdict: Verdict,
    pub key: Option<String>,
    pub scope: Vec<String>,
    /// `None` where the payload is unusable.
    pub content: Option<Content>,
    /// The publisher's headers that are his to keep; `None` if the block is not well made.
    pub headers: Option<Vec<(String, String)>>,
    pub payload: Presence,
    pub kept_headers: Presence,
    /// The accepted original, by its place among the actions.
    pub first: Option<usize>,
    /// Which rules were in force.
    pub era: usize,
}

impl Decision {
    pub fn routable_entry(&self, subject: &str) -> bool {
        self.verdict != Verdict::Rejected("unroutable") && routable(subject)
    }
}

struct Original {
    input: usize,
    /// Where its entry stands.
    sequence: u64,
    rules: Rules,
    expires: Timestamp,
    message: Stored,
    run: Uuid,
}

type FullKey = (Vec<String>, String);

pub struct Model {
    rules: Rules,
    era: usize,
    seen: HashMap<FullKey, Original>,
    runs: HashMap<Uuid, Run>,
    /// The ledger has dropped its entries before this sequence.
    kept_from: u64,
    /// The highest source time named in the ledger so far.
    clock: Timestamp,
    /// As it was at the last entry of a report.
    clock_of_reports: Timestamp,
    judged: usize,
}

impl Model {
    pub fn new(rules: Rules) -> Self {
        Self {
            rules,
            era: 0,
            seen: HashMap::new(),
            runs: HashMap::new(),
            kept_from: 0,
            clock: Timestamp::MIN,
            clock_of_reports: Timestamp::MIN,
            judged: 0,
        }
    }

    /// From here on these rules are in force.
    pub fn change(&mut self, rules: Rules) {
        self.rules = rules;
        self.era += 1;
    }

    /// From here on the ledger lacks the entries before this sequence.
    pub fn lose_before(&mut self, sequence: u64) {
        self.kept_from = sequence;
    }

    /// Drops what no later message can see; the place of the oldest action that one still can.
    pub fn forget_expired(&mut self) -> usize {
        let Self { seen, runs, clock, clock_of_reports, judged, .. } = self;
        seen.retain(|_, original| original.expires > *clock);
        runs.retain(|_, run| run.expires > *clock_of_reports);
        seen.values().map(|original| original.input).min().unwrap_or(*judged)
    }

    /// The next action. If it is accepted, its entry is awaited by [`Model::ran`].
    pub fn judge(&mut self, message: &Stored) -> Decision {
        self.judged += 1;
        let now = self.clock.max(message.time);
        let mut decision = self.read(message);
        if decision.verdict == Verdict::Accepted {
            self.compare(message, now, &mut decision);
        }
        if decision.verdict == Verdict::Accepted {
            decision.verdict = self.forwardable(message, &decision);
        }
        if decision.verdict != Verdict::Duplicate {
            self.clock = now;
        }
        self.room(message, &mut decision);
        decision
    }

    /// The last action was accepted, as this run, by the entry at this sequence.
    pub fn ran(&mut self, message: &Stored, decision: &Decision, run: Uuid, sequence: u64) {
        let Some(key) = &decision.key else { return };
        let key = (decision.scope.clone(), key.clone());
        let expires = self.clock + self.rules.window;
        self.runs.insert(run, Run { key: key.clone(), expires, result: None, released: false });
        let original = Original {
            input: self.judged - 1,
            sequence,
            rules: self.rules.clone(),
            expires,
            message: message.clone(),
            run,
        };
        self.seen.insert(key, original);
    }

    /// All that the message alone decides.
    fn read(&self, message: &Stored) -> Decision {
        let mut decision = Decision {
            verdict: Verdict::Accepted,
            key: None,
            scope: Vec::new(),
            content: None,
            headers: None,
            payload: Presence::Whole,
            kept_headers: Presence::Whole,
            first: None,
            era: self.era,
        };
        let block = message.headers.as_deref();
        let Some(headers) = block.map_or(Some(Vec::new()), parse_block) else {
            decision.verdict = Verdict::Rejected("malformed_headers");
            return decision;
        };
        let json = Json::strict(&message.payload);
        let part = |source: &str| self.part(source, &message.subject, &headers, json.as_ref());
        let scope: Vec<Part> = self.rules.scope.iter().map(|source| part(source)).collect();
        let scope: Option<Vec<String>> = scope.into_iter().map(Part::good).collect();
        let key = self.rules.from.iter().map(|source| part(source));
        match (key.into_iter().find(|key| *key != Part::Missing), scope) {
            (None, _) if self.rules.forward_missing => {}
            (None, _) => decision.verdict = Verdict::Rejected("missing_key"),
            (Some(Part::Good(key)), Some(scope)) => {
                decision.key = Some(key);
                decision.scope = scope;
            }
            _ => decision.verdict = Verdict::Rejected("invalid_key"),
        }
        decision.headers = Some(own_headers(headers, decision.key.is_some()));
        decision.content = content(&self.rules, &message.payload);
        if decision.content.is_none() && decision.verdict == Verdict::Accepted {
            decision.verdict = Verdict::Rejected("malformed_payload");
        }
        decision
    }

    /// What the key's history decides.
    fn compare(&self, message: &Stored, now: Timestamp, decision: &mut Decision) {
        let Some(key) = &decision.key else { return };
        let Some(original) = self.seen.get(&(decision.scope.clone(), key.clone())) else {
            return;
        };
        if now >= original.expires {
            return;
        }
        if original.sequence < self.kept_from && !original.rules.judge_alike(&self.rules) {
            decision.verdict = Verdict::Rejected("rules_changed");
            return;
        }
        let same = original.message.subject == message.subject
            && content(&self.rules, &original.message.payload) == decision.content;
        decision.verdict =
            if same { Verdict::Duplicate } else { Verdict::Rejected("payload_mismatch") };
        decision.first = Some(original.input);
    }

    /// What the way to the ledger decides.
    fn forwardable(&self, message: &Stored, decision: &Decision) -> Verdict {
        let block = block_size(decision.headers.as_deref().unwrap_or_default());
        if self.fits(message, block, message.payload.len()) == Presence::Absent {
            return Verdict::Rejected("too_large");
        }
        if routable(&message.subject) { Verdict::Accepted } else { Verdict::Rejected("unroutable") }
    }

    /// How much of the message goes into its entry.
    fn room(&self, message: &Stored, decision: &mut Decision) {
        let block = block_size(decision.headers.as_deref().unwrap_or_default());
        if self.fits(message, block, message.payload.len()) == Presence::Whole {
            return;
        }
        assert!(
            matches!(decision.verdict, Verdict::Rejected(_) | Verdict::Duplicate),
            "{decision:?}"
        );
        if self.fits(message, block, 0) == Presence::Whole {
            decision.payload = Presence::Absent;
        } else {
            decision.payload = Presence::Either;
            decision.kept_headers = Presence::Either;
        }
    }

    /// Whether so much fits into one entry beside the gate's own headers. The exact border is
    /// the worker's affair; a test that comes near it is a bad test.
    fn fits(&self, message: &Stored, block: usize, payload: usize) -> Presence {
        let least = 170;
        let most = 4_000 + message.subject.len();
        if block + least > 65_535 || block + least + payload > self.rules.max_payload {
            return Presence::Absent;
        }
        assert!(
            block + most <= 65_535 && block + most + payload <= self.rules.max_payload,
            "input {} is too near the border",
            message.sequence
        );
        Presence::Whole
    }

    fn part(
        &self,
        source: &str,
        subject: &str,
        headers: &[(String, String)],
        json: Option<&Json>,
    ) -> Part {
        let found = match source.split_once(':').unwrap() {
            ("header", name) => {
                let mut values = headers
                    .iter()
                    .filter(|(own, _)| own.eq_ignore_ascii_case(name))
                    .map(|(_, value)| value);
                match values.next() {
                    None => Part::Missing,
                    Some(first) if values.all(|value| value == first) => Part::Good(first.clone()),
                    Some(_) => Part::Bad,
                }
            }
            ("json", pointer) => match json.and_then(|json| json.pointer(pointer)) {
                None => Part::Missing,
                Some(Json::Text(text)) => Part::Good(text.clone()),
                Some(_) => Part::Bad,
            },
            ("subject", number) => {
                let number: usize = number.parse().unwrap();
                let token = subject.split('.').nth(number - 1);
                token.map_or(Part::Missing, |token| Part::Good(token.into()))
            }
            _ => panic!("no such source: {source}"),
        };
        match found {
            Part::Good(text) if !usable(&text, self.rules.max_bytes) => Part::Bad,
            found => found,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Missing,
    Bad,
    Good(String),
}

impl Part {
    fn good(self) -> Option<String> {
        match self {
            Self::Good(text) => Some(text),
            _ => None,
        }
    }
}

fn usable(text: &str, max_bytes: usize) -> bool {
    (1..=max_bytes).contains(&text.len())
        && text.trim() == text
        && !text.chars().any(char::is_control)
}

fn content(rules: &Rules, payload: &[u8]) -> Option<Content> {
    let json = (rules.compare != "bytes").then(|| Json::strict(payload));
    match json.flatten() {
        Some(json) => Some(Content::Json(json.without(&rules.left_out()))),
        None if rules.compare == "json" => None,
        None => Some(Content::Bytes(payload.to_vec())),
    }
}

/// Whether this subject can stand behind the gate's own prefix.
fn routable(subject: &str) -> bool {
    assert!(!(3_500..3_900).contains(&subject.len()), "too near the border");
    !subject.contains('\u{FFFD}') && !subject.contains(char::is_whitespace) && subject.len() < 3_900
}

fn own_headers(headers: Vec<(String, String)>, keyed: bool) -> Vec<(String, String)> {
    let foreign = |name: &str| {
        let name = name.to_ascii_lowercase();
        name.starts_with("nats-")
            || name.starts_with("oncegate-")
            || (keyed && name == "idempotency-key")
    };
    headers.into_iter().filter(|(name, _)| !foreign(name)).collect()
}

fn block_size(headers: &[(String, String)]) -> usize {
    let lines = headers.iter().map(|(name, value)| name.len() + value.len() + 4);
    12 + lines.sum::<usize>()
}

/// The headers of a block that is exactly as the contract says; values without the white space
/// around them.
pub fn parse_block(block: &[u8]) -> Option<Vec<(String, String)>> {
    let text = std::str::from_utf8(block).ok()?;
    let lines = text.strip_prefix("NATS/1.0\r\n")?.strip_suffix("\r\n")?;
    if lines.is_empty() {
        return Some(Vec::new());
    }
    let lines = lines.strip_suffix("\r\n")?;
    lines
        .split("\r\n")
        .map(|line| {
            let (name, value) = line.split_once(':')?;
            let plain = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic());
            let clean = !value.chars().any(|c| c.is_control() && c != '\t');
            let value = value.trim_matches([' ', '\t']);
            (plain && clean).then(|| (name.to_string(), value.to_string()))
        })
        .collect()
}
