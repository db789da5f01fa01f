//! The model: both inputs judged by a simple program of its own, and every entry of the ledger held to it
//! as it is stored; the tables, and what is shown to the outside, held to the ledger.

/// Says what must not be, unless it is so.
macro_rules! hold {
    ($holds:expr, $($why:tt)*) => {
        if !$holds {
            return Err(format!($($why)*));
        }
    };
}

mod actions;
mod ledger;
mod reports;
mod shown;

use std::collections::{BTreeMap, HashMap};

use oncegate::gate::engine::InputKind;
use oncegate::gate::record::RunState;
use uuid::Uuid;

use crate::counts::Counts;
use crate::inputs::Both;
use crate::plan::RuleSet;
use crate::publisher::Sent;
use crate::reporter::{Run, Told};

/// What must not be.
pub type Wrong = String;

#[derive(Clone)]
enum Published {
    Action(Sent),
    Report(Told),
}

/// A message of an input, as it was published.
struct Message {
    what: Published,
    time_ns: i64,
    /// Dropped by the stream's own limits.
    dropped: bool,
}

/// An input stream: by birth, then by sequence.
struct Stream {
    births: Vec<BTreeMap<u64, Message>>,
    /// And the ledger sequence that made it final.
    verdicts: Vec<BTreeMap<u64, (Verdict, u64)>>,
}

/// A run, as whoever asks is told of it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Known {
    run_id: Uuid,
    state: RunState,
    sequence: u64,
    time_ns: i64,
    /// `None` without a key.
    expires_ns: Option<i64>,
    ledger_sequence: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Verdict {
    Accepted(Known),
    Duplicate(Known),
    Completed(Known),
    Released(Known),
    /// The same result again.
    Repeated(Known),
    Rejected(&'static str),
    /// The stream dropped it before its turn.
    Missed,
}

/// What a key stands for.
#[derive(Clone)]
struct Original {
    sent: Sent,
    known: Known,
    result: Option<Told>,
}

/// Up to where an input is judged.
#[derive(Clone, Copy, Default)]
struct Position {
    born: usize,
    sequence: u64,
    time_ns: i64,
    /// The entry that says so.
    at: u64,
}

/// Where things stand after an entry.
#[derive(Clone, Default)]
struct Standing {
    positions: Both<Position>,
    now_ns: i64,
    change: Option<Change>,
}

/// What an entry does to a key; `None`: it is new again.
type Change = (String, Option<Known>);

pub struct Truth {
    streams: Both<Stream>,
    /// Of each key, what it stands for from each ledger sequence on.
    keys: HashMap<u8, Vec<(u64, Option<Original>)>>,
    in_force: Option<(i64, RuleSet)>,
    standing: Standing,
    /// By ledger sequence; the first is before any entry.
    history: Vec<Standing>,
    rule_names: Vec<(String, RuleSet)>,
    /// What was accepted under a key.
    pub runs: Vec<Run>,
    entries: u64,
    receipts: u64,
}

impl Stream {
    fn new() -> Self {
        Self { births: vec![BTreeMap::new()], verdicts: vec![BTreeMap::new()] }
    }

    fn published(&mut self, sequence: u64, what: Published, time_ns: i64) {
        let message = Message { what, time_ns, dropped: false };
        self.births.last_mut().unwrap().insert(sequence, message);
    }

    fn born_of(&self, sequence: u64, time_ns: i64) -> Option<usize> {
        let is_it = |born: &BTreeMap<u64, Message>| {
            born.get(&sequence).is_some_and(|message| message.time_ns == time_ns)
        };
        self.births.iter().position(is_it)
    }
}

impl Truth {
    pub fn new() -> Self {
        let name = |rules: RuleSet| (rules.compiled().fingerprint().to_string(), rules);
        Self {
            streams: Both::new(|_| Stream::new()),
            keys: HashMap::new(),
            in_force: None,
            standing: Standing::default(),
            history: vec![Standing::default()],
            rule_names: RuleSet::ALL.map(name).to_vec(),
            runs: Vec::new(),
            entries: 0,
            receipts: 0,
        }
    }

    pub fn published(&mut self, sequence: u64, sent: Sent, time_ns: i64) {
        self.streams[InputKind::Actions].published(sequence, Published::Action(sent), time_ns);
    }

    pub fn reported(&mut self, sequence: u64, told: Told, time_ns: i64) {
        self.streams[InputKind::Reports].published(sequence, Published::Report(told), time_ns);
    }

    pub fn dropped(&mut self, input: InputKind, sequence: u64) {
        let born = self.streams[input].births.last_mut().unwrap();
        if let Some(message) = born.get_mut(&sequence) {
            message.dropped = true;
        }
    }

    pub fn recreated(&mut self, input: InputKind) {
        self.streams[input].births.push(BTreeMap::new());
        self.streams[input].verdicts.push(BTreeMap::new());
    }

    /// Everything that was published is judged.
    pub fn is_complete(&self) -> bool {
        InputKind::ALL.into_iter().all(|input| {
            let (births, position) = (&self.streams[input].births, self.standing.positions[input]);
            let born = births.len() - 1;
            let last = births[born].iter().rev().find(|(_, message)| !message.dropped);
            let at = if position.born == born { position.sequence } else { 0 };
            last.is_none_or(|(sequence, _)| *sequence <= at)
        })
    }

    /// The ledger's last sequence.
    pub fn head(&self) -> u64 {
        self.history.len() as u64 - 1
    }

    /// What the key stands for after this entry, as far as it is not over by then.
    fn key_at(&self, key: u8, head: u64, time_ns: i64) -> Option<&Original> {
        let now_ns = time_ns.max(self.history[head as usize].now_ns);
        let changes = self.keys.get(&key)?;
        let (_, original) = changes.iter().rev().find(|(from, _)| *from <= head)?;
        original.as_ref().filter(|original| {
            original.known.expires_ns.is_none_or(|expires_ns| now_ns < expires_ns)
        })
    }

    pub fn tallied(&self, counts: &mut Counts) {
        counts.entries = self.entries;
        counts.receipts = self.receipts;
        let verdicts = self.streams.all().flat_map(|stream| &stream.verdicts);
        for (verdict, _) in verdicts.flat_map(BTreeMap::values) {
            match verdict {
                Verdict::Accepted(_) => {}
                Verdict::Duplicate(_) => counts.duplicates += 1,
                Verdict::Completed(_) => counts.completed += 1,
                Verdict::Released(_) => counts.released += 1,
                Verdict::Repeated(_) => counts.repeated += 1,
                Verdict::Rejected(reason) => *counts.rejected.entry(reason).or_default() += 1,
                Verdict::Missed => counts.missed += 1,
            }
        }
    }
}
