//! The model: the input judged by a simple program of its own, and every entry of the ledger held to it
//! as it is stored; the tables, and what is shown to the outside, held to the ledger.

use std::collections::{BTreeMap, HashMap};

use jiff::Timestamp;
use oncegate::gate::engine::{Commit, Decided, Outcome};
use serde_json::Value;

use crate::ledger_server::Stored;
use crate::plan::RuleSet;
use crate::publisher::{KeyHeader, Sent};

/// What must not be.
pub type Wrong = String;

macro_rules! hold {
    ($holds:expr, $($why:tt)*) => {
        if !$holds {
            return Err(format!($($why)*));
        }
    };
}

/// A message of the input, as it was published.
pub struct Message {
    pub sent: Sent,
    pub time_ns: i64,
    /// Dropped by the stream's own limits.
    pub dropped: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Accepted,
    Duplicate,
    Rejected(&'static str),
    /// The stream dropped it before its turn.
    Missed,
}

#[derive(Clone)]
struct Original {
    sent: Sent,
    expires_ns: i64,
    ledger_sequence: u64,
}

/// Where things stand after an entry.
#[derive(Clone, Default)]
struct Standing {
    born: usize,
    sequence: u64,
    time_ns: i64,
    now_ns: i64,
    put: Option<Put>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Put {
    key: String,
    sequence: u64,
    time_ns: i64,
    expires_ns: i64,
    ledger_sequence: u64,
}

#[derive(Default)]
pub struct Truth {
    /// By birth of the stream, then by sequence.
    pub streams: Vec<BTreeMap<u64, Message>>,
    verdicts: Vec<BTreeMap<u64, (Verdict, u64)>>,
    keys: HashMap<u8, Original>,
    in_force: Option<(i64, RuleSet)>,
    standing: Standing,
    /// By ledger sequence; the first is before any entry.
    history: Vec<Standing>,
    rule_names: Vec<(String, RuleSet)>,
    pub entries: u64,
    pub duplicates: u64,
    pub missed: u64,
}

impl Truth {
    pub fn new() -> Self {
        let name = |rules: RuleSet| (rules.compiled().fingerprint().to_string(), rules);
        Self {
            streams: vec![BTreeMap::new()],
            verdicts: vec![BTreeMap::new()],
            history: vec![Standing::default()],
            rule_names: RuleSet::ALL.map(name).to_vec(),
            ..Self::default()
        }
    }

    pub fn published(&mut self, sequence: u64, sent: Sent, time_ns: i64) {
        let stream = self.streams.last_mut().unwrap();
        stream.insert(sequence, Message { sent, time_ns, dropped: false });
    }

    pub fn dropped(&mut self, sequence: u64) {
        if let Some(message) = self.streams.last_mut().unwrap().get_mut(&sequence) {
            message.dropped = true;
        }
    }

    pub fn recreated(&mut self) {
        self.streams.push(BTreeMap::new());
        self.verdicts.push(BTreeMap::new());
    }

    /// Everything that was published is judged.
    pub fn is_complete(&self) -> bool {
        let born = self.streams.len() - 1;
        let last = self.streams[born].iter().rev().find(|(_, message)| !message.dropped);
        let at = if self.standing.born == born { self.standing.sequence } else { 0 };
        last.is_none_or(|(sequence, _)| *sequence <= at)
    }

    pub fn ledger_sequence(&self) -> u64 {
        self.history.len() as u64 - 1
    }

    /// A message that somebody else has put into the ledger.
    pub fn on_stranger(&mut self) {
        self.standing.put = None;
        self.history.push(self.standing.clone());
    }

    /// An entry that a worker has put into the ledger.
    pub fn on_entry(&mut self, entry: &Stored) -> Result<(), Wrong> {
        hold!(entry.sequence == self.history.len() as u64, "ledger sequence {}", entry.sequence);
        self.entries += 1;
        self.standing.put = None;
        let kind = entry.subject.split('.').nth(1).unwrap_or_default();
        match kind {
            "accepted" | "rejected" => self.on_decision(entry, kind)?,
            "judged" => self.on_marker(entry)?,
            "leading" => self.on_leading(entry)?,
            _ => return Err(format!("an entry on {}", entry.subject)),
        }
        self.history.push(self.standing.clone());
        Ok(())
    }

    fn on_decision(&mut self, entry: &Stored, kind: &str) -> Result<(), Wrong> {
        let (sequence, time_ns) = position(entry, "Oncegate-Source")?;
        self.pass_over(sequence, time_ns, entry.sequence)?;
        let at = self.standing.born;
        let sent = self.streams[at][&sequence].sent.clone();
        let verdict = self.judge(&sent, time_ns)?;
        let reason = header(entry, "Oncegate-Reason");
        let fits = match verdict {
            Verdict::Accepted => kind == "accepted" && reason.is_none(),
            Verdict::Rejected(why) => kind == "rejected" && reason == Some(why),
            Verdict::Duplicate | Verdict::Missed => false,
        };
        hold!(fits, "message {sequence} is {verdict:?}; the ledger has it {kind} {reason:?}");
        let subject = entry.subject.ends_with(&format!(".{}", sent.subject()));
        hold!(subject, "message {sequence} on {}", entry.subject);
        hold!(entry.payload == sent.payload(), "the payload of message {sequence}");
        self.check_first(entry, &sent, verdict)?;
        self.standing.now_ns = self.standing.now_ns.max(time_ns);
        self.settle(sequence, time_ns, verdict, entry.sequence);
        if let (Verdict::Accepted, KeyHeader::Key(key)) = (verdict, sent.key) {
            let window_ns = self.in_force.map_or(0, |(window_ns, _)| window_ns);
            let expires_ns = self.standing.now_ns + window_ns;
            let ledger_sequence = entry.sequence;
            let put = Put { key: sent.key_text(), sequence, time_ns, expires_ns, ledger_sequence };
            self.standing.put = Some(put);
            self.keys.insert(key, Original { sent, expires_ns, ledger_sequence });
        }
        Ok(())
    }

    fn check_first(&self, entry: &Stored, sent: &Sent, verdict: Verdict) -> Result<(), Wrong> {
        let first = header(entry, "Oncegate-First-Sequence").and_then(|text| text.parse().ok());
        let known = match (verdict, sent.key) {
            (Verdict::Rejected("payload_mismatch"), KeyHeader::Key(key)) => {
                self.keys.get(&key).map(|original| original.ledger_sequence)
            }
            _ => None,
        };
        hold!(first == known, "entry {} names original {first:?}, not {known:?}", entry.sequence);
        Ok(())
    }

    fn on_marker(&mut self, entry: &Stored) -> Result<(), Wrong> {
        let (sequence, time_ns) = position(entry, "Oncegate-Judged")?;
        self.pass_over(sequence, time_ns, entry.sequence)?;
        let sent = self.streams[self.standing.born][&sequence].sent.clone();
        let verdict = self.judge(&sent, time_ns)?;
        hold!(
            verdict == Verdict::Duplicate,
            "message {sequence} is {verdict:?}; a marker has it a duplicate"
        );
        self.settle(sequence, time_ns, verdict, entry.sequence);
        Ok(())
    }

    /// What lies before a position that an entry names gave no entry: duplicates, or gone.
    fn pass_over(&mut self, sequence: u64, time_ns: i64, at: u64) -> Result<(), Wrong> {
        hold!(self.in_force.is_some(), "entry {at} before any leading entry");
        self.find_stream(sequence, time_ns)?;
        let from = self.standing.sequence + 1;
        hold!(
            sequence >= from,
            "message {sequence} a second time, or out of order (entry {at}): {from} is due"
        );
        for passed in from..sequence {
            let Some(message) = self.streams[self.standing.born].get(&passed) else {
                return Err(format!("no message {passed}"));
            };
            let (sent, dropped, time_ns) = (message.sent.clone(), message.dropped, message.time_ns);
            match self.judge(&sent, time_ns)? {
                Verdict::Duplicate => self.settle(passed, time_ns, Verdict::Duplicate, at),
                _ if dropped => self.settle(passed, time_ns, Verdict::Missed, at),
                verdict => {
                    return Err(format!(
                        "message {passed} is lost: it is {verdict:?}, entry {at} passes it"
                    ));
                }
            }
        }
        Ok(())
    }

    /// The stream may have been made anew before anything of it was judged; or its own limits have dropped
    /// all that stood at judged numbers, so that nothing tells it from the one before, and nothing is lost.
    fn find_stream(&mut self, sequence: u64, time_ns: i64) -> Result<(), Wrong> {
        let current = self.standing.born;
        let Some(born) = self.born_of(sequence, time_ns).filter(|born| *born >= current) else {
            return Err(format!("no message {sequence} with this time"));
        };
        if born != current {
            let mut judged = self.streams[born].range(..=self.standing.sequence);
            hold!(
                judged.all(|(_, message)| message.dropped),
                "a new stream is taken for the old one"
            );
            self.standing.born = born;
        }
        Ok(())
    }

    fn settle(&mut self, sequence: u64, time_ns: i64, verdict: Verdict, at: u64) {
        match verdict {
            Verdict::Duplicate => self.duplicates += 1,
            Verdict::Missed => self.missed += 1,
            _ => {}
        }
        self.verdicts[self.standing.born].insert(sequence, (verdict, at));
        (self.standing.sequence, self.standing.time_ns) = (sequence, time_ns);
    }

    fn judge(&self, sent: &Sent, time_ns: i64) -> Result<Verdict, Wrong> {
        let Some((_, rules)) = self.in_force else {
            return Err("no leading entry".to_owned());
        };
        let key = match sent.key {
            KeyHeader::Malformed => return Ok(Verdict::Rejected("malformed_headers")),
            KeyHeader::None if rules == RuleSet::ForwardKeyless => return Ok(Verdict::Accepted),
            KeyHeader::None => return Ok(Verdict::Rejected("missing_key")),
            KeyHeader::Invalid => return Ok(Verdict::Rejected("invalid_key")),
            KeyHeader::Key(key) => key,
        };
        let now_ns = time_ns.max(self.standing.now_ns);
        Ok(match self.keys.get(&key).filter(|original| now_ns < original.expires_ns) {
            None => Verdict::Accepted,
            Some(original) if original.sent.is_same(sent, rules) => Verdict::Duplicate,
            Some(_) => Verdict::Rejected("payload_mismatch"),
        })
    }

    fn on_leading(&mut self, entry: &Stored) -> Result<(), Wrong> {
        let body: Value =
            serde_json::from_slice(&entry.payload).map_err(|error| error.to_string())?;
        let name = body["rules_fingerprint"].as_str().unwrap_or_default();
        let rules = self.rule_names.iter().find(|(known, _)| known == name);
        let Some((_, rules)) = rules else { return Err(format!("unknown rules {name}")) };
        let window_ms = body["window_ms"].as_i64().ok_or("no window")?;
        self.in_force = Some((window_ms * 1_000_000, *rules));
        let number = |value: &Value| value.as_i64().ok_or_else(|| format!("{value} is no number"));
        hold!(
            number(&body["ledger_sequence"])? + 1 == entry.sequence as i64,
            "a leading entry at {} that does not know the ledger",
            entry.sequence
        );
        hold!(
            number(&body["source_time_max_ns"])? == self.standing.now_ns,
            "its highest source time"
        );
        let input = &body["inputs"][0];
        let at = (number(&input["sequence"])? as u64, number(&input["time_ns"])?);
        if at == (0, 0) && self.standing.sequence > 0 {
            hold!(self.standing.born + 1 < self.streams.len(), "the input did not begin anew");
            self.standing.born += 1;
            (self.standing.sequence, self.standing.time_ns) = (0, 0);
        }
        let known = (self.standing.sequence, self.standing.time_ns);
        hold!(at == known, "a leading entry begins from {at:?}, not from {known:?}");
        Ok(())
    }

    /// A table that was at ledger sequence `from` has taken this.
    pub fn check_commit(&self, from: u64, commit: &Commit) -> Result<(), Wrong> {
        let cursors = &commit.cursors;
        let at = cursors.ledger.sequence;
        hold!(at <= self.ledger_sequence(), "the table leads the ledger: it is at {at}");
        hold!(from <= at, "the table went back from {from} to {at}");
        let standing = &self.history[at as usize];
        let found = cursors.inputs.iter().find(|input| &*input.stream == "ACTIONS");
        let found = found.map_or((0, 0), |input| (input.sequence, input.time_ns));
        let known = (standing.sequence, standing.time_ns);
        hold!(found == known, "the table at entry {at} has input {found:?}, not {known:?}");
        let now_ns = cursors.ledger.source_time_max_ns;
        hold!(now_ns == standing.now_ns, "the table's now at entry {at} is {now_ns}");
        let puts = commit.changes.iter().filter_map(|(key, record)| {
            let record = record.as_ref()?;
            Some(Put {
                key: key.key().to_owned(),
                sequence: record.sequence,
                time_ns: record.time_ns,
                expires_ns: record.expires_ns,
                ledger_sequence: record.ledger_sequence,
            })
        });
        let puts: Vec<_> = puts.collect();
        let passed = &self.history[from as usize + 1..=at as usize];
        let wanted: Vec<_> = passed.iter().filter_map(|standing| standing.put.clone()).collect();
        hold!(puts == wanted, "the table takes {puts:?} at entry {at}, not {wanted:?}");
        Ok(())
    }

    /// A worker whose table is at ledger sequence `table` shows these to the outside.
    pub fn check_settled(&self, table: u64, decided: &[Decided]) -> Result<(), Wrong> {
        for Decided { source, outcome, .. } in decided {
            let sequence = source.sequence;
            let Some(born) = self.born_of(sequence, source.time_ns) else {
                return Err(format!("message {sequence} is shown, and there is none"));
            };
            let Some((verdict, at)) = self.verdicts[born].get(&sequence) else {
                return Err(format!(
                    "message {sequence} is shown {outcome:?} before any entry names it"
                ));
            };
            hold!(*at <= table, "message {sequence} is shown before entry {at} is in the table");
            let same = match (outcome, verdict) {
                (Outcome::Accepted, Verdict::Accepted)
                | (Outcome::Duplicate, Verdict::Duplicate) => true,
                // It was there when it was judged, and gone when it was judged again. Neither has an entry.
                (Outcome::Duplicate, Verdict::Missed) => true,
                (Outcome::Rejected(reason), Verdict::Rejected(why)) => reason.as_str() == *why,
                _ => false,
            };
            hold!(same, "message {sequence} is {verdict:?} and is shown {outcome:?}");
        }
        Ok(())
    }

    /// A worker takes these for judged.
    pub fn check_redelivered(&self, sequence: u64) -> Result<(), Wrong> {
        let known = self.verdicts.iter().any(|verdicts| verdicts.contains_key(&sequence));
        hold!(known, "message {sequence} is taken for judged");
        Ok(())
    }

    /// A message is acknowledged.
    pub fn check_acknowledged(&self, sequence: u64, time_ns: i64) -> Result<(), Wrong> {
        let born = self.born_of(sequence, time_ns);
        let judged = born.is_some_and(|born| self.verdicts[born].contains_key(&sequence));
        hold!(judged, "message {sequence} is acknowledged before its verdict is in the ledger");
        Ok(())
    }

    fn born_of(&self, sequence: u64, time_ns: i64) -> Option<usize> {
        let is_it = |stream: &BTreeMap<u64, Message>| {
            stream.get(&sequence).is_some_and(|message| message.time_ns == time_ns)
        };
        self.streams.iter().position(is_it)
    }
}

fn header<'a>(entry: &'a Stored, name: &str) -> Option<&'a str> {
    let found = entry.headers.iter().find(|(known, _)| known == name);
    found.map(|(_, value)| value.as_str())
}

/// `<stream> <sequence> <time>`.
fn position(entry: &Stored, name: &str) -> Result<(u64, i64), Wrong> {
    let text =
        header(entry, name).ok_or_else(|| format!("entry {} without {name}", entry.sequence))?;
    let words: Vec<_> = text.split(' ').collect();
    let [stream, sequence, time] = words[..] else { return Err(format!("{name}: {text}")) };
    hold!(stream == "ACTIONS", "{name}: {text}");
    let time: Timestamp = time.parse().map_err(|_| format!("{name}: {text}"))?;
    let sequence = sequence.parse().map_err(|_| format!("{name}: {text}"))?;
    Ok((sequence, time.as_nanosecond() as i64))
}
