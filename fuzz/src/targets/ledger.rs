//! A ledger of any messages and the input streams, as a server would tell of them.

use bytes::Bytes;

use super::choices::Choices;
use super::messages::block_of;
use crate::gate::engine::recovery::{Answer, Ask, LedgerMessage};
use crate::gate::entry::{self, Entry, Leading, LeadingInput, Message, Unread};
use crate::gate::headers::{Headers, MalformedHeaders};
use crate::gate::key::ActionKey;
use crate::gate::rules::RuleTexts;
use crate::gate::source::{Source, TimeNs};
use crate::gate::verdict::Reason;

pub const NAME: &str = "oncegate";
pub const INPUT: &str = "ACTIONS";
pub const REPORTS: &str = "ONCEGATE_REPORTS";

/// Everything that a recovery can ask about.
#[derive(Clone, Debug)]
pub struct World {
    /// In order; what is missing in between is gone.
    pub ledger: Vec<LedgerMessage>,
    pub ledger_first: u64,
    pub ledger_last: u64,
    pub actions: Input,
    pub reports: Input,
}

#[derive(Clone, Debug)]
pub struct Input {
    /// Sequences rise.
    pub messages: Vec<(u64, TimeNs)>,
    pub last: u64,
    pub created_ns: TimeNs,
}

impl Input {
    fn read(choices: &mut Choices) -> Self {
        let mut input = Self { messages: Vec::new(), last: 0, created_ns: some_time(choices) };
        for _ in 0..choices.below(5) {
            input.last = input.last.saturating_add(1 + choices.number() / 2);
            input.messages.push((input.last, some_time(choices)));
        }
        if choices.below(8) == 7 {
            input.last = choices.number();
        }
        input
    }

    /// The first message from here on.
    pub fn from(&self, sequence: u64) -> Option<(u64, TimeNs)> {
        self.messages.iter().find(|(at, _)| *at >= sequence).copied()
    }
}

impl World {
    pub fn input(&self, stream: &str) -> &Input {
        if stream == INPUT { &self.actions } else { &self.reports }
    }

    /// `None` where the shell would have to wait: what the ledger says of itself is not there to read.
    /// Of a tail so many entries are told; some that were told before do not count.
    pub fn answer(&self, ask: &Ask, entries: usize) -> Option<Answer> {
        let at = |sequence| self.ledger.iter().find(|message| message.sequence == sequence);
        Some(match ask {
            Ask::LedgerState => {
                Answer::LedgerState { first: self.ledger_first, last: self.ledger_last }
            }
            Ask::LedgerEntry(sequence) => Answer::LedgerEntry(at(*sequence).cloned()),
            Ask::LedgerTail { from, to } => {
                let (from, to) = (*from, *to);
                let before = at(from.wrapping_sub(1)).filter(|_| entries % 2 == 1);
                let asked = self.ledger.iter().filter(|m| (from..=to).contains(&m.sequence));
                let told: Vec<_> = before.into_iter().chain(asked.take(entries)).cloned().collect();
                if told.iter().all(|message| message.sequence < from) {
                    return None;
                }
                Answer::LedgerTail(told)
            }
            Ask::InputState(stream) => {
                let Input { created_ns, last, .. } = *self.input(stream);
                Answer::InputState { created_ns, last }
            }
            Ask::InputFrom(stream, from) => Answer::InputFrom(self.input(stream).from(*from)),
            Ask::Records(_) => return None,
        })
    }

    /// Whether all messages from the first to the last are there.
    pub fn is_whole(&self) -> bool {
        let sequences = self.ledger.iter().map(|message| message.sequence);
        sequences.eq(self.ledger_first..=self.ledger_last)
    }

    /// Where entries begin that a later version wrote.
    pub fn newer(&self) -> Option<u64> {
        let is_newer = |message: &&LedgerMessage| {
            let LedgerMessage { subject, headers, payload, .. } = message;
            let Ok(headers) = headers else { return false };
            let read = entry::decode(NAME, subject, headers, payload);
            matches!(read, Err(Unread::Newer { .. }))
        };
        self.ledger.iter().find(is_newer).map(|message| message.sequence)
    }

    pub fn entries(&self) -> Vec<Option<Entry>> {
        self.ledger.iter().map(entry_of).collect()
    }

    pub fn read(choices: &mut Choices) -> Self {
        let ledger_first = choices.pick(&[1, 1, 1, 2, 1000, u64::MAX - 3]);
        let mut world = Self {
            ledger: Vec::new(),
            ledger_first,
            ledger_last: ledger_first - 1,
            actions: Input::read(choices),
            reports: Input::read(choices),
        };
        let (mut time_ns, mut runs) = (0, Vec::new());
        while !choices.0.is_empty() && world.ledger.len() < 40 && world.ledger_last < u64::MAX {
            world.ledger_last += 1;
            let (subject, headers, payload) = message(choices, &mut runs);
            time_ns += i64::from(choices.byte());
            let sequence = world.ledger_last;
            // A server's clock may be set back.
            let time_ns = if choices.below(16) == 15 { some_time(choices) } else { time_ns };
            world.ledger.push(LedgerMessage { sequence, time_ns, subject, headers, payload });
        }
        world
    }
}

pub fn entry_of(message: &LedgerMessage) -> Option<Entry> {
    let headers = message.headers.as_ref().ok()?;
    entry::decode(NAME, &message.subject, headers, &message.payload).ok()
}

type Stored = (String, Result<Headers, MalformedHeaders>, Bytes);

/// Accepted actions, whose results may come.
type Runs = Vec<(Source, ActionKey)>;

fn message(choices: &mut Choices, runs: &mut Runs) -> Stored {
    match choices.below(12) {
        0 | 1 => accepted(choices, runs),
        2 => rejected(choices),
        3 => stored(&entry::judged(NAME, &source(choices), choices.number())),
        4 | 5 => stored(&entry::leading(NAME, &leading(choices))),
        6 => foreign(choices, runs),
        7 | 8 => completed(choices, runs),
        9 => released(choices, runs),
        _ => (
            choices.text(),
            Headers::parse(choices.bytes()),
            Bytes::copy_from_slice(choices.bytes()),
        ),
    }
}

fn stored(message: &Message) -> Stored {
    let headers = Headers::parse(&block_of(&message.headers));
    (message.subject.clone(), headers, message.payload.clone())
}

/// As the gate writes it, as far as it is read back.
fn accepted(choices: &mut Choices, runs: &mut Runs) -> Stored {
    let source = source(choices);
    let key = choices.pick(&["", "a", "b", "c"]);
    let scope: &[&str] = choices.pick(&[&[], &["t"]]);
    let key = (!key.is_empty()).then(|| ActionKey::new(scope, key));
    let hash = choices.byte();
    let mut pairs = vec![
        (entry::SOURCE.to_owned(), source.to_string()),
        (entry::DIGEST.to_owned(), format!("json:{hash:032x}")),
        (entry::RUN_ID.to_owned(), source.run_id(key.as_ref()).to_string()),
    ];
    if let Some(key) = key {
        pairs.extend(key_headers(&key));
        runs.push((source, key));
    }
    ("oncegate.accepted.a".to_owned(), Ok(pairs.into_iter().collect()), Bytes::new())
}

fn key_headers(key: &ActionKey) -> [(String, String); 2] {
    let scope = serde_json::json!(key.scope()).to_string();
    [(entry::KEY.to_owned(), key.key().to_string()), (entry::SCOPE.to_owned(), scope)]
}

/// Mostly of a run that there was.
fn completed(choices: &mut Choices, runs: &Runs) -> Stored {
    let status = choices.pick(&["succeeded", "failed"]);
    let (run, key) = run(choices, runs);
    let run_id = run.run_id(Some(&key)).to_string();
    let mut pairs = reported(choices, &key);
    pairs.push((entry::RUN_ID.to_owned(), run_id));
    (format!("oncegate.completed.{status}"), Ok(pairs.into_iter().collect()), Bytes::new())
}

fn released(choices: &mut Choices, runs: &Runs) -> Stored {
    let by = choices.pick(&["retry", "operator"]);
    let (_, key) = run(choices, runs);
    (
        format!("oncegate.released.{by}"),
        Ok(reported(choices, &key).into_iter().collect()),
        Bytes::new(),
    )
}

fn run(choices: &mut Choices, runs: &Runs) -> (Source, ActionKey) {
    let any = (source(choices), ActionKey::new::<&str>(&[], "a"));
    let at = usize::from(choices.byte());
    if at < 0xE0 && !runs.is_empty() { runs[at % runs.len()].clone() } else { any }
}

fn reported(choices: &mut Choices, key: &ActionKey) -> Vec<(String, String)> {
    let mut pairs = vec![(entry::SOURCE.to_owned(), source(choices).to_string())];
    if choices.coin() {
        pairs.push((entry::JUDGED.to_owned(), source(choices).to_string()));
    }
    pairs.extend(key_headers(key));
    pairs
}

fn rejected(choices: &mut Choices) -> Stored {
    let reason = match choices.coin() {
        true => choices.pick(&Reason::OF_REPORTS),
        false => choices.pick(&Reason::OF_ACTIONS),
    };
    let reason = reason.as_str().to_owned();
    let subject = format!("oncegate.rejected.{reason}");
    let source = source(choices).to_string();
    let mut pairs = vec![(entry::SOURCE.to_owned(), source), (entry::REASON.to_owned(), reason)];
    if choices.coin() {
        pairs.push((entry::JUDGED.to_owned(), self::source(choices).to_string()));
    }
    (subject, Ok(pairs.into_iter().collect()), Bytes::new())
}

/// Nearly an entry.
fn foreign(choices: &mut Choices, runs: &mut Runs) -> Stored {
    let (subject, headers, payload) = accepted(choices, runs);
    match choices.below(4) {
        0 => (subject, Err(MalformedHeaders("odd")), payload),
        1 => (format!("x{subject}"), headers, payload),
        2 => ("oncegate.leading".to_owned(), headers, choices.text().into()),
        _ => {
            let left_out = choices.below(3);
            let headers = headers.unwrap();
            let kept = headers.iter().enumerate().filter(|(at, _)| *at != left_out);
            (subject, Ok(kept.map(|(_, pair)| pair).collect()), payload)
        }
    }
}

fn source(choices: &mut Choices) -> Source {
    let stream = choices.pick(&[INPUT, INPUT, REPORTS, "OTHER"]).into();
    Source { stream, sequence: choices.number(), time_ns: some_time(choices) }
}

fn leading(choices: &mut Choices) -> Leading {
    let input = |choices: &mut Choices| LeadingInput {
        stream: choices.pick(&[INPUT, REPORTS, "OTHER"]).to_owned(),
        created_ns: some_time(choices),
        sequence: choices.number(),
        time_ns: some_time(choices),
    };
    let rules = RuleTexts {
        key_from: Vec::new(),
        key_scope: Vec::new(),
        key_max_bytes: 255,
        key_missing: "reject".to_owned(),
        payload_compare: "auto".to_owned(),
        payload_ignore: Vec::new(),
    };
    Leading {
        format: entry::FORMAT,
        instance: String::new(),
        host: String::new(),
        version: String::new(),
        window_ms: choices.pick(&[0, 1, 1, 1000, 604_800_000, u64::MAX]),
        rules,
        rules_fingerprint: choices
            .pick(&["00000000000000aa", "00000000000000bb", "", "ffffffffffffffff"])
            .to_owned(),
        inputs: (0..choices.below(3)).map(|_| input(choices)).collect(),
        ledger_sequence: choices.number(),
        source_time_max_ns: some_time(choices),
    }
}

/// Mostly close to each other, so that windows matter.
fn some_time(choices: &mut Choices) -> TimeNs {
    match choices.byte() {
        small @ 0..0xC0 => small.into(),
        near @ 0xC0..0xF0 => i64::from(near) * 1_000_000,
        _ => choices.signed(),
    }
}
